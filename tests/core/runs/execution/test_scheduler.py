"""Number of simultaneous trainings, and of threads for each."""

import json

import pytest
import torch

from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.execution import scheduler
from fusion.core.runs.execution.scheduler import default_jobs
from fusion.core.workflows.experiment import run_experiment


@pytest.mark.parametrize(
    ("device", "cores", "gigabytes", "jobs"),
    [
        ("cpu", 12, 1, 12),  # one training per core, whatever the memory
        ("cuda", 16, 80, 4),
        ("cuda", 6, 80, 3),
        ("cuda", 16, 9, 2),
        ("cuda", 16, 1, 1),
        ("cuda", 1, 80, 1),
        ("mps", 8, 80, 1),
    ],
)
def test_default_number_of_simultaneous_trainings(monkeypatch, device, cores, gigabytes, jobs):
    monkeypatch.setattr(scheduler, "choose_device", torch.device)
    monkeypatch.setattr(scheduler, "available_cores", lambda: cores)
    monkeypatch.setattr(scheduler, "free_memory", lambda where: gigabytes * 1024**3)
    assert default_jobs(device) == jobs


def test_more_threads_per_training_allow_fewer_trainings(monkeypatch):
    monkeypatch.setattr(scheduler, "available_cores", lambda: 12)
    assert [default_jobs("cpu", threads) for threads in (1, 4, 5, 24)] == [12, 3, 2, 1]


WATCH = """
import torch
from fusion import Balancer, hookimpl

class Watch(Balancer):
    name = "watch"
    def metrics(self):
        return {"threads": torch.get_num_threads()}

@hookimpl
def fusion_balancers():
    return [Watch]
"""


def small_run(tmp_path, **train):
    (tmp_path / "watch.py").write_text(WATCH)
    return RunConfig(
        ("demo",), features=("mel",), strategy="concat", balancers=("watch",),
        plugins=(str(tmp_path / "watch.py"),), cache=str(tmp_path / "cache"),
        settings={"demo": {"speakers": 4, "clips": 1}, "branch.mel": {"blocks": 1},
                  "train": {"epochs": 1, **train}},
    )  # fmt: skip


def threads_of(run):
    lines = (run / "fold0/fused/epochs.jsonl").read_text().splitlines()
    return [json.loads(line)["threads"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_training_uses_the_requested_number_of_threads(tmp_path, threads):
    config = small_run(tmp_path, **({"threads": threads} if threads > 1 else {}))
    run_experiment(config, tmp_path / "run", Registry(config.plugins), jobs=2, report=False)
    assert threads_of(tmp_path / "run") == [threads]
