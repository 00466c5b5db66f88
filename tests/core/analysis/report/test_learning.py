"""How the models learned."""

from html import unescape

from report_pages import change, report_of

from fusion.core.analysis.report.run_data import read_run
from fusion.core.runs.run import Run


def test_the_start_of_the_fused_model_is_its_epoch_0(run, reported, sketched):
    assert "epoch 0" not in reported().read_text()
    start = {"epoch": 0, "val_uar": 0.25, "val_loss": 1.5}
    change(run / "fold0/fused/training.json", start=start)
    assert "epoch 0 is its start" in unescape(report_of(run).read_text())
    (first, *later) = read_run(Run.open(run)).records("fused")[0]
    assert first == start and [record["epoch"] for record in later][:2] == [1, 2]
