"""Sections on data and cost: clips, inputs, time, parameters and memory of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ...contracts import Extractor
from ...data.dataset import RunData
from ...data.task import task_name
from ...runs.trainings import CONTROL, FUSED, Training
from .page import number, percent, seconds
from .run_data import ReadRun, Record


def cost(run: ReadRun) -> list[list[str]]:
    """Return one row per model: number, time, size and memory of its trainings."""
    rows = []
    for model in (FUSED, *run.modalities, CONTROL):
        trainings = [Training(fold, model) for fold in range(run.folds)]
        summaries = [run.summaries[t] for t in trainings if t in run.summaries]
        if not summaries:
            continue
        peak = max((s.get("peak_bytes") or 0) for s in summaries)
        rows.append(
            [
                model,
                str(sum(int(s.get("trials", 1)) for s in summaries)),
                seconds(sum(float(s.get("seconds", 0)) for s in summaries)),
                ", ".join(str(s.get("epoch", "")) for s in summaries),
                ", ".join(str(s.get("best_epoch", "")) for s in summaries),
                ", ".join(dict.fromkeys(number(s.get("parameters")) for s in summaries)),
                f"{peak / 2**20:,.0f} MiB" if peak else "",
                ", ".join(dict.fromkeys(str(s.get("precision", "")) for s in summaries)),
            ]
        )
    return rows


def clips(run: ReadRun, data: RunData) -> list[list[str]]:
    """Return one row per part of the split: clips, speakers, and clips of each class."""
    rows = []
    for fold, split in enumerate(data.splits):
        for part, size in split.describe(data.clips).items():
            counts = Counter(data.clips[i].label for i in getattr(split, part))
            name = f"fold {fold}, {part}" if run.folds > 1 else part
            sizes = (size["clips"], size["speakers"], *(counts[label] for label in run.classes))
            rows.append([name, *map(str, sizes)])
    return rows


# -- inputs --------------------------------------------------------------------------

_FIGURES = ("min", "max", "mean", "std", "zeros", "nan")
_SHARES = ("zeros", "nan")


def inputs(run: ReadRun) -> list[list[str]]:
    """Return rows of input statistics of the branches, over training clips of the first fold."""
    names = _stages(run)
    return [
        [f"{modality}, {names[stage]}", *_figures(statistics)]
        for modality, stages in _inputs(run).items()
        for stage, statistics in stages.items()
        if stage in names
    ]


def channels(run: ReadRun, extractors: Mapping[str, Extractor]) -> dict[str, list[list[str]]]:
    """Return rows of :func:`inputs` per channel, for modalities with several channels."""
    rows: dict[str, list[list[str]]] = {}
    for modality, stages in _inputs(run).items():
        names = extractors[modality].channels if modality in extractors else ()
        for stage, statistics in stages.items():
            each = statistics.get("channels", {})
            for index in range(len(each.get("min", []))):
                name = names[index] if index < len(names) else f"channel {index}"
                own = {key: each[key][index] for key in _FIGURES if key in each}
                row = [f"{name}, {_stages(run).get(stage, stage)}", *_figures(own)]
                rows.setdefault(modality, []).append(row)
    return rows


def _inputs(run: ReadRun) -> Record:
    """Return the input statistics of the first fold, by modality and stage."""
    return run.summaries.get(Training(0, FUSED), {}).get("inputs") or {}


def _stages(run: ReadRun) -> dict[str, str]:
    """Return the names that the page shows for the input stages in training.json, by stage."""
    return {"raw": task_name(run.config.adapt) or "as stored", "seen": "standardised"}


def _figures(statistics: Record) -> list[str]:
    """Return the statistics as text, shares in per cent."""
    values = {key: statistics.get(key) for key in _FIGURES}
    return [
        percent(value) if key in _SHARES and isinstance(value, int | float) else number(value)
        for key, value in values.items()
    ]
