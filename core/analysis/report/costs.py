"""What the run was made of and what it cost: clips, inputs, time, parameters, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...data.split_modes import PARTS
from ...data.task import task_name
from ...runs.execution.jobs import CONTROL, FUSED, Training
from .formatting import number, percent, seconds
from .markup import Html, details, join, missing, paragraph, section, table
from .run_data import ReadRun, Record

_MOST_FAILURES = 50


def cost(run: ReadRun) -> Html:
    """Time, size and memory of each model's trainings."""
    models = [FUSED, *run.modalities, CONTROL]
    rows = [row for m in models if (row := _cost_row(run, m))]
    if not rows:
        return section("cost", "What it cost", missing("No training.json can be read."))
    spent = run.record.seconds
    total = "; ".join(f"{name} {seconds(float(value))}" for name, value in spent.items())
    return section(
        "cost",
        "What it cost",
        table(
            ["model", "trainings", "time", "epochs", "kept epoch", "parameters", "peak memory",
             "arithmetic"],
            rows,
            label="Cost of the trainings",
            caption="Time is that of all trainings of the model, one after the other. Epochs and "
            "the one that was kept: of each fold. Peak memory: of the training's process.",
        ),
        paragraph(f"By the clock: {total}.") if total else Html(),
    )  # fmt: skip


def _cost_row(run: ReadRun, model: str) -> list[object]:
    trainings = [Training(fold, model) for fold in range(run.folds)]
    found = [run.summaries[t] for t in trainings if t in run.summaries]
    if not found:
        return []
    trials = sum(int(s.get("trials", 1)) for s in found)
    return [
        model,
        str(trials),
        seconds(sum(float(s.get("seconds", 0)) for s in found)),
        _listed(found, "epoch"),
        _listed(found, "best_epoch"),
        ", ".join(dict.fromkeys(number(s.get("parameters")) for s in found)),
        _memory(max((s.get("peak_bytes") or 0) for s in found)),
        ", ".join(dict.fromkeys(str(s.get("precision", "")) for s in found)),
    ]


def _listed(summaries: Sequence[Record], key: str) -> str:
    return ", ".join(str(s.get(key, "")) for s in summaries)


def _memory(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size else ""


# -- clips ---------------------------------------------------------------------------


def clips(run: ReadRun) -> Html:
    """Who is trained on, who chooses, who is tested, and which clips were left out."""
    parts: list[Html] = []
    if run.data is None:
        parts.append(missing("clips.csv can't be read."))
    else:
        parts.append(_clip_table(run))
    dropped = [
        f"{corpus}: {', '.join(f'{label} {n}' for label, n in counts.items())}"
        for corpus, counts in run.record.dropped_labels.items()
        if counts
    ]
    if dropped:
        parts.append(paragraph(f"Left out for their label: {'; '.join(dropped)}."))
    absent = run.record.absent
    if absent:
        counts = "; ".join(f"{n} have no {m}" for m, n in absent.items())
        parts.append(
            paragraph(
                f"Some clips lack a modality: {counts}. They take part with the others. Alone, a "
                "modality is trained on the clips that have it, and says of the others how "
                "frequent each class is in training."
            )
        )
    failures = run.record.failures
    if failures:
        listed = [[f["recording"], f["feature"], f["reason"]] for f in failures[:_MOST_FAILURES]]
        parts.append(
            details(
                f"{len(failures)} recordings could not be read",
                table(["recording", "feature", "reason"], listed, label="Unreadable recordings"),
            )
        )
    return section("clips", "The clips", *parts)


def _clip_table(run: ReadRun) -> Html:
    assert run.data is not None
    rows: list[list[object]] = []
    for fold, split in enumerate(run.data.splits):
        described = split.describe(run.data.clips)
        for part in PARTS:
            counts = Counter(run.data.clips[i].label for i in getattr(split, part))
            rows.append(
                [
                    f"fold {fold}, {part}" if run.folds > 1 else part,
                    str(described[part]["clips"]),
                    str(described[part]["speakers"]),
                    *(str(counts[name]) for name in run.classes),
                ]
            )
    shown = table(
        ["part", "clips", "speakers", *run.classes],
        rows,
        label="Clips and speakers of each part",
        caption="Training clips teach, validation clips choose, test clips are read once. "
        f"Corpora: {', '.join(run.record.corpora)}.",
    )
    return shown if run.folds == 1 else details("Clips and speakers of each fold", shown)


# -- inputs --------------------------------------------------------------------------

_FIGURES = ("min", "max", "mean", "std", "zeros", "nan")


def inputs(run: ReadRun, channels: Mapping[str, Sequence[str]]) -> Html:
    """Statistics of what goes into the branches, over the training clips of the first fold.

    Parameters
    ----------
    channels : mapping
        Modality -> names of its channels, where they have some.
    """
    found = run.summaries.get(Training(0, FUSED), {}).get("inputs")
    title = "What goes into the branches"
    if not found:
        return section("inputs", title, missing("This run recorded no statistics of its inputs."))
    names = {**_STAGES, "raw": task_name(run.config.adapt) or _STAGES["raw"]}
    rows = [
        [f"{modality}, {names[stage]}", *_figures(statistics)]
        for modality, stages in found.items()
        for stage, statistics in stages.items()
        if stage in names
    ]
    by_channel = [
        details(
            f"Channels of {m}",
            table(
                _HEAD,
                _channel_rows(stages, channels.get(m, ()), names),
                label=f"Channels of {m}",
            ),
        )
        for m, stages in found.items()
        if any("channels" in statistics for statistics in stages.values())
    ]
    return section(
        "inputs",
        title,
        table(
            _HEAD,
            rows,
            label="Statistics of the inputs",
            caption="Over the training clips of the first fold. Standardised inputs should have a "
            "mean near 0 and a deviation near 1; a modality that has not is heard too loudly or "
            "not at all. Many zeros mean that little of the input says anything.",
        ),
        join(by_channel),
    )


_HEAD = ("input", "min", "max", "mean", "std", "zeros (%)", "not finite (%)")
_STAGES = {"raw": "as stored", "seen": "standardised"}


def _figures(statistics: Record) -> list[str]:
    return [_figure(key, statistics.get(key)) for key in _FIGURES]


def _figure(key: str, value: Any) -> str:
    if key in ("zeros", "nan") and isinstance(value, int | float):
        return percent(float(value))
    return number(value)


def _channel_rows(
    stages: Record, channels: Sequence[str], stage_names: Mapping[str, str]
) -> list[list[object]]:
    rows: list[list[object]] = []
    for stage, statistics in stages.items():
        each = statistics.get("channels", {})
        for index in range(len(each.get("min", []))):
            name = channels[index] if index < len(channels) else f"channel {index}"
            own = {key: each[key][index] for key in _FIGURES if key in each}
            rows.append([f"{name}, {stage_names.get(stage, stage)}", *_figures(own)])
    return rows
