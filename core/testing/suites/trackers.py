"""Conformance suite for trackers."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from ...contracts import Tracker
from ..checks.assertions import require, require_silence, running
from ..checks.declarations import PluginSuite
from ..costs import Cost, seconds_of

_OPEN = "a file or connection that only start opens: check that it is open"
_FIELD = (
    "a field that is missing in some events, or is None, a string or nested: scalars_of keeps only "
    "the numbers"
)


class TrackerSuite(PluginSuite):
    """Checks of a tracker on small runs: finished, failed, resumed and tuned.

    The checks make the tracker write to its real destination. For a service that needs a network,
    set `parameters` that keep all output on this machine.
    """

    kind = Tracker
    plugin: ClassVar[type[Tracker]]

    # -- inputs of a tracker -----------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return a configuration as in run.json: nested, with lists, None and a long string."""
        return {
            "data": ["demo", "table=/data/" + 80 * "speech/"],
            "labels": "shared",
            "features": ["voice", "face"],
            "branches": {},
            "strategy": "mine",
            "settings": {
                "train": {"lr": 0.003, "epochs": 3, "compile": False},
                "branch.voice": {"kernel": [3, 5], "text": 9000 * "x"},
            },
            "folds": None,
            "dtypes": {"*": "float16"},
            "space": {"train": {"lr": {"kind": "loguniform", "low": 3e-4, "high": 3e-2}}},
        }

    def events(self, *, epochs: int = 3, tuned: bool = False) -> Iterator[dict[str, Any]]:
        """Yield events of two interleaved trainings, with every field that an event can have."""
        for trial in range(2 if tuned else 1):
            for epoch in range(1, epochs + 1):
                for training in ("fold0/voice", "fold0/fused"):
                    event: dict[str, Any] = {"training": training, "epoch": epoch}
                    event |= {"trial": trial} if tuned else {}
                    event |= {"train_loss": 2.0 / epoch, "val_uar": 0.2 * epoch, "seconds": 0.5}
                    event |= {"val_loss": None, "stage": "all", "candidate": True, "new": [1, "a"]}
                    event["layers"] = {"voice": {"blocks.0": [0.1, None]}, "": {"head": [0.2, 0.3]}}
                    if training == "fold0/fused":
                        event |= {"val_uar.voice": 0.1 * epoch, "weight.voice": 1}
                    yield event

    def summary(self) -> dict[str, Any]:
        """Return final results as in results.json, including undefined values."""
        interval = {"value": 0.5, "low": None, "high": None, "level": 0.95, "groups": 1}
        models = [
            {"name": name, "uar": interval, "accuracy": interval, "macro_f1": 0.4,
             "val_uar": 0.6, "fold_uar": [0.5]}
            for name in ("voice", "face", "fused", "ensemble", "chosen")
        ]  # fmt: skip
        comparison = {"difference": -0.01, "low": None, "high": None, "p_value": 1.0, "groups": 1}
        return {
            "models": models,
            "best_single": "voice",
            "comparisons": dict.fromkeys(("fused", "ensemble", "chosen"), comparison),
            "verdict": "No reliable difference between the two.",
            "weights": {"voice": 0.6, "face": 0.4},
            "confusions": {"voice": [[1, 0], [1, 2]]},
        }

    @contextlib.contextmanager
    def run_directory(self) -> Iterator[Path]:
        """Yield a run directory with the files that exist when a run finishes."""
        # Some services keep their files open for a moment after the run.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            run = Path(folder) / "runs" / "run"
            run.mkdir(parents=True)
            (run / "run.json").write_text(json.dumps({"format": 1, "config": self.config()}))
            (run / "results.json").write_text(json.dumps(self.summary()))
            yield run

    def follow(
        self, run: Path, *, epochs: int = 3, finish: bool = True, tuned: bool = False
    ) -> None:
        """Send a run to a new tracker, as fusion does."""
        tracker = self._create()
        try:
            with running(self.where, "start", cause=_OPEN):
                tracker.start(run, self.config())
            for event in self.events(epochs=epochs, tuned=tuned):
                with running(self.where, f"epoch({event!r})", cause=_FIELD):
                    tracker.epoch(event)
            if finish:
                with running(self.where, "finish", cause=_FIELD):
                    tracker.finish(self.summary())
        finally:
            with running(self.where, "close", cause=_OPEN):
                tracker.close()

    def _create(self) -> Tracker:
        with running(self.where, "instantiation", cause="a package that is not installed"):
            return cast(Tracker, self.example())

    def costs(self) -> Sequence[Cost]:
        """Return the cost of one event: one epoch of one training."""
        event = next(iter(self.events()))
        with self.run_directory() as run:
            tracker = self._create()
            try:
                tracker.start(run, self.config())
                seconds = seconds_of(lambda: tracker.epoch(event))
            finally:
                tracker.close()
        return [Cost("epoch, one event", seconds)]

    # -- checks ------------------------------------------------------------------------

    def test_whole_run(self) -> None:
        """Check a complete run, with start, epochs of interleaved trainings, finish and close."""
        with self.run_directory() as run:
            self.follow(run)

    def test_tuned_run(self) -> None:
        """Check a tuned run, in which the epochs of every trial start at 1."""
        with self.run_directory() as run:
            self.follow(run, tuned=True)

    def test_resumed_run(self) -> None:
        """Check a run that was resumed twice: each new tracker gets all events from the start."""
        with self.run_directory() as run:
            self.follow(run, epochs=1, finish=False)
            self.follow(run, epochs=2, finish=False)
            self.follow(run)

    def test_close_in_any_case(self) -> None:
        """Check calls of `close` before `start`, after an unfinished run, and a second time."""
        with self.run_directory() as run:
            tracker = self._create()
            doing = "close before start (as when start fails)"
            with running(self.where, doing, cause=_OPEN):
                tracker.close()
            tracker = self._create()
            with running(self.where, "start, and close twice", cause="closing a file twice"):
                tracker.start(run, self.config())
                tracker.close()
                tracker.close()

    def test_nothing_before_the_start(self) -> None:
        """Check that `epoch` and `finish` without a `start` are ignored."""
        tracker = self._create()
        with running(self.where, "an epoch, finish and close without start", cause=_OPEN):
            for event in self.events(epochs=1):
                tracker.epoch(event)
            tracker.finish(self.summary())
            tracker.close()

    def test_changes_nothing_that_it_is_given(self) -> None:
        """Check that the tracker leaves its arguments, which all trackers share, unchanged."""
        arguments: list[Mapping[str, Any]] = [self.config(), *self.events(), self.summary()]
        before = copy.deepcopy(arguments)
        with self.run_directory() as run:
            tracker = self._create()
            with running(self.where, "a whole run", cause=_FIELD):
                tracker.start(run, arguments[0])
                for event in arguments[1:-1]:
                    tracker.epoch(event)
                tracker.finish(arguments[-1])
                tracker.close()
        for actual, expected in zip(arguments, before, strict=True):
            require(
                actual == expected,
                self.where,
                f"the tracker changes an argument: {expected} became {actual}",
                expected="an unchanged mapping: other trackers get it, too",
                cause=".pop() on the event: work on a copy, dict(event)",
            )

    def test_leaves_the_run_as_it_is(self) -> None:
        """Check that the tracker changes no file of the run directory; new files are allowed."""
        with self.run_directory() as run:
            before = {p.name: p.read_bytes() for p in run.iterdir()}
            self.follow(run)
            after = {name: (run / name).read_bytes() for name in before if (run / name).is_file()}
        require(
            after == before,
            self.where,
            "the tracker changed, moved or deleted a file of the run",
            expected="unchanged files of the run; the tracker may write its own files beside them",
            cause="a file of the tracker with the name of a file of the run (run.json, "
            "results.json)",
        )

    def test_prints_nothing(self) -> None:
        """Check that the tracker prints nothing to standard output, which other programs parse."""
        printed = io.StringIO()
        with self.run_directory() as run, contextlib.redirect_stdout(printed):
            self.follow(run)
        require_silence(self.where, printed, "nothing on standard output")
