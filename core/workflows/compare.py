"""A comparison: every cell of a grid is an ordinary run that shares its baselines.

::

    OUT/
      compare.json            what was asked, and how many epochs that makes
      seed0/baselines/        a run directory of the baselines and the equal-steps control
      seed0/gated+ogm_ge/     one run directory per cell: fusion predict works on each
      results.json, table.md, table.csv

A cell's folder has baselines and control as hard links, so each is trained once per seed.
Whatever was finished stays: the same comparison started again goes on.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...cache.builds.workers import WorkerPool, process_pool
from ..contracts.errors import CacheError, FusionError, RunError
from ..data.absence import missing_modality_warning
from ..data.features import number_of_batches
from ..registry.provenance import relay
from ..registry.registry import Registry
from ..runs.balancing import control_epochs, fused_settings, late_rules
from ..runs.execution.jobs import in_worker, train_one
from ..runs.execution.scheduler import default_jobs, raise_failure
from ..runs.feature_build import Extracted, extract
from ..runs.outcome.attribution import FILE as CONTRIBUTIONS
from ..runs.run import OutputFolder, Run
from ..runs.trainings import FUSED, Training, all_trainings, controls_of, trainings_of, unfinished
from ..toolkit.run_files import as_type, read_json
from .comparison import Comparisons, summarise
from .comparison_tables import write_tables
from .experiment import Observer, begin_run
from .grid import Budget, Cell, PlannedGrid, Request, cell_config, plan_grid, reads_of
from .shared_baselines import BASELINES, conclude_cell, own_trainings, share_baselines

FILE = "compare.json"
_PROBE = "probe"
_PROBE_EPOCHS = 2  # the first is slower than those that follow
_SLACK = 0.85  # of the minutes: reading test, and methods that take longer than plain training


class CompareObserver(Observer):
    """Follows a comparison."""

    def gridded(self, grid: PlannedGrid, request: Request) -> None:
        """Every cell was checked."""

    def budgeted(self, epochs: int, trainings: int, finished: int) -> None:
        """Training begins: so many epochs each, so many trainings in all."""

    def cell_training(self, cell: str, summary: Mapping[str, Any]) -> None:
        """One more training is done, of a cell or of the baselines."""

    def concluded(self, cell: Cell, seed: int, run: Run) -> None:
        """One cell is finished."""

    def failed(self, cell: Cell, seed: int, reason: str) -> None:
        """One cell could not be trained; the others go on."""


def run_comparison(
    request: Request,
    out: Path,
    registry: Registry,
    *,
    jobs: int | None = None,
    observer: CompareObserver | None = None,
) -> Comparisons:
    """Train every cell of a grid that `out` does not hold yet, and compare them.

    Parameters
    ----------
    request : Request
        Cells, seeds, budget.
    out : Path
        A new folder, or one in which the same comparison was started.
    jobs : int, optional
        Processes at a time; by default one per core, or up to four per GPU.

    Raises
    ------
    UserError
        For anything wrong with the request, before the long work starts.
    TrainingError
        When a baseline fails. A cell that fails is reported and left out.
    """
    observer = observer or CompareObserver()
    grid = plan_grid(request, registry)
    observer.planned(grid.first)
    observer.gridded(grid, request)
    config = request.config
    usual = default_jobs(config.device, config.train.threads)
    workers = jobs or max(usual, len(request.devices))
    folder = _folder(out, request)
    with folder:
        extracted = extract(grid.first, jobs=jobs, on_progress=observer.extracting)
        observer.extracted(extracted.report)
        warning = missing_modality_warning(
            extracted.data, [cell.strategy for cell in request.cells], registry
        )
        if warning is not None:
            observer.warned(warning)
        work = _Work(request, grid, extracted, folder, registry, observer)
        with process_pool(workers) as pool:
            work.settle_budget(pool, workers)
            work.lay_out()
            work.train_baselines(pool, workers)
            work.train_cells(pool, workers)
        comparisons = summarise(
            folder.path,
            request,
            grid.refused,
            work.failures,
            {cell: reads_of(plan.config, registry) for cell, plan in grid.plans.items()},
        )
    write_tables(comparisons, folder)
    return comparisons


def read_request(out: Path) -> Request:
    """What the comparison in `out` was asked for.

    Raises
    ------
    RunError
        If there is none.
    """
    if not (out / FILE).is_file():
        raise RunError(
            f"{out} holds no comparison: it has no {FILE}.",
            hint="Give a folder that fusion compare made (compare/... by default).",
        )
    return as_type(read_json(out / FILE).get("request"), Request, out / FILE)


def _folder(out: Path, request: Request) -> OutputFolder:
    if (out / FILE).is_file():
        if read_request(out).to_json() != request.to_json():
            raise RunError(
                f"{out} holds another comparison.",
                hint=f"Go on with that one: fusion compare --resume {out}; or name another: --out.",
            )
        return OutputFolder(out)
    folder = OutputFolder.create(out)
    folder.write_json(FILE, {"format": 1, "request": request.to_json()})
    return folder


class _Task(NamedTuple):
    """A training of a cell, or None: its conclusion."""

    cell: Cell
    seed: int
    training: Training | None


class _Work:
    """The trainings of a comparison that are still to be done."""

    def __init__(
        self,
        request: Request,
        grid: PlannedGrid,
        extracted: Extracted,
        folder: OutputFolder,
        registry: Registry,
        observer: CompareObserver,
    ) -> None:
        self.request = request
        self.grid = grid
        self.extracted = extracted
        self.folder = folder
        self.registry = registry
        self.observer = observer
        self.failures: dict[tuple[Cell, int], str] = {}
        self.cells = {
            (cell, seed): Run(folder.path / f"seed{seed}" / cell.folder, registry)
            for seed in request.seeds
            for cell in grid.plans
        }
        self.baselines = {
            seed: Run(folder.path / f"seed{seed}" / BASELINES, registry) for seed in request.seeds
        }

    # -- the budget --------------------------------------------------------------------

    def settle_budget(self, pool: WorkerPool, workers: int) -> None:
        """Decide once how many epochs every training gets, and write it down."""
        known = self.folder.read_json(FILE)
        if "epochs" not in known:
            known["epochs"] = self._epochs(self.request.budget, pool, workers)
            self.folder.write_json(FILE, known)
        self.epochs = int(known["epochs"])

    def _epochs(self, budget: Budget, pool: WorkerPool, workers: int) -> int:
        train = self.request.config.train
        if budget.steps is not None:
            split = self.extracted.data.splits[0]
            per_epoch = number_of_batches(len(split.train), train.batch_size)
            return max(1, round(budget.steps / per_epoch))
        if budget.minutes is None:
            return train.epochs
        seconds = self._seconds_per_epoch(pool)
        all_folds = len(self.request.seeds) * len(self.extracted.data.splits)
        single = [s for model, s in seconds.items() if model != FUSED]
        # Of a fused model that starts from its baselines, an epoch of the budget is less.
        shares = [
            fused_settings(plan.config, self.registry).epochs / train.epochs
            for plan in self.grid.plans.values()
        ]
        whole = all_folds * (sum(single) + sum(shares) * seconds[FUSED])
        whole *= max(1, self.request.config.tune)
        alone = self.grid.plans[self.grid.alone(self.registry)]
        control = control_epochs(alone.config, self.registry) / train.epochs
        whole += all_folds * control * max(single)
        epochs = int(_SLACK * budget.minutes * 60 * workers / whole)
        if epochs < 1:
            raise RunError(
                f"One epoch of everything takes some {whole / workers / 60:.0f} minutes here, and "
                f"the budget is {budget.minutes:g}.",
                hint="Give more minutes, or compare fewer methods, folds or seeds.",
            )
        return epochs

    def _seconds_per_epoch(self, pool: WorkerPool) -> dict[str, float]:
        """A short training of each baseline and of one fused model, a plain one if there is."""
        run = Run(self.folder.path / _PROBE, self.registry)
        shutil.rmtree(run.path, ignore_errors=True)
        # Others may take more than two epochs to begin with, and refuse fewer.
        self._describe(
            run,
            self.grid.plainest,
            self.request.seeds[0],
            {"epochs": _PROBE_EPOCHS, "finetune": 1.0},
            tune=0,
        )
        trainings = [t for t in trainings_of(run) if t.fold == 0]
        # The fused one last: it may need the baselines.
        for training in sorted(trainings, key=lambda t: t.model == FUSED):
            future = pool.submit(relay, in_worker, train_one, run.path, training, 1)
            wait([future])
            self._raise_failure(future, training, run)
        seconds = {
            t.model: float(run.summary(t.name)["seconds"]) / _PROBE_EPOCHS for t in trainings
        }
        shutil.rmtree(run.path, ignore_errors=True)
        return seconds

    # -- folders -----------------------------------------------------------------------

    def lay_out(self) -> None:
        """Make the run directories of all cells and baselines that are not there yet."""
        budget = {"epochs": self.epochs}
        for seed, run in self.baselines.items():
            self._describe(run, self.grid.alone(self.registry), seed, budget)
        for (cell, seed), run in self.cells.items():
            self._describe(run, cell, seed, budget)
        todo = sum(not run.finished(t.name) for run, t in self._everything())
        everything = sum(1 for _ in self._everything())
        self.observer.budgeted(self.epochs, everything, everything - todo)
        late = [
            late_rules(config, self.registry, fused_settings(config, self.registry).epochs)
            for config in (run.config for run in self.cells.values())
        ]
        for message in dict.fromkeys(message for messages in late for message in messages):
            self.observer.warned(message)

    def _everything(self) -> Iterator[tuple[Run, Training]]:
        for run in self.baselines.values():
            yield from ((run, t) for t in all_trainings(run) if t.model != FUSED)
        for (_, seed), run in self.cells.items():
            own = own_trainings(self.baselines[seed], run)
            yield from ((run, training) for training in own)

    def _describe(
        self,
        run: Run,
        cell: Cell,
        seed: int,
        changes: Mapping[str, Any],
        *,
        tune: int | None = None,
    ) -> None:
        """Make a run directory that is not there yet, with `changes` of the training settings."""
        if Run.exists(run.path):
            return
        plan = self.grid.plans[cell]
        number = self.request.cells.index(cell)
        config = cell_config(self.request, cell, number, seed)
        train = {**plan.config.settings["train"], **changes}
        if self.request.budget != Budget():  # the same steps for all: nobody stops early
            train["patience"] = 0
        config = replace(
            plan.config,
            settings={**plan.config.settings, "train": train},
            seed=seed,
            split_seed=config.split_seed,
            device=config.device,
            tune=config.tune if tune is None else tune,
        )
        run.path.mkdir(parents=True, exist_ok=True)
        begin_run(run, replace(plan, config=config), self.extracted)

    # -- training ----------------------------------------------------------------------

    def train_baselines(self, pool: WorkerPool, workers: int) -> None:
        """Train every modality alone, on every fold and seed; then the best one's control."""

        def submit(task: tuple[Run, Training]) -> Future[Any]:
            return pool.submit(relay, in_worker, train_one, task[0].path, task[1], workers)

        for phase in (_modalities_of, controls_of):
            todo = deque(
                (run, training)
                for run in self.baselines.values()
                for training in phase(run)
                if not run.finished(training.name)
            )
            for (run, training), future in carried_out(todo, submit, workers):
                self._raise_failure(future, training, run)
                self._tell("alone", run, training)

    def train_cells(self, pool: WorkerPool, workers: int) -> None:
        """Every cell's fused models; a cell whose last one is done is concluded next."""
        left: dict[tuple[Cell, int], set[Training]] = {}
        todo: deque[_Task] = deque()
        for (cell, seed), run in self.cells.items():
            if run.is_complete() and (run.path / CONTRIBUTIONS).is_file():
                continue
            share_baselines(self.baselines[seed], run)
            trainings = unfinished(run)
            left[cell, seed] = set(trainings)
            todo += [_Task(cell, seed, training) for training in trainings]
            if not trainings:
                todo.append(_Task(cell, seed, None))

        def submit(task: _Task) -> Future[Any]:
            path = self.cells[task.cell, task.seed].path
            if task.training is None:
                return pool.submit(relay, in_worker, conclude_cell, path)
            return pool.submit(relay, in_worker, train_one, path, task.training, workers)

        for task, future in carried_out(todo, submit, workers):
            cell, seed, training = task
            run = self.cells[cell, seed]
            if not self._went_well(future, cell, seed, training):
                for other in [t for t in todo if (t.cell, t.seed) == (cell, seed)]:
                    todo.remove(other)  # nothing will be made of them
                continue
            if training is None:
                self.observer.concluded(cell, seed, run)
                continue
            self._tell(cell.name, run, training)
            left[cell, seed].discard(training)
            if not left[cell, seed] and (cell, seed) not in self.failures:
                todo.appendleft(_Task(cell, seed, None))

    def _went_well(
        self, future: Future[Any], cell: Cell, seed: int, training: Training | None
    ) -> bool:
        """Whether it did; a cell that fails is noted, and the others go on."""
        run = self.cells[cell, seed]
        try:
            self._raise_failure(future, training or Training(0, FUSED), run)
        except FusionError as error:
            if isinstance(future.exception(), BrokenProcessPool | OSError | CacheError):
                raise  # the machine's fault, not the cell's
            if (cell, seed) not in self.failures:
                self.failures[cell, seed] = error.message
                self.observer.failed(cell, seed, error.message)
            return False
        return True

    def _raise_failure(self, future: Future[Any], training: Training, run: Run) -> None:
        raise_failure(future, training, run, resume=f"compare --resume {self.folder.path}")

    def _tell(self, name: str, run: Run, training: Training) -> None:
        self.observer.cell_training(name, run.summary(training.name))


def _modalities_of(run: Run) -> list[Training]:
    return [training for training in trainings_of(run) if training.model != FUSED]


T = TypeVar("T")


def carried_out(
    tasks: deque[T], submit: Callable[[T], Future[Any]], workers: int
) -> Iterator[tuple[T, Future[Any]]]:
    """Tasks as they are done. Few are handed out at a time: what is put in front comes next."""
    running: dict[Future[Any], T] = {}
    while tasks or running:
        while tasks and len(running) < 2 * workers:
            task = tasks.popleft()
            running[submit(task)] = task
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future
