"""The conformance suite, on a small corpus that is made here, and wrong ones.

``python tests/test_my_plugin.py FOLDER`` makes the small corpus, to try `fusion run` on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile
from fusion.testing import CorpusSuite

from .corpus import MyPlugin

RATE = 16000  # in hertz


def make_samples(folder: Path, *, speakers: int = 6, takes: int = 2) -> None:
    """Half a second of noise per clip, as files of this corpus are called."""
    noise = np.random.default_rng(0)
    for speaker in range(speakers):
        home = folder / f"speaker{speaker}"
        home.mkdir(parents=True, exist_ok=True)
        for pitch, emotion in enumerate(MyPlugin.labels, start=1):
            for take in range(1, takes + 1):
                tone = np.sin(2 * np.pi * 100 * pitch * np.arange(RATE // 2) / RATE)
                samples = 0.3 * tone + 0.1 * noise.standard_normal(len(tone))
                soundfile.write(home / f"{emotion}_{take:02d}.wav", samples, RATE)


class TestConformance(CorpusSuite):
    """Clips in a stable order, unique names, labels that are declared, and detection."""

    plugin = MyPlugin

    def make(self, folder: Path) -> None:
        make_samples(folder)


def test_what_a_path_says(tmp_path: Path) -> None:
    file = tmp_path / "anna" / "JOY_01.wav"
    file.parent.mkdir()
    file.touch()
    (clip,) = MyPlugin(tmp_path).clips()
    assert (clip.speaker, clip.label, clip.name) == ("anna", "joy", "anna/JOY_01.wav")
    (clip,) = MyPlugin(tmp_path, part=2).clips()
    assert clip.label == "01"


if __name__ == "__main__":
    make_samples(Path(sys.argv[1]))
