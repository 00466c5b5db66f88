"""Windows of long clips: which clips have them, and the rows of arrays that belong to a clip."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_recordings import announce_samples

from fusion import Clip, Recording
from fusion.cache.builds.progress import BuildReport, Failure
from fusion.core.data.windows import (
    ClipRows,
    LongClips,
    Selected,
    Window,
    by_clip,
    find_windows,
    limited,
)
from fusion.plugins.extractors.levelset import LevelSet
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.mfcc import MFCC
from fusion.plugins.extractors.persistence import Persistence


def clip(path, start=0.0, end=None):
    return Clip(Recording(Path(path), start, end), str(path), "x", "s", "c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of 10 s and 1 s, and a file that is no recording."""
    folder = tmp_path_factory.mktemp("recordings")
    soundfile.write(folder / "ten.wav", np.zeros(10 * 1000), 1000)
    soundfile.write(folder / "one.wav", np.zeros(1000), 1000)
    (folder / "text.wav").write_text("no sound")
    return folder


def places(windows):
    return [(r.start, r.end) for r in windows]


# -- the clips that are divided --------------------------------------------------------


def test_a_recording_is_divided_into_evenly_spaced_windows(folder):
    clips = [clip(folder / name) for name in ("one.wav", "ten.wav", "text.wav", "gone.wav")]
    windows = find_windows(clips, 4.0)
    assert list(windows) == [1]
    assert places(windows[1]) == [(0.0, 4.0), (3.0, 7.0), (6.0, 10.0)]
    assert {r.path for r in windows[1]} == {folder / "ten.wav"}


def test_times_of_windows_are_times_of_the_file(folder):
    windows = find_windows([clip(folder / "ten.wav", 1.5, 7.5)], 4.0)
    assert places(windows[0]) == [(1.5, 5.5), (3.5, 7.5)]


def test_a_part_that_ends_after_the_file_is_cut_there(folder):
    windows = find_windows([clip(folder / "ten.wav", 4.0, 99.0)], 4.0)
    assert places(windows[0]) == [(4.0, 8.0), (6.0, 10.0)]


@pytest.mark.parametrize(("end", "count"), [(5.9, 0), (6.0, 2), (8.0, 2), (8.1, 3)])
def test_clips_of_less_than_one_and_a_half_windows_are_not_divided(folder, end, count):
    assert len(find_windows([clip(folder / "ten.wav", 0.0, end)], 4.0).get(0, ())) == count


def test_more_than_a_thousand_windows_need_an_end_that_can_be_decoded(tmp_path):
    """One damaged number in a header must not make millions of windows."""
    damaged = tmp_path / "damaged.flac"
    soundfile.write(damaged, np.random.default_rng(0).normal(0, 0.1, 20 * 8000), 8000)
    announce_samples(damaged, 10 * 3600 * 8000)
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(1200 * 1000, np.int16), 1000)
    windows = find_windows([clip(damaged), clip(long)], 1.0)
    assert {i: len(own) for i, own in windows.items()} == {1: 1200}


def test_without_a_limit_no_clip_is_divided_and_no_file_is_read():
    assert find_windows([clip("gone.wav")], None) == {}


def test_extractors_state_how_much_they_see_and_this_is_no_part_of_their_identity():
    every = {"mel": Mel(), "mfcc": MFCC(), "levelset": LevelSet(), "persistence": Persistence()}
    assert limited(every) == {"mel": 128 * 512 / 16000, "mfcc": 256 * 256 / 16000}
    assert limited({"mel": Mel(frames=50, hop=160)}) == {"mel": 0.5}
    assert all("seconds" not in e.identity() for e in every.values())


def test_extractors_that_look_recordings_up_have_no_limit():
    class Table(Mel):
        by_place = True

    assert limited({"table": Table()}) == {}


