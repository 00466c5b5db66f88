"""Cost of reading data: long recordings, lengths, folders, copies, and measurements of signals.

python benchmarks/reading.py [--minutes 30] [--files 100000] [--rounds 5] [--out FILE.json]

A long recording (stereo, 48 kHz, FLAC) is read at 16 kHz by fusion, and as a whole by soundfile and
soxr, each in a process of its own, whose peak memory is measured. Other ratios are between calls
that alternate in this process. All recordings and folders are made up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from speech import chirp
from timing import busy, in_turn, keep

from fusion import Clip, Recording
from fusion.core.data.shared_recordings import shared_recordings
from fusion.core.toolkit.audio import duration_of, load_waveform
from fusion.core.toolkit.filenames import audio_files
from fusion.core.toolkit.signal import measure
from fusion.plugins.extractors.mel import Mel

RATE = 16_000
BLOCK = 48_000 * 10  # samples
PER_FOLDER = 1_000  # files
EQUAL = 10_000  # files of one size
LENGTHS = {"WAV": "a.wav", "FLAC": "a.flac", "MP3": "a.mp3", "Ogg Vorbis": "a.ogg"}


def fusion_reads(path: Path) -> np.ndarray:
    return load_waveform(Recording(path), RATE)


def whole_is_read(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE)


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "fusion": fusion_reads,
    "as a whole": whole_is_read,
}


def read_once(reader: str, path: Path) -> dict[str, float]:
    """Return the seconds of reading in this process, and the memory above that before, in MiB."""
    before = memory("VmRSS")
    started = time.perf_counter()
    size = READERS[reader](path).nbytes
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "MiB": memory("VmHWM") - before, "result": size / 2**20}


def memory(name: str) -> float:
    """Return the memory of this process in MiB: now (VmRSS) or at its peak (VmHWM), on Linux."""
    # resource.getrusage would also count the memory of the process that started this one.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def long_recording(folder: Path, minutes: float) -> dict[str, dict[str, float]]:
    """Return what :func:`read_once` returns for a long recording, by reader."""
    path = folder / "long.flac"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 48_000, 2) as file:
        for _ in range(round(minutes * 60 * 48_000 / BLOCK)):
            file.write(rng.uniform(-0.1, 0.1, (BLOCK, 2)).astype(np.float32))
    figures = {}
    for reader in READERS:
        command = [sys.executable, __file__, "--read", reader, str(path)]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[reader] = json.loads(process.stdout)
    path.unlink()
    return figures


def lengths(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds of reading the length, and all samples, of 60 s in each format."""
    samples = soundfile.read(chirp(folder / "made.wav", 60))[0]
    figures = {}
    for name, file in LENGTHS.items():
        path = folder / file
        soundfile.write(path, samples, RATE)
        calls = {
            "length": lambda path=path: duration_of(Recording(path)),
            "all samples": lambda path=path: load_waveform(Recording(path), RATE),
        }
        figures[name] = in_turn(calls, rounds)
    return figures


def folders(folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Return the seconds of the search of a tree of files, and of Python's own."""
    root = folder / "tree"
    for number in range(count):
        if number % PER_FOLDER == 0:
            inner = root / f"speaker{number // PER_FOLDER}"
            inner.mkdir(parents=True)
        (inner / f"{number}.wav").touch()
    calls = {
        "audio_files": lambda: audio_files(root),
        "os.walk": lambda: [os.path.join(p, f) for p, _, fs in os.walk(root) for f in fs],  # noqa: PTH118
    }
    return in_turn(calls, rounds)


def planning(folder: Path, rounds: int) -> dict[str, float]:
    """Return the seconds of the search for copies, and of one measurement and one spectrogram."""
    root = folder / "equal"
    root.mkdir()
    rng = np.random.default_rng(0)
    clips = []
    for number in range(EQUAL):
        path = root / f"{number}.wav"
        path.write_bytes(rng.bytes(20_000))
        clips.append(Clip(Recording(path), str(number), "x", str(number), "made"))
    one, mel = Recording(chirp(folder / "one.wav", 3.7)), Mel()
    return in_turn(
        {
            "copies": lambda: shared_recordings(clips),
            "measure": lambda: measure(one),
            "mel": lambda: mel.extract(one),
        },
        rounds,
    )


def lines(figures: dict[str, Any], options: argparse.Namespace) -> Iterator[str]:
    """Yield the figures as tables in Markdown."""
    head = f"{options.minutes:g} min, stereo, 48 kHz, FLAC"
    yield f"| {head} | seconds | peak memory, MiB | of which result |"
    yield "|---|---|---|---|"
    for reader, row in figures["long"].items():
        yield f"| {reader} | {row['seconds']:.1f} | {row['MiB']:.0f} | {row['result']:.0f} |"
    yield "\n| 60 s at 16 kHz | length, ms | all samples, ms | ratio |\n|---|---|---|---|"
    for name, row in figures["lengths"].items():
        length, samples = 1e3 * row["length"], 1e3 * row["all samples"]
        yield f"| {name} | {length:.3f} | {samples:.1f} | {samples / length:.0f} |"
    seconds = figures["folders"]
    yield (
        f"\nsearch of {options.files:,} files: {seconds['audio_files']:.2f} s, "
        f"os.walk {seconds['os.walk']:.2f} s"
    )
    plan = figures["planning"]
    yield f"search for copies in {EQUAL:,} files of one size: {plan['copies']:.2f} s"
    yield (
        f"measurement of a clip of 3.7 s, once per content: {1e3 * plan['measure']:.2f} ms, "
        f"mel {1e3 * plan['mel']:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--read", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read_once(options.read[0], Path(options.read[1]))))
        return
    print(busy(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "long": long_recording(folder, options.minutes),
            "lengths": lengths(folder, options.rounds),
            "folders": folders(folder, options.files, options.rounds),
            "planning": planning(folder, options.rounds),
        }
    print("\n".join(lines(figures, options)))
    if options.out:
        keep(figures, options.out)


if __name__ == "__main__":
    main()
