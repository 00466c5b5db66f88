"""What trainings write of themselves; whole ones are tested through the command line."""

import io
import json

import pytest
import torch

from fusion.core import trainings
from fusion.core.trainings import _write_line, default_jobs


def test_an_undefined_figure_is_null_and_every_line_is_json():
    file = io.StringIO()
    _write_line(file, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.5, "e": 1})

    def refuse(constant):
        raise AssertionError(constant)

    line = file.getvalue()
    assert line.endswith("\n")
    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": None, "c": None,
                                                       "d": 0.5, "e": 1}  # fmt: skip


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
    monkeypatch.setattr(trainings, "choose_device", torch.device)
    monkeypatch.setattr(trainings, "available_cores", lambda: cores)
    monkeypatch.setattr(trainings, "free_memory", lambda where: gigabytes * 1024**3)
    assert default_jobs(device) == jobs
