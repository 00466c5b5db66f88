"""Results of a run on test clips: a table with intervals, paired comparisons and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contracts import Clip
from ...data.dataset import RunData
from ...data.speakers import is_unknown
from ...toolkit.intervals import Comparison, Interval, jackknife_interval, paired_comparison
from ...toolkit.metrics import accuracy, confusion_by_group, macro_f1, uar
from ...toolkit.run_files import as_type
from ...training.inference import Predictions
from ..run import RESULTS, Run
from ..trainings import CONTROL, FUSED, Training
from .selection import ENSEMBLE, Selection, candidate_probabilities, uar_of

Probabilities = Mapping[str, Sequence[npt.NDArray[np.float32]]]
CHOSEN = "chosen"
AGAINST_CONTROL = "fused minus control"
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class ModelResult:
    """Figures of one model, a row of the results table.

    Attributes
    ----------
    name : str
        A modality, ``"control"`` (the best single modality, trained for as many steps as the fused
        model and its baseline together), ``"fused"``, ``"ensemble"`` or ``"chosen"`` (the
        model that validation chose in each fold).
    uar, accuracy : Interval
        Test figure over the clips of all folds, 0 to 1, with a 95 % interval from resampled
        speakers.
    macro_f1 : float
        Macro-averaged F1 on test.
    val_uar : float
        Validation UAR, averaged over folds.
    fold_uar : tuple of float
        Test UAR of each fold.
    """

    name: str
    uar: Interval
    accuracy: Interval
    macro_f1: float
    val_uar: float
    fold_uar: tuple[float, ...]


@dataclass(frozen=True)
class Results:
    """Results of a run on its test clips.

    Attributes
    ----------
    models : tuple of ModelResult
        Figures of the modalities, the control if any, the fused model, the ensemble and the
        chosen model (``"chosen"``).
    best_single : str
        The modality with the highest validation UAR.
    comparisons : dict
        For each model, the difference between that model and the best single modality, paired over
        the same clips. If the run has a control, the key ``"fused minus control"`` holds the
        difference between the fused model and the control.
    verdict : str
        Two sentences: whether fusion helps, and which model was chosen and why.
    weights : dict
        The strategy's weight for each modality, averaged over the test clips; empty for a strategy
        without weights.
    confusions : dict
        (C, C) counts for each model; rows are the true classes.
    control : str
        Modality of the equal-steps control, whose row is called ``"control"``; empty if the run
        used no baseline.
    weight_spread : dict
        Standard deviation of each modality's weight over the test clips; empty if `weights` is
        empty.
    """

    models: tuple[ModelResult, ...]
    best_single: str
    comparisons: dict[str, Comparison]
    verdict: str
    weights: dict[str, float]
    confusions: dict[str, list[list[int]]]
    control: str = ""
    weight_spread: dict[str, float] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """Name of the model that the fused model has to beat.

        The best single modality, or the equal-steps control if the control is better on test.
        """
        if not self.control:
            return self.best_single
        pair = (self.best_single, CONTROL)
        return max(pair, key=lambda name: self.model(name).uar.value)

    @property
    def against_reference(self) -> Comparison:
        """Comparison of the fused model with :attr:`reference`."""
        return self.comparisons[AGAINST_CONTROL if self.reference == CONTROL else FUSED]

    def model(self, name: str) -> ModelResult:
        """Return the figures of the model called `name`."""
        return next(m for m in self.models if m.name == name)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; an undefined figure becomes None."""
        plain = finite(asdict(self))
        assert isinstance(plain, dict)
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any], file: Path = Path(RESULTS)) -> Results:
        """Make results from JSON values; None becomes NaN."""
        return as_type(_undefined(data), cls, file)

    @classmethod
    def read(cls, run: Run) -> Results:
        """Read the results of a finished run.

        Raises
        ------
        RunError
            If results.json is missing or damaged.
        """
        return cls.from_json(run.read_json(RESULTS), run.path / RESULTS)


