"""Prediction for a new recording, and its windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Window(NamedTuple):
    """Part of a long recording that the model labelled by itself.

    Attributes
    ----------
    start, end : float
        Location of the window in the file, in seconds.
    probabilities : dict
        Probability of each class, summing to 1.
    """

    start: float
    end: float
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted label and class probabilities of one recording.

    Attributes
    ----------
    path : Path
        The file. For samples that were given as an array, the position among the recordings:
        ``array-0``.
    label : str or None
        The most probable class; None if the recording could not be labelled.
    probabilities : dict
        Probability of each class, summing to 1; empty if the recording could not be labelled. For a
        recording with windows, the mean over the windows.
    error : str or None
        Reason why the recording could not be labelled; None for a labelled recording.
    lacking : tuple of str
        Modalities that the model takes and the recording lacks; the recording was labelled without
        these modalities.
    windows : tuple of Window
        Predictions for the windows of a long recording, in order of time; empty for a recording
        that was labelled as a whole. Windows that lack a modality are left out if another window
        has all modalities that the recording has.
    start : float
        Start of the recording in the file, in seconds.
    end : float or None
        End of the recording in the file, in seconds; None if the length is unknown.
    """

    path: Path
    label: str | None
    probabilities: dict[str, float]
    error: str | None = None
    lacking: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    start: float = 0.0
    end: float | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of the label; None if the recording could not be labelled."""
        return None if self.label is None else self.probabilities.get(self.label)


def most_probable(probabilities: Mapping[str, float]) -> str:
    """Return the class with the highest probability, the first of several."""
    return max(probabilities, key=probabilities.__getitem__)


def mean_of(windows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of class probabilities over windows."""
    return {c: sum(window[c] for window in windows) / len(windows) for c in windows[0]}
