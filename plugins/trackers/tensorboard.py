"""Tracker for TensorBoard: the curves of all trainings in common charts, on this machine."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.contracts import Tracker, hookimpl
from ...core.toolkit.optional import required
from ...core.toolkit.tracking import curve_of, flat, outcome_of, scalars_of

_FLUSH = 10  # longest time in seconds until a point is on disk


class TensorBoard(Tracker):
    """Event files for TensorBoard: ``tensorboard --logdir runs``.

    Every training is a separate TensorBoard run (``fold0/mel``, in a tuned run
    ``fold0/mel/trial2``), so that one chart per metric shows baselines, fused model and folds. A
    metric of one modality is shown beside the metric of the model: ``val_uar``, ``val_uar/mel``.
    The run itself has the configuration, the final results and the verdict, and a row in the
    HPARAMS tab. A resumed run replaces its earlier curves.

    Parameters
    ----------
    directory : str or None
        Folder that collects runs, each in a folder of its name. None means ``tensorboard`` in the
        run directory.
    name : str or None
        Folder of this run in `directory`. None means the name of the run directory. TensorBoard
        shows two runs of the same name in one directory as one run.
    """

    name = "tensorboard"

    def __init__(self, *, directory: str | None = None, name: str | None = None) -> None:
        required("tensorboard", extra="tensorboard", by="The tracker 'tensorboard'")
        self._directory = directory
        self._name = name
        self._config: Mapping[str, Any] = {}
        self._folder: Path | None = None
        self._writers: dict[str, Any] = {}  # by training
        self._curves: dict[str, str] = {}  # maps training to curve of its writer

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        if self._directory is None:
            self._folder = run / "tensorboard" / (self._name or "")
        else:
            self._folder = Path(self._directory).expanduser() / (self._name or run.name)
        self._config = config
        rows = "\n".join(f"| {name} | {value} |" for name, value in flat(config).items())
        self._writer("").add_text("configuration", f"| parameter | value |\n|---|---|\n{rows}", 0)

    def epoch(self, event: Mapping[str, Any]) -> None:
        if self._folder is None:
            return
        writer = self._writer(event["training"], curve_of(event))
        for name, value in scalars_of(event).items():
            # TensorBoard groups charts by the part of the name before a slash.
            writer.add_scalar(name.replace(".", "/"), value, event["epoch"])

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._folder is None:
            return
        writer, figures = self._writer(""), outcome_of(summary)
        library = importlib.import_module("torch.utils.tensorboard.summary")
        for part in library.hparams(dict(flat(self._config)), dict(figures)):
            writer.file_writer.add_summary(part)
        for name, value in figures.items():
            writer.add_scalar(name, value, 0)
        writer.add_text("verdict", summary["verdict"], 0)

    def close(self) -> None:
        while self._writers:
            _, writer = self._writers.popitem()
            writer.close()
        self._folder = None

    def _writer(self, training: str, curve: str = "") -> Any:
        """Return the writer of a training's curve; close the writer of the previous trial."""
        if self._curves.get(training) != curve or training not in self._writers:
            if training in self._writers:
                self._writers.pop(training).close()
            assert self._folder is not None
            library = importlib.import_module("torch.utils.tensorboard")
            # purge_step=0 hides the points that an earlier attempt of the run wrote.
            self._writers[training] = library.SummaryWriter(
                str(self._folder / curve), purge_step=0, flush_secs=_FLUSH
            )
            self._curves[training] = curve
        return self._writers[training]


@hookimpl
def fusion_trackers() -> list[type[Tracker]]:
    return [TensorBoard]
