"""Base class of remedies: changes of a configuration that repair certain faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from .data import Plugin


class Fault(Protocol):
    """The fields of a finding that a remedy may read."""

    @property
    def fault(self) -> str:
        """Name of the fault, as ``fusion plugins show REMEDY`` prints it."""

    @property
    def modality(self) -> str | None:
        """Modality that has the fault; None for a fault of the whole run."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A run to be repaired.

    Attributes
    ----------
    strategy : str
        Fusion strategy of the run.
    balancers : tuple of str
        Balancers of the run, in order.
    branches : mapping
        Name of the branch of each modality.
    preferred : mapping
        Name of the branch that suits a modality best, by modality. Only modalities whose extractor
        names a default branch are included.
    faults : sequence of Fault
        Findings of the diagnosis, the most important first.
    settings : mapping
        Value in the run, by owner and parameter, as far as the values are known.
    from_baselines : bool
        Whether the branches of the fused model already start with the weights of the
        single-modality models, by ``train.start`` or by a balancer with the domain ``"start"``.
    """

    strategy: str
    balancers: tuple[str, ...]
    branches: Mapping[str, str]
    preferred: Mapping[str, str]
    faults: Sequence[Fault] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    from_baselines: bool = False

    def has(self, settings: Mapping[str, Mapping[str, Any]]) -> bool:
        """Return whether the run is known to use all of the given settings."""
        return all(
            name in self.settings.get(owner, {}) and str(self.settings[owner][name]) == str(value)
            for owner, parameters in settings.items()
            for name, value in parameters.items()
        )


@dataclass(frozen=True, slots=True)
class Prescription:
    """Changes of a configuration; a field that is None or empty changes nothing.

    Attributes
    ----------
    strategy : str or None
        New fusion strategy.
    balancers : tuple of str or None
        New balancers, which replace the patient's.
    branches : mapping
        Name of the new branch, by modality; the branch has its default parameters. The baseline of
        the modality is then trained again.
    settings : mapping
        New value, by owner and parameter, as for ``--set``; the owner may be ``train``.
    """

    strategy: str | None = None
    balancers: tuple[str, ...] | None = None
    branches: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Remedy(Plugin):
    """One change of a configuration, which ``fusion repair`` tries as one step.

    A remedy with fixed changes declares them in class attributes. A remedy whose changes depend
    on the patient overrides :meth:`prescribe`.

    Attributes
    ----------
    mends : tuple of str
        Names of the faults that the remedy repairs. If a diagnosis finds such a fault, the remedy
        is tried before remedies that repair none of the faults found.
    order : int
        Position in the order of the remedies, the lowest first.
    strategy : str or None
        Fusion strategy to change to.
    balancers : tuple of str
        Balancers to add to the patient's.
    settings : mapping
        Settings to change: new value, by owner and parameter.
    """

    mends: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[int] = 100
    strategy: ClassVar[str | None] = None
    balancers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def prescribe(self, patient: Patient) -> Prescription | None:
        """Return the changes for `patient`; None if the remedy would change nothing."""
        added = tuple(b for b in self.balancers if b not in patient.balancers)
        same_networks = self.strategy in (None, patient.strategy) and not added
        if same_networks and patient.has(self.settings):
            return None
        return Prescription(
            self.strategy,
            (*patient.balancers, *added) if added else None,
            settings=self.settings,
        )
