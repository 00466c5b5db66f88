"""One training step, and the hooks of the balancer contract."""

import numpy as np
import pytest
import torch
from arrays import Rows
from torch import nn
from torch.nn import functional

from fusion import Balancer, Clips, Modality, Pass, Strategy
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.registry.registry import Registry
from fusion.core.testing.checks.problem import (
    ByName,
    SmallMaps,
    SmallStrategy,
    one_step,
    small_trainer,
)
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.step import laid_out
from fusion.core.training.trainer import Trainer

PLAIN = {"optimizer": "sgd", "weight_decay": 0.0, "clip": 0.0, "average": 0.0}


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def moved(before, model):
    """Return the changed parts: "branches.voice", "probes.voice", "strategy", ..."""
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    return {
        ".".join(k.split(".")[:2]) if not k.startswith("strategy") else "strategy" for k in changed
    }


class Spy(Balancer):
    """Base of the balancers in this file."""

    name = "spy"


# -- passes ----------------------------------------------------------------------------


class OneByOne(Spy):
    takes_over = ("passes",)

    def __init__(self, names=None):
        self.names = names
        self.seen = []

    def passes(self, step):
        return [Pass((m,)) for m in self.names or step.modalities]

    def gradients(self, gradients, step):
        self.seen.append((step.current.modalities, gradients.modalities))


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_each_pass_is_an_optimiser_step_for_the_shown_modalities(modalities):
    balancer = OneByOne()
    trainer = small_trainer([balancer], modalities, optimizer="adamw", average=0.0)
    names = trainer.model.modalities
    one_step(trainer)
    assert balancer.seen == [((m,), [m]) for m in names]
    state = trainer.optimizer.state_dict()["state"]
    counts = [
        {int(state[i]["step"]) for i in group["params"]}
        for group in trainer.optimizer.state_dict()["param_groups"]
    ]
    # Groups: branches, head, probes. The head takes a step in every pass, each other group one.
    assert counts == [{1}] * modalities + [{modalities}] + [{1}] * modalities


def test_a_branch_that_no_pass_shows_keeps_its_weights():
    trainer = small_trainer([OneByOne(["face"])], 3, optimizer="adamw", average=0.0)
    before = weights(trainer.model)
    one_step(trainer)
    # Weight decay does not apply either. The probes are trained on every modality.
    assert moved(before, trainer.model) == {
        "branches.face", "strategy", "probes.voice", "probes.face", "probes.text",
    }  # fmt: skip


