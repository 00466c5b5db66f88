"""The Python API: ``fusion.run``, ``fusion.resume``, ``fusion.load``.

The arguments are those of ``fusion run``, by the same names, and go the same road.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never

from .errors import ParameterError, RunError, UnknownNameError
from .main_module import main_left_out
from .parameters import as_text

if TYPE_CHECKING:
    from .experiment import Observer
    from .modes import ModeName
    from .registry import Registry
    from .run_result import RunResult
    from .task import AdaptName

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
    _refuse(unknown, run)
    from .experiment import new_run_path, run_experiment
    from .request import config_from
    from .task import ADAPTS

    _whole(0, seed=seed)
    _whole_or_none(1, epochs=epochs, jobs=jobs)
    _whole_or_none(2, folds=folds, batch_size=batch_size, tune=tune)
    _one_of("verify", verify, ("open", "always"))
    _one_of("adapt", adapt, ADAPTS)
    options = {
        "data": _texts("data", data),
        "labels": ",".join(_texts("labels", labels)),
        "features": ",".join(_texts("features", features)),
        "settings": _settings(set or {}),
        "cache": None if cache is None else str(cache),
        "dtypes": _pairs("dtype", dtype),
        "strict": strict,
        "branches": _pairs("branch", branch),
        "folds": folds,
        "seed": seed,
        "device": device,
        "strategy": strategy,
        "balancers": _texts("balance", balance),
        "epochs": epochs,
        "split": split,
        "batch_size": batch_size,
        "lr": lr,
        "tune": tune,
        "trackers": _texts("tracker", tracker),
        "verify": verify,
        "adapt": adapt,
    }
    registry = _registry(_texts("plugins", plugins), strict_plugins)
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
    from .experiment import resume_experiment

    _whole_or_none(1, jobs=jobs)
    path = Path(run)
    return _followed(
        lambda observer: resume_experiment(path, jobs=jobs, observer=observer, report=report),
        path,
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
    from .experiment import load_result
    from .run_dir import RunDirectory

    path = Path(run)
    if not RunDirectory.existing(path).is_complete():
        raise RunError(
            f"The run {path} is not finished: it has no results yet.",
            hint=f"Go on with it: fusion.resume({str(path)!r}), or fusion run --resume {path}",
        )
    return load_result(path)


def _followed(work: Callable[[Observer], RunResult], path: Path, quiet: bool) -> RunResult:
    """Do the work and show it; without this process's script in its workers."""
    from .blame import noted
    from .cli.display import Display

    with main_left_out(), Display(quiet=quiet) as display:
        try:
            with noted():
                return work(display)
        except KeyboardInterrupt as stopped:
            if (path / "run.json").is_file():
                stopped.add_note(f"Go on with: fusion.resume({str(path)!r})")
            raise


def _registry(plugins: Sequence[str], strict: bool) -> Registry:
    from .registry import Registry

    registry = Registry(plugins, strict=strict)
    for problem in registry.problems:
        warnings.warn(f"{problem}\n{problem.remedy}", stacklevel=3)
    for deprecation in registry.deprecations:
        warnings.warn(str(deprecation), DeprecationWarning, stacklevel=3)
    return registry


# -- arguments -----------------------------------------------------------------------


def _refuse(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Say which argument was meant, and what the option of the command line is called here."""
    for name in unknown:
        known = [k for k in function.__annotations__ if k not in ("unknown", "return")]
        raise UnknownNameError(f"argument of fusion.{function.__name__}()", name, known,
                               hint=_INSTEAD.get(name))  # fmt: skip


# Options of `fusion run` that are something else here, and near misses that no spelling finds.
_INSTEAD = {
    "resume": "To go on with a run: fusion.resume(RUN)",
    "no_report": "Without a report: report=False",
    "require_gain": "The result says it: result.gain < 0",
    "json": "As plain values: result.results.to_json()",
    "trace_hooks": "In a program: with fusion.core.trace.tracing() as trace: ...",
    "balancers": "It is called balance, as on the command line.",
    "settings": 'It is called set, as on the command line: set={"train.dim": 32}',
    "p": 'Plugins are given by name: plugins=["./my.py"]',
}


def _whole_or_none(least: int, **given: int | None) -> None:
    _whole(least, **{name: value for name, value in given.items() if value is not None})


def _whole(least: int, **given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ParameterError(
                f"{name} must be a whole number of {least} or more, and was given {value!r}."
            )


def _one_of(name: str, value: str, possible: Sequence[str]) -> None:
    if value not in possible:
        raise UnknownNameError(f"choice for {name}", str(value), possible)


def _texts(name: str, given: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
    """One text, or several, as an option that may be repeated has them."""
    if isinstance(given, str | Path) or not isinstance(given, Iterable):
        several: tuple[Any, ...] = (given,)
    else:
        several = tuple(given)
    for one in several:
        if not isinstance(one, str | Path):
            raise ParameterError(
                f"{name} takes text or a path, or several of them, and was given {one!r}."
            )
    return tuple(str(one) for one in several if str(one))


def _pairs(name: str, given: str | Mapping[str, str] | None) -> tuple[str, ...]:
    """``{"mel": "crnn"}`` -> ``("mel=crnn",)``."""
    if isinstance(given, Mapping):
        return tuple(f"{key}={value}" for key, value in given.items())
    return _texts(name, given or ())


def _settings(given: Mapping[str, Any]) -> list[str]:
    """Parameters as one would type them after ``--set``."""
    for name, value in given.items():
        if isinstance(value, Mapping) or "." not in str(name):
            inner = next(iter(value), "NAME") if isinstance(value, Mapping) else name
            owner = name if isinstance(value, Mapping) else "OWNER"
            raise ParameterError(
                f"set takes 'OWNER.PARAMETER' -> value, and was given {name!r} -> {value!r}.",
                hint=f'For example: set={{"{owner}.{inner}": ...}}; owners are train, '
                "branch.MODALITY and plugins.",
            )
    return [f"{name}={as_text(value)}" for name, value in given.items()]
