"""How the models learned: scores, losses, and what went on inside the fused model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...runs.execution.jobs import FUSED, Training
from ...toolkit.metrics import Floats
from .charts import Line, along_depth, over_epochs
from .drawing import INK, MUTED, Mark, legend
from .formatting import line_of
from .markup import Html, details, figures, join, missing, paragraph, section
from .run_data import ReadRun, Record, series


def learning(run: ReadRun) -> Html:
    """Scores and losses over the epochs: of the fused model, and of each modality alone and
    within it."""
    if not any(run.epochs.values()):
        return section(
            "learning", "How it learned", missing("The records of the epochs are not there.")
        )
    folds = (
        f" Lines are the mean of {run.folds} folds, bands reach from the lowest to the highest of "
        "validation."
        if run.folds > 1
        else " The dotted line is the epoch that was kept."
    )
    alone = ", alone and inside the fused model" if run.modalities else ""
    starts = any("start" in run.summaries.get(Training(f, FUSED), {}) for f in range(run.folds))
    begun = (
        " The fused model's epoch 0 is its start: the modalities as trained alone."
        if starts
        else ""
    )
    return section(
        "learning",
        "How it learned",
        figures(
            _panels(run, "uar", y="UAR (%)", scale=100, level=(1 / len(run.classes), "guessing")),
            legend=_legend(run),
            caption=f"UAR over the epochs{alone}. A solid line well below its broken one: learned "
            "by heart. A modality that stays below its own training alone is held back by the "
            f"fusion.{begun}{folds}",
        ),
        figures(
            _panels(run, "loss", y="loss"),
            legend=_legend(run),
            caption="Loss over the epochs: a validation loss that rises while the training loss "
            "falls means overfitting. That of training is what was minimised, with label "
            "smoothing and class weights, so the two differ by more than what was learned.",
        ),
    )


def _legend(run: ReadRun) -> Html:
    within = "fused model, or the modality's branch inside it" if run.modalities else "fused model"
    return legend(
        [
            ("validation", Mark(INK)),
            ("training", Mark(INK, "--")),
            (within, line_of(FUSED, run.modalities)),
            *((f"{m} trained alone", line_of(m, run.modalities)) for m in run.modalities),
        ]
    )


def _panels(
    run: ReadRun,
    score: str,
    *,
    y: str,
    scale: float = 1.0,
    level: tuple[float, str] | None = None,
) -> list[tuple[object, Html]]:
    """The fused model, then each modality: alone, and as a probe within the fused model."""
    groups = {FUSED: _train_and_val(run, score, FUSED, "", FUSED)}
    for m in run.modalities:
        within = _train_and_val(run, score, FUSED, f".{m}", FUSED)
        groups[m] = [*within, *_train_and_val(run, score, m, "", m)]
    limits = _common_limits([line for lines in groups.values() for line in lines], scale, level)
    return [
        (
            "fused model" if name == FUSED else name,
            over_epochs(
                [line for line in lines if line],
                label=f"{y} over the epochs, {name}",
                y=y,
                scale=scale,
                level=level,
                marked=_kept_epoch(run, name),
                limits=limits,
            ),
        )
        for name, lines in groups.items()
        if any(lines)
    ]


def _train_and_val(run: ReadRun, score: str, model: str, suffix: str, coloured: str) -> list[Line]:
    """Training broken, validation solid; those of the fused model's probes end in a modality."""
    found = []
    for part, dashes in (("train", "--"), ("val", "-")):
        folds = [series(records, f"{part}_{score}{suffix}") for records in run.records(model)]
        mark = line_of(coloured, run.modalities, dashes)
        found.append(Line(f"{coloured} {part}", mark, [f for f in folds if len(f)]))
    return found


def _kept_epoch(run: ReadRun, model: str) -> list[int]:
    if run.folds > 1:
        return []
    summary = run.summaries.get(Training(0, model), {})
    return [int(summary["best_epoch"])] if "best_epoch" in summary else []


def _common_limits(
    lines: Iterable[Line], scale: float, level: tuple[float, str] | None
) -> tuple[float, float] | None:
    """One vertical axis for all panels of a group, so that they can be compared by eye."""
    values = [scale * v for line in lines for fold in line.folds for v in fold[:, 1].tolist()]
    values += [scale * level[0]] if level and values else []
    if not values:
        return None
    room = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - room, max(values) + room


# -- inside the fused model ----------------------------------------------------------


@dataclass(frozen=True)
class _Figure:
    """One figure that the fused model's records hold, of it and of its modalities."""

    metric: str
    title: str
    note: str
    scale: float = 1.0
    log: bool = False
    low: float | None = None  # ends of the axis, where it matters that they are the same always
    high: float | None = None


