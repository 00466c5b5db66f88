"""Balancers of a run: creation, composition, the check before training, and their effect on it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fusion import Balancer, Clips, Stage, Strategy
from fusion.core.contracts import Modality
from fusion.core.contracts.errors import ParameterError, PluginError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.contracts.training import Domain
from fusion.core.registry.registry import Registry
from fusion.core.runs.balancing import (
    _DOMAINS,
    check_composition,
    check_training,
    control_epochs,
    late_rules,
    make_balancers,
    needs_baselines,
    starts_from_baselines,
)
from fusion.core.runs.config import RunConfig
from fusion.core.runs.execution.jobs import epochs_of
from fusion.core.runs.trainings import FUSED, Training
from fusion.core.testing.checks.problem import (
    SmallStrategy,
    small_features,
    small_trainer,
    trainer_of,
)
from fusion.core.toolkit.run_files import as_type
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.plugins.balancers.pretrain import Pretrain


def balancer(name_, *domains, **methods):
    cls = type(name_.title(), (Balancer,), {"name": name_, "takes_over": domains, **methods})
    return cls()


# -- composition -----------------------------------------------------------------------


def test_every_domain_has_a_description():
    assert set(_DOMAINS) == set(Domain.__args__)


@pytest.mark.parametrize("domain", Domain.__args__)
def test_two_balancers_that_decide_the_same_are_refused(domain):
    first, second = balancer("first", "head", domain), balancer("second", domain)
    if domain == "head":
        first.takes_over = ("head",)
    with pytest.raises(ParameterError) as caught:
        check_composition([first, balancer("between"), second])
    assert caught.value.message == (
        f"The balancers 'first' and 'second' can't be combined: both decide {_DOMAINS[domain]}."
    )


def test_other_balancers_compose_unless_one_is_named_twice():
    check_composition([])
    check_composition([balancer("a", "stages"), balancer("b"), balancer("c", "passes", "clips")])
    for pair in ([balancer("a"), balancer("a")], [balancer("a", "head"), balancer("a", "clips")]):
        with pytest.raises(ParameterError, match="The balancer 'a' is named twice"):
            check_composition(pair)


# -- the check before training ---------------------------------------------------------


class Seen(Balancer):
    """Balancer that records the contexts it receives, and fails on request."""

    name = "seen"
    needs_baselines = True
    contexts = []  # noqa: RUF012

    def __init__(self, *, fault: str = ""):
        """Fail in the stage that `fault` names."""
        self.fault = fault

    def adapt(self, strategy, dims):
        if self.fault == "adapt":
            raise KeyError("weights")
        return strategy

    def setup(self, context):
        self.contexts.append(context)
        if self.fault == "setup":
            raise KeyError("modality")
        if self.fault == "refuses":
            raise ParameterError("Not with this strategy.")


class Starts(Strategy):
    """Strategy that starts from the baselines, and fails on request."""

    name = "starts"
    needs_baselines = True

    def __init__(self, dims, num_classes, *, fault: str = ""):
        super().__init__()
        self.head = nn.Linear(sum(dims.values()), num_classes)
        self.fault = fault

    def adopt(self, baselines):
        if self.fault == "adopt":
            raise KeyError("b")
        if self.fault == "refuses":
            raise ParameterError("Not from these.")

    def forward(self, inputs):
        return self.head(torch.cat(list(inputs.values()), dim=1))


@pytest.fixture(scope="module")
def registry():
    real = Registry()
    own = {"balancer": {"seen": Seen}, "strategy": {"starts": Starts}}
    return SimpleNamespace(
        branch=real.branch,
        balancer=lambda name: own["balancer"].get(name) or real.balancer(name),
        strategy=lambda name: own["strategy"].get(name) or real.strategy(name),
    )


def check(registry, strategy="concat", *, parameters=None, **settings):
    branches = tuple(BranchSpec(Modality(m, (4,)), "mlp") for m in "ab")
    adapters = (("seen", settings.get("seen", {})),)
    spec = ModelSpec(branches, 3, 6, strategy, parameters or {}, adapters)
    config = SimpleNamespace(
        balancers=("seen",), settings=settings, strategy=strategy, train=TrainConfig()
    )
    check_training(config, registry, spec)


def test_a_check_provides_a_model_and_untrained_baselines(registry):
    Seen.contexts.clear()
    check(registry)
    (context,) = Seen.contexts
    assert context.checking and context.modalities == ["a", "b"]
    assert {m: b.val_uar for m, b in context.baselines.items()} == {"a": 0.0, "b": 0.0}
    assert context.baselines["b"].logits({"b": torch.zeros(2, 4)}).shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"seen": {"fault": "setup"}}, PluginError, "balancer 'seen' fails in setup: KeyError"),
        ({"seen": {"fault": "refuses"}}, ParameterError, "Not with this strategy"),
        ({"seen": {"fault": "adapt"}}, PluginError,
         "balancer 'seen' fails to adapt the strategy 'concat': KeyError"),
    ],
)  # fmt: skip
def test_a_balancer_that_fails_is_reported_before_training(registry, settings, error, words):
    with pytest.raises(error, match=words):
        check(registry, **settings)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("adopt", PluginError, "strategy 'starts' fails to start from the baselines: KeyError"),
        ("refuses", ParameterError, "Not from these"),
    ],
)
def test_a_strategy_that_can_not_start_from_baselines_is_reported(registry, fault, error, words):
    check(registry, "starts")
    with pytest.raises(error, match=words):
        check(registry, "starts", parameters={"fault": fault})


def test_balancers_are_created_in_order_with_their_parameters():
    config = RunConfig(
        data=("demo",),
        balancers=("dropout", "gradscale"),
        settings={"gradscale": {"mode": "fixed", "scale": "0.25"}},
    )
    first, second = make_balancers(config, Registry())
    assert (first.name, second.name) == ("dropout", "gradscale")
    assert (second.mode, second.scale) == ("fixed", 0.25)


# -- adapters --------------------------------------------------------------------------


class Scaled(Strategy):
    """Strategy that multiplies another strategy's scores by a factor."""

    def __init__(self, inner, factor):
        super().__init__()
        self.takes = inner.takes
        self.inner, self.factor = inner, factor

    def forward(self, inputs):
        return self.factor * self.inner(inputs)


