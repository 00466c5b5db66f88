"""Conformance suite for remedies."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

from ...analysis.diagnosis.findings import TITLES
from ...contracts import Patient, Prescription, Remedy
from ...contracts.errors import FusionError
from ...contracts.train_config import TrainConfig
from ...registry.parameters import bind
from ..checks.assertions import fail, require, running
from ..checks.declarations import PluginSuite, installed_plugins
from ..checks.problem import NAMES
from ..checks.tensors import listed

_FAULTS = set(TITLES)


@dataclass(frozen=True, slots=True)
class Found:
    """Finding with the fields that a remedy may read."""

    fault: str
    modality: str | None = None


class RemedySuite(PluginSuite):
    """Checks of a remedy's prescriptions for runs of many kinds."""

    kind = Remedy
    plugin: ClassVar[type[Remedy]]

    # -- tools ---------------------------------------------------------------------------

    @cached_property
    def installed(self) -> dict[str, dict[str, type[Any]]]:
        """Classes of the plugins that a remedy may prescribe, by kind and name."""
        return installed_plugins(self._plugin(), "branch", "strategy", "balancer")

    def patients(self) -> Iterator[Patient]:
        """Yield runs to prescribe for.

        The runs have one to three modalities, and include every strategy. Each strategy occurs
        without balancers and with the balancers that the remedy names in `balancers`. A run has no
        findings, one unrelated finding, or findings that the remedy repairs.
        """
        branches = list(self.installed["branch"])
        mends = [str(fault) for fault in self._plugin().mends]
        for number, strategy in enumerate(self.installed["strategy"]):
            modalities = NAMES[: 1 + number % len(NAMES)]
            of_each = dict.fromkeys(modalities, branches[0])
            preferred = {m: branches[(i + number) % len(branches)] for i, m in enumerate(of_each)}
            faults = [Found(f, m) for f in mends for m in (*modalities, None)]
            for balancers in ((), tuple(self._plugin().balancers)):
                for findings in ((), (Found("not_finite", NAMES[0]),), faults):
                    yield Patient(strategy, balancers, of_each, preferred, findings)

    def offers(self) -> Iterator[tuple[Patient, Prescription]]:
        """Yield each run for which the remedy prescribes something, with the prescription."""
        for patient in self.patients():
            offer = self.prescription(patient)
            if offer is not None:
                yield patient, offer

    def prescription(self, patient: Patient) -> Prescription | None:
        """Return the remedy's prescription for a run; fail the check if it is not valid."""
        with running(self.to(patient), "prescribe", cause=_PRESCRIBE):
            offer = cast(Remedy, self.example()).prescribe(patient)
        require(
            offer is None or isinstance(offer, Prescription),
            self.to(patient),
            f"prescribe returns {offer!r:.80}",
            expected="a fusion.Prescription, or None if the remedy has nothing to prescribe",
            cause="the name of a strategy instead of Prescription(strategy=...)",
        )
        return offer

    def to(self, patient: Patient) -> str:
        """Return the name of the plugin and of a run, for messages."""
        count = len(patient.branches)
        modalities = "1 modality" if count == 1 else f"{count} modalities"
        return f"{self.where}, for a run of {patient.strategy!r} on {modalities}"

    # -- checks --------------------------------------------------------------------------

    def test_mends(self) -> None:
        """Check that `mends` consists of names of faults that a diagnosis can find."""
        mends = self._plugin().mends
        require(
            isinstance(mends, tuple),
            self.where,
            f"`mends` is {mends!r}",
            expected='a tuple of names, as in mends = ("dead_branch",)',
            cause='a string instead of a tuple: ("dead_branch",) has a comma',
        )
        unknown = [name for name in mends if name not in _FAULTS]
        require(
            not unknown,
            self.where,
            f"`mends` names {', '.join(map(repr, unknown))}, which no diagnosis finds",
            expected=f"only names from {listed(_FAULTS)}",
            cause="a misspelling: a repair would never try the remedy first",
        )

    def test_order(self) -> None:
        """Check that `order`, the remedy's position among the remedies, is an int."""
        order = self._plugin().order
        require(
            isinstance(order, int),
            self.where,
            f"`order` is {order!r}",
            expected="an int: the place on the ladder of remedies, the lowest first",
            cause="a string",
        )

    def test_prescribes(self) -> None:
        """Check that `prescribe` returns a Prescription or None, always the same for a run."""
        for patient in self.patients():
            first, again = self.prescription(patient), self.prescription(patient)
            require(
                first == again,
                self.to(patient),
                "two calls of prescribe for the same run return different prescriptions",
                expected="the same prescription: a resumed repair continues where it stopped",
                cause="random numbers, the time, or state from an earlier call",
            )

    def test_patient_is_left_alone(self) -> None:
        """Check that `prescribe` does not change the patient."""
        for patient in self.patients():
            before = copy.deepcopy(patient)
            self.prescription(patient)
            require(
                patient == before,
                self.to(patient),
                "prescribe changes the patient",
                expected="an unchanged patient: fusion passes it to other remedies, too",
                cause="patient.branches[...] = ..., or .update(...): change a copy of the dict",
            )

    def test_changes_something(self) -> None:
        """Check that every prescription changes the configuration of the run."""
        for patient, offer in self.offers():
            unchanged = (
                offer.strategy in (None, patient.strategy)
                and offer.balancers in (None, patient.balancers)
                and all(patient.branches.get(m) == name for m, name in offer.branches.items())
                and not any(offer.settings.values())
            )
            require(
                not unchanged,
                self.to(patient),
                "the prescription does not change the run",
                expected="None: otherwise a whole training is wasted",
                cause="prescribe does not compare with patient.strategy and patient.balancers",
            )

    def test_names(self) -> None:
        """Check that prescribed plugins exist, and that branches are for modalities of the run."""
        for patient, offer in self.offers():
            named = {
                "strategy": [offer.strategy] if offer.strategy else [],
                "balancer": list(offer.balancers or ()),
                "branch": list(offer.branches.values()),
            }
            for kind, names in named.items():
                for name in names:
                    require(
                        name in self.installed[kind],
                        self.to(patient),
                        f"the remedy prescribes the {kind} {name!r}, which does not exist",
                        expected=f"one of {listed(self.installed[kind])}",
                        cause="a misspelling, a string instead of a tuple, or a plugin of a "
                        "package that is not installed",
                    )
            strangers = set(offer.branches) - set(patient.branches)
            require(
                not strangers,
                self.to(patient),
                f"the remedy prescribes a branch for {listed(strangers)}",
                expected=f"branches only for modalities of the run: {listed(patient.branches)}",
                cause="a hard-coded name of a modality",
            )

    def test_settings(self) -> None:
        """Check that prescribed settings are parameters of plugins that the repaired run uses."""
        for patient, offer in self.offers():
            for owner, settings in offer.settings.items():
                self._check_settings(patient, offer, owner, settings)

    def _check_settings(
        self, patient: Patient, offer: Prescription, owner: str, settings: Mapping[str, Any]
    ) -> None:
        owners = self._owners(patient, offer)
        require(
            owner in owners,
            self.to(patient),
            f"the remedy prescribes settings for {owner!r}",
            expected=f"settings only for plugins of the repaired run: {listed(owners)}",
            cause="a strategy or balancer that is not prescribed, or a misspelling",
        )
        try:
            bind(owners[owner], settings, owner=owner)
        except FusionError as error:
            fail(
                self.to(patient),
                f"the prescribed settings are not valid: {error.message}",
                expected="names and values that --set accepts",
                cause="a parameter that was renamed, or a value of another type",
            )

    def _owners(self, patient: Patient, offer: Prescription) -> dict[str, type]:
        strategy = offer.strategy or patient.strategy
        balancers: Sequence[str] = patient.balancers if offer.balancers is None else offer.balancers
        branches = {**patient.branches, **offer.branches}
        named = [("strategy", strategy, strategy)]
        named += [("balancer", name, name) for name in balancers]
        named += [("branch", name, f"branch.{m}") for m, name in branches.items()]
        owners: dict[str, type] = {"train": TrainConfig}
        for kind, name, owner in named:
            if name in self.installed[kind]:  # test_names reports other names
                owners[owner] = self.installed[kind][name]
        return owners


_PRESCRIBE = (
    "a run with one modality, or a modality without a preferred branch: use "
    "patient.preferred.get(...)"
)
