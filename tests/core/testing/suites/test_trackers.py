"""Suite for trackers: each broken tracker fails the corresponding check."""

import pytest
from suites import failures

from fusion import Tracker
from fusion.testing import TrackerSuite


class Quiet(Tracker):
    """Does nothing."""

    name = "quiet"


class Prints(Quiet):
    """Prints to standard output."""

    def finish(self, summary):
        print(summary["verdict"])


class Changes(Quiet):
    """Removes a key from the event."""

    def epoch(self, event):
        event.pop("training")


class Rounds(Quiet):
    """Treats every value as a number."""

    def epoch(self, event):
        [round(value, 3) for name, value in event.items() if name != "training"]


class Opens(Quiet):
    """Opens its file in start, but closes it in any case."""

    def start(self, run, config):
        self.file = (run / "mine.txt").open("w")

    def close(self):
        self.file.close()


class Overwrites(Quiet):
    """Overwrites a file of the run."""

    def start(self, run, config):
        (run / "run.json").write_text("{}")


class Refuses(Quiet):
    """Can't be started twice in one directory."""

    def start(self, run, config):
        (run / "mine").mkdir()


def test_a_tracker_that_does_nothing_passes():
    assert failures(TrackerSuite, Quiet) == {}


@pytest.mark.parametrize(
    ("plugin", "check", "output"),
    [
        (Prints, "test_prints_nothing", "prints 'No reliable difference"),
        (Changes, "test_changes_nothing_that_it_is_given", "the tracker changes an argument"),
        (Rounds, "test_whole_run", "raises TypeError"),
        (Opens, "test_close_in_any_case", "close before start"),
        (
            Overwrites,
            "test_leaves_the_run_as_it_is",
            "the tracker changed, moved or deleted a file",
        ),
        (Refuses, "test_resumed_run", "start raises FileExistsError"),
    ],
)
def test_a_broken_tracker_fails_its_check(plugin, check, output):
    result = failures(TrackerSuite, plugin)
    assert output in result[check], result