class Scales(Balancer):
    """Balancer that wraps the strategy in `Scaled`."""

    name = "scales"

    def __init__(self, *, factor: float = 2.0):
        self.factor = factor

    def adapt(self, strategy, dims):
        assert dims == {"a": 6, "b": 6}
        return Scaled(strategy, self.factor)


def test_adapters_survive_json_and_are_applied_in_order():
    real = Registry()
    registry = SimpleNamespace(
        branch=real.branch, strategy=real.strategy, balancer=lambda name: Scales
    )
    branches = tuple(BranchSpec(Modality(m, (4,)), "mlp") for m in "ab")
    plain = ModelSpec(branches, 3, 6, "concat")
    spec = ModelSpec(branches, 3, 6, "concat", {}, (("one", {"factor": 3.0}), ("two", {})))
    again = as_type(json.loads(json.dumps(spec.to_json())), ModelSpec, Path("run.json"))
    assert again == spec
    model = build_model(again, registry, seed=4)
    assert model.strategy.factor == 2.0 and model.strategy.inner.factor == 3.0
    inputs = {m: torch.randn(5, 4) for m in "ab"}
    expected = 6 * build_model(plain, registry, seed=4).eval()(inputs)
    torch.testing.assert_close(model.eval()(inputs), expected)
    assert again.single("a").adapters == ()  # a baseline has no adapters
    # An older description has no field for adapters.
    old = {k: v for k, v in plain.to_json().items() if k != "adapters"}
    assert as_type(json.loads(json.dumps(old)), ModelSpec, Path("run.json")) == plain


# -- stages ----------------------------------------------------------------------------


class Stages(Balancer):
    """Balancer with given stages; it records the modes and the changed weights."""

    name = "stages"
    takes_over = ("stages",)

    def __init__(self, *stages):
        self.stages = stages
        self.modes, self.moved = [], []

    def setup(self, context):
        self.model = context.model

    def stage(self, epoch):
        return self.stages[epoch - 1] if epoch <= len(self.stages) else None

    def epoch_start(self, epoch):
        self.before = {k: v.clone() for k, v in self.model.state_dict().items()}
        parts = {**self.model.branches, "head": self.model.strategy}
        self.modes.append({name for name, part in parts.items() if part.training})
        for name, part in parts.items():
            assert all(p.requires_grad is (name in self.modes[-1]) for p in part.parameters())
        assert self.model.probes.training

    def step_end(self, step):
        self.last = step

    def metrics(self):
        changed = {k for k, v in self.model.state_dict().items()
                   if not torch.equal(v, self.before[k])}  # fmt: skip
        self.moved.append(
            {k.split(".")[1] if k.startswith(("branches", "probes")) else "head" for k in changed
             if not k.startswith("probes")}
        )  # fmt: skip
        return {}


