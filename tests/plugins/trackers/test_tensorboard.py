"""The tensorboard tracker, whose files are read back by TensorBoard's reader."""

import itertools
import logging
import sys
from types import SimpleNamespace

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.plugins.trackers.tensorboard import TensorBoard
from fusion.testing import TrackerSuite

pytest.importorskip("tensorboard", exc_type=ImportError)


class Following(TrackerSuite):
    plugin = TensorBoard


@pytest.fixture
def run(tmp_path):
    with Following().run_directory() as folder:
        yield folder


def follow(run, *, finish=True, epochs=3, tuned=False, **parameters):
    suite = Following()
    suite.parameters = parameters
    suite.follow(run, finish=finish, epochs=epochs, tuned=tuned)


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it logs purged points
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    return accumulator.Reload()


def points(folder, tag):
    return [(event.step, pytest.approx(event.value)) for event in read(folder).Scalars(tag)]


def text(folder, tag):
    (event,) = read(folder).Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_each_training_is_a_run_and_each_metric_a_chart(run):
    follow(run)
    board = run / "tensorboard"
    assert points(board / "fold0/voice", "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert points(board / "fold0/fused", "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert points(board / "fold0/fused", "val_uar/voice") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    # None, text, booleans and nested values are not points.
    assert set(read(board / "fold0/voice").Tags()["scalars"]) == {
        "train_loss", "val_uar", "seconds",
    }  # fmt: skip
    assert {p.name for p in board.iterdir() if p.is_dir()} == {"fold0"}


def test_configuration_figures_and_verdict(run):
    follow(run)
    board = run / "tensorboard"
    assert points(board, "test_uar/fused") == [(0, 0.5)]
    assert points(board, "gain/fused") == [(0, -0.01)]
    assert text(board, "verdict") == "No reliable difference between the two."
    assert "| settings.train.lr | 0.003 |" in text(board, "configuration")
    hparams = read(board).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"settings.train.lr" in hparams and b"branch.voice.kernel" in hparams


def test_a_resumed_run_has_each_point_once(run, monkeypatch):
    from tensorboard.summary.writer import event_file_writer

    # Files are read in the order of the seconds in their names, and this test takes less than 1 s.
    clock = itertools.count(2_000_000_000)
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: next(clock)))
    follow(run, epochs=1, finish=False)
    follow(run, epochs=2, finish=False)
    follow(run)
    board = run / "tensorboard"
    assert points(board / "fold0/fused", "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert points(board, "test_uar/fused") == [(0, 0.5)]


def test_each_trial_has_its_own_curves(run):
    follow(run, tuned=True)
    training = run / "tensorboard/fold0/fused"
    assert {p.name for p in training.iterdir()} == {"trial0", "trial1"}
    for trial in ("trial0", "trial1"):
        assert points(training / trial, "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]


def test_a_failed_run_keeps_its_points_and_has_no_figures(run):
    follow(run, epochs=2, finish=False)
    board = run / "tensorboard"
    assert points(board / "fold0/voice", "val_uar") == [(1, 0.2), (2, 0.4)]
    assert read(board).Tags()["scalars"] == []


def test_directory_and_name(run, tmp_path):
    follow(run, directory=str(tmp_path / "boards"))
    follow(run, directory=str(tmp_path / "boards"), name="mine")
    assert {p.name for p in (tmp_path / "boards").iterdir()} == {"run", "mine"}
    assert points(tmp_path / "boards/mine/fold0/voice", "seconds") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert not (run / "tensorboard").exists()
    follow(run, name="here")
    assert points(run / "tensorboard/here", "test_uar/fused") == [(0, 0.5)]


def test_a_missing_package_is_refused_by_the_constructor(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ParameterError, match="needs the package tensorboard") as caught:
        TensorBoard()
    assert caught.value.hint == "pip install 'modal-fusion[tensorboard]'"