def evaluate(
    data: RunData, selection: Selection, test: Mapping[Training, Predictions], label: str
) -> tuple[Results, Probabilities]:
    """Score every model on test clips, after selection is complete.

    Parameters
    ----------
    label : str
        Name of the fused model in the verdict, e.g. ``"gated + gradscale"``.

    Returns
    -------
    tuple
        The results, and a dict with each model's list of probabilities, one (n_fold, C) array of
        test clips per fold.
    """
    scores: dict[str, Sequence[npt.NDArray[np.float32]]] = dict(
        candidate_probabilities(data, selection, test)
    )
    scores[CHOSEN] = [scores[f.chosen][i] for i, f in enumerate(selection.folds)]
    indices = [split.test for split in data.splits]
    targets = data.targets[np.concatenate(indices)]
    speakers = np.array(
        [f"{data.clips[i].corpus}/{data.clips[i].speaker}" for i in np.concatenate(indices)]
    )
    confusions = {
        name: confusion_by_group(
            targets, np.concatenate(parts).argmax(axis=1), speakers, len(data.classes)
        )
        for name, parts in scores.items()
    }
    control = [CONTROL] if selection.control else []
    models = tuple(
        _model_result(name, confusions[name], selection, scores[name], data)
        for name in (*selection.modalities, *control, FUSED, ENSEMBLE, CHOSEN)
    )
    best = confusions[selection.best_single]
    comparisons = {
        name: paired_comparison(confusions[name], best)
        for name in (*control, FUSED, ENSEMBLE, CHOSEN)
    }
    for name in control:
        comparisons[AGAINST_CONTROL] = paired_comparison(confusions[FUSED], confusions[name])
    weights = _weights(data, test, selection.modalities)
    results = Results(
        models,
        selection.best_single,
        comparisons,
        "",
        {m: float(rows.mean()) for m, rows in weights.items()},
        {name: c.sum(axis=0).tolist() for name, c in confusions.items()},
        selection.control,
        {m: float(rows.std()) for m, rows in weights.items()},
    )
    tested = _tested([data.clips[i] for i in np.concatenate(indices)])
    return replace(results, verdict=write_verdict(results, selection, label, tested)), scores


def _tested(clips: Sequence[Clip]) -> str:
    """Return what the groups of the comparisons are; a clip of unknown speaker is a group."""
    unknown = sum(is_unknown(clip) for clip in clips)
    if unknown == len(clips):
        return "test clips"
    return "test speakers and clips of unknown speakers" if unknown else "test speakers"


def _model_result(
    name: str,
    confusion: npt.NDArray[np.int64],
    selection: Selection,
    parts: Sequence[npt.NDArray[np.float32]],
    data: RunData,
) -> ModelResult:
    val: Sequence[float] = selection.control_val_uar
    if name != CONTROL:
        val = [f.val_uar[f.chosen if name == CHOSEN else name] for f in selection.folds]
    folds = [
        uar_of(probabilities, data.targets[split.test], len(data.classes))
        for split, probabilities in zip(data.splits, parts, strict=True)
    ]
    return ModelResult(
        name,
        jackknife_interval(confusion, uar),
        jackknife_interval(confusion, accuracy),
        float(macro_f1(confusion.sum(axis=0))),
        float(np.mean(val)),
        tuple(folds),
    )


def _weights(
    data: RunData, test: Mapping[Training, Predictions], modalities: Sequence[str]
) -> dict[str, npt.NDArray[np.floating]]:
    """Return the weights on test clips, (n,), by modality; empty for a strategy without weights."""
    fused = [test[Training(fold, FUSED)] for fold in range(len(data.splits))]
    if not fused[0].weights:
        return {}
    return {m: np.concatenate([p.weights[m] for p in fused]) for m in modalities}


