"""Made-up long recordings in which only the end carries the class, and runs on them."""

import numpy as np
import soundfile

from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import make_plan
from fusion.core.runs.run import Run
from fusion.core.workflows.experiment import prepare_run

RATE = 8000
CLASSES = {"happy": 500, "sad": 2000}  # pitch of the tone at the end, in hertz
WINDOW = 0.512  # seconds that `SMALL` features see: 32 frames of 128 samples
SMALL = {
    "mel": {"sample_rate": RATE, "n_fft": 256, "hop": 128, "n_mels": 16, "frames": 32},
    "mfcc": {"sample_rate": RATE, "n_fft": 256, "hop": 128, "n_mels": 16, "n_mfcc": 8,
             "frames": 32},
}  # fmt: skip
LEVEL = """
import numpy as np
from fusion import Extractor, hookimpl
from fusion.core.toolkit.audio import load_waveform

class Level(Extractor):
    '''Loudness of the whole recording, and its length in seconds.'''

    name, shape, default_branch = "level", (2,), "mlp"

    def extract(self, recording):
        samples = load_waveform(recording, 8000)
        return np.array([np.abs(samples).max(), len(samples) / 8000], np.float32)

@hookimpl
def fusion_extractors():
    return [Level]
"""


def recording(pitch, seconds, speaker=0):
    """Return silence of `seconds` with a tone in its last 0.4 s."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    t = np.arange(round(0.4 * RATE)) / RATE
    samples[-len(t) :] = 0.3 * np.sin(2 * np.pi * (pitch + 10 * speaker) * t)
    return samples


def write_corpus(folder, *, seconds=2.0, speakers=6, short=0):
    """Write two recordings per speaker and class; the first `short` speakers' last 0.4 s each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,label,speaker"]
    for speaker in range(speakers):
        for label, pitch in CLASSES.items():
            for take in range(2):
                length = 0.4 if speaker < short else seconds + 0.01 * take
                name = f"s{speaker}-{label}-{take}.wav"
                samples = recording(pitch + 30 * take, length, speaker)
                soundfile.write(folder / name, samples, RATE)
                lines.append(f"{name},{label},s{speaker}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "level_plugin.py").write_text(LEVEL)


def config_of(folder, *, features=("mel",), windows="random", epochs=1, **changes):
    """Return a configuration for the corpus in `folder`."""
    train = {
        "dim": 8, "epochs": epochs, "windows": windows, "start": "scratch",
        "precision": "float32", "masks": 0, "shift_frequency": 0.0, "shift_time": 0.0,
    }  # fmt: skip
    settings = {m: SMALL[m] for m in features if m in SMALL} | {"train": train}
    values = {
        "data": (str(folder / "clips.csv"),),
        "labels": "native",
        "features": features,
        "branches": dict.fromkeys(features, "mlp"),
        "settings": settings,
        "plugins": (str(folder / "level_plugin.py"),),
        "cache": str(folder / "cache"),
        "device": "cpu",
    }
    return RunConfig(**{**values, **changes})


def plan_of(config):
    return make_plan(config, Registry(config.plugins))


def prepared(config, path, observer=None):
    """Return a new run with features and without trainings."""
    registry = Registry(config.plugins)
    with Run.create(path, registry) as run:
        prepare_run(run, make_plan(config, registry), jobs=1, observer=observer)
    return Run.open(path, registry)
