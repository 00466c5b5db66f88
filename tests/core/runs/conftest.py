"""A corpus of text, and a finished run on it that nothing was trained for."""

import shutil

import pytest
from untrained_runs import finished_run, write_corpus

from fusion.core.runs.run import Run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Six speakers say two classes, two takes each; features are in its cache after `made`."""
    folder = tmp_path_factory.mktemp("texts")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def made(corpus):
    """A finished run of one fold; to be read only."""
    return finished_run(corpus, corpus / "made")


@pytest.fixture
def copied(made, tmp_path):
    """The same run to be changed."""
    shutil.copytree(made.path, tmp_path / "copy")
    return Run.open(tmp_path / "copy", made.registry)
