"""Independence of every balancer from the placeholder values of absent modalities."""

import math

import numpy as np
import pytest
import torch

from fusion.core.contracts.errors import UserError
from fusion.core.data.features import Features
from fusion.core.registry.registry import Registry
from fusion.core.testing.checks.problem import (
    NAMES,
    Rows,
    SmallMaps,
    SmallStrategy,
    one_step,
    small_features,
    small_model,
    trainer_of,
)
from fusion.core.training.model import FusionModel

REGISTRY = Registry()
BALANCERS = [entry.name for entry in REGISTRY.entries("balancer")]
# Parameters that make late rules act within three epochs.
EARLY = {"opm": {"warmup": 0}, "arl": {"start": 0}, "smv": {"start": 1}, "relearn": {"every": 1},
         "gblend": {"epochs": 1}, "greedy": {"warmup": 0}, "lfm": {"every": 1},
         "reconboost": {"turn": 1, "common": 1}}  # fmt: skip
STRATEGIES = {"blind": SmallStrategy, "maps": SmallMaps, "gated": REGISTRY.strategy("gated")}


def made(name):
    return REGISTRY.balancer(name)(**EARLY.get(name, {}))


def lacking(flags):
    """Return the small problem with all `NAMES`, without a face where `flags`, (48,), is true."""
    features = small_features(len(NAMES))
    return Features(
        features.modalities,
        {m: Rows(rows.array) for m, rows in features.arrays.items()},
        features.targets.numpy(),
        torch.device("cpu"),
        resident_bytes=10**9,
        absent={"face": flags},
    )


@pytest.fixture
def place(monkeypatch):
    """Function that sets the maps and embeddings of absent modalities to a value."""
    filled = [0.0]
    encode = FusionModel.encode

    def filling(self, inputs, presence=None, graphs=None):
        result = encode(self, inputs, presence, graphs)
        if presence is not None:
            for m in presence.rows:
                missing = ~presence.table[:, presence.modalities.index(m)]
                for made_of in (result.embeddings, result.maps):
                    if m in made_of:
                        x = made_of[m]
                        wide = missing.view(-1, *[1] * (x.dim() - 1))
                        made_of[m] = x.masked_fill(wide, filled[0])
        return result

    monkeypatch.setattr(FusionModel, "encode", filling)
    return lambda value: filled.__setitem__(0, value)


def trainer_for(name, strategy, flags, clips=36):
    try:
        balancer = made(name)
        model = small_model(len(NAMES), strategy=STRATEGIES[strategy], balancers=[balancer])
        return trainer_of(model, lacking(flags), [balancer], epochs=3, clips=clips)
    except UserError as error:
        assert error.hint
        pytest.skip(f"{name}: {error.message}")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", BALANCERS)
def test_values_in_absent_rows_do_not_change_training(name, strategy, place):
    """The probes' scores, prototypes, clusters and copies of clips don't change either."""
    flags = np.arange(48) // 3 % 2 == 0
    trained = []
    for value in (0.0, 5.0):
        place(value)
        trainer = trainer_for(name, strategy, flags, clips=20)  # 11 of them lack a face
        history = trainer.fit().history
        assert all(math.isfinite(v) for r in history for v in r.values() if isinstance(v, float))
        own = [{k: v for k, v in r.items() if k.startswith(f"{name}.")} for r in history]
        trained.append((trainer.model.state_dict(), own))
    (first, metrics), (second, rest) = trained
    for key, weights in first.items():
        torch.testing.assert_close(second[key], weights, rtol=1e-5, atol=1e-6, msg=key)
    assert rest == [pytest.approx(record, rel=1e-4, abs=1e-6) for record in metrics]


def gradients_of(name, strategy, bias, poison):
    """Return gradients times factors of the other branches in a step on clips without a face."""
    flags = np.arange(48) < 8
    trainer = trainer_for(name, strategy, flags)
    result = {}

    class Last(REGISTRY.balancer("unimodal_loss")):
        takes_over = ()

        def losses(self, losses, step):
            return losses

        def gradients(self, gradients, step):
            for m in gradients.modalities:
                factor = gradients.factors.get(m, torch.tensor(1.0))
                result[m] = [g.clone() * factor for g in gradients[m]]

    trainer.features.arrays["face"].array[flags] = poison
    with torch.no_grad():
        trainer.model.probes["face"].bias.copy_(torch.tensor(bias))
    trainer.stepper.balancers = [*trainer.stepper.balancers, Last()]
    for balancer in trainer.stepper.balancers[:-1]:
        balancer.setup(trainer.context)
        balancer.epoch_start(1)
    one_step(trainer)
    assert all(not g.any() for g in result.pop("face", []))
    return result


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", BALANCERS)
def test_a_modality_absent_from_a_batch_does_not_affect_the_others(name, strategy):
    """Placeholder values and the bias of the probe have no influence."""
    first = gradients_of(name, strategy, [0.0, 0.0, 0.0], 0.0)
    second = gradients_of(name, strategy, [3.0, -2.0, 1.0], 9.0)
    assert first.keys() == second.keys()
    for m, gradients in first.items():
        for a, b in zip(gradients, second[m], strict=True):
            assert a.isfinite().all()
            torch.testing.assert_close(a, b)


