"""The conformance suite, and the table of one epoch."""

from __future__ import annotations

from pathlib import Path

from fusion.testing import TrackerSuite

from .tracker import MyPlugin


class TestConformance(TrackerSuite):
    """Runs that finish, fail, are taken up again, or tuned."""

    plugin = MyPlugin


def test_the_table(tmp_path: Path) -> None:
    tracker = MyPlugin(metrics=("val_uar",))
    tracker.start(tmp_path, {})
    tracker.epoch({"training": "fold0/fused", "epoch": 1, "val_uar": 0.5, "train_loss": 1.2})
    tracker.epoch({"training": "fold0/fused", "epoch": 2, "val_uar": None})
    tracker.close()
    (table,) = tmp_path.iterdir()
    assert table.read_text().splitlines() == [
        "training,epoch,metric,value",
        "fold0/fused,1,val_uar,0.5",
    ]
