"""Clips that lack a modality: placeholder values never affect training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from arrays import Rows
from lacking import lacking
from torch import nn

from fusion import Modality
from fusion.cache.builds.progress import BuildReport, Failure
from fusion.core.contracts.errors import CorpusError, SplitError
from fusion.core.data.absence import absent_of, check_absent
from fusion.core.data.dataset import RunData
from fusion.core.data.features import Features
from fusion.core.data.presence import presence_of
from fusion.core.data.splits import Split
from fusion.core.registry.registry import Registry
from fusion.core.runs.outcome.predictions import class_shares
from fusion.core.testing.checks.problem import (
    CONFIG,
    NAMES,
    SmallMaps,
    SmallStrategy,
    one_step,
    small_model,
    trainer_of,
)
from fusion.core.training.inference import outputs_and_weights
from fusion.core.training.trainer import Trainer

CPU = torch.device("cpu")


def gated():
    return Registry().strategy("gated")


# -- the table -----------------------------------------------------------------------


def test_statistics_use_only_clips_that_have_the_modality():
    features = lacking()
    clips = np.arange(12)
    assert features.clips_with(clips, "face").tolist() == [1, 2, 4, 5, 7, 8, 10, 11]
    assert features.clips_with(clips).tolist() == clips.tolist()  # every clip has a voice
    mean = features.statistics("face", clips, (0,)).mean
    expected = features.arrays["face"].array[[1, 2, 4, 5, 7, 8, 10, 11]].mean(axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


# -- in a model ----------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
@pytest.mark.parametrize("rows", [[], [2], [1, 3], [0, 1, 2, 3]])
def test_a_branch_encodes_only_clips_that_have_its_modality(strategy, rows):
    model = small_model(2, strategy=strategy).train()
    x = {m: torch.randn(4, 4) for m in NAMES[:2]}
    flags = np.array([i not in rows for i in range(4)])
    presence = presence_of({"face": flags}, model.modalities, np.arange(4), CPU)
    poisoned = {**x, "face": x["face"].masked_fill(torch.from_numpy(flags)[:, None], torch.nan)}
    found = model.encode(poisoned if rows else x, presence)
    whole = model.encode(x)
    for kind in ("embeddings", "maps"):
        for m, expected in getattr(whole, kind).items():
            own = getattr(found, kind)[m].clone()
            there = rows if m == "face" else [0, 1, 2, 3]
            torch.testing.assert_close(own[there], expected[there])
            own[there] = 0
            assert not own.any()
    sum(z.sum() for z in found.embeddings.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("count", [0, 1])
def test_batch_statistics_do_not_change_if_at_most_one_clip_has_the_modality(count):
    model = small_model(2)
    branch = model.branches["face"]
    branch.embed = nn.Sequential(branch.embed, nn.BatchNorm1d(6))
    model.train()
    flags = np.arange(4) >= count
    presence = presence_of({"face": flags}, model.modalities, np.arange(4), CPU)
    model.encode({m: torch.randn(4, 4) for m in NAMES[:2]}, presence)
    assert branch.embed[1].num_batches_tracked == 0 and not branch.embed[1].running_mean.any()


def test_losses_and_scores_of_a_probe_use_only_clips_that_have_its_modality():
    features = lacking()
    trainer = trainer_of(small_model(2), features)
    step = one_step(trainer)  # clips 0 to 7; 0, 3 and 6 have no face
    rows = [1, 2, 4, 5, 7]
    own = nn.functional.cross_entropy(step.unimodal["face"][rows], step.labels[rows])
    torch.testing.assert_close(step.unimodal_losses["face"], own)
    right = step.unimodal["face"].softmax(1)[rows, step.labels[rows]].mean() * 8
    torch.testing.assert_close(step.scores()["face"], right)
    assert step.right["face"][[0, 3, 6]].tolist() == [0, 0, 0]
    assert step.present[:, 1].tolist() == [i in rows for i in range(8)]


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps, None])
def test_placeholder_values_of_an_absent_modality_change_nothing(strategy):
    trained = []
    for poison in (np.nan, 0.0, 1e6):
        model = small_model(2, strategy=strategy or gated())
        features = lacking(poison=poison)
        trainer = trainer_of(model, features, patience=0)
        history = trainer.fit().history
        said, _ = outputs_and_weights(model, features, trainer.val, torch.float32)
        trained.append((model.state_dict(), history, said.logits))
    first, *others = trained
    for weights, history, logits in others:
        assert all(torch.equal(weights[k], v) for k, v in first[0].items())
        strip = [{k: v for k, v in r.items() if k != "seconds"} for r in history]
        assert strip == [{k: v for k, v in r.items() if k != "seconds"} for r in first[1]]
        assert torch.equal(logits, first[2])


def test_unimodal_training_equals_training_on_a_corpus_without_the_absent_clips():
    """Both trainings give the same weights."""
    features = lacking()
    own = {"face": Modality("face", (4,))}
    there = np.flatnonzero(~features.absent["face"])
    smaller = Features(
        own, {"face": Rows(features.arrays["face"].array[there])},
        features.targets.numpy()[there], CPU, resident_bytes=10**9,
    )  # fmt: skip
    gapped = Features(
        own, {"face": features.arrays["face"]}, features.targets.numpy(), CPU,
        resident_bytes=10**9, absent=features.absent,
    )  # fmt: skip
    weights = []
    for given, train, val in (
        (smaller, np.flatnonzero(there < 36), np.flatnonzero(there >= 36)),
        (gapped, gapped.clips_with(np.arange(36)), gapped.clips_with(np.arange(36, 48))),
    ):
        model = small_model(["face"])
        Trainer(model, given, train, val, replace(CONFIG, epochs=2)).fit()
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


# -- in a run ------------------------------------------------------------------------


def report(*absent):
    items = [Failure(feature, key, key, f"no {feature}") for feature, key in absent]
    return BuildReport(0, 0, [], 0.0, absent=items)


def test_absent_clips_are_found_by_their_keys():
    found = absent_of(report(("text", "k1"), ("text", "k3")), ["k0", "k1", "k1", "k2"])
    assert {m: flags.tolist() for m, flags in found.items()} == {"text": [False, True, True, False]}
    with pytest.raises(CorpusError, match="No clip has the feature 'text'. First clip: no text"):
        absent_of(report(("text", "k1")), ["k1", "k1"])


def test_a_modality_that_too_few_clips_have_is_refused(by_speaker=4):
    from fusion import Clip, Recording

    clips = [Clip(Recording(f"{i}.wav"), f"{i}", "ab"[i % 2], f"s{i}", "c") for i in range(12)]
    split = Split(np.arange(6), np.arange(6, 9), np.arange(9, 12), None, True)
    check_absent({"text": np.arange(12) == 0}, [split], clips, ["a", "b"])
    without_a = (np.arange(12) % 2 == 0) & (np.arange(12) < 6)
    with pytest.raises(SplitError, match=r"3 of 12 clips have no text. .*train .* none of: a"):
        check_absent({"text": without_a}, [split], clips, ["a", "b"])
    everybody_tested = np.arange(12) >= 9  # test clips may all lack it
    check_absent({"text": everybody_tested}, [split], clips, ["a", "b"])


def test_class_shares_are_those_of_the_training_clips():
    split = Split(np.array([0, 1, 2]), np.array([3]), np.array([4]), None, True)
    targets = np.array([0, 1, 1, 0, 0])
    data = RunData((None,) * 5, tuple("abcde"), targets, ("x", "y"), (split,))
    np.testing.assert_allclose(class_shares(data, 0), [1 / 3, 2 / 3])
