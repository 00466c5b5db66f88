"""Sample recordings and folders of the checks."""

import numpy as np
import soundfile

from fusion.core.testing.checks.samples import (
    RATE,
    contents,
    small_recordings,
    strange_places,
    voice,
)


def test_small_recordings_match_their_names():
    sound = {}
    for sample in small_recordings():
        samples, rate = soundfile.read(sample.recording.path, always_2d=True)
        sound[sample.words] = (samples, rate)
    assert sound["two channels"][0].shape == (RATE, 2)
    assert sound["44.1 kHz"][1] == 44100
    assert len(sound["8 seconds"][0]) == 8 * RATE
    assert len(sound["a single sample"][0]) == 1
    assert not sound["silence"][0].any()
    # Most of the energy of a voice is between 100 and 3000 Hz.
    power = np.abs(np.fft.rfft(voice(1.0))) ** 2
    assert power[100:3000].sum() > 0.95 * power.sum()
    assert 0.05 < np.abs(voice(1.0)).max() <= 1.0


def test_contents_show_created_changed_and_deleted_files(tmp_path):
    (tmp_path / "a").write_text("one")
    before = contents(tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / "a").write_text("three")
    assert contents(tmp_path) != before
    (tmp_path / "a").unlink()
    assert contents(tmp_path) == contents(None) == {}


def test_strange_places_are_deleted_afterwards():
    with strange_places() as places:
        kinds = {words: path.is_dir() for words, path in places.items()}
        assert not any(places["an empty folder"].iterdir())
    assert kinds == {
        "an empty folder": True,
        "a folder of other files": True,
        "a file that is no corpus": False,
    }
    assert not any(path.exists() for path in places.values())
