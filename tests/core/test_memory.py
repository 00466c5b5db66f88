import sys

import pytest
import torch

from fusion.core.memory import PeakMemory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's peak")
def test_the_peak_is_of_what_came_after_the_start():
    size = 60_000_000
    before = torch.ones(size)  # 240 MB, gone before the measurement begins
    del before
    quiet = PeakMemory(CPU)
    first = quiet.bytes()
    busy = PeakMemory(CPU)
    held = torch.ones(size)
    del held
    second = busy.bytes()
    assert first is not None and second is not None
    assert second - first == pytest.approx(4 * size, rel=0.1)


def test_unknown_where_the_system_can_not_forget(monkeypatch, tmp_path):
    monkeypatch.setattr("fusion.core.memory._CLEAR", tmp_path)  # a folder can't be written
    assert PeakMemory(CPU).bytes() is None
