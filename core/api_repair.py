"""The Python API of the repair protocol: ``fusion.diagnose``, ``fusion.repair``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RunError
from .main_module import main_left_out

if TYPE_CHECKING:
    from .diagnosis import Diagnosis, Thresholds
    from .repair import Repair
    from .run_dir import RunDirectory

PathLike = str | Path


def diagnose(run: PathLike, *, thresholds: Mapping[str, float] | None = None) -> Diagnosis:
    """Find out why a fusion fails: what ``fusion diagnose RUN`` does.

    Looks at training and validation clips, never at test.

    Parameters
    ----------
    run : path
        A run directory whose trainings are done.
    thresholds : mapping, optional
        Threshold -> value, in place of the defaults (docs/diagnosis.md).

    Returns
    -------
    Diagnosis
        ``findings``, the most important first, each with ``fault``, ``severity``, ``says``,
        ``rule``, ``remedy``; ``signs``, what was measured of each modality.

    Raises
    ------
    RunError
        If it is no run directory, or a training is not finished.
    ParameterError
        For a threshold that does not exist.
    """
    from .diagnosis import diagnose as judge_run

    path = Path(run)
    _trained(path)
    return judge_run(path, _thresholds(thresholds))


def repair(
    run: PathLike,
    *,
    target: str | float = "target",
    steps: str | Sequence[str] = (),
    minutes: float | None = None,
    thresholds: Mapping[str, float] | None = None,
    out: PathLike | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Repair:
    """Mend a fusion, step by step: what ``fusion repair RUN`` does.

    Parameters
    ----------
    run : path
        The run directory of the fusion that fails.
    target : {"minimum", "target", "stretch"} or float
        When to stop: at the best single modality, 2 or 6 points of UAR above it, or at a UAR
        in percent; on validation.
    steps : str or sequence of str
        Remedies to try, in this order; by default those that the diagnosis points to, then the
        rest of the ladder.
    minutes : float, optional
        Begin no further step after so long.
    thresholds : mapping, optional
        Of the diagnosis.
    out : path, optional
        Where the steps go; the same again goes on. By default ``repairs/DATE``.
    jobs : int >= 1, optional
        Processes at a time.
    quiet : bool
        Show no progress.

    Returns
    -------
    Repair
        ``steps``, ``chosen``, ``reached``, and ``result``, a RunResult of what is handed out.

    Raises
    ------
    UserError
        For anything wrong with the request, before the long work starts.
    TrainingError
        When the base can't be trained.
    """
    from .cli.repair_display import RepairDisplay
    from .predict import plugins_of
    from .registry import Registry
    from .repair import RepairRequest, Target
    from .repair import repair as mend
    from .run_dir import RunDirectory

    source = RunDirectory.existing(Path(run))
    request = RepairRequest(
        Target(target if isinstance(target, str) else f"{target:g}"),
        (steps,) if isinstance(steps, str) else tuple(steps),
        minutes,
    )
    folder = Path(out) if out else Path("repairs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    registry = Registry(plugins_of(source.path))
    with main_left_out(), RepairDisplay(quiet=quiet) as display:
        return mend(
            source,
            folder,
            registry,
            request,
            thresholds=_thresholds(thresholds),
            jobs=jobs,
            observer=display,
        )


def _thresholds(given: Mapping[str, float] | None) -> Thresholds:
    from .diagnosis import Thresholds
    from .parameters import bind

    return Thresholds(**bind(Thresholds, dict(given or {}), owner="diagnosis"))


def _trained(path: Path) -> RunDirectory:
    """The run at `path`, if its trainings are done."""
    from .run_dir import RunDirectory
    from .trainings import trainings_of

    run = RunDirectory.existing(path)
    left = [t for t in trainings_of(run) if not run.finished(t.name)]  # a control may follow
    if left:
        raise RunError(
            f"The run {path} is not trained to the end: {left[0].name} is missing.",
            hint=f"Go on with it: fusion.resume({str(path)!r}), or fusion diagnose {path}",
        )
    return run
