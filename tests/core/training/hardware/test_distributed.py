"""Training with two processes, compared with one process and the same batches."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from parallel_script import all_of
from places import HELPERS
from small_runs import SMALL

from fusion.core.registry.registry import Registry

SCRIPT = HELPERS / "parallel_script.py"
REGISTRY = Registry()
QUICK = ["concat+++sgd", "bottleneck+++sgd", "gated+gradscale+absent+sgd",
         "gated+gradscale+windows+sgd", "concat+++adamw", "concat+ogm_ge++sgd",
         "gated+mmpareto++sgd", "concat+dropout++sgd"]  # fmt: skip
STRATEGIES = [f"{e.name}+++sgd" for e in REGISTRY.entries("strategy")]
BALANCERS = [f"concat+{e.name}++sgd" for e in REGISTRY.entries("balancer")]


def free_port():
    with socket.socket() as result:
        result.bind(("127.0.0.1", 0))
        return result.getsockname()[1]


def run(names, folder):
    """Return the weights of each case: from this process alone, and from each of two processes."""
    path = os.pathsep.join([str(SCRIPT.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    base = {**os.environ, **together, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), *names]
    processes = [
        subprocess.Popen(command, env={**base, "RANK": rank}, stderr=subprocess.PIPE)
        for rank in "01"
    ]
    try:
        alone = all_of(names)
        for process in processes:
            output = process.communicate(timeout=600)[1].decode()
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
    return alone, *(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in "01")


def check(names, folder):
    alone, first, second = run(names, folder)
    assert set(alone) == set(first) == set(second) and alone
    for name, (expected, losses) in alone.items():
        weights, theirs = first[name]
        for key, value in expected.items():
            assert torch.equal(weights[key], second[name][0][key]), (name, key)
            if "num_batches_tracked" in key:
                assert torch.equal(weights[key], value), (name, key)
                continue
            torch.testing.assert_close(
                weights[key],
                value,
                rtol=2e-3,
                atol=2e-4,
                msg=lambda m, n=name, k=key: f"{n} {k}: {m}",
            )
        assert theirs == pytest.approx(losses, abs=2e-4), name


def test_two_processes_train_like_one(tmp_path):
    check(QUICK, tmp_path)


@pytest.mark.slow
def test_every_strategy(tmp_path):
    check(STRATEGIES, tmp_path)


@pytest.mark.slow
def test_every_balancer(tmp_path):
    check(BALANCERS, tmp_path)


def torchrun(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port",
         str(free_port()), "-m", "fusion", "run", *arguments],
        capture_output=True, text=True, cwd=cwd, check=False, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    """A run prints once, finishes, and can be resumed."""
    demo = ["--set", "demo.speakers=6", "--set", "demo.clips=2", "--cache", "cache", *SMALL]
    output = torchrun("--epochs", "2", "--out", "run", *demo, cwd=tmp_path)
    assert output.returncode == 0, output.stderr
    assert output.stdout.count("validation UAR") == 1  # in the table
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["verdict"] in output.stdout
    for model, epochs in {"mel": 2, "persistence": 2, "fused": 1, "control": 3}.items():
        summary = json.loads((tmp_path / f"run/fold0/{model}/training.json").read_text())
        assert summary["epoch"] == epochs
        lines = (tmp_path / f"run/fold0/{model}/epochs.jsonl").read_text().splitlines()
        assert len(lines) == epochs
    again = torchrun("--resume", "run", cwd=tmp_path)
    assert again.returncode == 0 and results["verdict"] in again.stdout
    refused = torchrun("--tune", "3", "--out", "tuned", *demo, cwd=tmp_path)
    assert refused.returncode != 0 and "does not support --tune" in refused.stderr
