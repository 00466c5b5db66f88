"""The Python API: ``fusion.run``, ``resume``, ``load``, ``diagnose`` and ``repair``.

The arguments are those of ``fusion run``, by the same names, and go the same road.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never

from .contracts.errors import RunError
from .runs.arguments import (
    check_one_of,
    check_whole,
    check_whole_or_none,
    pairs,
    refuse_unknown,
    settings_texts,
    texts,
)
from .runs.execution.main_module import main_left_out

if TYPE_CHECKING:
    from .analysis.diagnosis import Diagnosis, Thresholds
    from .analysis.explain.summary import Explanation
    from .data.split_modes import ModeName
    from .data.task import AdaptName
    from .registry.registry import Registry
    from .runs.result import RunResult
    from .runs.run import Run
    from .workflows.experiment import Observer
    from .workflows.repair import Repair

Names = str | Sequence[str]
PathLike = str | Path


def run(
    data: PathLike | Sequence[PathLike] = (),
    *,
    strategy: str = "",
    balance: Names = (),
    features: Names = (),
    branch: Mapping[str, str] | None = None,
    labels: Names = "shared",
    split: ModeName = "speaker",
    folds: int | None = None,
    adapt: AdaptName = "none",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    set: Mapping[str, Any] | None = None,
    tune: int | None = None,
    seed: int = 0,
    device: str = "auto",
    jobs: int | None = None,
    tracker: Names = (),
    cache: PathLike | None = None,
    dtype: str | Mapping[str, str] | None = None,
    verify: Literal["open", "always"] = "open",
    strict: bool = False,
    plugins: PathLike | Sequence[PathLike] = (),
    strict_plugins: bool = False,
    out: PathLike | None = None,
    report: bool = True,
    quiet: bool = False,
    **unknown: Never,
) -> RunResult:
    """Train every modality alone, the fused model and the ensemble, and compare them.

    What ``fusion run`` does, with its options as arguments. It works in a notebook and in a
    script; a script needs no ``if __name__ == "__main__":`` for it.

    Parameters
    ----------
    data : path, or sequence of paths
        Corpora: folders or tables, detected, or named as in ``"ravdess=PATH"``. None: a
        generated demo corpus.
    strategy : str
        Fusion strategy. By default the one that ``fusion plugins list`` stars.
    balance : str or sequence of str
        Balancers, in the order in which they act.
    features : str or sequence of str
        Extractors, one modality each. By default those that ``fusion plugins list`` stars.
    branch : mapping
        Modality -> its branch network, where it is not the default one.
    labels : str or sequence of str
        ``"shared"`` (six emotions), ``"native"`` (the corpus's own classes), or a choice.
    split : {"speaker", "sentence", "corpus", "random"}
        What no two parts share; sentence and random do share speakers.
    folds : int >= 2, optional
        Cross-validation: every clip is tested once. By default one split.
    adapt : {"none", "speaker"}
        ``"speaker"`` standardises features by the unlabelled clips of each speaker, test speakers
        included (docs/adaptation.md).
    epochs : int >= 1, optional
        Budget of every training; the same as ``train.epochs``.
    batch_size : int >= 2, optional
        Clips per step; the same as ``train.batch_size``.
    lr : float > 0, optional
        Peak learning rate; the same as ``train.lr``.
    set : mapping
        ``"OWNER.PARAMETER"`` -> value, of a plugin, of ``branch.MODALITY`` or of ``train``:
        ``{"train.weight_decay": 1e-3, "branch.mel.blocks": 4}``.
    tune : int >= 2, optional
        Try so many settings for each model, by validation.
    seed : int >= 0
        Of split and training.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    jobs : int >= 1, optional
        Processes at a time. By default one per core (on a GPU, a few trainings).
    tracker : str or sequence of str
        More places for the run's events: ``"tensorboard"``, ``"mlflow"``, ``"wandb"``.
    cache : path or URL, optional
        Cache folder, or another machine's cache to read from. By default the user's.
    dtype : str, or mapping of feature to str
        What features are stored as: ``"float16"`` (half the bytes), ``"float32"``,
        ``"float64"``.
    verify : {"open", "always"}
        ``"always"`` checks every feature that is read.
    strict : bool
        Stop at an unreadable recording.
    plugins : path, or sequence of paths or names
        Plugins to load (``"./my.py"`` or a module), or to block (``"no:NAME"``).
    strict_plugins : bool
        Stop at a broken plugin instead of leaving it out.
    out : path, optional
        Run directory; must not exist or be empty. By default ``runs/DATE-METHODS``.
    report : bool
        Write ``report.html`` into it.
    quiet : bool
        Show no progress.

    Returns
    -------
    RunResult
        ``print(result)`` shows the table; see its ``predict`` and ``history``.

    Raises
    ------
    UserError
        For anything wrong with the request, before the long work starts.
    TrainingError
        When a training fails; :func:`resume` goes on with the others.

    Examples
    --------
    >>> import fusion
    >>> result = fusion.run("ravdess=data/ravdess", strategy="gated",
    ...                     balance=["gradscale"], folds=6)    # doctest: +SKIP
    >>> print(result)                                          # doctest: +SKIP
    >>> result.predict("unheard.wav")[0].label                 # doctest: +SKIP
    'happy'
    """
    refuse_unknown(unknown, run)
    from .data.task import ADAPTS
    from .runs.request import config_from
    from .workflows.experiment import new_run_path, run_experiment

    check_whole(0, seed=seed)
    check_whole_or_none(1, epochs=epochs, jobs=jobs)
    check_whole_or_none(2, folds=folds, batch_size=batch_size, tune=tune)
    check_one_of("verify", verify, ("open", "always"))
    check_one_of("adapt", adapt, ADAPTS)
    options = {
        "data": texts("data", data),
        "labels": ",".join(texts("labels", labels)),
        "features": ",".join(texts("features", features)),
        "settings": settings_texts(set or {}),
        "cache": None if cache is None else str(cache),
        "dtypes": pairs("dtype", dtype),
        "strict": strict,
        "branches": pairs("branch", branch),
        "folds": folds,
        "seed": seed,
        "device": device,
        "strategy": strategy,
        "balancers": texts("balance", balance),
        "epochs": epochs,
        "split": split,
        "batch_size": batch_size,
        "lr": lr,
        "tune": tune,
        "trackers": texts("tracker", tracker),
        "verify": verify,
        "adapt": adapt,
    }
    registry = _registry(texts("plugins", plugins), strict_plugins)
    config = config_from(options, registry)
    path = new_run_path(config, Path("runs")) if out is None else Path(out)
    return _followed(
        lambda observer: run_experiment(
            config, path, registry, jobs=jobs, observer=observer, report=report
        ),
        path,
        quiet,
    )


def resume(
    run: PathLike, *, jobs: int | None = None, report: bool = True, quiet: bool = False
) -> RunResult:
    """Go on with a run that was interrupted: what ``fusion run --resume RUN`` does.

    Finished trainings stay, others go on from their last epoch, and the result is what it
    would have been. A finished run is read.

    Parameters
    ----------
    run : path
        The run directory.
    jobs : int >= 1, optional
        Processes at a time.
    report : bool
        Write ``report.html`` into the run directory.
    quiet : bool
        Show no progress.

    Raises
    ------
    RunError
        If it is no run directory, or another process works on it.
    """
    from .runs.run import Run
    from .workflows.experiment import resume_experiment

    check_whole_or_none(1, jobs=jobs)
    opened = Run.open(Path(run))
    return _followed(
        lambda observer: resume_experiment(opened, jobs=jobs, observer=observer, report=report),
        opened.path,
        quiet,
    )


def load(run: PathLike) -> RunResult:
    """Read a finished run.

    Parameters
    ----------
    run : path
        The run directory.

    Raises
    ------
    RunError
        If it is none, or not finished.
    """
    from .runs.result import RunResult
    from .runs.run import Run

    path = Path(run)
    opened = Run.open(path)
    if not opened.is_complete():
        raise RunError(
            f"The run {path} is not finished: it has no results yet.",
            hint=f"Go on with it: fusion.resume({str(path)!r}), or fusion run --resume {path}",
        )
    return RunResult.read(opened)


def _followed(work: Callable[[Observer], RunResult], path: Path, quiet: bool) -> RunResult:
    """Do the work and show it; without this process's script in its workers."""
    from .display.run import Display
    from .registry.provenance import noted

    with main_left_out(), Display(quiet=quiet) as display:
        try:
            with noted():
                return work(display)
        except KeyboardInterrupt as stopped:
            if (path / "run.json").is_file():
                stopped.add_note(f"Go on with: fusion.resume({str(path)!r})")
            raise


def _registry(plugins: Sequence[str], strict: bool) -> Registry:
    from .registry.registry import Registry

    registry = Registry(plugins, strict=strict)
    for problem in registry.problems:
        warnings.warn(f"{problem}\n{problem.remedy}", stacklevel=3)
    for deprecation in registry.deprecations:
        warnings.warn(str(deprecation), DeprecationWarning, stacklevel=3)
    return registry


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
    from .analysis.diagnosis import diagnose as judge_run

    return judge_run(_trained(Path(run)), _thresholds(thresholds))


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
    from .display.repair import RepairDisplay
    from .runs.run import Run
    from .workflows.repair import RepairRequest, Target
    from .workflows.repair import repair as mend

    source = Run.open(Path(run))
    request = RepairRequest(
        Target(target if isinstance(target, str) else f"{target:g}"),
        (steps,) if isinstance(steps, str) else tuple(steps),
        minutes,
    )
    folder = Path(out) if out else Path("repairs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    with main_left_out(), RepairDisplay(quiet=quiet) as display:
        return mend(
            source,
            folder,
            source.registry,
            request,
            thresholds=_thresholds(thresholds),
            jobs=jobs,
            observer=display,
        )


def explain(
    run: PathLike,
    *,
    model: str = "fused",
    part: Literal["val", "test"] = "test",
    axes: Mapping[str, str] | None = None,
    device: str | None = None,
    permutations: int = 10,
    jobs: int = 1,
    plugins: Names = (),
) -> Explanation:
    """Find out what each modality and channel brings: what ``fusion explain RUN`` does.

    Computed in float32, also where the training computed in less. The inputs of a fold's part
    are held in memory.

    Parameters
    ----------
    run : path
        A finished run directory.
    model : str
        ``"fused"``, or a modality: its baseline.
    part : {"test", "val"}
        Which clips.
    axes : mapping, optional
        Modality -> name of the axis whose entries are explained; ``"channel"`` for the others.
    device : str, optional
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...; the run's own by default.
    permutations : int >= 1
        How often each group is taken from other clips.
    jobs : int >= 1
        Folds at a time, each in a process of its own; 1 stays in this one.
    plugins : str or sequence of str
        More plugins, as given to ``-p``; those of the run are known.

    Returns
    -------
    Explanation

    Raises
    ------
    RunError
        If there is no finished run at that path.
    UnknownNameError
        For a model, modality or axis that it doesn't have.
    """
    from .analysis.explain import explain as explain_run
    from .runs.run import Run

    opened = Run.open(Path(run))
    if more := texts("plugins", plugins):
        opened = opened.with_plugins([*opened.config.plugins, *more])
    return explain_run(opened, model=model, part=part, axes=axes, device=device,
                       permutations=permutations, jobs=jobs)  # fmt: skip


def _thresholds(given: Mapping[str, float] | None) -> Thresholds:
    from .analysis.diagnosis import Thresholds
    from .registry.parameters import bind

    return Thresholds(**bind(Thresholds, dict(given or {}), owner="diagnosis"))


def _trained(path: Path) -> Run:
    """The run at `path`, if its trainings are done."""
    from .runs.run import Run
    from .runs.trainings import trainings_of

    run = Run.open(path)
    left = [t for t in trainings_of(run) if not run.finished(t.name)]  # a control may follow
    if left:
        raise RunError(
            f"The run {path} is not trained to the end: {left[0].name} is missing.",
            hint=f"Go on with it: fusion.resume({str(path)!r}), or fusion diagnose {path}",
        )
    return run
