"""Tuning: several trials of one training with different settings, compared on validation.

Every training of a run gets the same number of trials, on the training and validation clips of
its own fold, so no choice depends on a test speaker. Trial 0 uses the settings as given;
:mod:`fusion.core.runs.search_space` proposes the settings of the other trials. A training that
is killed and resumed makes the same trials as an uninterrupted training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....cache.json_text import parse_json, read_text
from ...contracts.errors import CacheError, RunError
from ...registry.provenance import message_of
from ...toolkit.weights import load_weights, save_weights
from ..run import WEIGHTS, Run
from ..search_space import Search, Settings, Trial, propose

TRIALS = "trials.jsonl"

Fit = Callable[[int, Settings, Path], tuple[Mapping[str, Tensor], dict[str, Any]]]
"""Function from a trial's number, settings and checkpoint path to its weights and summary."""


def tune(run: Run, training: str, search: Search, fit: Fit) -> dict[str, Any]:
    """Make the trials of a training that are still missing, and store the best trial's weights.

    Parameters
    ----------
    training : str
        Folder of the training in the run directory.
    search : Search
        Search space and number of trials.
    fit : callable
        Function that trains once.

    Returns
    -------
    dict
        The summary of the best trial with its settings, and the total seconds of all trials.

    Raises
    ------
    TrainingError
        If trial 0 fails: trial 0 uses the settings of the run, which tuning did not choose. The
        failure of a later trial is recorded, and tuning continues.
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
            raise  # the cause is the machine, not the settings
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
    best_weights = _weights(folder, best.number)
    if best_weights.is_file():  # the file is missing if the run was killed after this step
        best_weights.replace(folder / WEIGHTS)
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
    return max(trials, key=lambda trial: trial.rank)  # in a tie, the first trial


def _weights(folder: Path, number: int) -> Path:
    return folder / f"trial{number}.safetensors"


def _keep_best(folder: Path, trials: Sequence[Trial]) -> None:
    """Remove the checkpoints of all trials, and the weights of all but the best trial."""
    for trial in trials:
        (folder / f"trial{trial.number}.pt").unlink(missing_ok=True)
        if trial is not _best(trials):
            _weights(folder, trial.number).unlink(missing_ok=True)


def read_trials(folder: Path) -> list[Trial]:
    """Read the finished and failed trials of a training, in order.

    Raises
    ------
    RunError
        If trials.jsonl is damaged.
    """
    path = folder / TRIALS
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {error}") from None
    try:
        trials = [Trial.from_json(parse_json(line, finite=True)) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError):
        trials = []
    if not trials or [trial.number for trial in trials] != list(range(len(trials))):
        raise RunError(
            f"{path} can't be read.",
            hint="Delete the file: fusion run --resume then repeats these trials.",
        )
    return trials


def rewind(run: Run, training: str) -> None:
    """Remove the lines of epochs.jsonl that a resumed training will write again.

    Only the epochs of finished trials remain; without tuning, no epochs remain. If the weights of
    the best trial can't be read, the trials are removed as well.
    """
    folder = run.training(training)
    trials = read_trials(folder)
    if trials and not _readable(_weights(folder, _best(trials).number), folder / WEIGHTS):
        (folder / TRIALS).unlink()
        trials = []
    path = folder / "epochs.jsonl"
    if not path.is_file():
        return
    try:
        lines = read_text(path).splitlines(keepends=True)
    except (OSError, ValueError):
        lines = []  # the training writes all its epochs again
    remaining = [line for line in lines if _trial_of(line) < len(trials)]
    if not remaining:
        path.unlink()
    elif remaining != lines:
        run.write_text(f"{training}/{path.name}", "".join(remaining))


def _readable(*paths: Path) -> bool:
    for path in paths:
        try:
            load_weights(path)
        except RunError:
            continue
        return True
    return False


def _trial_of(line: str) -> float:
    """Return the number of the trial to which a line of epochs.jsonl belongs.

    Return infinity for a line without a trial, and for a line that is only partly written.
    """
    try:
        return float(parse_json(line).get("trial", math.inf))
    except (ValueError, TypeError, AttributeError):
        return math.inf
