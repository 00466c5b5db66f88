"""How the models learned: scores, losses, and what went on inside the fused model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...runs.trainings import FUSED, Training
from ...toolkit.metrics import Floats
from .charts import Line, along_depth, over_epochs
from .drawing import INK, MUTED, Mark, line_of
from .page import Figure
from .run_data import ReadRun, Record, series

Marks = list[tuple[str, Mark]]


def scores(run: ReadRun) -> list[Figure]:
    """Draw UAR over the epochs: the fused model, and each modality alone and within it."""
    return _panels(run, "uar", y="UAR (%)", scale=100, level=(1 / len(run.classes), "guessing"))


def losses(run: ReadRun) -> list[Figure]:
    """Draw the loss over the epochs, of the models of :func:`scores`."""
    return _panels(run, "loss", y="loss")


def marks(run: ReadRun) -> Marks:
    """Return the legend of :func:`scores` and :func:`losses`."""
    within = "fused model, or the modality's branch inside it" if run.modalities else "fused model"
    return [
        ("validation", Mark(INK)),
        ("training", Mark(INK, "--")),
        (within, line_of(FUSED, run.modalities)),
        *((f"{m} trained alone", line_of(m, run.modalities)) for m in run.modalities),
    ]


def has_start(run: ReadRun) -> bool:
    """Return whether the fused model has an epoch 0: the modalities as trained alone."""
    return any("start" in run.summaries.get(Training(f, FUSED), {}) for f in range(run.folds))


def _panels(
    run: ReadRun,
    score: str,
    *,
    y: str,
    scale: float = 1.0,
    level: tuple[float, str] | None = None,
) -> list[Figure]:
    """The fused model, then each modality: alone, and as a probe within the fused model."""
    groups = {FUSED: _train_and_val(run, score, FUSED)}
    for m in run.modalities:
        within = _train_and_val(run, score, FUSED, f".{m}")
        groups[m] = [*within, *_train_and_val(run, score, m)]
    limits = _common_limits([line for lines in groups.values() for line in lines], scale, level)
    return [
        Figure(
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


def _train_and_val(run: ReadRun, score: str, model: str, suffix: str = "") -> list[Line]:
    """Training broken, validation solid; those of the fused model's probes end in a modality."""
    return [
        Line(
            line_of(model, run.modalities, dashes),
            _present(run.records(model), f"{part}_{score}{suffix}"),
        )
        for part, dashes in (("train", "--"), ("val", "-"))
    ]


def _present(records: Sequence[Sequence[Record]], metric: str) -> list[Floats]:
    """One figure over the epochs of each fold that has it."""
    folds = [series(fold, metric) for fold in records]
    return [fold for fold in folds if len(fold)]


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
class _Recorded:
    """One figure that the fused model's records hold, of it and of its modalities."""

    metric: str
    title: str
    note: str
    scale: float = 1.0
    log: bool = False
    low: float | None = None  # ends of the axis, where it matters that they are the same always
    high: float | None = None


_RECORDED = (
    _Recorded("entropy", "Entropy of the predictions (nats)",
            "How unsure the answers on validation are: 0 is sure, ln C knows nothing.", low=0),
    _Recorded("gradient", "Size of the gradient",
            "What each branch gets to learn from. One far below the others learns little.",
            log=True),
    _Recorded("update", "Size of a step",
            "Change of the weights in one step, as a share of them.", log=True),
    _Recorded("norm", "Length of the embeddings",
            "One that is many times longer drowns the others where they are added or joined.",
            low=0),
    _Recorded("spread", "Spread of the embeddings",
            "How far clips lie from their mean; near 0 all clips look alike to the fusion.",
            low=0),
    _Recorded("rank", "Effective rank of the embeddings",
            "How many directions are really used. Near 1: the embedding has collapsed.", low=0),
    _Recorded("weight", "Fusion weights (%)",
            "The share that the strategy gives each modality, mean over clips.", scale=100, low=0,
            high=103),
    _Recorded("agreement", "Agreement of the modalities (%)",
            "Clips on which the branches say the same. Near 100: they hardly complement.",
            scale=100, low=0, high=103),
)  # fmt: skip
_NO_FIGURE = {"epoch", "seconds", "trial", "stage", "candidate", "layers"}
_MOST_OTHERS = 8


def inside(run: ReadRun) -> list[Figure]:
    """Draw what the fused model's records hold of entropies, gradients, embeddings and weights."""
    return _recorded(run, _RECORDED)


def balancers(run: ReadRun) -> list[Figure]:
    """Draw the records under other names: those that balancers make of themselves."""
    known = {record.metric for record in _RECORDED} | _NO_FIGURE
    keys = [key for fold in run.records(FUSED) for record in fold for key in record]
    metrics = dict.fromkeys(_without_modality(key, run.modalities) for key in keys)
    others = [m for m in metrics if m not in known and not m.startswith(("train_", "val_"))]
    return _recorded(run, [_Recorded(m, m, "") for m in others[:_MOST_OTHERS]])


def inside_marks(run: ReadRun) -> Marks:
    """Return the legend of :func:`inside` and :func:`balancers`."""
    names = {"fused model": FUSED, **{m: m for m in run.modalities}}
    return [(name, line_of(model, run.modalities)) for name, model in names.items()]


def _recorded(run: ReadRun, wanted: Iterable[_Recorded]) -> list[Figure]:
    """Draw a figure for each metric that was recorded."""
    names = {"": FUSED, **{f".{m}": m for m in run.modalities}}
    figures = []
    for one in wanted:
        found = {
            name: _present(run.records(FUSED), one.metric + end) for end, name in names.items()
        }
        lines = [Line(line_of(n, run.modalities), folds) for n, folds in found.items() if folds]
        if not lines:
            continue
        drawn = over_epochs(
            lines,
            label=f"{one.title} over the epochs",
            y="",
            scale=one.scale,
            log=one.log and min(fold[:, 1].min() for line in lines for fold in line.folds) > 0,
            level=(math.log(len(run.classes)), "ln C") if one.metric == "entropy" else None,
            limits=(one.low, one.high),
        )
        figures.append(Figure(one.title, drawn, (one.note,)))
    return figures


def _without_modality(key: str, modalities: Sequence[str]) -> str:
    return next((key.removesuffix(f".{m}") for m in modalities if key.endswith(f".{m}")), key)


# -- layers --------------------------------------------------------------------------

_FIRST, _LAST = Mark(MUTED, "--"), Mark(INK)
LAYER_MARKS: Marks = [("first epoch", _FIRST), ("last epoch", _LAST)]


def layers(run: ReadRun) -> list[Figure]:
    """Draw gradients along the depth of each branch of the first fold, early and at the end."""
    records = run.records(FUSED)
    held = [r["layers"] for r in (records[0] if records else []) if r.get("layers")]
    if not held:
        return []
    panels = []
    for owner in held[-1]:
        ends = [(_FIRST, held[0].get(owner, {})), (_LAST, held[-1][owner])]
        for index, what in enumerate(("gradient", "step")):
            lines = [
                (mark, np.array([pair[index] for pair in each.values()], dtype=np.float64))
                for mark, each in ends
            ]
            title = f"{owner or 'strategy'}: {what}"
            panels.append(Figure(title, along_depth(lines, label=f"{title} of each layer")))
    return panels
