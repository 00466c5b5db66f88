"""What the cells of a comparison share on disk, and how each is concluded."""

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

BASELINES = "baselines"  # beside the cells of a seed


def share_baselines(source: Run, target: Run) -> None:
    """Give `target` the finished baselines and controls of `source`: hard links, or copies."""
    for training in _shared(source, target):
        share_training(source, target, training.name)
    for file in (source.path / SPEAKERS).glob("*.safetensors"):  # of a speaker-adapted run
        there = target.path / SPEAKERS / file.name
        there.parent.mkdir(exist_ok=True)
        if not there.exists():
            with contextlib.suppress(FileExistsError):
                _link(file, there)


def own_trainings(shared: Run, run: Run) -> list[Training]:
    """Return the trainings of the cell `run` that it does not get from the folder `shared`."""
    given = _shared(shared, run)
    return [training for training in all_trainings(run) if training not in given]


def _shared(one: Run, other: Run) -> list[Training]:
    """Return the trainings that two runs of a seed have in common.

    These are the baselines, and the equal-steps controls if both runs give them as many epochs.
    """
    found = [training for training in trainings_of(one) if training.model != FUSED]
    if one.record.control == other.record.control:
        found += controls_of(one)
    return found


def share_training(source: Run, target: Run, name: str) -> None:
    """Give `target` one finished training of `source`, where it has not its own."""
    if target.finished(name):
        return
    folder = target.training(name)
    shutil.rmtree(folder, ignore_errors=True)  # half linked
    folder.mkdir(parents=True)
    files = sorted(source.training(name).iterdir())
    # Last what makes it finished.
    for file in sorted(files, key=lambda f: f.name == "training.json"):
        _link(file, folder / file.name)


def share_predictions(source: Run, target: Run) -> None:
    """Give `target` the predictions that `source` has of what both share (:func:`_shared`)."""
    for training in _shared(source, target):
        for file in source.training(training.name).glob("*.npz"):
            there = target.training(training.name) / file.name
            if not there.exists():
                with contextlib.suppress(FileExistsError):  # another cell was quicker
                    _link(file, there)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        with written_whole(target) as temporary:  # another cell may be reading here
            shutil.copy2(source, temporary)


def conclude_cell(run: Run) -> None:
    """Choose, test and attribute one cell, in this process."""
    shared = Run.open(run.path.parent / BASELINES)
    share_predictions(shared, run)
    seconds = sum(
        float(run.summary(t.name)["seconds"]) for t in trainings_of(run) if t.model == FUSED
    )
    if not run.is_complete():
        conclude(run, 0, seconds=seconds)
    share_predictions(run, shared)
    write_contributions(run)  # what test says of the modalities: after everything was chosen
