"""All benchmarks that need a GPU, in one command.

python benchmarks/gpu.py [--out docs/img/gpu.json] [--rounds N] [--epochs N]

1. Checks: a step of the engine equals that of a bare loop; the model's scores equal those on the
   CPU; no step waits for the device; the branches are recorded as CUDA graphs.
2. One training: clips per second of a plain training loop and of ours, on the same GPU.
3. Probes, recording and a balancer: the time that they add to a step.
4. An experiment of 6 folds x 3 seeds x 4 models, with one training at a time and with several.

Without a GPU the command exits with a message. `--rehearse` runs everything on the CPU with a few
clips, to test this file; the figures of a rehearsal mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from elsewhere import Elsewhere
from networks import BATCH, IMAGES, MEL, PLAIN_BLOCKS, our_epoch, our_step, our_trainer, wait_for
from timing import in_turn, keep
from training import check_equal, make_ours, make_plain

from fusion.core.contracts.train_config import TrainConfig
from fusion.core.runs.execution.scheduler import default_jobs
from fusion.core.training.model import FusionModel
from fusion.core.training.trainer import Trainer

PLAIN = "plain loop"
PARTS = ["mel and persistence", "+ probes", "+ recording", "+ balancer"]
MODELS = 4  # models of an experiment: mel, level sets, fused, the equal-steps control
TARGETS = {"training": 5.0, "parts": 0.10, "experiment": 3.0}


@dataclass(frozen=True)
class Size:
    """Device and size of the measurements."""

    device: str
    clips: int
    rounds: int
    folds: int
    seeds: int
    epochs: int
    speakers: int
    takes: int


# -- 1: checks ---------------------------------------------------------------------------


def check(size: Size) -> dict[str, float]:
    """Exit if the engine computes wrong results; return the relative differences."""
    torch.backends.cudnn.allow_tf32 = False  # TF32's 10 bits are too imprecise to compare
    apart = {"weights after 2 steps": check_equal(device=size.device, tolerance=1e-3)}
    scores = []
    for device in ("cpu", size.device):
        trainer = our_trainer([MEL, IMAGES], "gated", device=device)
        inputs, _ = trainer.features.batch(trainer.val)
        with torch.no_grad():
            scores.append(trainer.model.eval()(inputs).cpu())
    apart["scores on the CPU"] = float((scores[0] - scores[1]).abs().max() / scores[0].abs().max())
    if not apart["scores on the CPU"] < 1e-3:
        raise SystemExit(f"The scores on the device differ from those on the CPU: {apart}")
    torch.backends.cudnn.allow_tf32 = True  # torch's default
    for balancers in ((), ("gradscale",), ("mmpareto",)):
        trainer = our_trainer([MEL, IMAGES], "gated", balancers, device=size.device)
        no_waits(trainer)
        if size.device != "cpu":
            all_recorded(trainer)
    return apart


def all_recorded(trainer: Trainer) -> None:
    graphs = trainer.stepper.graphs
    states = {} if graphs is None else graphs.summary()
    if states != dict.fromkeys(trainer.model.modalities, "recorded"):
        raise SystemExit(f"Not every branch runs as a CUDA graph: {states}")


def no_waits(trainer: Trainer) -> None:
    step = our_step(trainer)
    for _ in range(3):
        step()
    with refusing_waits(trainer.features.device):
        for _ in range(3):
            step()


@contextmanager
def refusing_waits(device: torch.device) -> Iterator[None]:
    """Make CUDA raise an error if an operation waits for the device."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -- 2: one training ----------------------------------------------------------------------


def make_compiled(clips: int, mode: str | None, device: str) -> Callable[[], object]:
    """Return an epoch of ours with compiled branches; "reduce-overhead" adds CUDA graphs."""
    trainer = our_trainer([MEL], None, clips=clips, device=device, graphs=False)
    for branch in trainer.model.branches.values():
        branch.maps = torch.compile(branch.maps, mode=mode)
    return lambda: our_epoch(trainer)


def make_launched(clips: int, device: str) -> Callable[[], object]:
    """Return an epoch of ours without CUDA graphs."""
    trainer = our_trainer([MEL], None, clips=clips, device=device, graphs=False)
    return lambda: our_epoch(trainer)


