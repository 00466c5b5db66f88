"""Suite for extractors: each broken extractor fails the corresponding check."""

import numpy as np
import pytest
import soundfile
from right_extractors import Level, Together
from suites import failures, own_checks

from fusion import Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.testing.checks.samples import RATE
from fusion.core.toolkit.audio import load_waveform
from fusion.testing import ExtractorSuite

CHECKS = {name for name in dir(ExtractorSuite) if name.startswith("test_")}
QUICK = CHECKS - {"test_fresh_process_same_bits"}  # each takes a second of imports


class Picky(Level):
    """Valid: refuses silence and a single sample."""

    def extract(self, recording):
        samples = load_waveform(recording, RATE)
        if len(samples) < 100 or not samples.any():
            raise RecordingError(f"{recording}: nothing in it.")
        return self.levels(samples)

    __doc__ += Level.__doc__.partition("\n")[2]


@pytest.mark.parametrize("plugin", [Level, Together, Picky], ids=lambda plugin: plugin.__name__)
def test_valid_extractors_pass(plugin):
    only = CHECKS if plugin is Level else QUICK
    assert failures(ExtractorSuite, plugin, only=only) == {}
    assert failures(ExtractorSuite, plugin, parameters={"parts": 3}, only=QUICK) == {}


# -- extractors with one fault each ------------------------------------------------------


