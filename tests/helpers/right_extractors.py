"""Valid extractors, and the base class of broken ones."""

import numpy as np

from fusion import Extractor
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.testing.checks.samples import RATE
from fusion.core.toolkit.audio import load_waveform


class Level(Extractor):
    """Valid: the level of equal parts of a recording.

    Parameters
    ----------
    parts : int
        How many.
    """

    name = "level"
    axes = ("time",)
    libraries = ("numpy",)

    def __init__(self, *, parts: int = 8):
        self.parts = parts
        self.shape = (parts,)

    def extract(self, recording):
        return self.levels(load_waveform(recording, RATE))

    def levels(self, samples):
        parts = np.array_split(samples, self.parts)
        power = [float(np.square(part).mean()) if len(part) else 0.0 for part in parts]
        return np.log10(np.maximum(power, 1e-10)).astype(np.float32)


class Together(Level):
    """Valid: extraction in batches, with a parameter that doesn't change the result.

    Parameters
    ----------
    parts : int
        How many.
    width : int
        Recordings per batch, at least 1.
    """

    name = "together"

    def __init__(self, *, parts: int = 8, width: int = 3):
        super().__init__(parts=parts)
        if width < 1:
            raise ParameterError(f"together.width must be 1 or more, and is {width}.")
        self.batch = width

    def identity(self):
        return {"parts": self.parameters["parts"]}

    def extract_many(self, recordings):
        return [self.one(recording) for recording in recordings]

    def one(self, recording):
        try:
            return self.extract(recording)
        except RecordingError as error:
            return error
