"""A report that compares several runs."""

import shutil

import pytest
from report_pages import checked

from fusion.core.analysis.report import compare_reports
from fusion.core.contracts.errors import RunError


def test_a_comparison(made, tmp_path):
    """Two runs on the same clips are compared in pairs; a third run on other clips is not."""
    one = shutil.copytree(made(), tmp_path / "x" / "run")
    two = shutil.copytree(made(("a", "b", "c")), tmp_path / "y" / "run")
    other = shutil.copytree(made(("a", "b"), 3), tmp_path / "z")
    out = tmp_path / "new" / "c.html"
    assert compare_reports([one, two, other], out) == out
    html, page = checked(out)
    sections = ["verdicts", "models", "differences", "learning", "settings", "diagnosis"]
    assert [i for i in page.ids if i in sections] == sections
    assert "y/run minus x/run: fused" in html
    third = f"{tmp_path.name}/z"
    assert f"not compared in pairs: {third} and x/run; {third} and y/run." in html
    assert '<th scope="row">features</th><td>a, b</td><td>a, b, c</td><td>a, b</td>' in html
    assert compare_reports([one, two, other], tmp_path / "d.html").read_text() == html


def test_too_few_or_equal_runs_are_refused(made, tmp_path):
    with pytest.raises(RunError, match="named twice"):
        compare_reports([made(), made()], tmp_path / "c.html")
    with pytest.raises(RunError, match="two runs or more"):
        compare_reports([made()], tmp_path / "c.html")
    assert not list(tmp_path.iterdir())
