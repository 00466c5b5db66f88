"""Table rows of a run's inputs and costs."""

from report_pages import change, checked, report_of

from fusion.core.analysis.report.costs import clips, cost
from fusion.core.analysis.report.run_data import read_run
from fusion.core.runs.run import Run


def test_statistics_of_the_inputs(run, sketched):
    numbers = {"min": -1.5, "max": 2, "mean": 0.25, "std": 1, "zeros": 0.125, "nan": None}
    channels = {key: [value, value] for key, value in numbers.items()}
    stages = {"raw": {**numbers, "channels": channels}, "seen": numbers}
    change(run / "fold0/fused/training.json", inputs={"a": stages})
    html, _ = checked(report_of(run))
    assert "<td>-1.5</td><td>2</td><td>0.25</td><td>1</td><td>12.5</td><td>n/a</td>" in html
    assert "channel 1, as stored" in html


def test_costs_of_the_trainings(run, made):
    change(run / "fold0/a/training.json", trials=5, seconds=200, peak_bytes=None)
    assert cost(read_run(Run.open(run))) == [
        ["fused", "1", "2 s", "4", "3", "1,234", "1 MiB", "float32"],
        ["a", "5", "3 min 20 s", "4", "3", "1,234", "", "float32"],
        ["b", "1", "2 s", "4", "3", "1,234", "1 MiB", "float32"],
    ]
    (fused, *_) = cost(read_run(Run.open(made(("a", "b"), 3))))
    assert fused == ["fused", "3", "4 s", "4, 4, 4", "3, 3, 3", "1,234", "1 MiB", "float32"]


def test_clips_of_each_part_and_class(made):
    """Nine speakers say each of two classes twice; each part has a third of the speakers."""
    one, three = (read_run(Run.open(made(("a", "b"), folds))) for folds in (1, 3))
    parts = ("train", "val", "test")
    assert clips(one, one.data) == [[part, "12", "3", "6", "6"] for part in parts]
    names = [f"fold {fold}, {part}" for fold in range(3) for part in parts]
    assert [row[0] for row in clips(three, three.data)] == names