# -- the sentence for the user ---------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "windows", "text"),
    [
        ({"mel": 4.096}, 40, "12 of 792 are longer than 6.14 s (1.5 x the 4.1 s that mel sees): "
         "training on random windows, evaluation by the mean over their windows"),
        ({"mel": 4.096}, 0, "12 of 792 are longer than 6.14 s (1.5 x the 4.1 s that mel sees): "
         "only their middle 4.1 s are used"),
        ({"mel": 4.0, "mfcc": 4.0}, 0, "12 of 792 are longer than 6 s (1.5 x the 4 s that mel and "
         "mfcc see): only their middle 4 s are used"),
        ({"ssl": 5.0, "mel": 4.0}, 0, "12 of 792 are longer than 6 s (1.5 x the 4 s that mel "
         "sees): each feature uses only the middle of the clip"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_is_done_with_long_clips(seconds, windows, text):
    assert LongClips(seconds, 12, windows).text(792) == text


# -- failures --------------------------------------------------------------------------


def report_of(failures=(), absent=()):
    """Return a report of items, given as feature and key."""
    items_by_kind = [
        [Failure(feature, key, f"source of {key}", "reason") for feature, key in items]
        for items in (failures, absent)
    ]
    return BuildReport(0, 0, items_by_kind[0], 1.0, absent=items_by_kind[1])


def windows_of(**keys):
    return {int(name[1:]): [Window(Recording(Path("x")), k) for k in own]
            for name, own in keys.items()}  # fmt: skip


def listed(items):
    return [(item.feature, item.key) for item in items]


def test_a_failed_window_fails_its_clip_once_per_feature():
    report = report_of([("mel", "b1"), ("mel", "b2"), ("mfcc", "b2"), ("mel", "c")])
    changed, used = by_clip(report, ["a", "b", "c"], windows_of(_1=("b0", "b1", "b2")))
    assert listed(changed.failures) == [("mel", "b"), ("mfcc", "b"), ("mel", "c")]
    assert changed.failures[0].source == "source of b1"
    assert [w.key for w in used[1]] == ["b0", "b1", "b2"]


def test_a_window_that_is_a_clip_of_its_own_fails_both():
    report = report_of([("mel", "part")])
    changed, _ = by_clip(report, ["whole", "part"], windows_of(_0=("first", "part")))
    assert sorted(listed(changed.failures)) == [("mel", "part"), ("mel", "whole")]


def test_windows_without_a_modality_are_left_out():
    report = report_of(absent=[("face", "a1"), ("text", "a3"), ("text", "b")])
    changed, used = by_clip(report, ["a", "b"], windows_of(_0=("a0", "a1", "a2", "a3")))
    assert [w.key for w in used[0]] == ["a0", "a2"]
    assert listed(changed.absent) == [("text", "b")]


def test_a_clip_lacks_a_modality_that_none_of_its_windows_has():
    report = report_of(absent=[("face", "a0"), ("face", "a1"), ("text", "a1")])
    changed, used = by_clip(report, ["a"], windows_of(_0=("a0", "a1")))
    assert listed(changed.absent) == [("face", "a")] and [w.key for w in used[0]] == ["a0"]


def test_a_clip_without_a_complete_window_lacks_the_modalities_and_keeps_its_windows():
    report = report_of(absent=[("face", "a0"), ("text", "a1")])
    changed, used = by_clip(report, ["a"], windows_of(_0=("a0", "a1")))
    assert sorted(listed(changed.absent)) == [("face", "a"), ("text", "a")]
    assert [w.key for w in used[0]] == ["a0", "a1"]


def test_a_report_without_windows_is_unchanged():
    report = report_of([("mel", "a")], [("text", "b")])
    assert by_clip(report, ["a", "b"], {}) == (report, {})


# -- rows ------------------------------------------------------------------------------

ROWS = ClipRows(np.array([0, 1, 4, 6, 7]), ("m",))  # 1, 3, 2 and 1 windows


def test_the_middle_window_of_each_clip():
    assert ROWS.middle(np.array([1, 0, 2, 3, 1])).tolist() == [2, 0, 5, 6, 2]


def test_every_window_with_the_position_of_its_clip():
    rows, position = ROWS.every(np.array([2, 0, 1, 2]))
    assert rows.tolist() == [4, 5, 0, 1, 2, 3, 4, 5]
    assert position.tolist() == [0, 0, 1, 2, 2, 2, 3, 3]
    empty = ROWS.every(np.array([], np.int64))
    assert [part.tolist() for part in empty] == [[], []]


def test_random_windows_are_windows_of_the_clip_and_all_occur():
    clips = np.tile(np.arange(4), 100)
    rows = ROWS.drawn(clips, np.random.default_rng(0)).reshape(100, 4)
    assert [sorted(set(column)) for column in rows.T.tolist()] == [[0], [1, 2, 3], [4, 5], [6]]
    again = ROWS.drawn(clips, np.random.default_rng(0)).reshape(100, 4)
    np.testing.assert_array_equal(rows, again)


def test_selected_rows_may_repeat():
    class Arrays:
        nbytes = 24

        def __len__(self):
            return 3

        def take(self, indices):
            return np.array([[10], [20], [30]])[indices]

    view = Selected(Arrays(), np.array([2, 2, 0, 1, 0]))
    assert len(view) == 5 and view.nbytes == 40
    assert view.take([0, 4, 1]).tolist() == [[30], [10], [30]]