def test_frozen_parts_do_not_change_and_are_in_evaluation_mode():
    stages = Stages(
        Stage("voice", branches=("voice",), head=False),
        Stage("head", branches=()),
        Stage("all"),
        Stage("rest", branches=("face", "text")),
    )
    trainer = small_trainer([stages], 3, epochs=5)
    history = trainer.fit().history
    expected = [{"voice"}, {"head"}, {"voice", "face", "text", "head"}, {"face", "text", "head"}]
    assert stages.modes == [*expected, {"voice", "face", "text", "head"}]
    assert stages.moved == stages.modes  # no update, no weight decay, no momentum
    assert [r.get("stage") for r in history] == ["voice", "head", "all", "rest", None]


def test_parameters_that_were_never_trainable_stay_frozen():
    class Frozen(Stages):
        def epoch_start(self, epoch):
            assert not any(p.requires_grad for p in self.model.branches["voice"].parameters())

        def metrics(self):
            return {}

    model = small_trainer([], 2).model
    model.branches["voice"].requires_grad_(False)
    stages = Frozen(Stage("face", branches=("face",)), Stage("all"))
    trainer_of(model, small_features(2), [stages], epochs=3).fit()


def records(trainer, *epochs):
    """Record epochs of (val_uar, candidate); return the best epoch and the stop flag after each."""
    best = []
    for epoch, (uar, candidate) in enumerate(epochs, start=1):
        record = {"epoch": epoch, "val_uar": uar, "val_loss": 1.0, "candidate": candidate}
        trainer._keep_best(record)
        trainer.progress.history.append(record)
        trainer.progress.epoch = epoch
        best.append((trainer.progress.best_epoch, trainer._out_of_patience()))
    return best


def test_stages_without_candidates_are_not_chosen_and_use_no_patience():
    trainer = small_trainer([], 2, epochs=50, patience=2, smooth=1)
    result = records(
        trainer,
        (0.9, False), (0.9, False), (0.9, False),  # no candidate yet, however good
        (0.5, True), (0.4, True),  # the first candidate is best, and one epoch is waited
        (0.9, False), (0.9, False), (0.9, False),  # the waiting restarts after these epochs
        (0.4, True), (0.4, True),
    )  # fmt: skip
    assert [best for best, _ in result] == [0, 0, 0, 4, 4, 4, 4, 4, 4, 4]
    assert [out for _, out in result] == [False] * 9 + [True]


def test_the_mean_over_epochs_uses_candidates_only():
    trainer = small_trainer([], 2, epochs=50, patience=0, smooth=2)
    records(trainer, (0.6, True), (1.0, False), (0.7, True))
    assert trainer.progress.best_epoch == 3
    assert trainer.progress.best_score == pytest.approx(0.65)


@pytest.mark.parametrize("name", ["warm", ""])
def test_the_last_epoch_is_always_a_candidate(name):
    stages = Stages(*[Stage(name, candidate=False)] * 3)
    trainer = small_trainer([stages], 2, epochs=3, patience=1)
    progress = trainer.fit()
    assert [r.get("candidate", True) for r in progress.history] == [False, False, True]
    assert progress.best_epoch == 3
    last = stages.model.state_dict()
    assert progress.best_uar == progress.history[-1]["val_uar"]
    assert all(torch.isfinite(v).all() for v in last.values())


# -- clips -----------------------------------------------------------------------------


class Chooses(Balancer):
    """Balancer that replaces the clips of an epoch, and records the clips of each step."""

    name = "chooses"
    takes_over = ("clips",)

    def __init__(self, choose):
        self.choose = choose
        self.epochs = []

    def setup(self, context):
        self.context = context

    def clips(self, clips, epoch):
        self.epochs.append([])
        return self.choose(clips)

    def step_end(self, step):
        self.epochs[-1].append((step.labels.tolist(), step.present.tolist()))


def run_with(choose, **settings):
    chooses = Chooses(choose)
    small_trainer([chooses], 2, epochs=2, **settings).fit()
    return chooses.epochs