_FIGURES = (
    _Figure("entropy", "Entropy of the predictions (nats)",
            "How unsure the answers on validation are: 0 is sure, ln C knows nothing.", low=0),
    _Figure("gradient", "Size of the gradient",
            "What each branch gets to learn from. One far below the others learns little.",
            log=True),
    _Figure("update", "Size of a step",
            "Change of the weights in one step, as a share of them.", log=True),
    _Figure("norm", "Length of the embeddings",
            "One that is many times longer drowns the others where they are added or joined.",
            low=0),
    _Figure("spread", "Spread of the embeddings",
            "How far clips lie from their mean; near 0 all clips look alike to the fusion.",
            low=0),
    _Figure("rank", "Effective rank of the embeddings",
            "How many directions are really used. Near 1: the embedding has collapsed.", low=0),
    _Figure("weight", "Fusion weights (%)",
            "The share that the strategy gives each modality, mean over clips.", scale=100, low=0,
            high=103),
    _Figure("agreement", "Agreement of the modalities (%)",
            "Clips on which the branches say the same. Near 100: they hardly complement.",
            scale=100, low=0, high=103),
)  # fmt: skip
_NO_FIGURE = {"epoch", "seconds", "trial", "stage", "candidate", "layers"}
_MOST_OTHERS = 8


def inside(run: ReadRun) -> Html:
    """Entropies, gradients, steps, embeddings and weights over the epochs of the fused model."""
    records = run.records(FUSED)
    known = [_panel(run, records, figure) for figure in _FIGURES]
    others = [_panel(run, records, figure) for figure in _other_figures(run, records)]
    drawn = [panel for panel in known if panel]
    keys = [("fused model", line_of(FUSED, run.modalities))]
    keys += [(m, line_of(m, run.modalities)) for m in run.modalities]
    return section(
        "inside",
        "Inside the fused model",
        figures(drawn, legend=legend(keys), caption=_inside_caption(run))
        if drawn
        else missing("This run recorded nothing of the fused model's inside."),
        _folded(
            "What the balancers did",
            [panel for panel in others if panel],
            legend(keys),
            "What the balancers record of themselves, under the names they give it.",
        ),
        _folded(
            "Gradient and step of each layer",
            _layers(records),
            _layer_legend(),
            "Each dot is a layer of the first fold's model. Layers and their normalisations take "
            "turns, hence the zigzag; a line that falls towards the input by powers of ten means "
            "that the gradient vanishes on its way.",
        ),
    )


def _inside_caption(run: ReadRun) -> str:
    by_fold = " Mean of the folds, and a band from the lowest to the highest."
    return "One line for each branch inside the fused model." + (by_fold if run.folds > 1 else "")


def _folded(summary: str, panels: Sequence[tuple[object, Html]], keys: Html, caption: str) -> Html:
    return details(summary, figures(panels, legend=keys, caption=caption)) if panels else Html()


def _panel(
    run: ReadRun, records: Sequence[Sequence[Record]], figure: _Figure
) -> tuple[object, Html] | None:
    names = {"": FUSED, **{f".{m}": m for m in run.modalities}}
    lines = [
        Line(name, line_of(name, run.modalities), _present(records, f"{figure.metric}{suffix}"))
        for suffix, name in names.items()
    ]
    lines = [line for line in lines if line]
    if not lines:
        return None
    values = [v for line in lines for fold in line.folds for v in fold[:, 1].tolist()]
    level = (math.log(len(run.classes)), "ln C") if figure.metric == "entropy" else None
    drawn = over_epochs(
        lines,
        label=f"{figure.title} over the epochs",
        y="",
        scale=figure.scale,
        log=figure.log and min(values) > 0,
        level=level,
        limits=(figure.low, figure.high),
    )
    return figure.title, join([drawn, paragraph(figure.note, class_="note")])


def _present(records: Sequence[Sequence[Record]], metric: str) -> list[Floats]:
    folds = [series(fold, metric) for fold in records]
    return [fold for fold in folds if len(fold)]


def _other_figures(run: ReadRun, records: Sequence[Sequence[Record]]) -> list[_Figure]:
    """Whatever else was recorded: what balancers say of themselves."""
    known = {figure.metric for figure in _FIGURES} | _NO_FIGURE
    found: dict[str, None] = {}
    for fold in records:
        for record in fold:
            for key in record:
                metric = _without_modality(key, run.modalities)
                if metric not in known and not metric.startswith(("train_", "val_")):
                    found[metric] = None
    return [_Figure(metric, metric, "") for metric in list(found)[:_MOST_OTHERS]]


def _without_modality(key: str, modalities: Sequence[str]) -> str:
    return next((key.removesuffix(f".{m}") for m in modalities if key.endswith(f".{m}")), key)


# -- layers --------------------------------------------------------------------------

_FIRST, _LAST = Mark(MUTED, "--"), Mark(INK)


def _layer_legend() -> Html:
    return legend([("first epoch", _FIRST), ("last epoch", _LAST)])


def _layers(records: Sequence[Sequence[Record]]) -> list[tuple[object, Html]]:
    """Gradients along the depth of each branch, of the first fold: early and at the end."""
    held = [r["layers"] for r in (records[0] if records else []) if r.get("layers")]
    if not held:
        return []
    panels: list[tuple[object, Html]] = []
    for owner in held[-1]:
        ends = [(_FIRST, held[0].get(owner, {})), (_LAST, held[-1][owner])]
        for index, what in enumerate(("gradient", "step")):
            lines = [
                (mark, np.array([pair[index] for pair in layers.values()], dtype=np.float64))
                for mark, layers in ends
            ]
            title = f"{owner or 'strategy'}: {what}"
            panels.append((title, along_depth(lines, label=f"{title} of each layer")))
    return panels