def test_passes_by_hand():
    """Two steps of plain SGD, computed with autograd on a copy of the model."""
    trainer = small_trainer([OneByOne()], 2, **PLAIN)
    twin = small_trainer([], 2, **PLAIN)
    step = one_step(trainer)
    model, rate = twin.model, trainer.optimizer.schedule(0) * trainer.config.lr
    velocity = {}
    shown_scores = []
    for shown in ("voice", "face"):
        encoded = model.encode(step.inputs)
        passed = {m: z if m == shown else 0 * z.detach() for m, z in encoded.embeddings.items()}
        scores = model.fuse(passed)
        shown_scores.append(scores.detach())
        loss = functional.cross_entropy(scores, step.labels)
        trained = [*model.branches[shown].parameters(), *model.strategy.parameters()]
        gradients = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            for p, g in zip(trained, gradients, strict=True):
                velocity[p] = 0.9 * velocity[p] + g if p in velocity else g.clone()
                p -= rate * (g + 0.9 * velocity[p])  # Nesterov
    for name in ("branches", "strategy"):
        result, expected = getattr(trainer.model, name), getattr(model, name)
        for a, b in zip(result.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(step.logits, torch.stack(shown_scores).mean(dim=0))


def test_a_second_pass_of_a_branch_uses_its_changed_weights():
    """Both passes show everything, so the second pass needs its own forward pass."""

    class Twice(Spy):
        takes_over = ("passes",)

        def __init__(self):
            self.seen = []

        def passes(self, step):
            return [Pass(), Pass()]

        def losses(self, losses, step):
            self.seen.append(step.embeddings["voice"].detach().clone())
            return losses

    balancer = Twice()
    one_step(small_trainer([balancer], 2, **PLAIN))
    assert not torch.equal(*balancer.seen)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_losses_on_other_branches_work_with_passes(strategy):
    """A loss may reach a branch that the pass does not show: this branch is encoded again."""

    class All(OneByOne):
        def losses(self, losses, step):
            return losses | {f"unimodal.{m}": step.unimodal_loss(m) for m in step.modalities}

    balancer = All()
    one_step(small_trainer([balancer], 3, strategy=strategy, **PLAIN))
    assert [reached for _, reached in balancer.seen] == [["voice", "face", "text"]] * 3


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_a_loss_on_the_shown_branch_works_with_passes(strategy):
    """The probes change between the passes; the other branches do not."""

    class Shown(OneByOne):
        def losses(self, losses, step):
            (m,) = step.current.modalities
            return losses | {f"unimodal.{m}": step.unimodal_loss(m)}

    balancer = Shown()
    trainer = small_trainer([balancer], 3, strategy=strategy, **PLAIN)
    before = weights(trainer.model)
    one_step(trainer)
    if strategy is SmallStrategy:  # with maps, the first pass trains every pooling
        assert balancer.seen == [((m,), [m]) for m in trainer.model.modalities]
    assert {"branches.voice", "branches.face", "branches.text"} <= moved(before, trainer.model)


def test_a_representation_that_mixes_branches_works_with_passes():
    class Mixed(OneByOne):
        def representations(self, representations, step):
            total = sum(representations.values())
            return dict.fromkeys(representations, total)

    balancer = Mixed()
    one_step(small_trainer([balancer], 2, **PLAIN))
    assert [reached for _, reached in balancer.seen] == [["voice", "face"]] * 2


# -- present ---------------------------------------------------------------------------


class Hide(Spy):
    """Hides the modality in column `column` for the clips in `rows`."""

    def __init__(self, column, rows):
        self.column, self.rows = column, rows
        self.logits_seen = None

    def present(self, present, step):
        present = present.clone()
        present[self.rows, self.column] = False
        return present

    def logits(self, logits, step):
        self.logits_seen = logits
        return logits


def test_an_absent_modality_is_zero_and_its_branch_is_not_trained():
    trainer = small_trainer([Hide(1, slice(None))], 2, **PLAIN)
    before = weights(trainer.model)
    step = one_step(trainer)
    assert "branches.face" not in moved(before, trainer.model)
    assert "branches.voice" in moved(before, trainer.model)
    # The head received zeros: the scores depend on the first modality and its columns only.
    head = before["strategy.head.weight"]
    recorded = step.representations["voice"].detach()
    expected = recorded @ head[:, :6].T + before["strategy.head.bias"]
    torch.testing.assert_close(step.logits.detach(), expected)


def test_absence_is_per_clip():
    rows = torch.tensor([0, 3])
    trainer = small_trainer([Hide(0, rows)], 2, **PLAIN)
    step = one_step(trainer)
    gradient = torch.autograd.grad(
        trainer.model.fuse(leaves := {m: x.detach().requires_grad_() for m, x in
                                      step.representations.items()}, step.present).sum(),
        list(leaves.values()),
    )  # fmt: skip
    silent = gradient[0].abs().sum(dim=1) == 0
    assert silent.nonzero().flatten().tolist() == [0, 3]
    assert not (gradient[1].abs().sum(dim=1) == 0).any()


class Told(Strategy):
    """Records the argument `present`."""

    name = "told"
    accepts_missing = True

    def __init__(self, dims, num_classes):
        super().__init__()
        self.head = nn.Linear(6, num_classes)
        self.seen = []

    def forward(self, inputs, present=None):
        self.seen.append(present)
        return self.head(sum(inputs.values()))


def test_a_strategy_that_accepts_missing_receives_present():
    trainer = small_trainer([Hide(slice(None), torch.tensor([1]))], 2, strategy=Told, **PLAIN)
    step = one_step(trainer, clips=3)
    assert step.present.tolist() == [[True, True], [False, False], [True, True]]
    (recorded,) = trainer.model.strategy.seen
    assert recorded.tolist() == [[True, True]] * 3  # a hidden clip counts as complete, with zeros
    plain = small_trainer([], 2, strategy=Told, **PLAIN)
    one_step(plain)
    assert plain.model.strategy.seen == [None]  # no balancer can hide a modality


def test_a_pass_hides_the_other_modalities():
    trainer = small_trainer([OneByOne()], 2, strategy=Told, **PLAIN)
    one_step(trainer, clips=2)
    recorded = [present.tolist() for present in trainer.model.strategy.seen]
    assert recorded == [[[True, False]] * 2, [[False, True]] * 2]


def test_clips_may_specify_their_present_modalities():
    trainer = small_trainer([], 2, **PLAIN)
    trainer.stepper.absences = True
    present = np.array([[True, False], [True, True]])
    step = trainer.stepper.step(1, 0, Clips(np.array([0, 1]), present), torch.Generator())
    assert step.present.tolist() == present.tolist()


# -- losses and their gradients --------------------------------------------------------


class Separate(Spy):
    separate = True

    def losses(self, losses, step):
        self.step = step
        self.terms = losses | {f"unimodal.{m}": step.unimodal_loss(m) for m in step.modalities}
        return self.terms

    def gradients(self, gradients, step):
        self.found = gradients
        self.whole = {m: [g.clone() for g in gradients[m]] for m in gradients.modalities}


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_parts_are_the_gradients_of_each_loss(strategy, modalities):
    balancer = Separate()
    trainer = small_trainer([balancer], modalities, strategy=strategy, **PLAIN)
    twin = small_trainer([], modalities, strategy=strategy, **PLAIN)
    step = one_step(trainer)
    result, model = balancer.found, twin.model
    assert result.losses == ["fused", *(f"unimodal.{m}" for m in model.modalities)]
    encoded = model.encode(step.inputs)
    created = encoded.embeddings
    if encoded.maps:
        created = {m: model.branches[m].pool(x) for m, x in encoded.maps.items()}
    terms = {"fused": model.fuse(model.strategy_inputs(encoded))}
    for m, z in created.items():
        probe = model.probes[m]
        terms[f"unimodal.{m}"] = z @ probe.weight.detach().T + probe.bias.detach()
    for m in model.modalities:
        own = list(model.branches[m].parameters())
        for loss, scores in terms.items():
            expected = torch.autograd.grad(
                functional.cross_entropy(scores, step.labels), own, retain_graph=True,
                allow_unused=True,
            )  # fmt: skip
            for a, b in zip(result.part(loss, m), expected, strict=True):
                torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b)


