"""The jsonl tracker: metrics.jsonl has every event, one per line."""

import json

from fusion.plugins.trackers.jsonl import JSONL
from fusion.testing import TrackerSuite


class Following(TrackerSuite):
    plugin = JSONL


def test_every_event_is_written_unchanged():
    suite = Following()
    with suite.run_directory() as run:
        suite.follow(run, epochs=1, finish=False)
        suite.follow(run)
        lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(suite.events())


def test_a_failed_run_closes_its_file():
    with Following().run_directory() as run:
        tracker = JSONL()
        tracker.start(run, {})
        file = tracker._file
        tracker.close()
    assert file.closed
