"""Section on learning curves: scores, losses, and figures inside the fused model."""

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
    """Draw the UAR over epochs of the fused model, its probes and each modality trained alone."""
    return _panels(run, "uar", y="UAR (%)", scale=100, level=(1 / len(run.classes), "chance"))


def losses(run: ReadRun) -> list[Figure]:
    """Draw the loss over the epochs, for the same models as :func:`scores`."""
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
    """Return True if the fused model starts from its baselines, and thus has scores of epoch 0."""
    return any("start" in run.summaries.get(Training(f, FUSED), {}) for f in range(run.folds))


def _panels(
    run: ReadRun,
    score: str,
    *,
    y: str,
    scale: float = 1.0,
    level: tuple[float, str] | None = None,
) -> list[Figure]:
    """Draw a panel for the fused model, and one per modality: trained alone, and its probe."""
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
    """Return a dashed training line and a solid validation line.

    `suffix` selects the metrics of a probe inside the fused model, such as ``".mel"``.
    """
    return [
        Line(
            line_of(model, run.modalities, dashes),
            _present(run.records(model), f"{part}_{score}{suffix}"),
        )
        for part, dashes in (("train", "--"), ("val", "-"))
    ]


def _present(records: Sequence[Sequence[Record]], metric: str) -> list[Floats]:
    """Return a figure over the epochs, for each fold that recorded it."""
    folds = [series(fold, metric) for fold in records]
    return [fold for fold in folds if len(fold)]


def _kept_epoch(run: ReadRun, model: str) -> list[int]:
    """Return the kept epoch of a run with one fold; empty with several folds."""
    if run.folds > 1:
        return []
    summary = run.summaries.get(Training(0, model), {})
    return [int(summary["best_epoch"])] if "best_epoch" in summary else []


def _common_limits(
    lines: Iterable[Line], scale: float, level: tuple[float, str] | None
) -> tuple[float, float] | None:
    """Return the same vertical limits for all panels of a group, to make them comparable."""
    values = [scale * v for line in lines for fold in line.folds for v in fold[:, 1].tolist()]
    values += [scale * level[0]] if level and values else []
    if not values:
        return None
    room = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - room, max(values) + room


# -- inside the fused model ----------------------------------------------------------


@dataclass(frozen=True)
class _Recorded:
    """Figure in the epoch records of the fused model, for the whole model or by modality."""

    metric: str
    title: str
    note: str
    scale: float = 1.0
    log: bool = False
    low: float | None = None  # fixed ends of the vertical axis; None fits them to the data
    high: float | None = None


_RECORDED = (
    _Recorded("entropy", "Entropy of the predictions (nats)",
            "Uncertainty of the validation predictions: 0 is certain, ln C is uniform.", low=0),
    _Recorded("gradient", "Norm of the gradient",
            "A branch with a gradient far below the others learns little.",
            log=True),
    _Recorded("update", "Relative size of a step",
            "Change of the weights in one step, divided by the norm of the weights.", log=True),
    _Recorded("norm", "Norm of the embeddings",
            "A modality with a far larger norm dominates sums and concatenations.",
            low=0),
    _Recorded("spread", "Spread of the embeddings",
            "Mean distance of the clips from their mean. Near 0, clips can't be distinguished.",
            low=0),
    _Recorded("rank", "Effective rank of the embeddings",
            "Number of directions in use. Near 1, the embedding has collapsed.", low=0),
    _Recorded("weight", "Fusion weights (%)",
            "Weight that the strategy gives each modality, mean over clips.", scale=100, low=0,
            high=103),
    _Recorded("agreement", "Agreement of the modalities (%)",
            "Share of clips with equal predictions of two branches. Near 100, the branches "
            "hardly complement each other.",
            scale=100, low=0, high=103),
)  # fmt: skip
_NO_FIGURE = {"epoch", "seconds", "trial", "stage", "candidate", "layers"}
_MOST_OF_BALANCERS = 8  # panels


def inside(run: ReadRun) -> list[Figure]:
    """Draw entropies, gradients, embeddings and weights recorded inside the fused model."""
    return _recorded(run, _RECORDED)


def balancers(run: ReadRun) -> list[Figure]:
    """Draw the figures that balancers recorded, whose names the training loop does not use."""
    standard = {record.metric for record in _RECORDED} | _NO_FIGURE
    keys = [key for fold in run.records(FUSED) for record in fold for key in record]
    metrics = dict.fromkeys(_without_modality(key, run.modalities) for key in keys)
    of_balancers = [
        m for m in metrics if m not in standard and not m.startswith(("train_", "val_"))
    ]
    return _recorded(run, [_Recorded(m, m, "") for m in of_balancers[:_MOST_OF_BALANCERS]])


def inside_marks(run: ReadRun) -> Marks:
    """Return the legend of :func:`inside` and :func:`balancers`."""
    names = {"fused model": FUSED, **{m: m for m in run.modalities}}
    return [(name, line_of(model, run.modalities)) for name, model in names.items()]


def _recorded(run: ReadRun, wanted: Iterable[_Recorded]) -> list[Figure]:
    """Draw a panel for each requested figure that was recorded."""
    names = {"": FUSED, **{f".{m}": m for m in run.modalities}}
    figures = []
    for figure in wanted:
        folds_by_model = {
            name: _present(run.records(FUSED), figure.metric + end) for end, name in names.items()
        }
        lines = [
            Line(line_of(n, run.modalities), folds) for n, folds in folds_by_model.items() if folds
        ]
        if not lines:
            continue
        drawn = over_epochs(
            lines,
            label=f"{figure.title} over the epochs",
            y="",
            scale=figure.scale,
            log=figure.log and min(fold[:, 1].min() for line in lines for fold in line.folds) > 0,
            level=(math.log(len(run.classes)), "ln C") if figure.metric == "entropy" else None,
            limits=(figure.low, figure.high),
        )
        figures.append(Figure(figure.title, drawn, (figure.note,)))
    return figures


def _without_modality(key: str, modalities: Sequence[str]) -> str:
    """Return the name of a figure without the suffix of its modality."""
    return next((key.removesuffix(f".{m}") for m in modalities if key.endswith(f".{m}")), key)


# -- layers --------------------------------------------------------------------------

_FIRST, _LAST = Mark(MUTED, "--"), Mark(INK)
LAYER_MARKS: Marks = [("first epoch", _FIRST), ("last epoch", _LAST)]


def layers(run: ReadRun) -> list[Figure]:
    """Draw the gradient and update of each layer in the first and last epoch of the first fold."""
    records = run.records(FUSED)
    recorded = [r["layers"] for r in (records[0] if records else []) if r.get("layers")]
    if not recorded:
        return []
    panels = []
    for owner in recorded[-1]:
        ends = [(_FIRST, recorded[0].get(owner, {})), (_LAST, recorded[-1][owner])]
        for index, quantity in enumerate(("gradient", "step")):
            lines = [
                (mark, np.array([pair[index] for pair in by_layer.values()], dtype=np.float64))
                for mark, by_layer in ends
            ]
            title = f"{owner or 'strategy'}: {quantity}"
            panels.append(Figure(title, along_depth(lines, label=f"{title} of each layer")))
    return panels
