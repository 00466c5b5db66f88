"""How far a build is, and what failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import CacheError
from ..shards.info import Problem
from .work import Chunk, Result


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that could not be computed, or has no such array.

    Attributes
    ----------
    feature : str
        Name of the feature.
    key : str
        Of the item.
    source : object
        Of the item.
    reason : str
        What was raised: type and message.
    """

    feature: str
    key: str
    source: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is.

    Attributes
    ----------
    feature : str
        Name of the feature that was worked on last; empty at the start.
    done : int
        Items computed, failed or absent so far, of all features.
    total : int
        Items that were missing at the start, of all features.
    failed : int
        Those of `done` that failed.
    """

    feature: str
    done: int
    total: int
    failed: int


class Tally:
    """Adds up results and tells of progress."""

    def __init__(
        self, total: int, on_progress: Callable[[Progress], None] | None, strict: bool
    ) -> None:
        self.computed = 0
        self.present = 0
        self.failures: list[Failure] = []
        self.absent: list[Failure] = []
        self.strict = strict
        self._deferred: list[Chunk] = []
        self._total = total
        self._on_progress = on_progress
        self._report("")

    def add(self, chunk: Chunk, result: Result) -> None:
        self.computed += result.computed
        self.present += result.present
        if result.deferred:
            self._deferred.append(chunk.of(result.deferred))
        for came, listed in ((result.failures, self.failures), (result.absent, self.absent)):
            for position, reason in came:
                item = chunk.items[position]
                listed.append(Failure(chunk.feature, item.key, item.source, reason))
        self._report(chunk.feature)
        if self.strict and result.failures:
            first = self.failures[-len(result.failures)]
            raise CacheError(
                f"Can't compute {first.feature!r} of {first.source}: {first.reason}",
                hint="What is finished stays. Without strict mode, items that fail are left out.",
            )

    def take_deferred(self) -> list[Chunk]:
        """What other builders had claimed, once."""
        deferred, self._deferred = self._deferred, []
        return deferred

    def _report(self, feature: str) -> None:
        if self._on_progress is not None:
            failed = len(self.failures)
            done = self.computed + self.present + failed + len(self.absent)
            self._on_progress(Progress(feature, done, self._total, failed))


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did, each item counted once per feature.

    Attributes
    ----------
    computed : int
        Items that were missing and are there now.
    present : int
        Items that were there before, or that another build has computed in the meantime.
    fetched : int
        Items that were copied from another machine's cache.
    problems : list of Problem
        Files that were left aside on the way; what they held counted as missing.
    failures : list of Failure
        Items that could not be computed.
    absent : list of Failure
        Items whose source has no such array, which is no failure.
    seconds : float
        Wall time.
    """

    computed: int
    present: int
    failures: list[Failure]
    seconds: float
    fetched: int = 0
    problems: list[Problem] = field(default_factory=list)
    absent: list[Failure] = field(default_factory=list)
