"""Parallel execution of a run's trainings, by default in processes of one thread each.

On a CPU, several single-threaded trainings are faster than one training with several threads.
The threads of one training wait for each other at every small operation. A training reads its
input from the run directory and writes its results there, so it can be killed and resumed. The
parent process follows the trainings by reading their files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import torch

from ....cache.builds.workers import available_cores
from ....cache.guarded_arrays import check_regular
from ...contracts.errors import FusionError, RunError, TrainingError
from ...registry.provenance import guilt_of, message_of, relay
from ...registry.trace import during
from ...toolkit.device import free_memory
from ...toolkit.run_files import line_object
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
# Bytes of GPU memory per training: context of the process, features, activations, graphs.
_ROOM_ON_GPU = 4 * 1024**3


def default_jobs(device: str, threads: int = 1) -> int:
    """Return the default number of parallel trainings on this machine.

    On a CPU, one training runs per `threads` cores. On a GPU, up to four trainings share the
    device, since a single training leaves most of a GPU idle. Each training needs two cores and 4
    GiB of free GPU memory. The gain on a GPU is not measured yet; benchmarks/gpu.py can measure
    this gain.
    """
    target = choose_device(device)
    if target.type == "cpu":
        return max(1, available_cores() // threads)
    if target.type != "cuda":
        return 1
    return max(1, min(_MOST_ON_GPU, available_cores() // 2, free_memory(target) // _ROOM_ON_GPU))


@during("train")
def train_all(
    run: Run,
    *,
    jobs: int,
    on_epoch: Callable[[Training, Mapping[str, Any]], None],
    on_done: Callable[[Training, Mapping[str, Any]], None],
    controls: bool = True,
) -> None:
    """Carry out all trainings of a run that are not finished yet.

    Parameters
    ----------
    jobs : int
        Number of parallel processes; 0 means that this process trains.
    on_epoch : callable
        Function that receives every epoch of every training. The earlier epochs of a resumed run
        come first.
    on_done : callable
        Function that receives the summary of every training when the training ends. The summaries
        of trainings that an earlier process finished are passed as well.
    controls : bool
        Whether to train the equal-steps controls as well. Only a comparison on test needs the
        controls.

    Raises
    ------
    TrainingError
        If a training fails, with the error of the first failure. Other trainings keep their
        checkpoints.
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
    """Train the models one after the other, each in all processes that torchrun started.

    Raises
    ------
    UserError
        If the run is tuned: several processes can't share a trial.
    """
    distributed.refuse_trials(run.config.tune)
    for training in trainings:
        distributed.send_task((run.location, training))
        train_one(run, training, distributed.processes_on_machine())
        meanwhile()


def follow() -> None:
    """Take part in the trainings of a run that another process leads, until the run is done."""
    for location, training in distributed.received_tasks():
        in_worker(train_one, location, training, distributed.processes_on_machine())


def phases_of(run: Run, todo: Sequence[Training]) -> list[list[Training]]:
    """Group trainings into phases: baselines come first if another training needs the baselines."""
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
    """Call `function` for each training in up to `jobs` processes, and return the results.

    With `jobs` 0, the calls run one after the other in this process. `meanwhile` is called
    repeatedly until all calls are done.
    """
    if jobs == 0:
        results: list[T] = []
        for training in trainings:
            results.append(function(run, training, 1))
            meanwhile()
        return results
    workers = min(jobs, len(trainings))
    with worker_pool(jobs) as pool:
        futures: dict[Future[Any], Training] = {
            pool.submit(relay, in_worker, function, run.location, training, workers): training
            for training in trainings
        }
        pending = set(futures)
        while pending:
            completed, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            meanwhile()
            for future in completed:
                raise_failure(future, futures[future], run)
        return [future.result() for future in futures]


def raise_failure(
    future: Future[Any], training: Training, run: Run, *, resume: str | None = None
) -> None:
    """Raise the error of a failed training with a hint; do nothing if the training succeeded.

    `resume` is the command line that resumes the work, without its first word ``fusion``.
    """
    resume = resume or f"run --resume {run.path}"
    try:
        future.result()
    except BrokenProcessPool:
        raise TrainingError(
            "The process of a training was killed from outside, maybe because memory ran out.",
            hint=f"Fewer parallel trainings need less memory: fusion {resume} --jobs 1",
        ) from None
    except TrainingError as error:
        hint = error.hint or "Other settings need a new run; the features stay in the cache."
        raise TrainingError(error.message, hint=hint) from error
    except (FusionError, OSError):
        raise
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{training.name}: memory ran out: {str(error).splitlines()[0]}",
            hint="A new run with a smaller --batch-size needs less memory.",
        ) from error
    except Exception as error:
        guilt = guilt_of(error)
        location = f"For a traceback: fusion --debug {resume}"
        raise TrainingError(
            f"{training.name} failed: {message_of(error)}",
            hint=f"{location}. {guilt.source.remedy()}" if guilt else location,
        ) from error


class _Follower:
    """Reader of the epochs that running trainings write."""

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
        """Report the new epochs of all trainings, and the trainings that have finished."""
        for training in list(self._offsets):
            # Check for finished trainings first: a training that is finished now has written all
            # its epochs.
            finished = self._run.finished(training.name)
            path = self._run.training(training.name) / "epochs.jsonl"
            for line in self._new_lines(training, path):
                self._on_epoch(training, line_object(line, path, 0))
            if finished:
                self._on_done(training, self._run.summary(training.name))
                del self._offsets[training]

    def _new_lines(self, training: Training, path: Path) -> Iterator[bytes]:
        try:
            check_regular(path)
            with path.open("rb") as file:
                file.seek(self._offsets[training])
                text = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{path} can't be read: {error.strerror or error}.") from None
        whole = text[: text.rfind(b"\n") + 1]  # drop a last line that is only partly written
        self._offsets[training] += len(whole)
        yield from whole.splitlines()