class Lengthy(Level):
    """A number of parts that depends on the duration."""

    def levels(self, samples):
        return np.zeros(1 + len(samples) // RATE, np.float32)


class LogOfZero(Level):
    """A logarithm without a floor."""

    def levels(self, samples):
        with np.errstate(divide="ignore"):
            parts = np.array_split(np.resize(samples, max(8, len(samples))), self.parts)
            return np.log(np.array([np.square(part).mean() for part in parts]))


class Spectrum(Level):
    """Complex numbers."""

    def levels(self, samples):
        return np.fft.fft(super().levels(samples))


class Listing(Level):
    """A list instead of an array."""

    def levels(self, samples):
        return super().levels(samples).tolist()


class Loud(Level):
    """Values too large for half precision."""

    def levels(self, samples):
        return 1e6 * super().levels(samples)


class Wobbly(Level):
    """Random numbers without a seed."""

    def levels(self, samples):
        return super().levels(samples) + np.random.default_rng().normal(size=self.parts)


class Running(Level):
    """A maximum over all previous recordings."""

    def __init__(self, *, parts: int = 8):
        super().__init__(parts=parts)
        self.top = -100.0

    def levels(self, samples):
        result = super().levels(samples)
        self.top = max(self.top, float(result.max()))
        return result - self.top


class Buffer(Level):
    """One array reused for all recordings."""

    def __init__(self, *, parts: int = 8):
        super().__init__(parts=parts)
        self.buffer = np.zeros(parts, np.float32)

    def levels(self, samples):
        self.buffer[:] = super().levels(samples)
        return self.buffer


class Blind(Level):
    """Ignores the recording."""

    def levels(self, samples):
        return np.zeros(self.parts, np.float32)


class Whole(Level):
    """Reads the whole file instead of the given part."""

    def extract(self, recording):
        return super().extract(Recording(recording.path))


class Duration(Level):
    """Treats the end as a duration."""

    def extract(self, recording):
        end = None if recording.end is None else recording.start + recording.end
        return super().extract(Recording(recording.path, recording.start, end))


class Bare(Level):
    """Raises the errors of the library."""

    def extract(self, recording):
        with soundfile.SoundFile(recording.path):
            return super().extract(recording)


class Forgiving(Level):
    """Returns zeros for unreadable recordings."""

    def extract(self, recording):
        try:
            return super().extract(recording)
        except RecordingError:
            return np.zeros(self.parts, np.float32)


class Chatty(Level):
    """Prints."""

    def levels(self, samples):
        print("levels of", len(samples))
        return super().levels(samples)


class Cache(Level):
    """Writes its own cache beside the recording."""

    def extract(self, recording):
        result = super().extract(recording)
        np.save(recording.path.with_suffix(".npy"), result)
        return result


class Panels(Level):
    """Returns a curve instead of panels."""

    def panels(self, array, recording=None):
        return self.extract(recording)


class Painter(Level):
    """Changes the array that it draws."""

    def panels(self, array, recording=None):
        array -= array.min()
        return []


class OnInstance(Level):
    """An attribute that is not a parameter."""

    made = 0

    def __init__(self, *, parts: int = 8):
        super().__init__(parts=parts)
        type(self).made += 1
        self.gain = type(self).made

    def levels(self, samples):
        return super().levels(samples) + self.gain


class Hashed(Level):
    """The order of a set of strings, which differs between processes."""

    def levels(self, samples):
        words = {f"word {i}" for i in range(50)}
        return super().levels(samples) + np.float32(list(words).index("word 7"))


class OneArray(Together):
    """Returns a single array for all recordings."""

    def extract_many(self, recordings):
        return self.extract(recordings[0])


class Padded(Together):
    """Pads every recording to the longest."""

    def extract_many(self, recordings):
        result = [load_waveform(recording, RATE) for recording in recordings]
        longest = max(len(samples) for samples in result)
        return [self.levels(np.pad(x, (0, longest - len(x)))) for x in result]


class Raising(Together):
    """Fails on all recordings if one is unreadable."""

    def one(self, recording):
        return self.extract(recording)


# Plugin -> words of the message, and the check that it fails.
WRONG = {
    Lengthy: ("returns an array of shape (2,)", "array"),
    LogOfZero: ("values are NaN or infinite", "array"),
    Spectrum: ("returns an array of complex", "array"),
    Listing: ("extract returns list", "array"),
    Loud: ("storing the array as float16", "float16"),
    Wobbly: ("extracted a second time", "same_recording_same_bits"),
    Running: ("depends on the recordings before it", "order_of_recordings"),
    Buffer: ("later calls change the values", "order_of_recordings"),
    Blind: ("a voice and another voice give the same array", "different_recordings"),
    Whole: ("is that of the whole file", "part_of_a_file"),
    Duration: ("differs from that of a file which holds only this part", "part_of_a_file"),
    Bare: ("extract raises LibsndfileError", "unreadable_recordings"),
    Forgiving: ("extract returns an array", "unreadable_recordings"),
    Chatty: ("prints 'levels of", "leaves_no_traces"),
    Cache: ("were created, changed or deleted", "leaves_no_traces"),
    Panels: ("panels", "panels"),
    Painter: ("panels changes the array", "panels"),
    OnInstance: ("reconstructed from its parameters", "rebuilt"),
    Hashed: ("the array differs by", "fresh_process_same_bits"),
    OneArray: ("extract_many returns 8 arrays", "extract_many"),
    Padded: ("the array from extract_many differs from that of extract", "extract_many"),
    Raising: ("extract_many raises RecordingError", "extract_many_with_one_unreadable"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_extractor_fails_its_check(plugin):
    words, intended = WRONG[plugin]
    result = failures(ExtractorSuite, plugin, only={f"test_{intended}"})
    assert words in result[f"test_{intended}"]
    assert "usual cause:" in result[f"test_{intended}"]


@pytest.mark.parametrize(
    ("plugin", "intended"),
    [(Duration, {"part_of_a_file"}), (Bare, {"unreadable_recordings"}), (Loud, {"float16"}),
     (Raising, {"extract_many_with_one_unreadable"})],
)  # fmt: skip
def test_a_broken_extractor_fails_no_other_check(plugin, intended):
    only = QUICK - {"test_parameters"}  # their docstrings lack parameters
    assert set(failures(ExtractorSuite, plugin, only=only)) == {f"test_{name}" for name in intended}


def test_every_check_has_an_extractor_that_fails_it():
    assert own_checks(ExtractorSuite) == {f"test_{intended}" for _, intended in WRONG.values()}


def test_a_class_that_other_processes_can_not_import():
    class Local(Level):
        """A class inside a function."""

    result = failures(ExtractorSuite, Local, only={"test_rebuilt", "test_fresh_process_same_bits"})
    assert "a class that is defined inside a function" in result["test_rebuilt"]
    assert "AttributeError" in result["test_fresh_process_same_bits"]
