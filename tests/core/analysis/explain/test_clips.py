"""Explanations of single recordings, with linear models and values by hand."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from linear_models import channel_groups, linear_model

from fusion.core.analysis.explain.clips import ClipExplainer
from fusion.core.analysis.explain.model import Explained
from fusion.core.runs.bundle import Part


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def explainer(weights, recordings, adapt="none"):
    """Return an explainer of a linear model; recordings are arrays, or reasons for an error."""
    created = object.__new__(ClipExplainer)
    model = linear_model(weights)
    parts = [Part(model)]
    created.bundle = SimpleNamespace(
        parts=parts, classes=("no", "yes"), adapt=adapt, adapted=lambda k, raw, speaker: raw
    )
    created.speaker = None
    created._device, created._model = torch.device("cpu"), Explained(parts)
    created._groups = channel_groups(model)

    def extracted(path):
        result = recordings[path.name]
        if isinstance(result, str):
            return {}, result
        return {m: np.array([[v]], np.float32) for m, v in result.items()}, None

    created.extracted = extracted
    return created


TWO = {"a": [2.0], "b": [1.0]}


def explained(recording, weights=TWO):
    (result,) = explainer(weights, {"x.wav": recording}).explain([Path("x.wav")])
    return result


def test_values_by_hand():
    result = explained({"a": 1.0, "b": 3.0})  # scores 0 and 5
    p = sigmoid(5)
    assert result.label == "yes" and result.error is None
    assert result.probabilities == pytest.approx({"no": 1 - p, "yes": p})
    assert result.none == pytest.approx(0.5)
    alone = {"a": sigmoid(2), "b": sigmoid(3)}
    assert result.shapley["a"] == pytest.approx((alone["a"] - 0.5 + p - alone["b"]) / 2)
    assert sum(result.shapley.values()) == pytest.approx(p - 0.5)
    parts = {part.group.title: part for part in result.parts}
    assert parts["a"].without == pytest.approx(alone["b"])
    assert parts["b"].without == pytest.approx(alone["a"])
    assert result.difference == pytest.approx(math.log(p / 0.5))
    total = parts["a"].gradients + parts["b"].gradients
    assert total == pytest.approx(result.difference + result.gap, abs=1e-5)
    assert parts["a"].gradients / parts["b"].gradients == pytest.approx(2 / 3, rel=1e-4)


def test_the_most_probable_class_is_explained():
    result = explained({"a": -1.0, "b": 0.0})
    assert result.label == "no"
    assert result.shapley["a"] == pytest.approx(sigmoid(2) - 0.5)
    assert result.shapley["b"] == pytest.approx(0)


def test_unreadable_recordings_have_a_reason_and_do_not_stop_the_others():
    created = explainer(TWO, {"bad.wav": "bad.wav: no sound", "half.wav": {"a": 1.0},
                           "good.wav": {"a": 1.0, "b": 1.0}})  # fmt: skip
    paths = [Path(name) for name in ("bad.wav", "half.wav", "good.wav")]
    bad, half, good = created.explain(paths)
    assert (bad.path, bad.label, bad.error) == (paths[0], None, "bad.wav: no sound")
    assert half.error == (
        "half.wav: it has no b; only clips that have all modalities can be explained"
    )
    assert bad.parts == () and good.label == "yes"


def test_json_has_plain_values_and_none_for_undefined_values():
    created = explainer(TWO, {"bad.wav": "no sound", "x.wav": {"a": 1.0, "b": 0.0}})
    bad, good = (one.to_json() for one in created.explain([Path("bad.wav"), Path("x.wav")]))
    assert (bad["none"], bad["gap"], bad["parts"]) == (None, None, [])
    assert json.loads(json.dumps(good)) == good
    assert good["file"] == "x.wav"
    assert good["parts"][0].keys() >= {"modality", "name", "entries", "gradients", "without"}


def test_notes_name_limits_of_the_explanation():
    assert explainer({"a": [1.0]}, {}).notes == [
        "The chosen model uses only a, which contributes everything."
    ]
    two = explainer(TWO, {})
    assert two.modalities == ["a", "b"]
    (note,) = two.notes
    assert note.startswith("The chosen model can't handle absent modalities")
    adapted, _ = explainer(TWO, {}, adapt="speaker").notes
    assert adapted.startswith("Speaker-adapted")