def test_parts_sum_to_the_total_gradient():
    balancer = Separate()
    trainer = small_trainer([balancer], 3, strategy=ByName, **PLAIN)
    one_step(trainer)
    for m, whole in balancer.whole.items():
        parts = [balancer.found.part(loss, m) for loss in balancer.found.losses]
        for i, g in enumerate(whole):
            torch.testing.assert_close(g, torch.stack([part[i] for part in parts]).sum(dim=0))


def test_separate_gradients_give_the_same_step():
    class AtOnce(Separate):
        separate = False

    for strategy in (SmallStrategy, SmallMaps):
        models = []
        for balancer in (Separate(), AtOnce()):
            trainer = small_trainer([balancer], 2, strategy=strategy, **PLAIN)
            one_step(trainer)
            models.append(trainer.model)
        assert balancer.found.losses == []  # not requested
        for a, b in zip(*(model.parameters() for model in models), strict=True):
            torch.testing.assert_close(a, b)


def test_separate_gradients_have_the_layout_of_their_parameters():
    """A fused optimiser requires this layout, which autograd.grad does not guarantee."""
    parameter = torch.nn.Parameter(torch.zeros(2, 3, 4, 4))
    gradient = torch.arange(96.0).view(2, 3, 4, 4)
    result = laid_out(gradient.contiguous(memory_format=torch.channels_last), parameter)
    assert result.stride() == parameter.stride()
    assert torch.equal(result, gradient)
    lasting = torch.nn.Parameter(parameter.contiguous(memory_format=torch.channels_last))
    assert laid_out(gradient, lasting).stride() == lasting.stride()


class Asks(Balancer):
    """Requests separate gradients without using them."""

    name = "asks"
    separate = True


def test_requesting_separate_gradients_does_not_change_a_training():
    """Convolutions with AdamW have the same weights up to rounding."""
    rng = np.random.default_rng(0)
    modalities = {m: Modality(m, (1, 16, 16), ("channel", "frequency", "time")) for m in "ab"}
    targets = np.arange(48) % 3
    arrays = {m: rng.normal(size=(48, 1, 16, 16)).astype(np.float32) for m in "ab"}
    for m in "ab":
        arrays[m][np.arange(48), 0, targets * 4] += 2.0
    parts = tuple(BranchSpec(m, "cnn", {"blocks": 3, "channels": 8}) for m in modalities.values())
    result = []
    for balancers in ([], [Asks()]):
        features = Features(modalities, {m: Rows(a) for m, a in arrays.items()}, targets,
                            torch.device("cpu"), resident_bytes=10**9)  # fmt: skip
        model = build_model(ModelSpec(parts, 3, 8, "concat"), Registry(), 0)
        config = TrainConfig(epochs=4, batch_size=12, dim=8, precision="float32", patience=0)
        trainer = Trainer(model, features, np.arange(36), np.arange(36, 48), config,
                          balancers=balancers)  # fmt: skip
        trainer.fit()
        result.append(weights(model))
    for name, plain in result[0].items():
        torch.testing.assert_close(result[1][name], plain, rtol=1e-3, atol=1e-4)


