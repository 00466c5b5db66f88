"""Comparison of methods: every cell of a grid is an ordinary run with shared baselines.

::

    OUT/
      compare.json            the request, and the number of epochs
      seed0/baselines/        run directory of the baselines and the equal-steps control
      seed0/gated+ogm_ge/     one run directory per cell, usable in fusion predict
      results.json, table.md, table.csv

The baselines and the control are trained once per seed. The folder of a cell holds hard links to
their files. The same call resumes an interrupted comparison and keeps finished trainings.
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
from ..data.features import number_of_batches
from ..registry.provenance import relay
from ..registry.registry import Registry
from ..runs.balancing import control_epochs, fused_settings, late_rules
from ..runs.execution.jobs import in_worker, train_one
from ..runs.execution.scheduler import default_jobs, raise_failure
from ..runs.feature_build import Extracted, extract
from ..runs.outcome.attribution import FILE as CONTRIBUTIONS
from ..runs.record import with_earlier_settings
from ..runs.run import OutputFolder, Run
from ..runs.trainings import FUSED, Training, all_trainings, controls_of, trainings_of, unfinished
from ..runs.trust import without_places
from ..toolkit.run_files import as_type, read_json
from .comparison import Comparisons, summarise
from .comparison_tables import write_tables
from .experiment import Observer, begin_run, report_data
from .grid import Budget, Cell, PlannedGrid, Request, cell_config, plan_grid, reads_of
from .shared_baselines import BASELINES, conclude_cell, own_trainings, share_baselines

FILE = "compare.json"
FORMAT = 2  # format 1 was written before the setting train.windows existed
_PROBE = "probe"
_PROBE_EPOCHS = 2  # more than one, because the first epoch is slower than later epochs
# Share of the budget in minutes that is planned for training. The remainder is for predictions on
# test, and for methods that take longer than plain training.
_SLACK = 0.85


class CompareObserver(Observer):
    """Observer of a comparison and of its trainings. The default methods do nothing."""

    def gridded(self, grid: PlannedGrid, request: Request) -> None:
        """Handle the end of the checks of all cells."""

    def budgeted(self, epochs: int, trainings: int, finished: int) -> None:
        """Handle the start of training; `epochs` is the number of epochs per baseline."""

    def cell_training(self, cell: str, summary: Mapping[str, Any]) -> None:
        """Handle the end of one training of a cell, or of the baselines (cell ``"alone"``)."""

    def concluded(self, cell: Cell, seed: int, run: Run) -> None:
        """Handle the end of one cell."""

    def failed(self, cell: Cell, seed: int, reason: str) -> None:
        """Handle the failure of one cell; the remaining cells continue."""


def run_comparison(
    request: Request,
    out: Path,
    registry: Registry,
    *,
    jobs: int | None = None,
    observer: CompareObserver | None = None,
) -> Comparisons:
    """Train every cell of a grid that `out` does not hold yet, and compare the cells.

    Parameters
    ----------
    request : Request
        Cells, seeds, budget.
    out : Path
        New folder. If `out` holds the same comparison, the comparison is resumed.
    jobs : int, optional
        Number of parallel processes; by default one per core, or up to four on a GPU, and at
        least one per device.

    Raises
    ------
    UserError
        If the request is invalid; raised before features are extracted.
    TrainingError
        If the training of a baseline fails. A cell whose training fails is reported and left out.
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
        strategies = [cell.strategy for cell in request.cells]
        report_data(grid.first, extracted, strategies, registry, observer)
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
    """Read the request of the comparison in `out`.

    Raises
    ------
    RunError
        If `out` holds no comparison.
    """
    if not (out / FILE).is_file():
        raise RunError(
            f"{out} is not the folder of a comparison: it has no {FILE}.",
            hint="Name a folder that fusion compare made (compare/... by default).",
        )
    stored = read_json(out / FILE)
    request = stored.get("request")
    if stored.get("format") == 1 and isinstance(request, dict):
        config = request.get("config")
        if isinstance(config, dict):
            request = {**request, "config": with_earlier_settings(config)}
    return as_type(request, Request, out / FILE)


