"""Digests of a dozen short runs, to test whether a change leaves every computed bit unchanged.

python benchmarks/digests.py before.json                    # on the commit before
python benchmarks/digests.py after.json --against before.json

Each run is a complete command. Together they cover strategies and balancers of every kind, folds, a
third modality, resuming a killed run, tuning, a comparison, a repair, an audit, speaker adaptation,
explanations and predictions. The digests cover weights, predictions, results and findings, but not
times, paths or versions. Both files must come from the same machine, because other processors round
differently. The exit status is 1 if a digest differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

SMALL = [
    "--jobs", "2", "--quiet",
    "--set", "demo.speakers=8", "--set", "demo.clips=2",
    "--set", "mel.n_mels=16", "--set", "mel.frames=32", "--set", "train.dim=8",
    "--set", "train.windows=middle",  # the clips are long for 32 frames
]  # fmt: skip
SHORT = [*SMALL, "--epochs", "3"]
# Parts of JSON keys, at any depth, whose values depend on the machine, the time or the location.
PASSING = (
    "seconds", "time", "created", "path", "version", "date", "host", "command", "bytes", "speed",
)  # fmt: skip


def commands() -> dict[str, list[str]]:
    """Return the command of each run by the run's name, without ``--out``."""
    run = ["run", *SHORT]
    return {
        "default": [*run, "--strategy", "gated", "--balance", "gradscale", "--folds", "3"],
        "scratch": [*run, "--strategy", "concat", "--set", "train.start=scratch"],
        "attention": [*run, "--strategy", "attention", "--balance", "ogm_ge", "--seed", "1"],
        "residual": [*run, "--strategy", "residual", "--balance", "mmpareto"],
        "lmf": [*run, "--strategy", "lmf", "--balance", "umt"],
        "early": [*run, "--strategy", "early", "--balance", "pretrain"],
        "ensemble": [*run, "--strategy", "ensemble"],
        "dropout": [*run, "--strategy", "mean", "--balance", "dropout", "--balance", "gblend"],
        "three": [*run, "--features", "mel,levelset,persistence", "--strategy", "gated"],
        "adapted": [*run, "--adapt", "speaker", "--folds", "3"],
        "tuned": [*run, "--strategy", "gated", "--tune", "2"],
        "compared": ["compare", *SMALL, "--budget", "12", "--strategies", "concat,gated",
                     "--balancers", "none,gradscale"],
        "audited": ["audit", *SHORT, "--splits", "random,speaker"],
        "repaired": ["repair", *SHORT, "--strategy", "concat", "--steps", "levelled,averaged"],
    }  # fmt: skip


def fusion(*words: str) -> list[str]:
    return [sys.executable, "-m", "fusion", *words]


def carry_out(words: list[str], folder: Path) -> str:
    process = subprocess.run(fusion(*words), cwd=folder, capture_output=True, text=True)
    if process.returncode not in (0, 1):
        sys.exit(f"fusion {' '.join(words)}\nended with {process.returncode}:\n{process.stderr}")
    return process.stdout


def killed_and_resumed(folder: Path) -> Path:
    """Start a run, kill it after its first training, and resume it; return its folder."""
    out = folder / "resumed"
    words = [*commands()["default"], "--cache", "cache", "--out", str(out)]
    process = subprocess.Popen(
        fusion(*words), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not list(out.glob("fold*/*/training.json")):
        time.sleep(0.05)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    carry_out(["run", "--resume", str(out), "--quiet"], folder)
    return out


def digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and digest of every file with computed results, for every run."""
    for name, words in commands().items():
        started = time.perf_counter()
        carry_out([*words, "--cache", "cache", "--out", str(folder / name)], folder)
        yield from of_run(folder / name, name)
        print(f"{name:<10} {time.perf_counter() - started:5.1f} s", file=sys.stderr, flush=True)
    yield from of_run(killed_and_resumed(folder), "resumed")
    default = str(folder / "default")
    wave = sorted((folder / "user-cache").rglob("*.wav"))[0]
    for name, words in {
        "explained": ["explain", default, "--json"],
        "diagnosed": ["diagnose", default, "--json"],
        "predicted": ["predict", default, str(wave), "--json"],
    }.items():
        yield name, digest(plain(carry_out(words, folder), folder))


def of_run(path: Path, name: str) -> Iterator[tuple[str, str]]:
    for file in sorted(path.rglob("*")):
        short = f"{name}/{file.relative_to(path)}"
        if file.suffix in (".safetensors", ".npz"):
            arrays = load_file(file) if file.suffix == ".safetensors" else dict(np.load(file))
            parts = [f"{k} {v.dtype} {v.shape}".encode() + v.tobytes()
                     for k, v in sorted(arrays.items())]  # fmt: skip
            yield short, digest(b"\n".join(parts))
        elif file.suffix == ".csv" and file.name != "table.csv":  # contains seconds
            yield short, digest(file.read_bytes().replace(str(path.parent).encode(), b""))
        elif file.suffix == ".json" and file.name not in ("compare.json",):
            yield short, digest(plain(file.read_text(), path.parent))


def plain(text: str, folder: Path) -> bytes:
    """Return JSON with sorted keys and without the values of PASSING keys."""
    text = text.replace(str(folder), "")
    try:
        value = json.loads(text)
    except ValueError:
        return text.encode()
    return json.dumps(_lasting(value), sort_keys=True).encode()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if not any(p in k for p in PASSING)}
    return [_lasting(v) for v in value] if isinstance(value, list) else value


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the digests, as JSON")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="digests of the version to compare with"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs in this folder")
    options = parser.parse_args()
    before = json.loads(options.against.read_text()) if options.against else {}
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(folder / "user-cache")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        after = dict(digests(folder.resolve()))
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    options.out.write_text(json.dumps(after, indent=1) + "\n")
    print(f"{len(after)} digests in {options.out}")
    other = sorted(k for k in {*after, *before} if after.get(k) != before.get(k)) if before else []
    for key in other:
        print(f"differs: {key} ({before.get(key, 'missing')} -> {after.get(key, 'missing')})")
    if before and not other:
        print("all digests are equal")
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