class Turns(Balancer):
    name = "turns"
    takes_over = ("passes",)

    def passes(self, step):
        return [Pass((m,)) for m in step.modalities]


class OwnLosses(Balancer):
    name = "own_losses"
    separate = True

    def losses(self, losses, step):
        return losses | {f"unimodal.{m}": step.unimodal_loss(m) for m in step.shown}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_pooling_changed_by_the_probes_is_computed_again(optimizer):
    """The first pass, through the probes, also trains the pooling of hidden branches."""
    trainer = small_trainer([OwnLosses(), Turns()], 3, strategy=SmallMaps, epochs=1,
                            optimizer=optimizer)  # fmt: skip
    encodes = []
    encode = trainer.stepper._encode
    trainer.stepper._encode = lambda step: (encodes.append(step.current), encode(step))
    one_step(trainer)
    assert [one.modalities for one in encodes[1:]] == [("voice",), ("face",)]  # before later passes


def test_with_maps_the_probes_train_the_pooling_in_addition_to_the_parts():
    """A balancer may replace the gradient of the losses; that of the probe is added later."""
    balancer = Separate()
    # AdamW, because Nesterov's momentum would change the gradients in place.
    trainer = small_trainer([balancer], 2, strategy=SmallMaps, **{**PLAIN, "optimizer": "adamw"})
    one_step(trainer)
    parameters = dict(trainer.model.branches["voice"].named_parameters())
    parts = [balancer.found.part(loss, "voice") for loss in balancer.found.losses]
    for i, (name, parameter) in enumerate(parameters.items()):
        total = torch.stack([part[i] for part in parts]).sum(dim=0)
        torch.testing.assert_close(balancer.whole["voice"][i], total)
        rest = parameter.grad - total
        if name.startswith("embed"):
            # unimodal_loss has the same value and gradient as the loss of the probe.
            torch.testing.assert_close(rest, balancer.found.part("unimodal.voice", "voice")[i])
        else:
            torch.testing.assert_close(rest, torch.zeros_like(rest))


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_a_unimodal_loss_trains_its_branch_and_no_probe(strategy):
    class Only(Spy):
        def losses(self, losses, step):
            self.loss = step.unimodal_loss("voice")
            self.own = step.unimodal_losses["voice"]
            return {"unimodal.voice": self.loss}

        def gradients(self, gradients, step):
            self.modalities = gradients.modalities
            self.probe = step.model.probes["voice"].weight.grad.clone()

    balancer = Only()
    trainer = small_trainer([balancer], 2, strategy=strategy, **PLAIN)
    before = weights(trainer.model)
    step = one_step(trainer)
    torch.testing.assert_close(balancer.loss, balancer.own)
    assert "branches.voice" in moved(before, trainer.model)
    assert "strategy" not in moved(before, trainer.model)
    if strategy is SmallStrategy:  # with maps, each probe trains the pooling of its branch
        assert balancer.modalities == ["voice"]
    # The gradient of the probe is that of its own loss: p - onehot times the embedding.
    z = step.encoded.embeddings["voice"].detach()
    probabilities = (z @ before["probes.voice.weight"].T + before["probes.voice.bias"]).softmax(1)
    expected = (probabilities - torch.eye(3)[step.labels]).T @ z / len(z)
    torch.testing.assert_close(balancer.probe, expected)


