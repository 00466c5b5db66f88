"""What a run was made of and what it cost, as rows of tables."""

from report_pages import change, checked, report_of


def test_statistics_of_the_inputs(run, sketched):
    numbers = {"min": -1.5, "max": 2, "mean": 0.25, "std": 1, "zeros": 0.125, "nan": None}
    channels = {key: [value, value] for key, value in numbers.items()}
    stages = {"raw": {**numbers, "channels": channels}, "seen": numbers}
    change(run / "fold0/fused/training.json", inputs={"a": stages})
    html, _ = checked(report_of(run))
    assert "<td>-1.5</td><td>2</td><td>0.25</td><td>1</td><td>12.5</td><td>n/a</td>" in html
    assert "channel 1, as stored" in html
