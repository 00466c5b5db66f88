"""Remedies: changes of a configuration that mend certain faults, the rungs of a repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from .data import Plugin


class Fault(Protocol):
    """What a remedy may know of a finding."""

    @property
    def fault(self) -> str:
        """Its name, as in ``fusion plugins show REMEDY`` and docs/diagnosis.md."""

    @property
    def modality(self) -> str | None:
        """Whose it is, where it is one's."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A run that is to be mended.

    Attributes
    ----------
    strategy : str
        Its fusion strategy.
    balancers : tuple of str
        Its balancers, in order.
    branches : mapping
        Modality -> its branch.
    preferred : mapping
        Modality -> the branch that suits it best, where its extractor names one.
    faults : sequence of Fault
        What was found, the most important first.
    settings : mapping
        Owner -> parameter -> value of the run, as far as they are known.
    from_baselines : bool
        Whether the branches of the fused model start with the weights of the single-modality
        models already, by ``train.start`` or by a balancer that decides about the start.
    """

    strategy: str
    balancers: tuple[str, ...]
    branches: Mapping[str, str]
    preferred: Mapping[str, str]
    faults: Sequence[Fault] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    from_baselines: bool = False

    def has(self, settings: Mapping[str, Mapping[str, Any]]) -> bool:
        """Return whether the run is known to have all of these settings."""
        return all(
            name in self.settings.get(owner, {}) and str(self.settings[owner][name]) == str(value)
            for owner, given in settings.items()
            for name, value in given.items()
        )


@dataclass(frozen=True, slots=True)
class Prescription:
    """What to change in a configuration; what is None or empty stays.

    Attributes
    ----------
    strategy : str or None
        Another fusion strategy.
    balancers : tuple of str or None
        Balancers in place of the patient's.
    branches : mapping
        Modality -> another branch, with that branch's own defaults. Its baseline is then
        trained again.
    settings : mapping
        Owner -> parameter -> value, as ``--set`` takes them; owner ``train`` too.
    """

    strategy: str | None = None
    balancers: tuple[str, ...] | None = None
    branches: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Remedy(Plugin):
    """One rung of the ladder that ``fusion repair`` climbs.

    A remedy that always changes the same says so in class attributes; one that depends on the
    patient overrides :meth:`prescribe`.

    Attributes
    ----------
    mends : tuple of str
        Names of the faults that it is a remedy for: it is tried first where one is found.
    order : int
        Its place on the ladder otherwise, the lowest first.
    strategy : str or None
        The fusion strategy that it changes to.
    balancers : tuple of str
        Balancers that it adds to the patient's.
    settings : mapping
        Owner -> parameter -> value.
    """

    mends: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[int] = 100
    strategy: ClassVar[str | None] = None
    balancers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def prescribe(self, patient: Patient) -> Prescription | None:
        """What to change; None where this remedy has nothing to offer."""
        added = tuple(b for b in self.balancers if b not in patient.balancers)
        same = self.strategy in (None, patient.strategy) and not added
        if same and patient.has(self.settings):
            return None
        return Prescription(
            self.strategy,
            (*patient.balancers, *added) if added else None,
            settings=self.settings,
        )
