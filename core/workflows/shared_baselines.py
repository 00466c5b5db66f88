"""Trainings and predictions that the cells of a comparison share on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from ...cache.shards.files import written_whole
from ..data.adaptation import FOLDER as SPEAKERS
from ..runs.outcome.attribution import write_contributions
from ..runs.run import Run
from ..runs.trainings import FUSED, Training, all_trainings, controls_of, trainings_of
from .experiment import conclude

BASELINES = "baselines"  # name of the run directory of the baselines, in the folder of a seed


def share_baselines(source: Run, target: Run) -> None:
    """Link or copy the finished baselines and controls of `source` into `target`.

    Files are hard-linked, or copied if hard links are impossible. In a speaker-adapted run, the
    statistics of the speakers are shared as well.
    """
    for training in _shared(source, target):
        share_training(source, target, training.name)
    for file in (source.path / SPEAKERS).glob("*.safetensors"):  # only in a speaker-adapted run
        copy = target.path / SPEAKERS / file.name
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            with contextlib.suppress(FileExistsError):
                _link(file, copy)


def own_trainings(shared: Run, run: Run) -> list[Training]:
    """Return the trainings of the cell `run` that are not in the folder `shared`."""
    in_common = _shared(shared, run)
    return [training for training in all_trainings(run) if training not in in_common]


def _shared(one: Run, other: Run) -> list[Training]:
    """Return the trainings that two runs with the same seed have in common.

    The shared trainings are the baselines, and the equal-steps controls if both runs train their
    controls for the same number of epochs.
    """
    trainings = [training for training in trainings_of(one) if training.model != FUSED]
    if one.record.control == other.record.control:
        trainings += controls_of(one)
    return trainings


def share_training(source: Run, target: Run, name: str) -> None:
    """Link one finished training of `source` into `target`, unless `target` has finished it."""
    if target.finished(name):
        return
    folder = target.training(name)
    shutil.rmtree(folder, ignore_errors=True)  # the folder may be incomplete after an interruption
    folder.mkdir(parents=True)
    files = sorted(source.training(name).iterdir())
    # training.json is linked last, because this file marks the training as finished.
    for file in sorted(files, key=lambda f: f.name == "training.json"):
        _link(file, folder / file.name)


def share_predictions(source: Run, target: Run) -> None:
    """Link the predictions of all shared trainings (:func:`_shared`) from `source` to `target`."""
    for training in _shared(source, target):
        for file in source.training(training.name).glob("*.npz"):
            copy = target.training(training.name) / file.name
            if not copy.exists():
                with contextlib.suppress(FileExistsError):  # another cell has just linked it
                    _link(file, copy)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # source and target on different file systems, or no support for hard links
        with written_whole(target) as temporary:  # another process may read `target`
            shutil.copy2(source, temporary)


def conclude_cell(run: Run) -> None:
    """Select and test the models of one cell, and compute Shapley values, in this process."""
    shared = Run.open(run.path.parent / BASELINES, run.registry)
    share_predictions(shared, run)
    seconds = sum(
        float(run.summary(t.name)["seconds"]) for t in trainings_of(run) if t.model == FUSED
    )
    if not run.is_complete():
        conclude(run, 0, seconds=seconds)
    share_predictions(run, shared)
    write_contributions(run)  # reads test clips, and must therefore follow the selection
