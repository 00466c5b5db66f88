"""How many trainings run at a time; whole runs are tested through the command line."""

import pytest
import torch

from fusion.core import side_by_side
from fusion.core.side_by_side import default_jobs


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
