"""A finished run on short wav files, whose extractor `level` sees 1 s of a recording.

The samples of a recording are constant for half a second each, so the features of a window are
known: `level` is the mean and the deviation of the middle second, and `length` is the duration of
the whole recording, which has no limit. A part that is louder than 0.9 can't be read, and a part
with samples below -0.9 lacks `level`.
"""

import numpy as np
import pytest
import soundfile
from untrained_runs import config_of, finished_run

from fusion.core.runs.bundle import write_bundle
from fusion.core.runs.outcome.selection import FoldSelection, Selection

RATE = 1000

PLUGIN = """
import numpy as np
from fusion import Extractor, MissingModalityError, RecordingError, hookimpl
from fusion.core.toolkit.audio import load_waveform

class Level(Extractor):
    name, shape, seconds = "level", (2,), 1.0
    default_branch = "mlp"
    spans = []

    def extract(self, recording):
        samples = load_waveform(recording, 1000)
        self.spans.append((recording.start, recording.end))
        if samples.max() > 0.9:
            raise RecordingError(f"{recording.path}: too loud")
        if samples.min() < -0.9:
            raise MissingModalityError(f"{recording.path}: no level")
        start = max(0, (len(samples) - 1000) // 2)
        middle = samples[start : start + 1000]
        return np.array([middle.mean(), middle.std()], np.float32)

class Length(Extractor):
    name, shape = "length", (1,)
    default_branch = "mlp"
    spans = []

    def extract(self, recording):
        self.spans.append((recording.start, recording.end))
        return np.array([len(load_waveform(recording, 1000)) / 1000], np.float32)

@hookimpl
def fusion_extractors():
    return [Level, Length]
"""


def write_steps(path, *levels):
    """Write a wav file whose samples have each level for half a second; return its path."""
    samples = np.repeat(np.array(levels, np.float32), RATE // 2)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="session")
def stepped_run(tmp_path_factory):
    """Finished run with untrained models; the chosen model uses both features. Read-only."""
    folder = tmp_path_factory.mktemp("steps")
    lines = ["path,label,speaker"]
    for speaker in range(6):
        for number, label in enumerate(("happy", "sad")):
            name = f"s{speaker}-{label}.wav"
            write_steps(folder / name, 0.1 * speaker, 0.2 * number)
            lines.append(f"{name},{label},s{speaker}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "numbers_plugin.py").write_text(PLUGIN)
    middles = {"train": {"windows": "middle"}}
    config = config_of(folder, middles, features=("level", "length"))
    run = finished_run(folder, folder / "run", config)
    fold = FoldSelection({"level": 0.5, "length": 0.5}, {"level": 1.0, "length": 1.0}, "ensemble")
    run.finish(write_bundle(run, Selection((fold,), "level")), 1.0)
    return run


@pytest.fixture
def windowed_run(stepped_run, monkeypatch):
    """The run, read as if it had been trained on windows."""
    monkeypatch.setattr("fusion.core.runs.predictor.trained_on_windows", lambda config: True)
    return stepped_run
