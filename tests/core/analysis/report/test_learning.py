"""Learning curves in a report."""

import json
from html import unescape

import pytest
from report_pages import change, report_of

from fusion.core.analysis.report import learning
from fusion.core.analysis.report.run_data import read_run
from fusion.core.runs.run import Run


def test_the_start_of_the_fused_model_is_epoch_0(run, sketched):
    assert "Epoch 0" not in report_of(run).read_text()
    start = {"epoch": 0, "val_uar": 0.25, "val_loss": 1.5}
    change(run / "fold0/fused/training.json", start=start)
    assert "Epoch 0 is the start of the fused model" in unescape(report_of(run).read_text())
    (first, *later) = read_run(Run.open(run)).records("fused")[0]
    assert first == start and [record["epoch"] for record in later][:2] == [1, 2]


def test_scores_of_all_models_have_one_axis(made, monkeypatch):
    """The UAR is 50 (validation) to 70 (training, epoch 4), plus a margin of 1/20 on both sides."""
    given = []
    monkeypatch.setattr(learning, "over_epochs", lambda lines, **how: given.append((lines, how)))
    for folds, kept in ((1, [3]), (3, [])):
        given.clear()
        run = read_run(Run.open(made(("a", "b"), folds)))
        assert [f.title for f in learning.scores(run)] == ["fused model", "a", "b"]
        for lines, how in given:
            assert how["limits"] == pytest.approx((49, 71)) and how["level"] == (0.5, "chance")
            assert how["marked"] == kept
            assert [len(line.folds) for line in lines] == [folds, folds]  # training and validation
        (train, val), _ = given[0]
        assert train.folds[0].tolist() == [[epoch, 0.5 + epoch / 20] for epoch in (1, 2, 3, 4)]
        assert val.folds[0].tolist() == [[epoch, 0.5] for epoch in (1, 2, 3, 4)]


def test_recorded_values_of_the_fused_model_are_drawn(run, sketched):
    path = run / "fold0/fused/epochs.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    own = {"boost.a": 2.0, "boost.b": 1.0, "share": 0.5}
    path.write_text("\n".join(json.dumps({**record, **own}) for record in records))
    read = read_run(Run.open(run))
    assert [figure.title for figure in learning.inside(read)] == [
        "Entropy of the predictions (nats)",
        "Norm of the gradient",
    ]
    assert [figure.title for figure in learning.balancers(read)] == ["boost", "share"]
    assert [figure.title for figure in learning.layers(read)] == [
        f"{m}: {what}" for m in "ab" for what in ("gradient", "step")
    ]
    assert not learning.has_start(read)
    path.write_text("")
    read = read_run(Run.open(run))
    assert learning.inside(read) == learning.balancers(read) == learning.layers(read) == []
