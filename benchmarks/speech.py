"""Recordings for benchmarks: real speech where there is some, else a chirp in noise."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile

BESIDE = Path(__file__).resolve().parents[2] / "shared/data/ravdess16k"


def by_length() -> list[Path]:
    """The clips of RAVDESS in the folder that FUSION_TEST_DATA names, the shortest first."""
    found = Path(os.environ.get("FUSION_TEST_DATA", BESIDE)).glob("Actor_*/*")
    return sorted(found, key=lambda path: (soundfile.info(path).frames, path.name))


def clips(folder: Path) -> dict[str, Path]:
    """A short one, a median one and a long one; chirps are written into `folder`."""
    found = by_length()
    if found:
        return {"short": found[0], "median": found[len(found) // 2], "long": found[-1]}
    seconds = {"short": 2.9, "median": 3.7, "long": 5.3}
    return {name: chirp(folder / f"{name}.wav", length) for name, length in seconds.items()}


def chirp(path: Path, seconds: float) -> Path:
    instants = np.arange(round(seconds * 16000)) / 16000
    phase = 2 * np.pi * (120 * instants + 30 * np.sin(2 * np.pi * instants))
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(len(instants))
    noise = np.random.default_rng(0).standard_normal(len(instants))
    soundfile.write(path, 0.2 * voice + 0.002 * noise, 16000)
    return path
