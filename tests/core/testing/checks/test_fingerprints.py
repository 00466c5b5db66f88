"""Checks of an extractor's declaration and fingerprint: each broken extractor fails its check."""

import itertools
import time
from typing import ClassVar

import numpy as np
import pytest
from right_extractors import Level
from suites import failures, own_checks

from fusion.core.testing.checks.fingerprints import FingerprintChecks
from fusion.testing import ExtractorSuite


class Hardwired(Level):
    """A shape that ignores a parameter."""

    def __init__(self, *, parts: int = 8):
        super().__init__(parts=parts)
        self.shape = (8,)


class Axes(Level):
    """One axis too many."""

    axes = ("channel", "time")


class Channels(Level):
    """Two names for one channel."""

    axes = ("channel",)
    channels = ("loud", "soft")


class Dated(Level):
    """A version that contains the time."""

    count: ClassVar = itertools.count()

    @property
    def version(self):
        return f"{time.time()} {next(self.count)}"


class Unlisted(Level):
    """A parameter that changes the result, but not the fingerprint."""

    def identity(self):
        return {}

    def levels(self, samples):
        return np.full(8, self.parts, np.float32) + super().levels(samples)[:1]

    def __init__(self, *, parts: int = 8):
        super().__init__(parts=parts)
        self.shape = (8,)


class Added(Level):
    """A changed default under the previous fingerprint."""

    added_parameters: ClassVar = {"parts": 4}


class Growing(Level):
    """Changes a parameter during extraction."""

    def extract(self, recording):
        self.parameters = {**self.parameters, "seen": len(self.parameters)}
        return super().extract(recording)


class NoLibrary(Level):
    """The name of a module instead of the distribution's."""

    libraries = ("sklearn_not_there",)


class NoBranch(Level):
    """A misspelt branch."""

    default_branch = "mpl"


class UnfitBranch(Level):
    """A branch for images."""

    default_branch = "cnn"


# Plugin -> words of the message, and the check that it fails.
WRONG = {
    Hardwired: ("returns an array of shape (4,)", "every_parameter"),
    Axes: ("`axes` is ('channel', 'time')", "declaration"),
    Channels: ("`channels` has 2 names", "declaration"),
    Dated: ("a second, equal instance has another fingerprint", "fingerprint"),
    Unlisted: ("but the fingerprint stays the same", "fingerprint"),
    Growing: (
        "the fingerprint changes when extract is called",
        "extracting_changes_no_fingerprint",
    ),
    Added: ("`added_parameters` has parts=4", "added_parameters"),
    NoLibrary: ("needs 'sklearn_not_there'", "libraries"),
    NoBranch: ("no branch has this name", "default_branch"),
    UnfitBranch: ("in the branch 'cnn'", "default_branch"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_extractor_fails_its_check(plugin):
    words, intended = WRONG[plugin]
    result = failures(ExtractorSuite, plugin, only={f"test_{intended}"})
    assert words in result[f"test_{intended}"]
    assert "usual cause:" in result[f"test_{intended}"]


def test_a_broken_extractor_fails_no_other_check():
    checks = {name for name in dir(ExtractorSuite) if name.startswith("test_")}
    # Left out: a process takes a second of imports, and the docstring lacks parameters.
    only = checks - {"test_fresh_process_same_bits", "test_parameters"}
    assert set(failures(ExtractorSuite, NoBranch, only=only)) == {"test_default_branch"}


def test_every_check_has_an_extractor_that_fails_it():
    assert own_checks(FingerprintChecks) == {f"test_{intended}" for _, intended in WRONG.values()}
