"""How many trainings run at a time, and on how many threads each."""

import json

import pytest
import torch

from fusion.core import side_by_side
from fusion.core.config import RunConfig
from fusion.core.experiment import prepare_run, run_experiment, train_run
from fusion.core.prepare import make_plan
from fusion.core.registry import Registry
from fusion.core.side_by_side import default_jobs, threads_each


@pytest.mark.parametrize(
    ("device", "cores", "gigabytes", "jobs"),
    [
        ("cpu", 12, 1, 12),  # one each, whatever the memory
        ("cuda", 16, 80, 4),
        ("cuda", 6, 80, 3),
        ("cuda", 16, 7, 2),
        ("cuda", 16, 1, 1),
        ("cuda", 1, 80, 1),
        ("mps", 8, 80, 1),
    ],
)
def test_trainings_at_a_time(monkeypatch, device, cores, gigabytes, jobs):
    monkeypatch.setattr(side_by_side, "choose_device", torch.device)
    monkeypatch.setattr(side_by_side, "available_cores", lambda: cores)
    monkeypatch.setattr(side_by_side, "free_memory", lambda where: gigabytes * 1024**3)
    assert default_jobs(device) == jobs


@pytest.mark.parametrize(
    ("cores", "trainings", "jobs", "allowed", "threads"),
    [
        (2, 3, 2, None, 1),
        (2, 3, 1, None, 2),
        (16, 3, 16, None, 4),  # five cores each, of which four are used
        (8, 3, 8, None, 2),
        (16, 18, 16, None, 1),
        (4, 3, 0, None, 4),
        (2, 3, 8, None, 1),  # more processes than cores
        (8, 3, 1, "2", 2),
        (8, 3, 1, "1", 1),
        (2, 3, 1, "8", 2),
        (8, 3, 1, "4,2", 4),  # nested: says nothing about one level
    ],
)
def test_cores_that_are_left_over_become_threads(
    monkeypatch, cores, trainings, jobs, allowed, threads
):
    monkeypatch.setattr(side_by_side, "available_cores", lambda: cores)
    if allowed is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert threads_each(trainings, jobs) == threads


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
def test_a_run_keeps_its_threads_when_it_is_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "available_cores", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS")
    config = small_run(tmp_path)
    registry = Registry(config.plugins)
    first = prepare_run(make_plan(config, registry), tmp_path / "run", registry, jobs=1)
    train_run(first, registry, jobs=1)
    assert first.info()["threads"] == 3
    assert threads_of(first.path) == [3]
    (first.path / "fold0/fused/training.json").unlink()
    train_run(first, registry, jobs=3)  # one each, were it a new run
    assert threads_of(first.path) == [3]


@pytest.mark.slow
def test_threads_can_be_fixed(tmp_path):
    config = small_run(tmp_path, threads=2)
    run_experiment(config, tmp_path / "run", Registry(config.plugins), jobs=2, report=False)
    assert threads_of(tmp_path / "run") == [2]
