"""The conformance suite for balancers."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import get_args

import torch

from ...contracts import Balancer
from ...contracts.training import Domain
from ...training.context import TrainingContext
from ..checks.assertions import require, running, skip
from ..checks.combinations import CombinationChecks
from ..checks.invariants import InvariantChecks
from ..checks.problem import CONFIG, NAMES, small_baselines, small_model
from ..checks.tensors import gpu
from ..checks.trainings import ANY_TRAINING, Setting, Trained, fitted, usual_numbers


class BalancerSuite(InvariantChecks, CombinationChecks):
    """Checks a balancer in small trainings of one, two and three modalities.

    Attributes
    ----------
    parameters : mapping
        Parameters to make it with; its defaults where empty. A rule that starts late should
        be given a start within `epochs`, or these checks see nothing of it.
    epochs : int
        Length of the trainings, at least 2.
    settings : mapping
        Changes to the settings of the trainings, as in ``--set train.NAME=...``.
    single_unchanged : bool
        Whether a single modality is trained as without the balancer: checked where True.
    equal_unchanged : bool
        Whether modalities that are equal in all (inputs, weights) are trained as without the
        balancer: checked where True.
    order_matters : str
        Why the result depends on the order in which the modalities are named: they are
        trained one after the other, or random numbers are drawn for each in turn. Where
        empty, it is checked that it does not.
    """

    # -- checks: does it run -----------------------------------------------------------

    def test_takes_over(self) -> None:
        """The domains are known ones, and those that it plainly decides are among them."""
        declared, known = self._plugin().takes_over, get_args(Domain)
        require(
            isinstance(declared, tuple) and all(domain in known for domain in declared),
            self.where,
            f"`takes_over` is {declared!r}",
            expected=f"a tuple of some of {', '.join(map(repr, known))}",
            cause='a text where a tuple is meant: ("stages",) has a comma; or a misspelling',
        )
        for case in self.pairs():
            decided = self.first(case, watched=True).watch.decided
            for domain, method in (("stages", "stage"), ("passes", "passes")):
                require(
                    domain in declared or not any(decided[domain]),
                    self.at(case),
                    f"`{method}` decides, and `takes_over` does not say so",
                    expected=f'takes_over = ("{domain}",): of two balancers that decide, the '
                    "second would never be asked",
                    cause="it is easily forgotten",
                )

    def test_trains(self, case: Setting) -> None:
        """Two epochs, and every number finite."""
        self.check_finite(self.at(case), self.first(case).trained)

    def test_bfloat16(self) -> None:
        """Mixed precision, which is what training on a GPU uses."""
        cause = (
            "float32 and bfloat16 tensors in one operation: step.logits, step.unimodal and "
            "step.unimodal_logits are float32, embeddings, maps and representations may be "
            "bfloat16; use .float(), and work within step.context.autocast() to call networks"
        )
        for case in self.pairs():
            doing = "training under bfloat16 autocast"
            trained = self.train(case, doing=doing, cause=cause, precision="bfloat16")
            self.check_finite(f"{self.at(case)}, bfloat16", trained)

    def test_gpu(self) -> None:
        """On a GPU: what it makes is made where the model is."""
        device = gpu()
        if device is None:
            skip("no GPU here")
        for case in self.pairs():
            where, balancer = f"{self.at(case)}, on {device.type}", self.construct()
            with running(where, "training", cause=_DEVICE), usual_numbers():
                trained = fitted(self.trainer_on(device, case, balancer))
            self.check_finite(where, trained)

    def test_losses(self) -> None:
        """Losses are under names that say whose they are."""
        for case in self.pairs():
            first = self.first(case, watched=True, ended=False)  # test_trains shows an exception
            name = self._plugin().name
            usual = {"fused", *(f"unimodal.{m}" for m in NAMES[: case.modalities])}
            for loss in first.watch.losses_seen:
                require(
                    loss in usual or loss.split(".")[0] == name,
                    self.at(case),
                    f"`losses` returns one called {loss!r}",
                    expected=f'"fused", "unimodal.MODALITY", or a name that starts with "{name}."',
                    cause="a name of its own could be another balancer's as well",
                )

    def test_metrics(self) -> None:
        """Finite floats under the balancer's name."""
        for case in self.pairs():
            balancer = self.first(case, watched=True).balancer
            with running(self.at(case), "metrics", cause=ANY_TRAINING):
                found = balancer.metrics()
            for key, value in found.items():
                require(
                    isinstance(key, str) and key.startswith(f"{balancer.name}."),
                    self.at(case),
                    f"`metrics` has the key {key!r}",
                    expected=f'keys that start with "{balancer.name}."',
                    cause="keys of all balancers go into one record of an epoch",
                )
                require(
                    isinstance(value, (int, float)) and math.isfinite(value),
                    self.at(case),
                    f"the metric {key!r} is {value!r}",
                    expected="a finite float",
                    cause="a tensor or numpy number that float(...) is missing around, or 0/0",
                )

    # -- checks: is it repeatable ------------------------------------------------------

    def test_same_seed_same_result(self) -> None:
        """The same seed gives the same bits."""
        for case in self.pairs():
            self.check_same(
                self.first(case),
                self.train(case),
                "two trainings with one seed differ in {}",
                expected="the same bits",
                cause="a generator without a fixed seed, the order of a set, or something kept "
                "in the class instead of the instance",
            )

    def test_random_numbers(self) -> None:
        """Random numbers come from `step.generator`, or torch's own seeded generator."""
        for case in self.pairs():
            first = self.first(case)
            with usual_numbers(seed=1):
                second = fitted(self.trainer(case))
            self.check_same(
                first,
                second,
                "with other states of numpy's and Python's generators {} differ",
                expected="the same bits: nothing random but from step.generator (or torch's own)",
                cause="numpy.random or random",
            )

    def test_resumes(self) -> None:
        """Stopped after every epoch and resumed, a training ends as one that never stopped."""
        for case in self.pairs():
            self.check_same(
                self.first(case),
                self._in_parts(case),
                "a training that was stopped and resumed differs in {}",
                expected="the same bits as one that was never stopped",
                cause="something that changes from step to step or epoch to epoch is missing in "
                "state_dict or load_state_dict",
            )

    def _in_parts(self, case: Setting) -> Trained:
        with tempfile.TemporaryDirectory() as folder, usual_numbers():
            path = Path(folder) / "checkpoint.pt"
            for epoch in range(1, self.epochs):
                with running(self.at(case), _RESUMING, cause=_PLAIN_STATE):
                    fitted(self.trainer(case, checkpoint=path), stop_after=epoch)
            with running(self.at(case), _RESUMING, cause=_PLAIN_STATE):
                return fitted(self.trainer(case, checkpoint=path))

    def test_setup_starts_afresh(self) -> None:
        """Called twice, on a request that is checked and in training, it forgets the first."""
        for case in self.pairs():
            first = self.first(case)
            self._set_up_checking(case, first.balancer)
            self.check_same(
                first,
                self.train(case, [first.balancer]),
                "in a second training of the same balancer {} differ",
                expected="the same bits as with a balancer just made: setup starts afresh",
                cause="something that __init__ sets and setup should",
            )

    def test_setup_while_checking(self) -> None:
        """A request is checked on an untrained model without clips."""
        for modalities in (1, 2, 3):
            for strategy in self.strategies():
                self._set_up_checking(Setting(modalities, strategy), self.construct())

    def _set_up_checking(self, case: Setting, balancer: Balancer) -> None:
        model = small_model(case.modalities, strategy=case.strategy, balancers=[balancer])
        baselines = small_baselines(case.modalities) if balancer.needs_baselines else {}
        with running(
            self.at(case),
            "setup on a request that is being checked",
            cause="it asks for clips (context.outputs, context.batch), which there are only where "
            "context.checking is False",
        ):
            balancer.setup(TrainingContext(model, CONFIG, baselines=baselines))

    # -- checks: what it may not touch -------------------------------------------------

    def test_probes_learn_from_their_own_loss(self) -> None:
        """No loss of a balancer reaches a probe: they tell what a modality knows."""
        for case in self.pairs():
            for modality, found, expected in self.first(case, watched=True).watch.probes:
                require(
                    torch.allclose(found, expected, rtol=1e-3, atol=1e-6),
                    self.at(case),
                    f"the gradient of the probe of {modality!r} is not that of its own loss",
                    expected="probes that are left to their own loss, so that they stay comparable",
                    cause="a loss of model.probes[m](embedding): use step.unimodal_logits or "
                    "step.unimodal_loss(m), which reach the branch and not the probe",
                )


_DEVICE = (
    "a tensor made without device=..., or kept from setup on the CPU: take that of "
    "step.labels, or make it like another one (x.new_zeros)"
)
_RESUMING = "stopping and resuming a training"
_PLAIN_STATE = (
    "state_dict holds more than tensors, numbers, strings, lists and dicts (numpy arrays, "
    "generators, objects), or load_state_dict expects something else than it returned"
)
