"""The trainings of a run, side by side in processes of one thread each, unless more are asked for.

On a CPU several single-threaded trainings are faster than one on several threads, which
would wait for each other at every small operation. A training reads what it needs from the
run directory and writes its results there, so that it can be killed and taken up again;
the parent follows by reading the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import torch

from ....cache.builds.workers import available_cores
from ...contracts.errors import FusionError, TrainingError
from ...registry.provenance import guilt_of, message_of, relay
from ...registry.trace import during
from ...toolkit.device import free_memory
from ...training.hardware import distributed
from ...training.hardware.device import choose_device
from ..balancing import needs_baselines
from ..run import Run
from ..trainings import CONTROL, FUSED, Training, all_trainings, trainings_of
from .jobs import in_worker, train_one
from .tuning import rewind
from .worker_pools import worker_pool

T = TypeVar("T")
_MOST_ON_GPU = 4
_ROOM_ON_GPU = 4 * 1024**3  # of a training: its process's context, features, activations, graphs


def default_jobs(device: str, threads: int = 1) -> int:
    """Trainings at a time: one per core on a CPU, or per so many `threads`; on a GPU, a few.

    One of these models leaves most of a GPU idle, so up to four share it, each fed by two cores,
    as far as they have room. How much that brings was not measured yet: benchmarks/gpu.py does.
    """
    where = choose_device(device)
    if where.type == "cpu":
        return max(1, available_cores() // threads)
    if where.type != "cuda":
        return 1
    return max(1, min(_MOST_ON_GPU, available_cores() // 2, free_memory(where) // _ROOM_ON_GPU))


@during("train")
def train_all(
    run: Run,
    *,
    jobs: int,
    on_epoch: Callable[[Training, Mapping[str, Any]], None],
    on_done: Callable[[Training, Mapping[str, Any]], None],
    controls: bool = True,
) -> None:
    """Train whatever the run directory does not hold yet.

    Parameters
    ----------
    jobs : int
        Processes at a time; 0 means this one.
    on_epoch : callable
        Receives every epoch of every training; those of a resumed run's past first.
    on_done : callable
        Receives the summary of every training when it is done, or was done before.
    controls : bool
        Whether to train the equal-steps controls as well, which only a comparison on test needs.

    Raises
    ------
    TrainingError
        From the first training that fails. The others keep their checkpoints.
    """
    trainings = all_trainings(run) if controls else trainings_of(run)
    todo = [training for training in trainings if not run.finished(training.name)]
    for training in todo:
        rewind(run, training.name)  # a resumed training writes its past epochs again
    follower = _Follower(run, trainings, on_epoch, on_done)
    follower.poll()
    for phase in phases_of(run, todo):
        if distributed.launched():
            _train_together(run, phase, follower.poll)
        else:
            in_processes(train_one, run, phase, jobs, follower.poll)
    follower.poll()


def _train_together(run: Run, trainings: Sequence[Training], meanwhile: Callable[[], None]) -> None:
    """One after the other, each by all the processes that torchrun started.

    Raises
    ------
    UserError
        For a run that is tuned: trials are not shared.
    """
    distributed.refuse_trials(run.config.tune)
    for training in trainings:
        distributed.send_task((run.path.absolute(), training))
        train_one(run, training, distributed.processes_on_machine())
        meanwhile()


def follow() -> None:
    """Take part in the trainings of a run that another process leads, until it is done."""
    for path, training in distributed.received_tasks():
        in_worker(train_one, path, training, distributed.processes_on_machine())


def phases_of(run: Run, todo: Sequence[Training]) -> list[list[Training]]:
    """Split trainings into what can run at a time: baselines first where others need them."""
    if not needs_baselines(run.config, run.registry):
        return [list(todo)] if todo else []
    baselines = [t for t in todo if t.model not in (FUSED, CONTROL)]
    after = [t for t in todo if t.model in (FUSED, CONTROL)]
    return [phase for phase in (baselines, after) if phase]


def in_processes(
    function: Callable[[Run, Training, int], T],
    run: Run,
    trainings: Sequence[Training],
    jobs: int,
    meanwhile: Callable[[], None],
) -> list[T]:
    """What `function` returns for each training, `jobs` at a time; 0 means in this process."""
    if jobs == 0:
        found: list[T] = []
        for training in trainings:
            found.append(function(run, training, 1))
            meanwhile()
        return found
    workers = min(jobs, len(trainings))
    with worker_pool(jobs) as pool:
        futures: dict[Future[Any], Training] = {
            pool.submit(relay, in_worker, function, run.path, training, workers): training
            for training in trainings
        }
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            meanwhile()
            for future in done:
                raise_failure(future, futures[future], run)
        return [future.result() for future in futures]


def raise_failure(
    future: Future[Any], training: Training, run: Run, *, resume: str | None = None
) -> None:
    """Raise what a training raised, if it did.

    `resume` is the command, after ``fusion``, that goes on with all of the work.
    """
    resume = resume or f"run --resume {run.path}"
    try:
        future.result()
    except BrokenProcessPool:
        raise TrainingError(
            "A training's process was killed from outside, for instance because memory ran out.",
            hint=f"Fewer at a time need less memory: fusion {resume} --jobs 1",
        ) from None
    except TrainingError as error:
        hint = error.hint or "Other settings need a new run; the features stay in the cache."
        raise TrainingError(error.message, hint=hint) from error
    except (FusionError, OSError):
        raise
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{training.name}: memory ran out: {str(error).splitlines()[0]}",
            hint="A new run with a smaller --batch-size needs less.",
        ) from error
    except Exception as error:
        guilt = guilt_of(error)
        where = f"Where: fusion --debug {resume}"
        raise TrainingError(
            f"{training.name} failed: {message_of(error)}",
            hint=f"{where}. {guilt.source.remedy()}" if guilt else where,
        ) from error


class _Follower:
    """Reads the epochs that trainings write, as they write them."""

    def __init__(
        self,
        run: Run,
        trainings: Sequence[Training],
        on_epoch: Callable[[Training, Mapping[str, Any]], None],
        on_done: Callable[[Training, Mapping[str, Any]], None],
    ) -> None:
        self._run = run
        self._offsets = dict.fromkeys(trainings, 0)
        self._on_epoch = on_epoch
        self._on_done = on_done

    def poll(self) -> None:
        for training in list(self._offsets):
            # Asked first: a training that is done by now has written all its epochs.
            done = self._run.finished(training.name)
            path = self._run.training(training.name) / "epochs.jsonl"
            for line in self._new_lines(training, path):
                self._on_epoch(training, json.loads(line))
            if done:
                self._on_done(training, self._run.summary(training.name))
                del self._offsets[training]

    def _new_lines(self, training: Training, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets[training])
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]  # the last line may be half written
        self._offsets[training] += len(whole)
        yield from whole.splitlines()
