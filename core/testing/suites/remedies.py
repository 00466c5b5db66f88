"""The conformance suite for remedies."""

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
    """What a remedy may know of a finding."""

    fault: str
    modality: str | None = None


class RemedySuite(PluginSuite):
    """Checks what a remedy prescribes to runs of many kinds."""

    kind = Remedy
    plugin: ClassVar[type[Remedy]]

    # -- tools ---------------------------------------------------------------------------

    @cached_property
    def there(self) -> dict[str, dict[str, type[Any]]]:
        """Kind -> name -> class of what a remedy may name."""
        return installed_plugins(self._plugin(), "branch", "strategy", "balancer")

    def patients(self) -> Iterator[Patient]:
        """Every strategy, without balancers and with the remedy's own; one modality to three;
        without faults and with those that it mends."""
        branches = list(self.there["branch"])
        mends = [str(fault) for fault in self._plugin().mends]
        for number, strategy in enumerate(self.there["strategy"]):
            modalities = NAMES[: 1 + number % len(NAMES)]
            of_each = dict.fromkeys(modalities, branches[0])
            preferred = {m: branches[(i + number) % len(branches)] for i, m in enumerate(of_each)}
            faults = [Found(f, m) for f in mends for m in (*modalities, None)]
            for balancers in ((), tuple(self._plugin().balancers)):
                for found in ((), (Found("not_finite", NAMES[0]),), faults):
                    yield Patient(strategy, balancers, of_each, preferred, found)

    def offers(self) -> Iterator[tuple[Patient, Prescription]]:
        """What it prescribes to each of them."""
        for patient in self.patients():
            offer = self.prescribed(patient)
            if offer is not None:
                yield patient, offer

    def prescribed(self, patient: Patient) -> Prescription | None:
        with running(self.to(patient), "prescribe", cause=_PRESCRIBE):
            offer = cast(Remedy, self.example()).prescribe(patient)
        require(
            offer is None or isinstance(offer, Prescription),
            self.to(patient),
            f"prescribe returns {offer!r:.80}",
            expected="a fusion.Prescription, or None where it has nothing to offer",
            cause="the name of a strategy instead of Prescription(strategy=...)",
        )
        return offer

    def to(self, patient: Patient) -> str:
        count = len(patient.branches)
        modalities = "1 modality" if count == 1 else f"{count} modalities"
        return f"{self.where}, to a run of {patient.strategy!r} on {modalities}"

    # -- checks --------------------------------------------------------------------------

    def test_mends(self) -> None:
        """The names are those that a diagnosis gives its findings."""
        mends = self._plugin().mends
        require(
            isinstance(mends, tuple),
            self.where,
            f"`mends` is {mends!r}",
            expected='a tuple of names, as in mends = ("dead_branch",)',
            cause='a text where a tuple is meant: ("dead_branch",) has a comma',
        )
        unknown = [name for name in mends if name not in _FAULTS]
        require(
            not unknown,
            self.where,
            f"`mends` names {', '.join(map(repr, unknown))}, which no diagnosis finds",
            expected=f"some of {listed(_FAULTS)}",
            cause="a misspelling: the remedy would never be tried first",
        )

    def test_order(self) -> None:
        """Its place on the ladder is a number."""
        order = self._plugin().order
        require(
            isinstance(order, int),
            self.where,
            f"its order is {order!r}",
            expected="an int: its place on the ladder, the lowest first",
            cause="a text",
        )

    def test_prescribes(self) -> None:
        """A Prescription or None, to whatever run; the same to the same one."""
        for patient in self.patients():
            first, again = self.prescribed(patient), self.prescribed(patient)
            require(
                first == again,
                self.to(patient),
                "prescribed twice to one run, it differs",
                expected="the same: a repair that is taken up again goes on where it was",
                cause="random numbers, the time, or something kept from the run before",
            )

    def test_patient_is_left_alone(self) -> None:
        """Prescribing does not change the patient."""
        for patient in self.patients():
            before = copy.deepcopy(patient)
            self.prescribed(patient)
            require(
                patient == before,
                self.to(patient),
                "prescribe changes the patient",
                expected="the patient as it was: other remedies see it, too",
                cause="patient.branches[...] = ..., or .update(...): make a dict of its own",
            )

    def test_changes_something(self) -> None:
        """What it prescribes is no step that leaves the run as it is."""
        for patient, offer in self.offers():
            same = (
                offer.strategy in (None, patient.strategy)
                and offer.balancers in (None, patient.balancers)
                and all(patient.branches.get(m) == name for m, name in offer.branches.items())
                and not any(offer.settings.values())
            )
            require(
                not same,
                self.to(patient),
                "it prescribes what the run has already",
                expected="None: a whole training would be spent on nothing",
                cause="prescribe does not compare with patient.strategy and patient.balancers",
            )

    def test_names(self) -> None:
        """Strategies, balancers and branches that it names are there."""
        for patient, offer in self.offers():
            named = {
                "strategy": [offer.strategy] if offer.strategy else [],
                "balancer": list(offer.balancers or ()),
                "branch": list(offer.branches.values()),
            }
            for kind, names in named.items():
                for name in names:
                    require(
                        name in self.there[kind],
                        self.to(patient),
                        f"it prescribes the {kind} {name!r}, which is not there",
                        expected=f"one of {listed(self.there[kind])}",
                        cause="a misspelling, a text where a tuple is meant, or a plugin of "
                        "another package that is not installed",
                    )
            strangers = set(offer.branches) - set(patient.branches)
            require(
                not strangers,
                self.to(patient),
                f"it prescribes a branch for {listed(strangers)}",
                expected=f"modalities of the run: {listed(patient.branches)}",
                cause="the name of a modality written down",
            )

    def test_settings(self) -> None:
        """Settings are parameters that exist, of what the run then consists of."""
        for patient, offer in self.offers():
            for owner, given in offer.settings.items():
                self._check_settings(patient, offer, owner, given)

    def _check_settings(
        self, patient: Patient, offer: Prescription, owner: str, given: Mapping[str, Any]
    ) -> None:
        owners = self._owners(patient, offer)
        require(
            owner in owners,
            self.to(patient),
            f"it prescribes settings for {owner!r}",
            expected=f"for what the run then consists of: {listed(owners)}",
            cause="a strategy or balancer that it does not prescribe as well, or a misspelling",
        )
        try:
            bind(owners[owner], given, owner=owner)
        except FusionError as error:
            fail(
                self.to(patient),
                f"its settings can't be used: {error.message}",
                expected="parameters as --set takes them",
                cause="a parameter that was renamed, or a value of another type",
            )

    def _owners(self, patient: Patient, offer: Prescription) -> dict[str, type]:
        strategy = offer.strategy or patient.strategy
        balancers: Sequence[str] = patient.balancers if offer.balancers is None else offer.balancers
        branches = {**patient.branches, **offer.branches}
        named = [("strategy", strategy, strategy)]
        named += [("balancer", name, name) for name in balancers]
        named += [("branch", name, f"branch.{m}") for m, name in branches.items()]
        found: dict[str, type] = {"train": TrainConfig}
        for kind, name, owner in named:
            if name in self.there[kind]:  # else test_names shows it
                found[owner] = self.there[kind][name]
        return found


_PRESCRIBE = "a run with one modality, or with one that has no preferred branch: use .get(...)"
