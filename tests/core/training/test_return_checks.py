"""Checks of values that plugins return: valid values pass unchanged, others are errors."""

import numpy as np
import pytest
import torch
from broken_plugins import broken_registry, said

from fusion.core.contracts import Clips
from fusion.core.contracts.errors import PluginError
from fusion.core.testing.checks.problem import SmallBranch, SmallMaps, SmallStrategy, small_trainer
from fusion.core.training import return_checks
from fusion.core.training.model import FusionModel, check_model

PLUGIN = SmallStrategy({"voice": 6}, 3)
WHOSE = "The strategy 'small_strategy'"
SCORES = torch.zeros(4, 3)
PRESENT = torch.ones(4, 2, dtype=torch.bool)
INPUTS = {"voice": torch.zeros(4, 6), "face": torch.zeros(4, 2, 5)}
FIT = {
    "tensor": (return_checks.tensor, SCORES, ((4, 3), return_checks.SCORES)),
    "map without a grid": (return_checks.feature_map, torch.zeros(4, 5), ((4, 5),)),
    "map": (return_checks.feature_map, torch.zeros(4, 5, 2, 7), ((4, 5),)),
    "mask": (return_checks.mask, PRESENT, (~PRESENT,)),
    "by modality": (return_checks.by_modality, INPUTS, (INPUTS,)),
    "first axes": (
        return_checks.by_modality,
        {m: x.flatten(1)[:, :2] for m, x in INPUTS.items()},
        (INPUTS, 1),
    ),
    "losses": (return_checks.losses, {"fused": torch.tensor(0.5)}, ()),
    "clips": (return_checks.clips, Clips(np.array([3, 3])), (2,)),
    "clips and what they show": (
        return_checks.clips,
        Clips(np.array([3, 3, 0]), np.ones((3, 2), dtype=bool)),
        (2,),
    ),
    "empty list": (return_checks.sequence, [], (Clips,)),
    "no numbers": (return_checks.numbers, {}, ()),
    "numbers": (return_checks.numbers, {"a": 1, "b": float("nan"), "c": np.float64(2)}, ()),
}


@pytest.mark.parametrize("case", FIT)
def test_valid_values_are_returned_unchanged(case):
    check, result, expected = FIT[case]
    assert check(PLUGIN, "forward", result, *expected) is result


