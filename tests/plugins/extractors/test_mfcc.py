from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from fusion import Recording
from fusion.core.contracts.errors import ParameterError
from fusion.plugins.extractors.mfcc import MFCC
from fusion.testing import ExtractorSuite


@pytest.fixture
def chirp(tmp_path):
    t = np.arange(16000) / 16000
    y = 0.5 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.01 * np.random.default_rng(0).normal(
        size=len(t)
    )
    path: Path = tmp_path / "chirp.wav"
    soundfile.write(path, y, 16000, subtype="FLOAT")
    return path, y.astype(np.float32)


def test_equal_to_librosa(chirp):
    path, y = chirp
    expected = librosa.feature.mfcc(y=y, sr=16000, n_fft=1024, hop_length=256, n_mfcc=20)
    result = MFCC(n_mfcc=20, frames=expected.shape[1]).extract(Recording(path))[0]
    np.testing.assert_allclose(result, expected, atol=2e-3)  # values are up to several hundred


def test_short_clips_are_centred_in_zeros(chirp):
    path, _ = chirp
    image = MFCC(frames=100).extract(Recording(path))
    assert image.shape == (1, 40, 100) and image.dtype == np.float32
    lit = np.flatnonzero(image[0].any(axis=0))
    assert (lit[0], lit[-1]) == (18, 80)  # 63 frames of 100


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match="n_mfcc <= n_mels"):
        MFCC(n_mels=20, n_mfcc=21)


class TestMFCC(ExtractorSuite):
    plugin = MFCC
