"""The Python API: ``fusion.run``, ``resume``, ``load``, ``diagnose``, ``repair`` and ``explain``.

Arguments have the names of the command-line options and are checked by the same code.
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
    registry_with_warnings,
    settings_texts,
    text_mapping,
    texts,
)
from .runs.execution.main_module import main_left_out

if TYPE_CHECKING:
    from .analysis.diagnosis import Diagnosis, Thresholds
    from .analysis.explain.summary import Explanation
    from .data.split_modes import ModeName
    from .data.task import AdaptName
    from .runs.result import RunResult
    from .runs.run import Run
    from .workflows.experiment import Observer
    from .workflows.repair import Repair

Names = str | Sequence[str]
PathLike = str | Path
Table = Any  # DataFrame (pandas), Dataset or DatasetDict (Hugging Face): optional packages


def run(
    data: PathLike | Table | Sequence[PathLike | Table] = (),
    *,
    strategy: str = "",
    balance: Names = (),
    features: Names = (),
    branch: Mapping[str, str] | None = None,
    labels: Names = "shared",
    label_map: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    ignore_columns: Names = (),
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
    """Train and compare every modality alone, the fused model and the ensemble.

    This is the command ``fusion run`` with its options as arguments. It works in notebooks and in
    scripts; a script needs no ``if __name__ == "__main__":`` around the call.

    Parameters
    ----------
    data : path, DataFrame or Dataset, or sequence of these
        Folders or tables of corpora. The corpus plugin is detected from the path, or named as in
        ``"ravdess=PATH"``. A DataFrame (pandas) has the columns of a table of clips. A Dataset or
        DatasetDict (Hugging Face) has an Audio column and columns for labels and speakers. Both are
        written once to the user's cache folder, so that the run can be repeated. The default is a
        generated demo corpus.
    strategy : str
        Fusion strategy. The default is the strategy with a star in ``fusion plugins list``.
    balance : str or sequence of str
        Balancers, in the order in which they act.
    features : str or sequence of str
        Feature extractors; each extractor computes one modality. The default is the extractors
        with a star in ``fusion plugins list``.
    branch : mapping
        Name of the branch network, by modality, for modalities without the default branch.
    labels : str or sequence of str
        Classes: ``"shared"`` (six emotions), ``"native"`` (the corpus's own classes), or the
        names of some classes.
    label_map : mapping of str to str
        New name by label of the corpus, as in ``{"joy": "happy"}``.
    columns : mapping of str to str
        Column of a table by role (path, label, speaker, start, end, split, fold, name), as in
        ``{"label": "EmoClass", "speaker": "SpkrID"}``, for columns whose names are not recognised.
    ignore_columns : str or sequence of str
        Columns of tables that are not read.
    split : {"speaker", "sentence", "corpus", "random", "published"}
        The property (speaker, sentence or corpus) that training, validation and test clips must
        not share. ``"random"`` has no such restriction. ``"published"`` follows the split or the
        folds that the corpus prescribes, even if they share speakers. ``"sentence"`` and
        ``"random"`` are speaker-dependent, and so is a published split that shares speakers.
    folds : int >= 2, optional
        Number of cross-validation folds: every clip is tested once. By default one split.
    adapt : {"none", "speaker"}
        ``"speaker"`` standardises the features of each speaker by the speaker's unlabelled clips,
        for test speakers too (docs/how-to/adapt-to-speakers.md).
    epochs : int >= 1, optional
        Training budget in epochs; the same as ``train.epochs``.
    batch_size : int >= 2, optional
        Clips per batch; the same as ``train.batch_size``.
    lr : float > 0, optional
        Peak learning rate; the same as ``train.lr``.
    set : mapping
        Values of parameters, by ``"OWNER.PARAMETER"``. The owner is a plugin, ``branch.MODALITY``
        or ``train``, as in
        ``{"train.weight_decay": 1e-3, "branch.mel.blocks": 4}``.
    tune : int >= 2, optional
        Number of trials for tuning the hyper-parameters of each model on validation. By default
        no tuning.
    seed : int >= 0
        Random seed of the split and of training.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    jobs : int >= 1, optional
        Number of parallel processes. The default is one per core (on a GPU, up to four
        trainings).
    tracker : str or sequence of str
        Experiment trackers that also log the run: ``"tensorboard"``, ``"mlflow"``, ``"wandb"``.
    cache : path or URL, optional
        Cache folder, or URL of another machine's cache to read from. By default the user's cache.
    dtype : str, or mapping of feature to str
        Dtype of stored features: ``"float16"`` (half the bytes), ``"float32"`` or
        ``"float64"``.
    verify : {"open", "always"}
        ``"always"`` compares every feature that is read with its checksum.
    strict : bool
        Whether to stop at an unreadable recording, instead of leaving it out.
    plugins : path, or sequence of paths or names
        Plugins to load (``"./my.py"`` or a module), or to block (``"no:NAME"``).
    strict_plugins : bool
        Whether to stop if a plugin is broken, instead of skipping it.
    out : path, optional
        Run directory to create; it must not exist or be empty. By default ``runs/DATE-METHODS``.
    report : bool
        Whether to write ``report.html`` into the run directory.
    quiet : bool
        Whether to hide progress.

    Returns
    -------
    RunResult
        Results of the run. ``print(result)`` shows the table; see also its methods ``predict``
        and ``history``.

    Raises
    ------
    UserError
        If an argument is invalid; raised before the long work starts.
    TrainingError
        If a training fails; :func:`resume` continues the other trainings.

    Examples
    --------
    >>> import fusion
    >>> result = fusion.run("ravdess=data/ravdess", strategy="gated",
    ...                     balance=["gradscale"], folds=6)    # doctest: +SKIP
    >>> print(result)                                          # doctest: +SKIP
    >>> result.predict("new.wav")[0].label                     # doctest: +SKIP
    'happy'
    """
    refuse_unknown(unknown, run)
    from .data.task import ADAPTS
    from .runs.request import config_from
    from .runs.sources_from_python import ColumnArguments, source_texts
    from .workflows.experiment import new_run_path, run_experiment

    check_whole(0, seed=seed)
    check_whole_or_none(1, epochs=epochs, jobs=jobs)
    check_whole_or_none(2, folds=folds, batch_size=batch_size, tune=tune)
    check_one_of("verify", verify, ("open", "always"))
    check_one_of("adapt", adapt, ADAPTS)
    chosen = text_mapping("columns", columns)
    ignored = texts("ignore_columns", ignore_columns)
    searched = any(str(name).endswith(".root") for name in set or {})
    options = {
        "data": source_texts(data, ColumnArguments(chosen, ignored, searched)),
        "columns": pairs("columns", chosen),
        "ignored_columns": ignored,
        "label_map": pairs("label_map", text_mapping("label_map", label_map)),
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
    registry = registry_with_warnings(texts("plugins", plugins), strict_plugins)
    config = config_from(options, registry)
    path = new_run_path(config, Path("runs")) if out is None else Path(out)
    return _shown(
        lambda observer: run_experiment(
            config, path, registry, jobs=jobs, observer=observer, report=report
        ),
        path,
        quiet,
    )


def resume(
    run: PathLike,
    *,
    jobs: int | None = None,
    report: bool = True,
    quiet: bool = False,
    plugins: Names = (),
    cache: str | None = None,
) -> RunResult:
    """Resume an interrupted run, as ``fusion run --resume RUN`` does.

    Finished trainings are kept, and the other trainings continue from their last epoch. The
    result is the same as without the interruption. If the run is finished, its stored result is
    returned.

    Parameters
    ----------
    run : path
        Run directory.
    jobs : int >= 1, optional
        Number of parallel processes.
    report : bool
        Whether to write ``report.html`` into the run directory.
    quiet : bool
        Whether to hide progress.
    plugins : str or sequence of str
        Plugins of the run, as given to ``-p``. A run directory loads no plugins by itself.
    cache : str, optional
        URL of the remote cache that the run was made with. The cache is not contacted otherwise.

    Raises
    ------
    RunError
        If the path is not a run directory, another process works on the run, or the run needs a
        plugin that `plugins` does not name.
    """
    from .runs.trust import check_named, confirmed_config
    from .workflows.experiment import resume_experiment

    check_whole_or_none(1, jobs=jobs)
    opened = _opened(run, plugins)
    requested = opened.record.config
    check_named(opened.path, requested.plugins, texts("plugins", plugins))
    config, left_out = confirmed_config(requested, cache, {})
    for line in left_out:
        warnings.warn(line, stacklevel=2)
    return _shown(
        lambda observer: resume_experiment(
            opened, config, jobs=jobs, observer=observer, report=report
        ),
        opened.path,
        quiet,
    )


def _opened(run: PathLike, plugins: Names) -> Run:
    """Open a run directory with the plugins that the user names."""
    from .runs.run import Run

    return Run.open(Path(run)).with_plugins(texts("plugins", plugins))


def load(run: PathLike, *, plugins: Names = ()) -> RunResult:
    """Read the results of a finished run.

    Parameters
    ----------
    run : path
        Run directory.
    plugins : str or sequence of str
        Plugins of the run, as given to ``-p``. A run directory loads no plugins by itself.

    Raises
    ------
    RunError
        If the path is not a run directory, or the run is not finished.
    """
    from .runs.result import RunResult

    path = Path(run)
    opened = _opened(path, plugins)
    if not opened.is_complete():
        raise RunError(
            f"The run {path} is not finished: it has no results yet.",
            hint=f"Resume the run: fusion.resume({str(path)!r}), or fusion run --resume {path}",
        )
    return RunResult.read(opened)


def _shown(work: Callable[[Observer], RunResult], path: Path, quiet: bool) -> RunResult:
    """Run `work` and show its progress, without an import of the calling script in workers."""
    from .display.run import Display
    from .registry.provenance import noted

    with main_left_out(), Display(quiet=quiet) as display:
        try:
            with noted():
                return work(display)
        except KeyboardInterrupt as stopped:
            if (path / "run.json").is_file():
                stopped.add_note(f"To resume: fusion.resume({str(path)!r})")
            raise


def diagnose(
    run: PathLike, *, thresholds: Mapping[str, float] | None = None, plugins: Names = ()
) -> Diagnosis:
    """Find out why fusion fails, as ``fusion diagnose RUN`` does.

    The diagnosis uses training and validation clips, never test clips.

    Parameters
    ----------
    run : path
        Run directory whose trainings are finished.
    thresholds : mapping, optional
        Values of thresholds that differ from their defaults, by name
        (docs/reference/diagnosis.md).
    plugins : str or sequence of str
        Plugins of the run, as given to ``-p``. A run directory loads no plugins by itself.

    Returns
    -------
    Diagnosis
        ``findings`` lists the findings, the most important first. Each finding has ``fault``,
        ``severity``, ``says``, ``rule`` and ``remedy``. ``signs`` contains the measurements of
        each modality.

    Raises
    ------
    RunError
        If the path is not a run directory, or a training is not finished.
    ParameterError
        If a threshold does not exist.
    """
    from .analysis.diagnosis import diagnose as judge_run
    from .runs.trainings import open_trained

    trained = open_trained(Path(run)).with_plugins(texts("plugins", plugins))
    return judge_run(trained, _thresholds(thresholds))


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
    plugins: Names = (),
) -> Repair:
    """Improve a fused model by trying remedies, step by step, as ``fusion repair RUN`` does.

    Parameters
    ----------
    run : path
        Run directory of the fused model.
    target : {"minimum", "target", "stretch"} or float
        Validation UAR at which to stop. ``"minimum"`` is the UAR of the best single modality,
        ``"target"`` is 2 points higher, and ``"stretch"`` is 6 points higher. A number is a UAR
        in percent.
    steps : str or sequence of str
        Remedies to try, in this order. The default is first the remedies for the faults that the
        diagnosis found, and then all other remedies.
    minutes : float, optional
        Time after which no further step starts.
    thresholds : mapping, optional
        Values of thresholds of the diagnosis that differ from their defaults, by name.
    out : path, optional
        Folder for the runs of the steps. An existing folder of the same repair is resumed. By
        default ``repairs/DATE``.
    jobs : int >= 1, optional
        Number of parallel processes.
    quiet : bool
        Whether to hide progress.
    plugins : str or sequence of str
        Plugins of the run, as given to ``-p``. A run directory loads no plugins by itself.

    Returns
    -------
    Repair
        ``steps`` lists the steps, and ``chosen`` is the chosen step. ``reached`` is True if the
        target was reached. ``result`` is the RunResult of the chosen step.

    Raises
    ------
    UserError
        If an argument is invalid; raised before the long work starts.
    TrainingError
        If the base run can't be trained.
    """
    from .display.repair import RepairDisplay
    from .workflows.repair import RepairRequest, Target
    from .workflows.repair import repair as repair_run

    source = _opened(run, plugins)
    request = RepairRequest(
        Target(target if isinstance(target, str) else f"{target:g}"),
        (steps,) if isinstance(steps, str) else tuple(steps),
        minutes,
    )
    folder = Path(out) if out else Path("repairs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    with main_left_out(), RepairDisplay(quiet=quiet) as display:
        return repair_run(
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
    """Measure what each modality and channel contributes, as ``fusion explain RUN`` does.

    All values are computed in float32, even if training used a lower precision. The inputs of one
    part of a fold are held in memory.

    Parameters
    ----------
    run : path
        Directory of a finished run.
    model : str
        Model to explain: ``"fused"``, or the name of a modality for its baseline.
    part : {"test", "val"}
        Clips of each fold to explain.
    axes : mapping, optional
        Name of the axis whose entries are explained, by modality. The default is ``"channel"``.
    device : str, optional
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...; by default the device of the run.
    permutations : int >= 1
        Number of random permutations per part of a modality.
    jobs : int >= 1
        Number of folds to explain in parallel processes; with 1, all work is done in this process.
    plugins : str or sequence of str
        Plugins of the run, as given to ``-p``. A run directory loads no plugins by itself.

    Returns
    -------
    Explanation
        Shapley values, losses without each part, and integrated gradients.

    Raises
    ------
    RunError
        If there is no finished run at the path `run`.
    UnknownNameError
        If the run has no such model, modality or axis.
    """
    from .analysis.explain import explain as explain_run

    opened = _opened(run, plugins)
    return explain_run(opened, model=model, part=part, axes=axes, device=device,
                       permutations=permutations, jobs=jobs)  # fmt: skip


def _thresholds(values: Mapping[str, float] | None) -> Thresholds:
    from .analysis.diagnosis import Thresholds
    from .registry.parameters import bind

    return Thresholds(**bind(Thresholds, dict(values or {}), owner="diagnosis"))
