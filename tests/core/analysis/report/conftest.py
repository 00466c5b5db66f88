"""Artificial runs, each written once for all tests that only read it."""

import shutil
from functools import cache

import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from report_runs import write_run

from fusion.core.analysis.report.page import environment


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Function from modalities and a number of folds to the path of a run. Read-only."""

    @cache
    def written(modalities=("a", "b"), folds=1):
        return write_run(tmp_path_factory.mktemp("made") / "run", modalities, folds)

    return written


@pytest.fixture
def run(made, tmp_path):
    """Copy of a run without a report, which a test may change."""
    return shutil.copytree(made(), tmp_path / "run", ignore=shutil.ignore_patterns("*.html"))


@pytest.fixture
def sketched(monkeypatch):
    """Replace drawing by painting without SVG output, for tests that read only the text."""

    def sketch(paint, *, label, **_):
        paint(Figure().add_subplot())
        return Markup('<svg class="plot" role="img" aria-label="{}"></svg>').format(label)

    monkeypatch.setattr("fusion.core.analysis.report.charts.draw", sketch)


@pytest.fixture(scope="session")
def macros():
    return environment().get_template("macros.html.j2").module
