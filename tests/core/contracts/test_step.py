"""The step that balancers receive, computed by hand for four clips and two modalities."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from fusion import Pass, Step
from fusion.core.contracts import Clips, right_probability
from fusion.core.contracts.model import Encoded, Presence
from fusion.core.contracts.train_config import TrainConfig

LABELS = torch.tensor([0, 1, 1, 0])
# The first clip has no voice, the last two have no face.
HAS = torch.tensor([[False, True], [True, True], [True, False], [True, False]])
LOGITS = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 1.0], [3.0, 3.0]])


def presence(table=HAS):
    rows = {
        m: column.nonzero()[:, 0]
        for m, column in zip(("voice", "face"), table.T, strict=True)
        if not column.all()
    }
    return Presence(("voice", "face"), table, rows)


def step(has=None, present=None, **passed):
    context = SimpleNamespace(
        modalities=["voice", "face"],
        config=TrainConfig(epochs=7),
        cross_entropy=functional.cross_entropy,
        autocast=nullcontext,
        fuse=lambda step, modalities: ("fused", step, modalities),
        contributions=lambda step: {"voice": step.index},
        model="model",
    )
    if present is None:
        present = torch.ones(4, 2, dtype=torch.bool) if has is None else has.table.clone()
    return Step(context, 3, 20, LABELS, torch.Generator(), present, has, **passed)


def each_loss(logits=LOGITS, labels=LABELS):
    return functional.cross_entropy(logits, labels, reduction="none")


# -- training and modalities -----------------------------------------------------------


def test_a_step_gives_access_to_its_training():
    one = step()
    assert (one.epochs, one.modalities, one.model) == (7, ["voice", "face"], "model")
    assert one.fuse(["face"]) == ("fused", one, ["face"])
    assert one.contributions == {"voice": 20}
    one.index = 21
    assert one.contributions == {"voice": 20}  # computed once


@pytest.mark.parametrize(
    ("names", "expected"),
    [(None, ["voice", "face"]), (("face",), ["face"]), ((), []),
     (("face", "voice"), ["voice", "face"])],
)  # fmt: skip
def test_shown_modalities_are_in_the_order_of_the_run(names, expected):
    assert step(current=Pass(names)).shown == expected


def test_clips_and_passes_show_every_modality_by_default():
    assert Clips(LABELS.numpy()).present is None and Pass().modalities is None


# -- clips with a missing modality -----------------------------------------------------


def test_without_missing_modalities_all_rows_are_used():
    one = step()
    assert one.batch_modalities == ["voice", "face"]
    assert one.has_modality is None and one.sees(["face"]) is None
    assert one.rows("face", LOGITS) is LOGITS


def test_rows_are_those_of_clips_with_the_modality():
    one = step(presence())
    assert one.rows("voice", LABELS).tolist() == [1, 1, 0]
    assert one.rows("face", LABELS).tolist() == [0, 1]
    assert {m: flags.tolist() for m, flags in one.has_modality.items()} == {
        "voice": [False, True, True, True], "face": [True, True, False, False],
    }  # fmt: skip


def test_a_modality_that_the_batch_lacks_is_unknown():
    nobody = torch.tensor([[True, False]] * 4)
    assert step(presence(nobody)).batch_modalities == ["voice"]
    assert step(presence()).batch_modalities == ["voice", "face"]


def test_old_names_warn_and_work():
    one = step(presence(torch.tensor([[True, False]] * 4)))
    with pytest.warns(DeprecationWarning, match="known is now called batch_modalities"):
        assert one.known == ["voice"]
    with pytest.warns(DeprecationWarning, match="there is now called has_modality"):
        assert list(one.there) == ["voice", "face"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["voice"], [0, 1, 1, 1]), (["face"], [1, 1, 0, 0]), (["face", "voice"], [1, 1, 1, 1]),
     ([], [0, 0, 0, 0])],
)  # fmt: skip
def test_a_clip_sees_a_set_of_modalities_if_it_has_any_of_them(names, expected):
    assert step(presence()).sees(names).int().tolist() == expected


def test_a_clip_does_not_see_modalities_that_a_balancer_hides():
    shown = HAS.clone()
    shown[0] = False
    assert step(presence(), shown).sees(["voice", "face"]).tolist() == [False, True, True, True]


# -- losses ----------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_clips_with_a_shown_modality():
    each = each_loss()
    assert step().cross_entropy(LOGITS) == pytest.approx(float(each.mean()))
    one = step(presence())
    assert one.cross_entropy(LOGITS) == pytest.approx(float(each.mean()))
    assert one.cross_entropy(LOGITS, ["voice"]) == pytest.approx(float(each[1:].mean()))
    assert one.cross_entropy(LOGITS, ["face"]) == pytest.approx(float(each[:2].mean()))
    one.current = Pass(("face",))
    assert one.cross_entropy(LOGITS) == pytest.approx(float(each[:2].mean()))


def test_a_batch_without_shown_modalities_has_loss_zero_and_finite_gradients():
    logits = LOGITS.clone().requires_grad_()
    loss = step(presence()).cross_entropy(logits, [])
    loss.backward()
    assert loss == 0 and logits.grad.tolist() == torch.zeros(4, 2).tolist()


def test_the_loss_of_a_probe_is_the_mean_over_clips_with_its_modality():
    scores = {"voice": LOGITS, "face": LOGITS + torch.tensor([1.0, 0.0])}
    one = step(presence(), unimodal=scores)
    assert one.unimodal_losses["voice"] == pytest.approx(float(each_loss()[1:].mean()))
    assert one.unimodal_losses["face"] == pytest.approx(float(each_loss(scores["face"])[:2].mean()))
    nobody = step(presence(torch.tensor([[True, False]] * 4)), unimodal=scores)
    assert nobody.unimodal_losses["face"] == 0
    assert nobody.unimodal_losses["voice"] == pytest.approx(float(each_loss().mean()))


def test_the_loss_of_a_probe_without_clips_has_zero_gradients():
    logits = LOGITS.clone().requires_grad_()
    one = step(presence(torch.tensor([[True, False]] * 4)), unimodal={"face": logits})
    one.unimodal_losses["face"].backward()
    assert not logits.grad.any()


# -- probabilities and scores of modalities --------------------------------------------


def test_the_probability_of_the_right_class_by_hand():
    logits = torch.tensor([[0.0, 3.0], [0.0, 1.0]]).log().requires_grad_()
    result = right_probability(logits, torch.tensor([0, 1]))
    # exp: [0, 3] -> 0 of 3; [0, 1] -> 1 of 1.
    assert result.tolist() == [0, 1] and not result.requires_grad
    half = right_probability(torch.tensor([[1.0, 1.0]], dtype=torch.float16), torch.tensor([1]))
    assert (half.tolist(), half.dtype) == ([0.5], torch.float32)


def test_right_and_scores_by_hand():
    one = step(unimodal={"voice": torch.tensor([[0.0, math.log(3.0), 0.0], [1.0, 1.0, 1.0]])})
    one.labels = torch.tensor([1, 2])
    # 3 / (1 + 3 + 1) and 1 / 3.
    assert one.right["voice"].tolist() == pytest.approx([0.6, 1 / 3])
    assert one.scores()["voice"].item() == pytest.approx(0.6 + 1 / 3)


def test_the_score_of_a_rare_modality_is_not_reduced():
    """Certain scores on both clips with the modality count as much as on all four."""
    sure = torch.tensor([[9e9, 0.0], [0.0, 9e9], [0.0, 9e9], [9e9, 0.0]])
    one = step(presence(), unimodal={"voice": 0 * sure, "face": sure})
    assert one.right["voice"].tolist() == [0, 0.5, 0.5, 0.5]
    assert one.right["face"].tolist() == [1, 1, 0, 0]
    assert {m: float(score) for m, score in one.scores().items()} == {"voice": 2, "face": 4}
    nobody = step(presence(torch.tensor([[True, False]] * 4)), unimodal={"face": sure})
    assert float(nobody.scores()["face"]) == 0


def model(pooled):
    """Return branches that pool by the sum over the grid, and probes with known weights."""
    probe = nn.Linear(2, 2)
    probe.weight.data, probe.bias.data = torch.eye(2) * 3, torch.tensor([0.0, 1.0])
    branch = SimpleNamespace(pool=lambda x: pooled.append(x) or x.sum(dim=2))
    return SimpleNamespace(branches={"voice": branch}, probes={"voice": probe})


def test_a_unimodal_loss_reaches_the_embedding_but_not_the_probe():
    z = torch.tensor([[1.0, 0.0]] * 4, requires_grad=True)
    one = step(encoded=Encoded({"voice": z}, {}))
    one.context.model = model([])
    assert one.embeddings["voice"] is z
    assert one.unimodal_logits["voice"].tolist() == [[3, 1]] * 4
    loss = one.unimodal_loss("voice")
    loss.backward()
    assert loss.item() == pytest.approx(float(each_loss(torch.tensor([[3.0, 1.0]] * 4)).mean()))
    assert z.grad.abs().sum() > 0 and one.model.probes["voice"].weight.grad is None


def test_with_maps_embeddings_are_pooled_once():
    pooled = []
    maps = torch.ones(4, 2, 3)
    one = step(encoded=Encoded({}, {"voice": maps}))
    one.context.model = model(pooled)
    assert one.embeddings["voice"].tolist() == [[3, 3]] * 4
    assert one.unimodal_logits["voice"].tolist() == [[9, 10]] * 4
    assert len(pooled) == 1 and pooled[0] is maps
