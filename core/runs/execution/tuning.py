"""Tuning: several trials of one training, each with other settings, judged on validation.

Every training of a run gets the same number of trials on its own fold's training and
validation clips, so no choice sees a test speaker. Trial 0 has the settings as given; what the
others try, :mod:`fusion.core.runs.search_space` says. Killed at any moment and taken up again, a
training makes the trials that it would have made undisturbed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...contracts.errors import CacheError, RunError
from ...registry.provenance import message_of
from ...toolkit.weights import load_weights, save_weights
from ..run import WEIGHTS, Run
from ..search_space import Search, Settings, Trial, propose

TRIALS = "trials.jsonl"

Fit = Callable[[int, Settings, Path], tuple[Mapping[str, Tensor], dict[str, Any]]]
"""Trains with a trial's number and settings and a checkpoint's path -> weights, summary."""


def tune(run: Run, training: str, search: Search, fit: Fit) -> dict[str, Any]:
    """Make the trials that are not there yet; leave the best one's weights.

    Parameters
    ----------
    training : str
        Its folder in the run directory.
    search : Search
        What to try, and how often.
    fit : callable
        Trains once.

    Returns
    -------
    dict
        The summary of the best trial, with its settings, and the seconds of all.

    Raises
    ------
    TrainingError
        If trial 0 fails: then it is not the settings that were tried. Later ones may.
    """
    folder = run.training(training)
    trials = read_trials(folder)
    while len(trials) < search.trials:
        number = len(trials)
        _keep_best(folder, trials)
        settings = propose(search, trials)
        checkpoint = folder / f"trial{number}.pt"
        try:
            weights, summary = fit(number, settings, checkpoint)
        except (OSError, MemoryError, torch.OutOfMemoryError, CacheError):
            raise  # the machine's fault, not the settings'
        except Exception as error:
            if number == 0:
                raise
            trials.append(Trial(number, settings, error=message_of(error)))
        else:
            trials.append(Trial(number, settings, summary))
            if _best(trials) is trials[-1]:
                save_weights(_weights(folder, number), weights, {"training": training})
        lines = [json.dumps(trial.to_json(), allow_nan=False) for trial in trials]
        run.write_text(f"{training}/{TRIALS}", "\n".join(lines) + "\n")
    _keep_best(folder, trials)
    best = _best(trials)
    kept = _weights(folder, best.number)
    if kept.is_file():  # not where a run was killed in the last moment
        kept.replace(folder / WEIGHTS)
    times = {
        name: round(sum(float(t.summary.get(name, 0.0)) for t in trials), 3)
        for name in ("seconds", "wall_seconds")
    }
    return {
        **best.summary,
        **times,
        "settings": best.settings,
        "trial": best.number,
        "trials": len(trials),
    }


def _best(trials: Sequence[Trial]) -> Trial:
    return max(trials, key=lambda trial: trial.rank)  # the first among equals


def _weights(folder: Path, number: int) -> Path:
    return folder / f"trial{number}.safetensors"


def _keep_best(folder: Path, trials: Sequence[Trial]) -> None:
    """Remove what trials left that are over, but for the best one's weights."""
    for trial in trials:
        (folder / f"trial{trial.number}.pt").unlink(missing_ok=True)
        if trial is not _best(trials):
            _weights(folder, trial.number).unlink(missing_ok=True)


def read_trials(folder: Path) -> list[Trial]:
    """The trials that are over, from the first on.

    Raises
    ------
    RunError
        If their file is damaged.
    """
    path = folder / TRIALS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    try:
        trials = [Trial.from_json(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError):
        trials = []
    if not trials or [trial.number for trial in trials] != list(range(len(trials))):
        raise RunError(
            f"{path} can't be read.",
            hint="Delete it: fusion run --resume then makes these trials again.",
        )
    return trials


def rewind(run: Run, training: str) -> None:
    """Forget of an unfinished training what it will write again: the epochs after its last trial.

    A training whose weights are lost forgets its trials as well.
    """
    folder = run.training(training)
    trials = read_trials(folder)
    if trials and not _readable(_weights(folder, _best(trials).number), folder / WEIGHTS):
        (folder / TRIALS).unlink()
        trials = []
    path = folder / "epochs.jsonl"
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if _trial_of(line) < len(trials)]
    if not kept:
        path.unlink()
    elif kept != lines:
        run.write_text(f"{training}/{path.name}", "".join(kept))


def _readable(*paths: Path) -> bool:
    for path in paths:
        try:
            load_weights(path)
        except RunError:
            continue
        return True
    return False


def _trial_of(line: str) -> float:
    """The trial that a line of epochs.jsonl belongs to; one half written to none."""
    try:
        return float(json.loads(line).get("trial", math.inf))
    except ValueError:
        return math.inf
