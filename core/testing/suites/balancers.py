"""Conformance suite for balancers."""

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
    """Checks of a balancer in small trainings with one, two and three modalities.

    Attributes
    ----------
    parameters : mapping
        Parameters of the balancer; other parameters have their defaults. If the balancer starts to
        act in a late epoch by default, set a start within `epochs`: otherwise the balancer never
        acts in the checks.
    epochs : int
        Number of epochs of the trainings, at least 2.
    settings : mapping
        Changes to the settings of the trainings, as in ``--set train.NAME=...``.
    single_unchanged : bool
        Set to True to check that a single modality trains in the same way as without the balancer.
    equal_unchanged : bool
        Set to True to check that modalities with equal inputs and equal weights train in the same
        way as without the balancer.
    order_matters : str
        Reason why the result depends on the order in which the modalities are named. For example,
        modalities are trained one after the other, or random numbers are drawn for each modality in
        turn. If empty, the suite checks that the order does not matter.
    """

    # -- checks: the balancer runs -----------------------------------------------------

    def test_takes_over(self) -> None:
        """Check that `takes_over` has valid domains, including all that the balancer decides."""
        declared, domains = self._plugin().takes_over, get_args(Domain)
        require(
            isinstance(declared, tuple) and all(domain in domains for domain in declared),
            self.where,
            f"`takes_over` is {declared!r}",
            expected=f"a tuple of some of {', '.join(map(repr, domains))}",
            cause='a string instead of a tuple: ("stages",) has a comma; or a misspelling',
        )
        for case in self.pairs():
            decided = self.first(case, watched=True).watch.decided
            for domain, method in (("stages", "stage"), ("passes", "passes")):
                require(
                    domain in declared or not any(decided[domain]),
                    self.at(case),
                    f"`{method}` decides, but `takes_over` does not have {domain!r}",
                    expected=f'takes_over = ("{domain}",): otherwise, of two balancers that '
                    f"decide, fusion silently never calls `{method}` of the second",
                    cause="an oversight",
                )

    def test_trains(self, case: Setting) -> None:
        """Check that a training runs, and that all weights and logged numbers are finite."""
        self.check_finite(self.at(case), self.first(case).trained)

    def test_bfloat16(self) -> None:
        """Check a training in mixed precision, which training on a GPU uses."""
        cause = (
            "float32 and bfloat16 tensors in one operation: step.logits, step.unimodal and "
            "step.unimodal_logits are float32, but embeddings, maps and representations may be "
            "bfloat16; use .float(), and call networks within step.context.autocast()"
        )
        for case in self.pairs():
            doing = "training under bfloat16 autocast"
            trained = self.train(case, doing=doing, cause=cause, precision="bfloat16")
            self.check_finite(f"{self.at(case)}, bfloat16", trained)

    def test_gpu(self) -> None:
        """Check a training on a GPU: the balancer must create its tensors on that device."""
        device = gpu()
        if device is None:
            skip("no GPU is available")
        for case in self.pairs():
            where, balancer = f"{self.at(case)}, on {device.type}", self.construct()
            with running(where, "training", cause=_DEVICE), usual_numbers():
                trained = fitted(self.trainer_on(device, case, balancer))
            self.check_finite(where, trained)

    def test_losses(self) -> None:
        """Check that the name of each loss shows the balancer or modality that it belongs to."""
        for case in self.pairs():
            first = self.first(case, watched=True, ended=False)  # test_trains reports an exception
            name = self._plugin().name
            usual = {"fused", *(f"unimodal.{m}" for m in NAMES[: case.modalities])}
            for loss in first.watch.losses_seen:
                require(
                    loss in usual or loss.split(".")[0] == name,
                    self.at(case),
                    f"`losses` returns a loss called {loss!r}",
                    expected=f'"fused", "unimodal.MODALITY", or a name that starts with "{name}."',
                    cause=f'the prefix "{name}." is missing, so another balancer\'s loss could '
                    "have the same name",
                )

    def test_metrics(self) -> None:
        """Check that metrics are finite numbers whose keys start with the balancer's name."""
        for case in self.pairs():
            balancer = self.first(case, watched=True).balancer
            with running(self.at(case), "metrics", cause=ANY_TRAINING):
                metrics = balancer.metrics()
            for key, value in metrics.items():
                require(
                    isinstance(key, str) and key.startswith(f"{balancer.name}."),
                    self.at(case),
                    f"`metrics` has the key {key!r}",
                    expected=f'keys that start with "{balancer.name}."',
                    cause="the prefix is missing: the metrics of all balancers are stored in one "
                    "record per epoch",
                )
                require(
                    isinstance(value, (int, float)) and math.isfinite(value),
                    self.at(case),
                    f"the metric {key!r} is {value!r}",
                    expected="a finite float",
                    cause="a tensor or numpy number without float(...), or 0/0",
                )

    # -- checks: the balancer is repeatable --------------------------------------------

    def test_same_seed_same_result(self) -> None:
        """Check that two trainings with the same seed have the same result, bit for bit."""
        for case in self.pairs():
            self.check_same(
                self.first(case),
                self.train(case),
                "two trainings with the same seed differ in {}",
                expected="the same values, bit for bit",
                cause="a generator without a fixed seed, the order of a set, or state that is "
                "stored in the class instead of the instance",
            )

    def test_random_numbers(self) -> None:
        """Check that random numbers come only from `step.generator` or torch's own generator."""
        for case in self.pairs():
            first = self.first(case)
            with usual_numbers(seed=1):
                second = fitted(self.trainer(case))
            self.check_same(
                first,
                second,
                "with other states of numpy's and Python's generators, the training differs in {}",
                expected="the same values, bit for bit: all random numbers come from "
                "step.generator or torch's own generator",
                cause="a use of numpy.random or random",
            )

    def test_resumes(self) -> None:
        """Check that a training interrupted after each epoch ends as an uninterrupted one."""
        for case in self.pairs():
            self.check_same(
                self.first(case),
                self._in_parts(case),
                "a training that was stopped and resumed differs in {}",
                expected="the same values, bit for bit, as in an uninterrupted training",
                cause="a value that changes from step to step or epoch to epoch is missing in "
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
        """Check that `setup` resets the balancer, even after other calls of `setup`."""
        for case in self.pairs():
            first = self.first(case)
            self._set_up_checking(case, first.balancer)
            self.check_same(
                first,
                self.train(case, [first.balancer]),
                "a second training with the same balancer instance differs in {}",
                expected="the same values, bit for bit, as with a new instance: setup resets all "
                "state",
                cause="state that __init__ sets and setup should set",
            )

    def test_setup_while_checking(self) -> None:
        """Check `setup` with an untrained model and no clips, as fusion validates a run."""
        for modalities in (1, 2, 3):
            for strategy in self.strategies():
                self._set_up_checking(Setting(modalities, strategy), self.construct())

    def _set_up_checking(self, case: Setting, balancer: Balancer) -> None:
        model = small_model(case.modalities, strategy=case.strategy, balancers=[balancer])
        baselines = small_baselines(case.modalities) if balancer.needs_baselines else {}
        with running(
            self.at(case),
            "setup while a run is only validated",
            cause="setup reads clips (context.outputs, context.batch), which are available only "
            "if context.checking is False",
        ):
            balancer.setup(TrainingContext(model, CONFIG, baselines=baselines))

    # -- checks: what a balancer must leave alone --------------------------------------

    def test_probes_learn_from_their_own_loss(self) -> None:
        """Check that probes are trained by their own loss only.

        Probes measure what each branch has learned, so no loss of a balancer may reach them.
        """
        for case in self.pairs():
            for modality, gradient, expected in self.first(case, watched=True).watch.probes:
                require(
                    torch.allclose(gradient, expected, rtol=1e-3, atol=1e-6),
                    self.at(case),
                    f"the gradient of the probe of {modality!r} is not only that of the probe's "
                    "loss",
                    expected="probes that only their own loss trains, so that they stay comparable",
                    cause="a loss of model.probes[m](embedding): use step.unimodal_logits or "
                    "step.unimodal_loss(m), which reach the branch and not the probe",
                )


_DEVICE = (
    "a tensor made without device=..., or kept on the CPU since setup: use the device of "
    "step.labels, or create the tensor from another one (x.new_zeros)"
)
_RESUMING = "stopping and resuming a training"
_PLAIN_STATE = (
    "state_dict holds objects other than tensors, numbers, strings, lists and dicts (numpy "
    "arrays, generators), or load_state_dict expects other entries than state_dict returns"
)