def test_each_balancer_receives_the_result_of_the_previous_one():
    class Doubles(Spy):
        def inputs(self, inputs, step):
            return {m: 2 * x for m, x in inputs.items()}

        def representations(self, representations, step):
            return {m: 2 * x for m, x in representations.items()}

        def logits(self, logits, step):
            return 2 * logits

        def losses(self, losses, step):
            return {k: 2 * loss for k, loss in losses.items()}

        def gradients(self, gradients, step):
            for m in gradients.modalities:
                gradients.scale(m, 2.0)
            self.factors = dict(gradients.factors)

    plain = one_step(small_trainer([], 2, **PLAIN))
    first, second = Doubles(), Doubles()
    trainer = small_trainer([first, second], 2, **PLAIN)
    step = one_step(trainer)
    torch.testing.assert_close(step.inputs["voice"], 4 * plain.inputs["voice"])
    fused = small_trainer([], 2, **PLAIN).model.fuse(step.representations).detach()
    torch.testing.assert_close(step.logits.detach(), 4 * fused)
    torch.testing.assert_close(step.fused_loss, step.cross_entropy(step.logits))
    assert {m: float(f) for m, f in first.factors.items()} == {"voice": 2.0, "face": 2.0}
    assert {m: float(f) for m, f in second.factors.items()} == {"voice": 4.0, "face": 4.0}


def test_without_gradients_the_hook_is_not_called():
    class Never(Spy):
        def representations(self, representations, step):
            return {m: x.detach() for m, x in representations.items()}

        def gradients(self, gradients, step):
            raise AssertionError("no branch has a gradient")

    trainer = small_trainer([Never()], 2, **PLAIN)
    before = weights(trainer.model)
    one_step(trainer)
    assert moved(before, trainer.model) == {"strategy", "probes.voice", "probes.face"}


# -- scores for subsets of modalities --------------------------------------------------


class Normed(SmallStrategy):
    """A strategy with running statistics."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.norm = nn.BatchNorm1d(num_classes)

    def forward(self, inputs):
        return self.norm(super().forward(inputs))


def test_fuse_does_not_change_running_statistics():
    class Asks(Spy):
        def losses(self, losses, step):
            norm = step.model.strategy.norm
            before = {k: v.clone() for k, v in norm.state_dict().items()}
            self.contributions = step.contributions
            step.fuse(["voice"])
            after = norm.state_dict()
            assert all(torch.equal(before[k], after[k]) for k in before)
            assert norm.momentum == 0.1 and norm.training
            return losses

    asking, plain = (small_trainer(b, 2, strategy=Normed) for b in ([Asks()], []))
    one_step(asking), one_step(plain)
    result, expected = (t.model.strategy.norm.state_dict() for t in (asking, plain))
    assert all(torch.equal(result[k], expected[k]) for k in expected)
    assert int(result["num_batches_tracked"]) == 1


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_contributions_sum_to_all_minus_none(modalities):
    class Asks(Spy):
        def losses(self, losses, step):
            self.total = sum(step.contributions.values())
            self.all, self.none = step.fuse(step.modalities), step.fuse([])
            self.logits_then = step.logits
            return losses

    balancer = Asks()
    one_step(small_trainer([balancer], modalities, strategy=ByName))
    torch.testing.assert_close(balancer.total, balancer.all - balancer.none)
    torch.testing.assert_close(balancer.all, balancer.logits_then)


def test_contributions_of_two_by_hand():
    """ByName: f = head(tanh(a + b)); phi_a = (f(a) - f() + f(a, b) - f(b)) / 2."""

    class Asks(Spy):
        def losses(self, losses, step):
            strategy, x = step.model.strategy, step.representations
            a, b = (strategy.mix[m](x[m]) for m in ("voice", "face"))
            f = {
                "": strategy.head(0 * a),
                "a": strategy.head(a.tanh()),
                "b": strategy.head(b.tanh()),
                "ab": strategy.head((a + b).tanh()),
            }
            self.expected = (f["a"] - f[""] + f["ab"] - f["b"]) / 2
            self.found = step.contributions["voice"]
            return losses

    balancer = Asks()
    one_step(small_trainer([balancer], 2, strategy=ByName))
    torch.testing.assert_close(balancer.found, balancer.expected)


def test_fuse_is_limited_to_the_modalities_of_the_pass():
    class Asks(OneByOne):
        def losses(self, losses, step):
            torch.testing.assert_close(step.fuse(step.modalities), step.logits)
            self.seen.append("asked")
            return losses

        def gradients(self, gradients, step):
            pass

    balancer = Asks()
    trainer = small_trainer([balancer], 2, strategy=Told, **PLAIN)
    one_step(trainer, clips=2)
    assert balancer.seen == ["asked", "asked"]
    message = [present.tolist() for present in trainer.model.strategy.seen]
    assert (
        message[0] == message[1] == [[True, False]] * 2
        and message[2] == message[3] == [[False, True]] * 2
    )