def columns(size: Size) -> Mapping[str, tuple[Any, ...]]:
    """Return the loops to compare by name, each as a factory and its arguments."""
    loops: dict[str, tuple[Any, ...]] = {
        PLAIN: (make_plain, size.clips, size.device),
        "ours, the same blocks, tf32": (
            make_ours, size.clips, PLAIN_BLOCKS, "float32", size.device,
        ),
        "ours, the same blocks": (make_ours, size.clips, PLAIN_BLOCKS, "auto", size.device),
        "ours, default branch": (make_ours, size.clips, None, "auto", size.device),
    }  # fmt: skip
    if size.device != "cpu":  # a rehearsal does not test the compiler
        loops["... without CUDA graphs"] = (make_launched, size.clips, size.device)
        loops["... compiled instead"] = (make_compiled, size.clips, None, size.device)
        loops["... compiled, torch's graphs"] = (
            make_compiled, size.clips, "reduce-overhead", size.device,
        )  # fmt: skip
    return loops


def one_training(size: Size) -> dict[str, float | str]:
    """Return the clips per second of each loop, or a message if the loop failed."""
    calls: dict[str, Callable[[], object]] = {}
    failures: dict[str, float | str] = {}
    with ExitStack() as stack:
        for name, (make, *arguments) in columns(size).items():
            try:
                process = Elsewhere(make, *arguments, threads=0 if name == PLAIN else 1)
                stack.callback(process.close)
                process()  # compiles; may fail
            except (EOFError, OSError):
                failures[name] = "failed, with the error above"
            else:
                calls[name] = process
        seconds = in_turn(calls, size.rounds)
    return {name: failures.get(name) or size.clips / seconds[name] for name in columns(size)}


# -- 3: additional parts of a step --------------------------------------------------------


def make_parts(parts: int, device: str, steps: int) -> Callable[[], object]:
    """Return a call that takes steps of a fused model with the first `parts` of PARTS.

    One step in nine is recorded, as in a training with 36 steps per epoch.
    """
    if parts < 2:
        FusionModel.has_probes = property(lambda model: False)  # type: ignore[assignment]
    balancers = ("gradscale",) if parts > 3 else ()
    trainer = our_trainer([MEL, IMAGES], "gated", balancers, device=device)
    quiet = our_step(trainer)
    recorder, stepper = trainer.recorder, trainer.stepper

    def call() -> None:
        for index in range(steps):
            stepper.recorder = recorder if parts > 2 and index % 9 == 0 else None
            quiet()
        wait_for(trainer.features.device)

    recorder._period, recorder._sampled = 1, {0}  # record every step for which the recorder is set
    return call