def weights_text(results: Results) -> str:
    """Return the weights as ``"mel 62 % ± 9, text 38 % ± 9"``; empty text for a single modality."""
    if len(results.weights) < 2:
        return ""
    return ", ".join(
        f"{m} {100 * w:.0f} %"
        + (f" ± {100 * results.weight_spread[m]:.0f}" if m in results.weight_spread else "")
        for m, w in results.weights.items()
    )


# -- the verdict ---------------------------------------------------------------------


def write_verdict(
    results: Results, selection: Selection, label: str, tested: str = "test speakers"
) -> str:
    """Return two sentences: whether fusion helps, and which model was chosen and why.

    `tested` says what the groups of the comparisons are.
    """
    return f"{_fusion_sentence(results, label, tested)} {_choice_sentence(selection)}"


def _fusion_sentence(results: Results, label: str, tested: str) -> str:
    c = results.against_reference
    fused = f"fused model ({label})"
    single = f"the best single modality ({results.best_single})"
    if results.reference == CONTROL:
        single = f"the control ({results.control} alone, trained for the same total steps)"
    figures = (
        f"{points(c.difference)} points of UAR [{points(c.low)}, {points(c.high)}], "
        f"p = {p_text(c.p_value)}, over {c.groups} {tested}"
    )
    if c.p_value < SIGNIFICANT:
        word = "beats" if c.difference > 0 else "is worse than"
        return f"The {fused} {word} {single}: {figures}."
    if smallest_p(c.groups) >= SIGNIFICANT:
        return (
            f"Too few {tested} to prove a difference between the {fused} and {single}: "
            f"{figures}, which allow no p-value below {smallest_p(c.groups):.2g}."
        )
    return f"No reliable difference between the {fused} and {single}: {figures}."


def smallest_p(groups: int) -> float:
    """Return the smallest possible p-value of a paired test over `groups` speakers."""
    return float(min(1.0, 2.0 / 2**groups))


def _choice_sentence(selection: Selection) -> str:
    chosen = [fold.chosen for fold in selection.folds]
    if len(chosen) == 1:
        reason = ", ".join(f"{n} {100 * u:.1f}" for n, u in selection.folds[0].val_uar.items())
        name = chosen[0] if chosen[0] in (FUSED, ENSEMBLE) else f"{chosen[0]} alone"
        return f"Chosen model: {name}, the best on validation (UAR {reason})."
    counts = {name: chosen.count(name) for name in dict.fromkeys(chosen)}
    parts = ", ".join(f"{name} in {n}" for name, n in counts.items())
    return (
        f"Chosen model: the mean of {len(chosen)} models, one per fold, each the best on its "
        f"fold's validation clips ({parts})."
    )


def points(difference: float) -> str:
    """Return a difference in UAR as percentage points with a sign: ``+2.1``."""
    return "n/a" if np.isnan(difference) else f"{100 * difference:+.1f}"


def p_text(p: float) -> str:
    """Return a p-value as text with three decimals, ``< 0.001``, or ``n/a``."""
    return "n/a" if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001"


# -- figures as text and as JSON -----------------------------------------------------


def comparison_text(c: Comparison) -> str:
    """Return a difference in UAR with its 95 % interval and its p-value as text."""
    return (
        f"{points(c.difference)} points of UAR, 95 % interval "
        f"[{points(c.low)}, {points(c.high)}], p = {p_text(c.p_value)}"
    )


def interval_text(interval: Interval) -> str:
    """Return a share and its interval in percent, such as ``43.2 [38.0, 48.1]``.

    With one speaker there is no interval, and the text is ``43.2 (one speaker)``.
    """
    if interval.groups < 2:
        return f"{100 * interval.value:.1f} (one speaker)"
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def finite(value: Any) -> Any:
    """Convert to plain JSON values: NaN becomes None, and floats are rounded to 6 digits."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else round(float(value), 6)
    return value


def _undefined(value: Any) -> Any:
    """Replace None by NaN, to undo :func:`finite`."""
    if isinstance(value, Mapping):
        return {k: _undefined(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_undefined(v) for v in value]
    return float("nan") if value is None else value
