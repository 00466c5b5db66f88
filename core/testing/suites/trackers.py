"""The conformance suite for trackers."""

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

_OPEN = "a file or connection that only start opens: ask whether it is there"
_FIELD = "a field that is not always there, is None, text or nested: scalars_of keeps the numbers"


class TrackerSuite(PluginSuite):
    """Checks a tracker on small runs: finished, failed, taken up again, tuned.

    It writes where it is told to: for a service that needs a network, give `parameters` that
    keep it on this machine.
    """

    kind = Tracker
    plugin: ClassVar[type[Tracker]]

    # -- what it is given --------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """A configuration as run.json has it: nested, with lists, None and long text."""
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
        """The events of two trainings side by side, with everything that an event can hold."""
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
        """Final results as results.json has them, undefined figures included."""
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
        """A run directory with the files that are there when a run finishes."""
        # Some services hold their files open a moment longer than the run.
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
        tracker = self._made()
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

    def _made(self) -> Tracker:
        with running(self.where, "making it", cause="a package that is not installed"):
            return cast(Tracker, self.example())

    def costs(self) -> Sequence[Cost]:
        """One epoch of one training."""
        event = next(iter(self.events()))
        with self.run_directory() as run:
            tracker = self._made()
            try:
                tracker.start(run, self.config())
                taken = seconds_of(lambda: tracker.epoch(event))
            finally:
                tracker.close()
        return [Cost("epoch, one event", taken)]

    # -- checks ------------------------------------------------------------------------

    def test_whole_run(self) -> None:
        """Start, epochs of trainings side by side, finish, close."""
        with self.run_directory() as run:
            self.follow(run)

    def test_tuned_run(self) -> None:
        """Epochs of trials, each from epoch 1 on."""
        with self.run_directory() as run:
            self.follow(run, tuned=True)

    def test_resumed_run(self) -> None:
        """A run that stopped twice: a new tracker sees all of it again, from the start."""
        with self.run_directory() as run:
            self.follow(run, epochs=1, finish=False)
            self.follow(run, epochs=2, finish=False)
            self.follow(run)

    def test_close_in_any_case(self) -> None:
        """Before the start, after a failure, and twice."""
        with self.run_directory() as run:
            tracker = self._made()
            doing = "close before start (which is how it ends when start fails)"
            with running(self.where, doing, cause=_OPEN):
                tracker.close()
            tracker = self._made()
            with running(self.where, "start, and close twice", cause="a file that is closed twice"):
                tracker.start(run, self.config())
                tracker.close()
                tracker.close()

    def test_nothing_before_the_start(self) -> None:
        """An epoch and a finish without a start are ignored."""
        tracker = self._made()
        with running(self.where, "an epoch, finish and close without start", cause=_OPEN):
            for event in self.events(epochs=1):
                tracker.epoch(event)
            tracker.finish(self.summary())
            tracker.close()

    def test_changes_nothing_that_it_is_given(self) -> None:
        """The same event goes to every tracker."""
        given: list[Mapping[str, Any]] = [self.config(), *self.events(), self.summary()]
        before = copy.deepcopy(given)
        with self.run_directory() as run:
            tracker = self._made()
            with running(self.where, "a whole run", cause=_FIELD):
                tracker.start(run, given[0])
                for event in given[1:-1]:
                    tracker.epoch(event)
                tracker.finish(given[-1])
                tracker.close()
        for found, expected in zip(given, before, strict=True):
            require(
                found == expected,
                self.where,
                f"it changed what it was given: {expected} became {found}",
                expected="the mapping as it was: other trackers get it, too",
                cause=".pop() on the event; copy it first: dict(event)",
            )

    def test_leaves_the_run_as_it_is(self) -> None:
        """It may add files to a run directory, and changes none."""
        with self.run_directory() as run:
            before = {p.name: p.read_bytes() for p in run.iterdir()}
            self.follow(run)
            after = {name: (run / name).read_bytes() for name in before if (run / name).is_file()}
        require(
            after == before,
            self.where,
            "it changed, moved or deleted a file of the run",
            expected="the files of the run directory as they were; its own beside them",
            cause="a file that is named like one of the run's (run.json, results.json)",
        )

    def test_prints_nothing(self) -> None:
        """Standard output is for results: ``fusion run --json`` is read by programs."""
        printed = io.StringIO()
        with self.run_directory() as run, contextlib.redirect_stdout(printed):
            self.follow(run)
        require_silence(self.where, printed, "nothing on standard output")