def _without_places(request: Request) -> dict[str, Any]:
    """Return a request without the remote cache, which a resumed comparison may leave out."""
    return replace(request, config=without_places(request.config)).to_json()


def _folder(out: Path, request: Request) -> OutputFolder:
    if (out / FILE).is_file():
        if _without_places(read_request(out)) != _without_places(request):
            raise RunError(
                f"{out} holds the comparison of another request.",
                hint=f"Resume that comparison: fusion compare --resume {out}; or name another "
                "folder: --out DIR",
            )
        return OutputFolder(out)
    folder = OutputFolder.create(out)
    folder.write_json(FILE, {"format": FORMAT, "request": request.to_json()})
    return folder


class _Task(NamedTuple):
    """One training of a cell, or the selection and test of the cell if `training` is None."""

    cell: Cell
    seed: int
    training: Training | None


class _Work:
    """Work of a comparison in progress: budget, run directories, baselines and cells."""

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
        """Determine the number of epochs per baseline, and store the number in compare.json.

        A resumed comparison keeps the stored number.
        """
        stored = self.folder.read_json(FILE)
        if "epochs" not in stored:
            stored["epochs"] = self._epochs(self.request.budget, pool, workers)
            self.folder.write_json(FILE, stored)
        self.epochs = int(stored["epochs"])

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
        # A fused model that starts from baselines trains for `train.finetune` times the epochs.
        shares = [
            fused_settings(plan.config, self.registry).epochs / train.epochs
            for plan in self.grid.plans.values()
        ]
        total = all_folds * (sum(single) + sum(shares) * seconds[FUSED])
        total *= max(1, self.request.config.tune)
        alone = self.grid.plans[self.grid.alone(self.registry)]
        control = control_epochs(alone.config, self.registry) / train.epochs
        total += all_folds * control * max(single)
        epochs = int(_SLACK * budget.minutes * 60 * workers / total)
        if epochs < 1:
            raise RunError(
                f"The budget of {budget.minutes:g} minutes is too short: one epoch of all "
                f"trainings takes about {total / workers / 60:.0f} minutes on this machine.",
                hint="Give more minutes, or compare fewer methods, folds or seeds.",
            )
        return epochs

    def _seconds_per_epoch(self, pool: WorkerPool) -> dict[str, float]:
        """Measure the seconds per epoch of each baseline and of the plainest fused model."""
        run = Run(self.folder.path / _PROBE, self.registry)
        shutil.rmtree(run.path, ignore_errors=True)
        # The plainest cell is measured, because other methods may need more than two epochs.
        self._describe(
            run,
            self.grid.plainest,
            self.request.seeds[0],
            {"epochs": _PROBE_EPOCHS, "finetune": 1.0},
            tune=0,
        )
        trainings = [t for t in trainings_of(run) if t.fold == 0]
        # The fused model comes last, because the fused model may start from the baselines.
        for training in sorted(trainings, key=lambda t: t.model == FUSED):
            future = pool.submit(relay, in_worker, train_one, run.location, training, 1)
            wait([future])
            self._raise_failure(future, training, run)
        seconds = {
            t.model: float(run.summary(t.name)["seconds"]) / _PROBE_EPOCHS for t in trainings
        }
        shutil.rmtree(run.path, ignore_errors=True)
        return seconds

    # -- folders -----------------------------------------------------------------------

    def lay_out(self) -> None:
        """Create missing run directories of cells and baselines; report the number of trainings."""
        budget = {"epochs": self.epochs}
        for seed, run in self.baselines.items():
            self._describe(run, self.grid.alone(self.registry), seed, budget)
        for (cell, seed), run in self.cells.items():
            self._describe(run, cell, seed, budget)
        unfinished_count = sum(not run.finished(t.name) for run, t in self._all_trainings())
        total = sum(1 for _ in self._all_trainings())
        self.observer.budgeted(self.epochs, total, total - unfinished_count)
        late = [
            late_rules(config, self.registry, fused_settings(config, self.registry).epochs)
            for config in (run.config for run in self.cells.values())
        ]
        for message in dict.fromkeys(message for messages in late for message in messages):
            self.observer.warned(message)

    def _all_trainings(self) -> Iterator[tuple[Run, Training]]:
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
        """Create the run directory of a cell if missing, with `changes` to training settings."""
        if Run.exists(run.path):
            return
        plan = self.grid.plans[cell]
        number = self.request.cells.index(cell)
        config = cell_config(self.request, cell, number, seed)
        train = {**plan.config.settings["train"], **changes}
        if self.request.budget != Budget():  # no early stopping: all cells take equal steps
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
        """Train each modality alone on every fold and seed, then train the equal-steps controls."""

        def submit(task: tuple[Run, Training]) -> Future[Any]:
            return pool.submit(relay, in_worker, train_one, task[0].location, task[1], workers)

        for phase in (_modalities_of, controls_of):
            todo = deque(
                (run, training)
                for run in self.baselines.values()
                for training in phase(run)
                if not run.finished(training.name)
            )
            for (run, training), future in carried_out(todo, submit, workers):
                self._raise_failure(future, training, run)
                self._notify("alone", run, training)

    def train_cells(self, pool: WorkerPool, workers: int) -> None:
        """Train the fused models of every cell, and conclude each cell after its last training."""
        remaining: dict[tuple[Cell, int], set[Training]] = {}
        todo: deque[_Task] = deque()
        for (cell, seed), run in self.cells.items():
            if run.is_complete() and (run.path / CONTRIBUTIONS).is_file():
                continue
            share_baselines(self.baselines[seed], run)
            trainings = unfinished(run)
            remaining[cell, seed] = set(trainings)
            todo += [_Task(cell, seed, training) for training in trainings]
            if not trainings:
                todo.append(_Task(cell, seed, None))

        def submit(task: _Task) -> Future[Any]:
            location = self.cells[task.cell, task.seed].location
            if task.training is None:
                return pool.submit(relay, in_worker, conclude_cell, location)
            return pool.submit(relay, in_worker, train_one, location, task.training, workers)

        for task, future in carried_out(todo, submit, workers):
            cell, seed, training = task
            run = self.cells[cell, seed]
            if not self._succeeded(future, cell, seed, training):
                for other in [t for t in todo if (t.cell, t.seed) == (cell, seed)]:
                    todo.remove(other)  # remove the waiting tasks of a failed cell
                continue
            if training is None:
                self.observer.concluded(cell, seed, run)
                continue
            self._notify(cell.name, run, training)
            remaining[cell, seed].discard(training)
            if not remaining[cell, seed] and (cell, seed) not in self.failures:
                todo.appendleft(_Task(cell, seed, None))

    def _succeeded(
        self, future: Future[Any], cell: Cell, seed: int, training: Training | None
    ) -> bool:
        """Return whether a task succeeded; if the task failed, record the failure of its cell.

        Failures of the machine (a dead process, the file system, the cache) are raised.
        """
        run = self.cells[cell, seed]
        try:
            self._raise_failure(future, training or Training(0, FUSED), run)
        except FusionError as error:
            if isinstance(future.exception(), BrokenProcessPool | OSError | CacheError):
                raise  # a failure of the machine, not of the cell
            if (cell, seed) not in self.failures:
                self.failures[cell, seed] = error.message
                self.observer.failed(cell, seed, error.message)
            return False
        return True

    def _raise_failure(self, future: Future[Any], training: Training, run: Run) -> None:
        raise_failure(future, training, run, resume=f"compare --resume {self.folder.path}")

    def _notify(self, name: str, run: Run, training: Training) -> None:
        self.observer.cell_training(name, run.summary(training.name))


def _modalities_of(run: Run) -> list[Training]:
    return [training for training in trainings_of(run) if training.model != FUSED]


T = TypeVar("T")


def carried_out(
    tasks: deque[T], submit: Callable[[T], Future[Any]], workers: int
) -> Iterator[tuple[T, Future[Any]]]:
    """Submit tasks from the front of `tasks`, and yield each with its future when it is done.

    At most ``2 * workers`` tasks are submitted at a time. A task that the caller adds at the front
    of `tasks` therefore starts soon.
    """
    running: dict[Future[Any], T] = {}
    while tasks or running:
        while tasks and len(running) < 2 * workers:
            task = tasks.popleft()
            running[submit(task)] = task
        completed, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in completed:
            yield running.pop(future), future
