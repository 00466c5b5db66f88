"""The generated demo corpus."""

import os
import signal
import subprocess
import sys
import time
import wave
from collections import Counter

import numpy as np
import pytest

from fusion.core.contracts.errors import ParameterError, StorageError
from fusion.plugins.corpora.demo import Demo
from fusion.testing import CorpusSuite

SMALL = {"speakers": 3, "clips": 1}
CODE = "from fusion.plugins.corpora.demo import Demo; print(len(list(Demo(None).clips())))"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Temporary folder of the demo corpus."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "fusion/demo"


def contents(**parameters):
    return [clip.recording.path.read_bytes() for clip in Demo(None, **parameters).clips()]


def test_speakers_and_emotions_are_crossed(home):
    clips = list(Demo(None, speakers=4, clips=2).clips())
    counts = Counter((clip.speaker, clip.label) for clip in clips)
    assert len(counts) == 4 * 6 and set(counts.values()) == {2}
    assert len({clip.name for clip in clips}) == len(clips) == 48


def test_format_of_the_sound_files(home):
    for clip in Demo(None, **SMALL).clips():
        with wave.open(str(clip.recording.path)) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1)
            assert 1.5 <= file.getnframes() / 16000 <= 2.5
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        assert 100 < np.abs(samples.astype(int)).max() < 32767  # audible, and not clipped


def test_same_seed_same_bytes(home, monkeypatch, tmp_path):
    first = contents(**SMALL)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "elsewhere")
    assert contents(**SMALL) == first
    assert contents(**SMALL, seed=1) != first
    assert len(set(first)) == len(first)


def test_the_corpus_is_generated_once(home):
    times = [clip.recording.path.stat().st_mtime_ns for clip in Demo(None, **SMALL).clips()]
    again = [clip.recording.path.stat().st_mtime_ns for clip in Demo(None, **SMALL).clips()]
    assert again == times and len(list(home.iterdir())) == 1


@pytest.mark.parametrize("wrong", [{"speakers": 2}, {"clips": 0}, {"seed": -1}])
def test_parameters_out_of_range(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Demo(None, **wrong)


def test_an_unwritable_folder_is_a_storage_error(home):
    home.parent.mkdir()
    home.write_text("a file in the way")
    with pytest.raises(StorageError, match="demo"):
        list(Demo(None, **SMALL).clips())


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME sets the folder on Linux only")
@pytest.mark.slow
def test_two_processes_generate_the_corpus_after_a_killed_one(tmp_path):
    command, environment = (
        [sys.executable, "-c", CODE],
        os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    folder = tmp_path / "fusion/demo"
    deadline = time.monotonic() + 60
    while not list(folder.glob("*/*/*.wav")) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == [b"480\n", b"480\n"]
    whole = [path for path in folder.iterdir() if path.suffix != ".tmp"]
    assert len(whole) == 1 and len(list(whole[0].rglob("*.wav"))) == 480


@pytest.mark.slow
def test_emotions_of_held_out_speakers_are_recognised_above_chance(home):
    """A classifier on plain statistics has a UAR far above chance (0.17) and far below 0.95."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    clips = list(Demo(None).clips())
    x = np.stack([statistics(clip.recording.path) for clip in clips])
    y = np.array([clip.label for clip in clips])
    result = cross_val_predict(
        make_pipeline(StandardScaler(), SVC(C=3)), x, y,
        groups=[clip.speaker for clip in clips], cv=GroupKFold(8),
    )  # fmt: skip
    assert 0.35 < balanced_accuracy_score(y, result) < 0.85


def statistics(path):
    import librosa

    y, rate = librosa.load(path, sr=None)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=rate, n_mels=40), ref=np.max)
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=20)
    return np.concatenate([mel.mean(1), mel.std(1), np.diff(mel).std(1), mfcc.std(1)])


class TestDemo(CorpusSuite):
    plugin = Demo
