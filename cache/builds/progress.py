"""Progress of a build, and the report of its results and failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CacheError
from ..shards.claims import Holder, described
from ..shards.info import Problem
from .work import Chunk, Result


@dataclass(frozen=True, slots=True)
class Failure:
    """Item without a result: the computation failed, or the source does not have the feature.

    Attributes
    ----------
    feature : str
        Name of the feature.
    key : str
        Key of the item.
    source : object
        Source of the item.
    reason : str
        Type and message of the exception.
    """

    feature: str
    key: str
    source: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a build.

    Attributes
    ----------
    feature : str
        Name of the feature that was worked on last; empty at the start.
    done : int
        Number of items of all features that were finished so far: computed here or by another
        builder, failed, or absent.
    total : int
        Number of items of all features that were missing at the start.
    failed : int
        Number of the `done` items that failed.
    waiting : str
        What the build waits for: items that other builders compute, and who these builders are.
        Empty if the build does not wait.
    """

    feature: str
    done: int
    total: int
    failed: int
    waiting: str = ""


class Tally:
    """Running total of the results of all chunks, which also reports progress."""

    def __init__(
        self, total: int, on_progress: Callable[[Progress], None] | None, strict: bool
    ) -> None:
        self.computed = 0
        self.present = 0
        self.failures: list[Failure] = []
        self.absent: list[Failure] = []
        self.strict = strict
        self._deferred: list[Chunk] = []
        self._awaited: set[Holder] = set()
        self._total = total
        self._on_progress = on_progress
        self._report("")

    def add(self, chunk: Chunk, result: Result) -> None:
        """Add the result of a chunk and report progress.

        Raises
        ------
        CacheError
            In strict mode, if an item failed.
        """
        self.computed += result.computed
        self.present += result.present
        if result.deferred:
            self._deferred.append(chunk.of(result.deferred))
        for outcomes, records in ((result.failures, self.failures), (result.absent, self.absent)):
            for position, reason in outcomes:
                item = chunk.items[position]
                records.append(Failure(chunk.feature, item.key, item.source, reason))
        self._report(chunk.feature)
        if self.strict and result.failures:
            first = self.failures[-len(result.failures)]
            raise CacheError(
                f"Can't compute {first.feature!r} of {first.source}: {first.reason}",
                hint="Finished items are kept. Without strict mode, failed items are skipped.",
            )

    def take_deferred(self) -> list[Chunk]:
        """Return the chunks of items that other builders had claimed, and clear the list."""
        deferred, self._deferred = self._deferred, []
        return deferred

    def wait(self, chunk: Chunk, owners: Sequence[Holder]) -> None:
        """Report that items are computed by other builders; once for the same builders."""
        if not owners or self._awaited == set(owners):
            return
        self._awaited = set(owners)
        expires = max(each.expires for each in owners) / 60
        self._report(
            chunk.feature,
            f"waiting for {len(chunk.items)} items of {chunk.feature!r} that {described(owners)} "
            f"computes; claims that are not renewed expire after {expires:.0f} minutes",
        )

    def _report(self, feature: str, waiting: str = "") -> None:
        if self._on_progress is not None:
            failed = len(self.failures)
            finished = self.computed + self.present + failed + len(self.absent)
            self._on_progress(Progress(feature, finished, self._total, failed, waiting))


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Result of a build; each item is counted once per feature.

    Attributes
    ----------
    computed : int
        Items that were missing and that this build computed.
    present : int
        Items that were already stored, or that another build computed in the meantime.
    failures : list of Failure
        Items that could not be computed.
    seconds : float
        Wall time.
    fetched : int
        Items that were copied from another machine's cache.
    problems : list of Problem
        Files that were skipped; the items in these files counted as missing.
    absent : list of Failure
        Items whose source does not have the feature; these items are not failures.
    """

    computed: int
    present: int
    failures: list[Failure]
    seconds: float
    fetched: int = 0
    problems: list[Problem] = field(default_factory=list)
    absent: list[Failure] = field(default_factory=list)
