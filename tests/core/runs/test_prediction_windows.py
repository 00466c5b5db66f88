"""Division of new recordings into windows."""

from types import SimpleNamespace

import pytest
from stepped_recordings import write_steps

from fusion.core.contracts import Recording
from fusion.core.data.windows import limit_of
from fusion.core.runs.config import RunConfig
from fusion.core.runs.prediction_windows import pieces_of, trained_on_windows, window_of


def seeing(*seconds, by_place=False):
    return [SimpleNamespace(seconds=s, by_place=by_place) for s in seconds]


def run(long_clips=None, windows="random"):
    config = RunConfig(("demo",), settings={"train": {"windows": windows}})
    return SimpleNamespace(record=SimpleNamespace(long_clips=long_clips), config=config)


def test_a_window_has_the_shortest_length_that_an_extractor_sees():
    assert window_of(seeing(4.1, None, 3), run()) == 3
    assert window_of(seeing(None, None), run()) is None is window_of([], run())


def test_an_extractor_that_looks_up_paths_has_no_limit():
    assert limit_of(*seeing(4.1)) == 4.1 and limit_of(*seeing(4.1, by_place=True)) is None
    assert window_of(seeing(4.1) + seeing(1, by_place=True), run()) == 4.1


def test_a_run_on_windows_keeps_the_length_of_its_windows():
    """A feature that the chosen model does not take may have the shortest limit."""
    trained = run(long_clips=SimpleNamespace(seconds={"mel": 4.1, "mfcc": 9.0}))
    assert window_of(seeing(9.0), trained) == 4.1
    assert window_of(seeing(9.0), run()) == 9.0
    assert window_of(seeing(None), trained) is None


def test_a_run_on_middles_sees_what_its_extractors_see():
    middles = run(SimpleNamespace(seconds={"mel": 4.1, "mfcc": 9.0}), windows="middle")
    assert window_of(seeing(9.0), middles) == 9.0


@pytest.mark.parametrize(
    ("train", "windows"),
    [({}, False), ({"windows": "middle"}, False), ({"windows": "random"}, True)],
)
def test_runs_without_the_setting_were_trained_on_middles(train, windows):
    assert trained_on_windows(RunConfig(("demo",), settings={"train": train})) is windows
    assert not trained_on_windows(RunConfig(("demo",)))


def test_pieces_cover_the_recording_from_start_to_end(tmp_path):
    path = write_steps(tmp_path / "a.wav", *[0.0] * 5)  # 2.5 s
    pieces = list(pieces_of([path], 1.0, divide=True))
    assert [(p.part.start, p.part.end) for p in pieces] == [(0, 1), (0.75, 1.75), (1.5, 2.5)]
    assert [(p.first, p.last) for p in pieces] == [(True, False), (False, False), (False, True)]
    assert {p.whole for p in pieces} == {Recording(path)}
    assert all(p.divided and p.length == p.end == 2.5 for p in pieces)


@pytest.mark.parametrize(("window", "divide"), [(1.0, False), (None, True), (2.0, True)])
def test_other_recordings_are_one_piece(tmp_path, window, divide):
    recording = Recording(write_steps(tmp_path / "a.wav", *[0.0] * 5), 0.5)
    (piece,) = pieces_of([recording], window, divide=divide)
    assert piece.whole is piece.part is recording
    assert (piece.length, piece.end, piece.divided) == (2.0, 2.5, False)


def test_a_recording_of_unknown_length_is_one_piece(tmp_path):
    (tmp_path / "text.wav").write_text("1 2 | 3")
    for path in (tmp_path / "text.wav", tmp_path / "gone.wav"):
        (piece,) = pieces_of([path], 1.0, divide=True)
        assert piece.length is None is piece.end and piece.part == Recording(path)
    (piece,) = pieces_of([Recording(path, 1.0, 2.0)], 1.0, divide=True)
    assert piece.end == 2.0


def test_times_are_rounded_and_end_with_the_recording(tmp_path):
    path = write_steps(tmp_path / "a.wav", *[0.0] * 8)
    recording = Recording(path, 0.1, 3.3 + 1e-9)
    pieces = list(pieces_of([recording], 1.1, divide=True))
    assert [(p.part.start, p.part.end) for p in pieces] == [(0.1, 1.2), (1.15, 2.25), (2.2, 3.3)]


def test_recordings_are_read_one_after_the_other(tmp_path):
    def recordings():
        yield write_steps(tmp_path / "a.wav", 0, 0)
        pytest.fail("the second recording is not needed yet")

    assert next(pieces_of(recordings(), 1.0, divide=True)).length == 1
