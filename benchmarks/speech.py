"""Recordings for benchmarks: real speech if available, otherwise chirps in noise."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile

BESIDE = Path(__file__).resolve().parents[2] / "shared/data/ravdess16k"


def by_length() -> list[Path]:
    """Return the RAVDESS clips in the folder FUSION_TEST_DATA, the shortest first."""
    files = Path(os.environ.get("FUSION_TEST_DATA", BESIDE)).glob("Actor_*/*")
    return sorted(files, key=lambda path: (soundfile.info(path).frames, path.name))


def clips(folder: Path) -> dict[str, Path]:
    """Return a short, a median and a long clip; without speech, write chirps to `folder`."""
    files = by_length()
    if files:
        return {"short": files[0], "median": files[len(files) // 2], "long": files[-1]}
    seconds = {"short": 2.9, "median": 3.7, "long": 5.3}
    return {name: chirp(folder / f"{name}.wav", length) for name, length in seconds.items()}


def chirp(path: Path, seconds: float) -> Path:
    instants = np.arange(round(seconds * 16000)) / 16000
    phase = 2 * np.pi * (120 * instants + 30 * np.sin(2 * np.pi * instants))
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(len(instants))
    noise = np.random.default_rng(0).standard_normal(len(instants))
    soundfile.write(path, 0.2 * voice + 0.002 * noise, 16000)
    return path
