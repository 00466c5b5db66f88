"""Checks of an extractor's declarations and of its fingerprint in the cache."""

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
    """Checks of the declared shape, dtype, axes and branch, and of the fingerprint."""

    def test_declaration(self) -> None:
        """Check that `shape`, `dtype`, `axes` and `channels` are valid and fit each other."""
        extractor = self.create()
        shape, axes, channels = extractor.shape, extractor.axes, extractor.channels
        require(
            isinstance(shape, tuple) and all(isinstance(n, int) and n >= 1 for n in shape),
            self.where,
            f"`shape` is {shape!r}",
            expected="a tuple of ints of 1 or more, as in self.shape = (1, 128, 256)",
            cause="a missing comma, (64) instead of (64,); or a float: use //",
        )
        try:
            np.dtype(extractor.dtype)
        except TypeError:
            fail(
                self.where,
                f"`dtype` is {extractor.dtype!r}",
                expected='the name of a numpy dtype, as in dtype = "float32"',
                cause="a torch dtype, or a misspelling",
            )
        require(
            isinstance(axes, tuple)
            and len(axes) in (0, len(shape))
            and len(set(axes)) == len(axes),
            self.where,
            f"`axes` is {axes!r} and `shape` is {shape}",
            expected="a different name for each axis of the shape, or no names at all",
            cause="an axis of length 1 that was forgotten; or a string instead of a tuple: "
            '("time",) has a comma',
        )
        length = shape[axes.index("channel")] if "channel" in axes else 0
        require(
            isinstance(channels, tuple) and len(channels) in (0, length),
            self.where,
            f"`channels` has {len(channels)} names, and the axis 'channel' has length {length}",
            expected="one name per channel, or no names",
            cause="channels that depend on a parameter: set self.channels in __init__",
        )

    def test_libraries(self) -> None:
        """Check that each of `libraries`, whose versions the fingerprint has, is installed."""
        with running(self.where, "looking up `libraries`", cause=_LIBRARIES):
            fingerprint_of(self.create())

    def test_fingerprint(self) -> None:
        """Check the fingerprints of equal instances and of instances with other parameters.

        Equal instances must have the same fingerprint. A parameter that changes arrays must change
        the fingerprint.
        """
        with running(self.where, "computing the fingerprint", cause=_FINGERPRINT):
            first = fingerprint_of(self.create())
            self._check_same(first, fingerprint_of(self.create()), "a second, equal instance")
            spelt_out = {p.name: p.default for p in parameters_of(self._plugin()).values()}
            explicit = fingerprint_of(self.create(**{**spelt_out, **self.parameters}))
        self._check_same(first, explicit, "an instance with its defaults passed explicitly")
        for name, value in self._changes():
            doing = f"computing the fingerprint with {name}={value!r}"
            with running(self.where, doing, cause=_FINGERPRINT):
                fingerprint = fingerprint_of(self.create(**{name: value}))
            if fingerprint == first:
                self._check_decides_nothing(name, value)

    def _check_decides_nothing(self, name: str, value: Any) -> None:
        """Require that a parameter outside of `identity` does not change an array."""
        where, case = f"{self.where}, {name}={value!r}", self.ordinary()[0]
        expected = self.extract_array(self.create(), case)
        actual = self.extract_array(self.create(**{name: value}), case, where)
        require(
            near(actual, expected, 1e-4),
            where,
            f"the array changes by {apart(actual, expected)}, but the fingerprint stays the same",
            expected="another fingerprint: the cache would return arrays of other parameters",
            cause="identity() leaves the parameter out, or the class sets `parameters` itself",
        )

    def _check_same(self, first: Any, other: Any, words: str) -> None:
        require(
            first == other,
            self.where,
            f"{words} has another fingerprint",
            expected="the same fingerprint: otherwise every lookup in the cache is a miss",
            cause="a version, dtype or shape that depends on the time, a random number or the "
            "order of a set",
        )

    def test_added_parameters(self) -> None:
        """Check that `added_parameters` names parameters and gives their defaults."""
        declared = parameters_of(self._plugin())
        for name, value in self._plugin().added_parameters.items():
            require(
                name in declared and declared[name].default == value,
                self.where,
                f"`added_parameters` has {name}={value!r}",
                expected="a parameter with its default: arrays computed at the default keep the "
                "fingerprint that they had before the parameter was added",
                cause="a parameter that was renamed or has another default now: remove the entry",
            )

    def test_extracting_changes_no_fingerprint(self) -> None:
        """Check that a call of `extract` leaves the fingerprint as it was."""
        extractor, (case, *_) = self.create(), self.ordinary()
        before = fingerprint_of(extractor).canonical()
        self.extract_array(extractor, case)
        require(
            fingerprint_of(extractor).canonical() == before,
            self.where,
            "the fingerprint changes when extract is called",
            expected="the same fingerprint before and after",
            cause="extract changes self.shape, self.dtype or a list among the parameters",
        )

    def test_every_parameter(self) -> None:
        """Check the declared shape and dtype of an array for another value of each parameter."""
        changes = list(self._changes())
        if not changes:
            skip("the extractor has no parameters that can be changed")
        case = self.ordinary()[0]
        for name, value in changes:
            where = f"{self.where}, {name}={value!r}"
            extractor = self.create(**{name: value})
            with warnings.catch_warnings():  # the check chose the value, not a user
                warnings.simplefilter("ignore")
                array = self.extract_array(extractor, case, where)
            self.check_declaration(extractor, array, where)

    def _changes(self) -> Iterator[tuple[str, Any]]:
        """Yield each parameter with another value that the extractor accepts."""
        for parameter in parameters_of(self._plugin()).values():
            own = self.parameters.get(parameter.name, parameter.default)
            for value in other_values(parameter):
                if value != own and self._takes(parameter.name, value):
                    yield parameter.name, value
                    break

    def _takes(self, name: str, value: Any) -> bool:
        values = {**self.parameters, name: value}
        try:
            extractor: Extractor = make(self._plugin(), settings=values, owner=self.where)
        except FusionError:
            return False
        return all(n >= 1 for n in extractor.shape)

    def test_default_branch(self) -> None:
        """Check that the extractor's default branch accepts its arrays."""
        extractor = self.create()
        shape, name = tuple(extractor.shape), extractor.default_branch
        branches = installed_plugins(self._plugin(), "branch")["branch"]
        if name is None:
            require(
                any(branch.accepts(shape) for branch in branches.values()),
                self.where,
                f"no installed branch accepts arrays of shape {shape}",
                expected=f"a shape for one of {', '.join(branches)}, or your own branch as "
                "default_branch",
                cause="a number of axes that no branch supports: flatten some of them",
            )
            return
        require(
            name in branches,
            self.where,
            f"`default_branch` is {name!r}, and no branch has this name",
            expected=f"one of {', '.join(branches)}, or None",
            cause="a misspelling, or a branch of a package that is not installed",
        )
        parameters = extractor.default_branch_parameters
        with running(self.where, f"a batch of two clips in the branch {name!r}", cause=_BRANCH):
            branch = make(branches[name], shape, settings={**parameters, "dim": 8}, owner=name)
            accepted = branches[name].accepts(shape)
            embeddings = branch(torch.zeros(2, *shape))
        require(
            accepted and tuple(embeddings.shape) == (2, 8),
            self.where,
            f"the default_branch {name!r} does not accept arrays of shape {shape}",
            expected="a branch whose accepts(shape) is True",
            cause=_BRANCH,
        )


_LIBRARIES = "the name of a module instead of its distribution: scikit-learn, not sklearn"
_FINGERPRINT = (
    "a parameter whose value is not a string, number, list or dict: the cache can't store it"
)
_BRANCH = "default_branch_parameters that the branch does not have, or a shape it does not accept"