REFUSED = {
    "another class": (return_checks.tensor, [0.5], ((4, 3), "axes"), "a list of 1"),
    "one axis too few": (return_checks.tensor, SCORES[0], ((4, 3), "axes"), "of shape (3,)"),
    "would broadcast": (return_checks.tensor, SCORES[:1], ((4, 3), "axes"), "of shape (1, 3)"),
    "channels": (return_checks.feature_map, torch.zeros(4, 6, 2), ((4, 5),), "(4, 5, *grid)"),
    "one axis of a map": (return_checks.feature_map, torch.zeros(4), ((4, 5),), "of shape (4,)"),
    "clips of a mask": (return_checks.mask, PRESENT[1:], (PRESENT,), "a bool tensor of shape (3,"),
    "no dict": (return_checks.by_modality, SCORES, (INPUTS,), "a dict of tensors by modality"),
    "one missing": (return_checks.by_modality, {"voice": SCORES}, (INPUTS,), "one of voice, face"),
    "none at all": (return_checks.by_modality, {}, (INPUTS,), "a dict of the modalities none"),
    "no tensor": (
        return_checks.by_modality,
        INPUTS | {"face": 0.5},
        (INPUTS,),
        "0.5 for 'face' from",
    ),
    "first axes differ": (
        return_checks.by_modality,
        {m: x[1:] for m, x in INPUTS.items()},
        (INPUTS, 1),
        "of shape (3, 6) for 'voice'",
    ),
    "no losses": (return_checks.losses, {}, (), "a dict of 0"),
    "loss of each clip": (return_checks.losses, {"x": SCORES}, (), "(4, 3) for the loss 'x'"),
    "no clips": (return_checks.clips, Clips(np.array([], int)), (2,), "indices of shape (0,)"),
    "clips in rows": (return_checks.clips, Clips(np.zeros((2, 1), int)), (2,), "shape (2, 1)"),
    "a list of clips": (return_checks.clips, Clips([0, 1]), (2,), "indices of shape None"),
    "rows of what they show": (
        return_checks.clips,
        Clips(np.array([0, 1]), np.ones((3, 2), dtype=bool)),
        (2,),
        "present of shape (3, 2) from",
    ),
    "columns of what they show": (
        return_checks.clips,
        Clips(np.array([0, 1]), np.ones((2, 3), dtype=bool)),
        (2,),
        "present None or of shape (n, 2)",
    ),
    "a tuple": (return_checks.sequence, (1, 2), (int,), "a list of int"),
    "not all of a class": (return_checks.sequence, [1, "2"], (int,), "a list of int"),
    "another object": (return_checks.instance, 3, (OSError,), "3 from forward, where an OSError"),
    "a list of numbers": (return_checks.numbers, [1.0], (), "a dict of numbers by name"),
    "a text": (return_checks.numbers, {"a": 1.0, "b": "2"}, (), "'2' for 'b'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_values_are_reported_with_plugin_method_and_value(case):
    check, result, expected, part = REFUSED[case]
    with pytest.raises(PluginError) as caught:
        check(PLUGIN, "forward", result, *expected)
    assert caught.value.message.startswith(f"{WHOSE} returned ")
    assert " from forward, where " in caught.value.message
    assert caught.value.message.endswith(" is expected.") and part in caught.value.message
    assert caught.value.hint == "Look at SmallStrategy.forward."


def test_none_suggests_a_missing_return():
    error = return_checks.wrong_return(PLUGIN, "forward", None, "a tensor", of=" for 'voice'")
    assert error.message == (
        f"{WHOSE} returned None for 'voice' from forward, where a tensor is expected."
    )
    assert error.hint == "Is there a `return` at the end of SmallStrategy.forward?"


# -- models and trainings --------------------------------------------------------------


OF_THEIR_ODD = "The balancer 'their_odd' of plugin 'mine' (mine.py) returned "


RETURNED = {
    "inputs": (
        "None from inputs, where a dict of tensors by modality is expected.",
        "Is there a `return` at the end of Odd.inputs?",
    ),
    "parameter_groups": (
        "None from parameter_groups, where a list of ParameterGroup is expected.",
        "Is there a `return` at the end of Odd.parameter_groups?",
    ),
    "state_dict": (
        "None from state_dict, where a dict is expected.",
        "Is there a `return` at the end of Odd.state_dict?",
    ),
    "present": (
        "a tensor of shape (8, 2) from present, where a bool tensor of shape (8, 2) = (clips, "
        "modalities) is expected.",
        "Look at Odd.present.",
    ),
    "representations": (
        "a tensor of shape (7, 6) for 'voice' from representations, where a tensor of shape "
        "(8, 6) is expected.",
        "Look at Odd.representations.",
    ),
    "modalities": (
        "a dict of the modalities c from representations, where one of voice, face is expected.",
        "Look at Odd.representations.",
    ),
    "logits": (
        "a tensor of shape () from logits, where a tensor of shape (8, 3) = (clips, classes) is "
        "expected.",
        "Look at Odd.logits.",
    ),
    "losses": (
        "0.5 for the loss 'their_odd.x' from losses, where a scalar tensor is expected.",
        "Look at Odd.losses.",
    ),
    "passes": (
        "a list of 1 from passes, where a list of Pass is expected.",
        "Look at Odd.passes.",
    ),
    "clips": (
        "a ndarray from clips, where a Clips is expected.",
        "Look at Odd.clips.",
    ),
    "stage": (
        "'warm-up' from stage, where a Stage is expected.",
        "Look at Odd.stage.",
    ),
    "metrics": (
        "a tensor of shape () for 'their_odd.x' from metrics, where a number (float(...)) is "
        "expected.",
        "Look at Odd.metrics.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", RETURNED)
def test_an_invalid_return_of_a_balancers_hook_is_reported(way, tmp_path):
    balancer = broken_registry(way, tmp_path).balancer("their_odd")()
    with pytest.raises(PluginError) as caught:
        small_trainer([balancer], checkpoint=tmp_path / "checkpoint.pt").fit()
    message, remedy = RETURNED[way]
    assert said(caught.value, tmp_path) == f"{OF_THEIR_ODD}{message}\n  hint: {remedy}"


def test_a_valid_balancer_trains(tmp_path):
    balancer = broken_registry("none", tmp_path).balancer("their_odd")()
    assert small_trainer([balancer], checkpoint=tmp_path / "c.pt").fit().epoch > 0


def test_scores_of_a_wrong_shape_in_training(tmp_path):
    strategy = broken_registry("scores", tmp_path).strategy("their_sum")
    with pytest.raises(PluginError) as caught:
        small_trainer(strategy=strategy).fit()
    assert said(caught.value, tmp_path) == (
        "The strategy 'their_sum' of plugin 'mine' (mine.py) returned a tensor of shape (8, 2) "
        "from forward, where a tensor of shape (8, 3) = (clips, classes) is expected.\n"
        "  hint: Look at Sum.forward."
    )


def test_weights_of_a_wrong_shape_before_training(tmp_path):
    strategy = broken_registry("weights", tmp_path).strategy("their_sum")({"a": 6}, 3)
    with pytest.raises(PluginError) as caught:
        check_model(FusionModel({"a": SmallBranch((4,))}, strategy, 3))
    assert said(caught.value, tmp_path) == (
        "The strategy 'their_sum' of plugin 'mine' (mine.py) returned a tensor of shape (2, 5) "
        "from modality_weights, where a tensor of shape (2, 1) = (clips, modalities) is "
        "expected.\n  hint: Look at Sum.modality_weights."
    )


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (
            "embedding",
            "a tensor of shape (2, 7) for 'a' from pool, where a tensor of shape (2, 8) = (clips, "
            "dim) is expected.\n  hint: Look at Flat.pool.",
        ),
        (
            "maps",
            "a tensor of shape (2, 4) for 'a' from maps, where a map of shape (2, 5, *grid) = "
            "(clips, map_channels, *grid) is expected.\n  hint: Look at Flat.maps.",
        ),
    ],
)
def test_embedding_and_map_of_a_wrong_shape(way, message, tmp_path):
    branch = broken_registry(way, tmp_path).branch("flat")((4,))
    branch.map_channels += way == "maps"
    model = FusionModel({"a": branch}, SmallMaps({"a": branch.map_channels}, 3), 3)
    with pytest.raises(PluginError) as caught:
        check_model(model)
    start = "The branch 'flat' of plugin 'mine' (mine.py) returned "
    assert said(caught.value, tmp_path) == start + message


def test_an_embedding_of_a_wrong_shape_without_maps(tmp_path):
    branch = broken_registry("embedding", tmp_path).branch("flat")((4,))
    strategy = broken_registry("embedding", tmp_path).strategy("their_sum")({"a": 8}, 3)
    with pytest.raises(PluginError, match=r"shape \(2, 7\) for 'a' from forward"):
        check_model(FusionModel({"a": branch}, strategy, 3))
