"""List of the trainings of a run, with the model and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..contracts.errors import RunError
from ..training.model import ModelSpec
from .run import Run
from .search_space import Settings, tuned_spec

FUSED = "fused"
# Equal-steps control: the best single modality, trained for as many steps as the fused model and
# its baseline together.
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Training:
    """Training of one model on one fold.

    Attributes
    ----------
    fold : int
        Index into the splits.
    model : str
        Name of a modality (the baseline), ``"fused"`` or ``"control"``.
    """

    fold: int
    model: str

    @property
    def name(self) -> str:
        """Name of the training, which is also its folder in the run directory."""
        return f"fold{self.fold}/{self.model}"


def trainings_of(run: Run) -> list[Training]:
    """Return the trainings of a run, without the equal-steps controls.

    The longest trainings come first, so that no long training runs alone at the end.
    """
    models = [FUSED, *run.record.modalities]
    return [Training(fold, m) for m in models for fold in range(run.record.split.folds)]


def controls_of(run: Run) -> list[Training]:
    """Return the equal-steps controls, one per fold; an empty list if the run uses no baseline."""
    if not run.record.control:
        return []
    return [Training(fold, CONTROL) for fold in range(run.record.split.folds)]


def all_trainings(run: Run) -> list[Training]:
    """Return the trainings of a run and their controls, the longest first."""
    return [*controls_of(run), *trainings_of(run)]


def unfinished(run: Run) -> list[Training]:
    """Return the trainings and controls of a run that are not done, the longest first."""
    return [training for training in all_trainings(run) if not run.finished(training.name)]


def control_modality(run: Run) -> str:
    """Return the modality of the control: the baseline with the highest mean validation UAR.

    All baselines must be finished.
    """
    folds = range(run.record.split.folds)

    def mean(modality: str) -> float:
        uars = [float(run.summary(Training(k, modality).name)["best_uar"]) for k in folds]
        return sum(uars) / len(uars)

    return max(run.record.modalities, key=mean)  # in a tie, the first modality


def spec_of(run: Run, training: Training) -> ModelSpec:
    """Return the description of a training's model, with the settings that tuning chose."""
    spec = run.record.model
    if training.model == CONTROL:
        return spec_of(run, Training(training.fold, control_modality(run)))
    own = spec if training.model == FUSED else spec.single(training.model)
    return tuned_spec(own, settings_of(run, training))


def settings_of(run: Run, training: Training) -> Settings:
    """Return the settings that tuning chose for a finished training; without tuning, {}."""
    if training.model == CONTROL:  # a control uses the settings of its baseline
        return settings_of(run, Training(training.fold, control_modality(run)))
    if not run.finished(training.name):
        return {}
    settings: Settings = run.summary(training.name).get("settings", {})
    return settings


def open_trained(path: Path) -> Run:
    """Open the run at `path`, whose trainings must be finished, except for the controls.

    Raises
    ------
    RunError
        If the path is not a run directory, or a training is not finished.
    """
    run = Run.open(path)
    missing = [t for t in trainings_of(run) if not run.finished(t.name)]
    if missing:
        raise RunError(
            f"The training {missing[0].name} of the run {path} is not finished.",
            hint=f"Resume the run: fusion.resume({str(path)!r}), or fusion diagnose {path}",
        )
    return run