def test_additional_clips_do_not_add_steps():
    def twice(clips):
        return Clips(np.concatenate([clips.indices, clips.indices]))

    plain, result = run_with(lambda clips: clips), run_with(twice)
    for epoch, expected in zip(result, plain, strict=True):
        assert [len(labels) for labels, _ in epoch] == [len(labels) for labels, _ in expected]
    assert result[0] != result[1]  # a random subset, another one in each epoch


def test_copied_clips_are_used_as_often_as_they_occur():
    """An epoch has 30 clips and six copies of clip 0, whose class is 0."""

    def more(clips):
        return Clips(np.concatenate([clips.indices[:30], [0] * 6]))

    labels, _ = run_with(more)
    counts = np.bincount(np.concatenate([recorded for recorded, _ in labels]))
    assert counts.tolist() == [16, 10, 10]


def test_masks_stay_with_their_clips():
    """Clips of class 0 show the first modality, of class 1 the second, of class 2 both."""
    rows = np.array([[True, False], [False, True], [True, True]])

    def masked(clips):
        return Clips(clips.indices, rows[clips.indices % 3])  # the class is the index modulo 3

    for epoch in run_with(masked):
        for labels, present in epoch:
            assert present == rows[labels].tolist()


def test_masks_stay_with_copied_clips_when_an_epoch_is_cut():
    rows = np.array([[True, False], [False, True], [True, True]])

    def masked(clips):
        indices = np.concatenate([clips.indices, clips.indices])
        return Clips(indices, rows[indices % 3])

    first, _ = run_with(masked)
    assert sum(len(labels) for labels, _ in first) == 36
    assert all(present == rows[labels].tolist() for labels, present in first)


def test_a_rule_that_starts_after_the_last_epoch_is_reported():
    registry = Registry()
    config = RunConfig(("demo",), balancers=("relearn", "gradscale", "opm"))
    assert late_rules(config, registry, 30) == []
    assert late_rules(config, registry, 20) == [
        "relearn has no effect: it starts to act in epoch 21, and training has 20 epochs."
    ]
    assert [message.split()[0] for message in late_rules(config, registry, 3)] == [
        "relearn", "opm",
    ]  # fmt: skip


# -- the start -------------------------------------------------------------------------


class Begins(Balancer):
    """Balancer that decides about the start."""

    name = "begins"
    takes_over = ("start",)


class Standing:
    """Registry with one strategy and some balancers."""

    def __init__(self, *balancers, needs=False):
        self.balancers = {b.name: b for b in balancers}
        self.needs = needs

    def balancer(self, name):
        return self.balancers[name]

    def strategy(self, name):
        return type("S", (SmallStrategy,), {"needs_baselines": self.needs})


def asked(registry, **train):
    config = RunConfig(
        ("demo",), strategy="x", balancers=tuple(registry.balancers), settings={"train": train}
    )
    run = SimpleNamespace(config=config, registry=registry)
    return (
        starts_from_baselines(config, registry),
        needs_baselines(config, registry),
        {m: epochs_of(run, Training(0, m)) for m in ("mel", FUSED)},
        control_epochs(config, registry),
    )


def test_start_and_epochs_of_each_kind_of_training():
    def told(registry, **train):
        starts, needs, epochs, control = asked(registry, epochs=40, **train)
        return starts, needs, *epochs.values(), control

    # starts from and needs baselines; epochs of a baseline, of the fused model, of the control
    assert told(Standing()) == (True, True, 40, 10, 50)
    assert told(Standing(), finetune=0.5) == (True, True, 40, 20, 60)
    assert told(Standing(), start="scratch") == (False, False, 40, 40, 0)
    assert told(Standing(needs=True), start="scratch") == (False, True, 40, 40, 80)
    assert told(Standing(Begins)) == (False, False, 40, 40, 0)
    assert told(Standing(Pretrain)) == (False, True, 40, 40, 80)


@pytest.mark.parametrize("name", ["pretrain", "reconboost"])
def test_balancers_that_decide_about_the_start(name):
    assert "start" in Registry().balancer(name).takes_over


def test_two_balancers_that_decide_about_the_start_are_refused():
    class Too(Begins):
        name = "too"

    with pytest.raises(ParameterError, match="both decide which weights the branches start from"):
        check_composition([Begins(), Too()])
