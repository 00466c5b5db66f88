"""Features of new recordings and of their windows, by the extractors of the chosen model."""

from stepped_recordings import write_steps

from fusion.core.contracts import Recording
from fusion.core.runs.bundle import Bundle
from fusion.core.runs.prediction_windows import Piece
from fusion.core.runs.recording_features import RecordingFeatures


def test_a_whole_recording_is_extracted_again_for_another_request(stepped_run, tmp_path):
    """Arrays are shared only among the windows of one recording."""
    whole = Recording(write_steps(tmp_path / "a.wav", 0, 0, 0, 0))
    halves = [Piece(whole, Recording(whole.path, 0, 1), 2.0, first=True, last=False),
              Piece(whole, Recording(whole.path, 1, 2), 2.0, first=False, last=True)]  # fmt: skip
    features = RecordingFeatures(stepped_run, Bundle(stepped_run), {})
    (first,) = features.extract(halves[:1])
    write_steps(whole.path, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    (second,) = features.extract(halves[1:])
    assert first[0]["length"] == second[0]["length"] == 2  # one array for both windows
    assert (first[0]["level"][0], second[0]["level"][0]) == (0, 0.5)
    (again,) = features.extract(halves[:1])
    assert again[0]["length"] == 3
    (abandoned,) = features.extract([Piece(whole, whole, 3.0)])
    assert abandoned[0]["length"] == 3


def test_reasons_name_the_file_and_the_window(stepped_run, tmp_path):
    gone = Recording(tmp_path / "gone.wav")
    features = RecordingFeatures(stepped_run, Bundle(stepped_run), {})
    pieces = [Piece(gone, gone, None), Piece(gone, Recording(gone.path, 1, 2.5), 9.0, True, False)]
    (_, whole), (arrays, window) = features.extract(pieces)
    assert str(gone.path) in whole and "window" not in whole
    assert arrays == {} and window.endswith(" (in the window from 1 s to 2.5 s)")
