# Never edit: written against contract version 1. What breaks here breaks the plugins of others.
# ruff: noqa: RUF012
"""Two extractors: what a NumPy file holds, and its sorted values."""

import numpy as np

from fusion import Extractor, Panel, Recording, RecordingError, hookimpl


class Values(Extractor):
    """The array itself, cut to a length.

    Parameters
    ----------
    length : int
        Values that are kept.
    """

    name = "v1_values"
    version = "2"
    axes = ("time",)
    libraries = ("numpy",)
    default_branch = "v1_linear"
    default_branch_parameters = {"hidden": 6}

    def __init__(self, *, length: int = 8) -> None:
        self.length = length
        self.shape = (length,)

    def extract(self, recording: Recording) -> np.ndarray:
        try:
            values = np.load(recording.path)
        except OSError as error:
            raise RecordingError(f"{recording.path}: {error}") from error
        return values[: self.length]

    def panels(self, array, recording=None):
        return [Panel("values", "curve", {"value": array}, x="index")]


class Sorted(Values):
    """The same in order."""

    name = "v1_sorted"
    axes = ()

    def extract(self, recording: Recording) -> np.ndarray:
        return np.sort(super().extract(recording))


@hookimpl
def fusion_extractors():
    return [Values, Sorted]