# -- values by hand ------------------------------------------------------------------


def a_step(flags):
    flags = np.concatenate([flags, np.zeros(48 - len(flags), bool)])
    return one_step(trainer_of(small_model(len(NAMES)), lacking(flags)))


def test_scores_are_extrapolated_from_the_clips_with_the_modality():
    step = a_step(np.arange(8) % 2 == 0)
    right = step.unimodal["face"].softmax(1)[torch.arange(8), step.labels]
    torch.testing.assert_close(step.scores()["face"], right[1::2].mean() * 8)
    assert torch.equal(step.scores()["voice"], step.right["voice"].sum())
    assert step.batch_modalities == list(NAMES)
    none = a_step(np.ones(8, bool))
    assert float(none.scores()["face"]) == 0.0 and none.batch_modalities == ["voice", "text"]


def test_a_loss_is_the_mean_over_clips_with_a_shown_modality():
    step = a_step(np.arange(8) % 2 == 0)
    logits = torch.randn(8, 3, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(logits[1::2], step.labels[1::2])
    torch.testing.assert_close(step.cross_entropy(logits, ["face"]), expected)
    whole = torch.nn.functional.cross_entropy(logits, step.labels)
    torch.testing.assert_close(step.cross_entropy(logits, ["face", "text"]), whole)
    none = a_step(np.ones(8, bool)).cross_entropy(logits, ["face"])
    none.backward()
    assert float(none) == 0.0 and not logits.grad.any()


def test_agreement_is_between_present_modalities():
    from fusion.plugins.balancers.lfm import jensen_shannon
    from fusion.plugins.balancers.mbsd import pull_of

    logits = {m: torch.randn(4, 3, requires_grad=True) for m in "abc"}
    yes, no = True, False
    present = {"a": torch.tensor([yes, yes, yes, no]), "b": torch.tensor([yes, no, yes, no]),
             "c": torch.tensor([yes, no, no, yes])}  # fmt: skip
    rows = {m: x[:1] for m, x in logits.items()}, {m: logits[m][2:3] for m in "ab"}
    expected = sum(jensen_shannon(part) for part in rows) / 2  # two clips have one modality only
    torch.testing.assert_close(jensen_shannon(logits, present), expected)
    labels = torch.tensor([0, 1, 2, 0])
    both = ("a", "b", [0, 2]), ("a", "c", [0]), ("b", "c", [0])
    pulls = [pull_of({a: logits[a][i], b: logits[b][i]}, labels[i]) for a, b, i in both]
    torch.testing.assert_close(pull_of(logits, labels, present), torch.stack(pulls).mean())
    jensen_shannon(logits, present).backward()
    assert logits["a"].grad.isfinite().all() and not logits["a"].grad[1].any()


@pytest.mark.parametrize("unit", ["entry", "clip"])
def test_a_clip_keeps_the_only_modality_that_it_has(unit):
    balancer = REGISTRY.balancer("opm")(warmup=0, p_exe=1.0, unit=unit)
    step = a_step(np.arange(8) % 2 == 0)
    step.present[:, NAMES.index("text")] = False
    step.__dict__["right"] = {
        m: torch.full((8,), p) for m, p in zip(NAMES, (0.9, 0.1, 0.1), strict=True)
    }
    passed = {m: torch.ones(8, 6) for m in NAMES}
    result = balancer.representations(passed, step)
    assert torch.equal(result["voice"][::2], passed["voice"][::2])  # clips with a voice only
    assert not torch.equal(result["voice"][1::2], passed["voice"][1::2])


def test_copies_never_show_an_absent_modality():
    flags = np.arange(48) % 2 == 0
    trainer = trainer_for("smv", "blind", flags)
    clips = trainer.balancers[0].clips(type("", (), {"indices": np.arange(36), "present": None}), 2)
    shown = clips.present[36:]
    assert len(shown) and shown.sum(axis=1).tolist() == [1] * len(shown)
    faces = clips.indices[36:][shown[:, NAMES.index("face")]]
    assert len(faces) and not flags[faces].any()