def added_parts(size: Size) -> dict[str, float]:
    """Return the milliseconds of a step with each further one of PARTS."""
    steps = max(9, size.clips // BATCH)
    with ExitStack() as stack:
        calls: dict[str, Callable[[], object]] = {}
        for parts, name in enumerate(PARTS, start=1):
            calls[name] = process = Elsewhere(make_parts, parts, size.device, steps)
            stack.callback(process.close)
        seconds = in_turn(calls, size.rounds)
    return {name: 1e3 * seconds[name] / steps for name in PARTS}


# -- 4: an experiment ---------------------------------------------------------------------


def experiment(size: Size) -> dict[str, Any]:
    """Return the seconds of an experiment's trainings, by the number of parallel trainings."""
    usual = default_jobs(size.device)
    seconds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        fusion = [sys.executable, "-m", "fusion"]
        clips = ["--set", f"demo.speakers={size.speakers}", "--set", f"demo.clips={size.takes}",
                 "--cache", f"{folder}/cache", "--quiet"]  # fmt: skip
        command = [
            *fusion, "compare", "--strategies", "concat", "--balancers", "none", "--no-controls",
            "--folds", str(size.folds), "--seeds", str(size.seeds), "--device", size.device,
            "--set", f"train.epochs={size.epochs}", *clips,
        ]  # fmt: skip
        _called([*fusion, "cache", "build", *clips])
        for jobs in dict.fromkeys((1, usual, 2 * usual)):
            started = time.perf_counter()
            _called([*command, "--jobs", str(jobs), "--out", f"{folder}/{jobs}"])
            seconds[jobs] = time.perf_counter() - started
            _check_trained(Path(folder) / str(jobs), size)
    return {
        "trainings": MODELS * size.folds * size.seeds, "default": usual, "seconds": seconds,
    }  # fmt: skip


def _called(command: list[str]) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed: {process.stderr}")


def _check_trained(folder: Path, size: Size) -> None:
    """Exit unless every training exists and has completed all its epochs."""
    finetune = TrainConfig(epochs=size.epochs).finetuning.epochs
    epochs = {"fused": finetune, "control": size.epochs + finetune}
    files = list(folder.rglob("fold*/*/training.json"))
    short = [
        p for p in files
        if json.loads(p.read_text())["epoch"] != epochs.get(p.parent.name, size.epochs)
    ]  # fmt: skip
    # Baselines and controls are shared: the folders of a seed contain links to them.
    if len(files) < MODELS * size.folds * size.seeds or short:
        raise SystemExit(
            f"{folder}: {len(files)} trainings, {len(short)} of them with too few epochs."
        )


# -- output -------------------------------------------------------------------------------


def measure(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    figures: dict[str, Any] = {"device": device_name(size), "torch": torch.__version__}
    say(f"{figures['device']}, torch {figures['torch']}")
    figures["apart"] = check(size)
    say("  ".join(f"{name}: difference {d:.0e}" for name, d in figures["apart"].items()))
    say(
        "no step waits for the device, and all branches run as CUDA graphs"
        if size.device != "cpu"
        else "waits and graphs are not checked on a CPU"
    )
    figures["clips per second"] = one_training(size)
    say(training_table(figures["clips per second"]))
    figures["ms per step"] = added_parts(size)
    say(parts_table(figures["ms per step"]))
    figures["experiment"] = experiment(size)
    say(experiment_table(figures["experiment"]))
    return figures


def device_name(size: Size) -> str:
    return torch.cuda.get_device_name(size.device) if size.device != "cpu" else "CPU"


def training_table(speeds: Mapping[str, float | str]) -> str:
    plain = float(speeds[PLAIN])
    lines = [f"One training of mel, batch {BATCH}, clips per second "
             f"(target: {TARGETS['training']:g} x):"]  # fmt: skip
    for name, speed in speeds.items():
        text = speed if isinstance(speed, str) else f"{speed:10.0f}{speed / plain:8.2f} x"
        lines.append(f"  {name:<32}{text}")
    return "\n".join(lines)


def parts_table(milliseconds: Mapping[str, float]) -> str:
    bare = milliseconds[PARTS[0]]
    lines = [f"A step of mel and persistence, gated (target: at most +{TARGETS['parts']:.0%}):"]
    for name, spent in milliseconds.items():
        lines.append(f"  {name:<32}{spent:8.2f} ms{spent / bare - 1:+8.1%}")
    return "\n".join(lines)


def experiment_table(figures: Mapping[str, Any]) -> str:
    seconds = figures["seconds"]
    lines = [f"{figures['trainings']} trainings of one experiment, with the start of processes "
             f"(target: {TARGETS['experiment']:g} x):"]  # fmt: skip
    for jobs, spent in seconds.items():
        usual = ", the default" if jobs == figures["default"] else ""
        lines.append(f"  {jobs} at a time{usual:<19}{spent:8.1f} s{seconds[1] / spent:8.2f} x")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--epochs", type=int, default=20, help="epochs of the experiment's trainings"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU, to test this file")
    options = parser.parse_args()
    if options.rehearse:
        size = Size("cpu", 2 * BATCH, 1, folds=3, seeds=1, epochs=1, speakers=6, takes=1)
        print("This is a rehearsal on the CPU: these figures mean nothing.")
    elif torch.cuda.is_available():
        size = Size("cuda", 64 * BATCH, options.rounds, 6, 3, options.epochs, 18, 5)
    else:
        raise SystemExit(
            "This benchmark needs a CUDA device, but torch finds none. Run the same command on a "
            "machine with a GPU, or test the command on a CPU with --rehearse."
        )
    figures = measure(size, lambda text: print(text, flush=True))
    if options.out:
        keep({"rehearsal": options.rehearse, **figures}, options.out)
    else:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
