"""Checks of what an extractor declares, and of its fingerprint in the cache."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ...contracts import Extractor
from ...contracts.errors import FusionError
from ...data.extraction import fingerprint_of
from ...registry.parameters import make, parameters_of
from .assertions import fail, require, running, skip
from .declarations import installed_plugins, other_values
from .extraction import ExtractionSuite, apart, near


class FingerprintChecks(ExtractionSuite):
    """Shape, dtype, axes and branch as declared; the fingerprint, parameter by parameter."""

    def test_declaration(self) -> None:
        """`shape`, `dtype`, `axes` and `channels` go together."""
        extractor = self.made()
        shape, axes, channels = extractor.shape, extractor.axes, extractor.channels
        require(
            isinstance(shape, tuple) and all(isinstance(n, int) and n >= 1 for n in shape),
            self.where,
            f"its shape is {shape!r}",
            expected="a tuple of ints of 1 or more, as in self.shape = (1, 128, 256)",
            cause="a comma that is missing, (64) for (64,); or a float: use //",
        )
        try:
            np.dtype(extractor.dtype)
        except TypeError:
            fail(
                self.where,
                f"its dtype is {extractor.dtype!r}",
                expected='numpy\'s name of a dtype, as in dtype = "float32"',
                cause="a torch dtype, or a misspelling",
            )
        require(
            isinstance(axes, tuple)
            and len(axes) in (0, len(shape))
            and len(set(axes)) == len(axes),
            self.where,
            f"its axes are {axes!r} and its shape is {shape}",
            expected="a different name for each axis of the shape, or none at all",
            cause="an axis of length 1 that was forgotten; or a text where a tuple is meant: "
            '("time",) has a comma',
        )
        length = shape[axes.index("channel")] if "channel" in axes else 0
        require(
            isinstance(channels, tuple) and len(channels) in (0, length),
            self.where,
            f"it names {len(channels)} channels, and its axis called 'channel' has length {length}",
            expected="a name for each, or none",
            cause="channels that depend on a parameter: set self.channels in __init__",
        )

    def test_libraries(self) -> None:
        """The versions of these distributions are part of the fingerprint."""
        with running(self.where, "looking up its libraries", cause=_LIBRARIES):
            fingerprint_of(self.made())

    def test_fingerprint(self) -> None:
        """It changes with every parameter that changes the arrays, and with nothing else."""
        with running(self.where, "its fingerprint", cause=_FINGERPRINT):
            first = fingerprint_of(self.made())
            self._check_same(first, fingerprint_of(self.made()), "another instance made alike")
            spelt_out = {p.name: p.default for p in parameters_of(self._plugin()).values()}
            given = fingerprint_of(self.made(**{**spelt_out, **self.parameters}))
        self._check_same(first, given, "one made with its defaults spelt out")
        for name, value in self._changes():
            with running(self.where, f"its fingerprint with {name}={value!r}", cause=_FINGERPRINT):
                found = fingerprint_of(self.made(**{name: value}))
            if found == first:
                self._check_decides_nothing(name, value)

    def _check_decides_nothing(self, name: str, value: Any) -> None:
        """A parameter that `identity` leaves out may not change an array."""
        where, case = f"{self.where}, {name}={value!r}", self.ordinary()[0]
        expected = self.extracted(self.made(), case)
        found = self.extracted(self.made(**{name: value}), case, where)
        require(
            near(found, expected, 1e-4),
            where,
            f"its array is another one, by {apart(found, expected)}, and its fingerprint the same",
            expected="another fingerprint: the cache would hand out arrays of other parameters",
            cause="identity() leaves the parameter out; or the class sets `parameters` itself",
        )

    def _check_same(self, first: Any, other: Any, words: str) -> None:
        require(
            first == other,
            self.where,
            f"{words} has another fingerprint",
            expected="the same: else nothing is ever found in the cache",
            cause="a version, dtype or shape that is made from the time, a random number or the "
            "order of a set",
        )

    def test_added_parameters(self) -> None:
        """Parameters that the fingerprint lacks at their default are declared with it."""
        declared = parameters_of(self._plugin())
        for name, value in self._plugin().added_parameters.items():
            require(
                name in declared and declared[name].default == value,
                self.where,
                f"its `added_parameters` has {name}={value!r}",
                expected="a parameter with its default: an array made at the default is found "
                "under the fingerprint of before",
                cause="a parameter that was renamed, or whose default was changed: leave it out",
            )

    def test_extracting_changes_no_fingerprint(self) -> None:
        """The fingerprint after an extract is the one before."""
        extractor, (case, *_) = self.made(), self.ordinary()
        before = fingerprint_of(extractor).canonical()
        self.extracted(extractor, case)
        require(
            fingerprint_of(extractor).canonical() == before,
            self.where,
            "its fingerprint is another one after an extract",
            expected="the same",
            cause="self.shape, self.dtype or a list among the parameters that extract changes",
        )

    def test_every_parameter(self) -> None:
        """With another value of any parameter the array is as declared, too."""
        changes = list(self._changes())
        if not changes:
            skip("it has no parameters to change")
        case = self.ordinary()[0]
        for name, value in changes:
            where = f"{self.where}, {name}={value!r}"
            extractor = self.made(**{name: value})
            with warnings.catch_warnings():  # the values are nobody's choice
                warnings.simplefilter("ignore")
                found = self.extracted(extractor, case, where)
            self.check_declaration(extractor, found, where)

    def _changes(self) -> Iterator[tuple[str, Any]]:
        """Every parameter, with a value unlike its own that the extractor takes."""
        for parameter in parameters_of(self._plugin()).values():
            own = self.parameters.get(parameter.name, parameter.default)
            for value in other_values(parameter):
                if value != own and self._takes(parameter.name, value):
                    yield parameter.name, value
                    break

    def _takes(self, name: str, value: Any) -> bool:
        given = {**self.parameters, name: value}
        try:
            made: Extractor = make(self._plugin(), given=given, owner=self.where)
        except FusionError:
            return False
        return all(n >= 1 for n in made.shape)

    def test_default_branch(self) -> None:
        """The branch that it names takes its arrays."""
        extractor = self.made()
        shape, name = tuple(extractor.shape), extractor.default_branch
        branches = installed_plugins(self._plugin(), "branch")["branch"]
        if name is None:
            require(
                any(branch.accepts(shape) for branch in branches.values()),
                self.where,
                f"no branch that is installed here accepts arrays of shape {shape}",
                expected=f"one of {', '.join(branches)}, or one of its own as default_branch",
                cause="a number of axes that no branch knows: flatten some of them",
            )
            return
        require(
            name in branches,
            self.where,
            f"its default_branch is {name!r}, and there is no such branch",
            expected=f"one of {', '.join(branches)}, or None",
            cause="a misspelling, or a branch of another package that is not installed",
        )
        given = extractor.default_branch_parameters
        with running(self.where, f"a batch of two clips in its branch {name!r}", cause=_BRANCH):
            branch = make(branches[name], shape, given={**given, "dim": 8}, owner=name)
            accepted = branches[name].accepts(shape)
            embeddings = branch(torch.zeros(2, *shape))
        require(
            accepted and tuple(embeddings.shape) == (2, 8),
            self.where,
            f"its default_branch {name!r} does not take arrays of shape {shape}",
            expected="a branch whose accepts(shape) is True",
            cause=_BRANCH,
        )


_LIBRARIES = "the name of a module where the distribution's is meant: scikit-learn, not sklearn"
_FINGERPRINT = (
    "a parameter whose value is no text, number, list or dict: it can't be written into the cache"
)
_BRANCH = "default_branch_parameters that the branch does not have, or a shape that it can't take"
