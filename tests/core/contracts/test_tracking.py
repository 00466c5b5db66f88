"""The tracker contract: every method is optional."""

from pathlib import Path

from fusion import Tracker


def whole_life(tracker):
    tracker.start(Path("run"), {"data": ["demo"]})
    tracker.epoch({"training": "fold0/mel", "epoch": 1, "val_uar": 0.5})
    tracker.finish({"verdict": "none"})
    tracker.close()


def test_a_tracker_may_implement_a_single_method():
    class Epochs(Tracker):
        name = "epochs"

        def __init__(self):
            self.seen = []

        def epoch(self, event):
            self.seen.append(event["epoch"])

    tracker = Epochs()
    whole_life(tracker)
    assert tracker.seen == [1]


def test_the_base_class_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole_life(Tracker())
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
