"""Linear models, whose explanations can be computed by hand."""

import math

import numpy as np
import torch

from fusion import Branch, Modality, Strategy
from fusion.core.analysis.explain import permuted
from fusion.core.analysis.explain.evidence import gather
from fusion.core.analysis.explain.groups import groups_of
from fusion.core.analysis.explain.model import Explained
from fusion.core.runs.bundle import Part
from fusion.core.training.model import FusionModel


class Flat(Branch):
    """Branch whose embedding is the input."""

    def __init__(self, shape):
        super().__init__(shape, math.prod(shape))
        self.map_channels = shape[0]

    def maps(self, x):
        return x

    def pool(self, maps):
        return maps.flatten(1)


class Linear(Strategy):
    """Strategy with two scores: 0, and a weighted sum of all inputs."""

    def __init__(self, weights):
        super().__init__()
        self.weights = {m: torch.tensor(w) for m, w in weights.items()}

    def forward(self, inputs):
        score = sum(inputs[m] @ w for m, w in self.weights.items())
        return torch.stack([torch.zeros_like(score), score], dim=1)


def linear_model(weights):
    """Return a model with one weight per channel of each modality."""
    branches = {m: Flat((len(w), 1)) for m, w in weights.items()}
    return FusionModel(branches, Linear(weights), 2)


def rows(*values):
    return torch.tensor(values)[..., None]  # (n, channels, 1)


def channel_groups(model):
    modalities = [
        Modality(m, tuple(model.branches[m].shape), ("channel", "time")) for m in model.modalities
    ]
    return groups_of(modalities, {})


def asked(model, inputs, *, permutations=4):
    n = len(next(iter(inputs.values())))
    keyed = {(0, m): x for m, x in inputs.items()}
    groups = channel_groups(model)
    found = gather(
        Explained([Part(model)]), keyed, np.arange(n), groups, permuted(n, permutations, 0)
    )
    return {g.title: k for k, g in enumerate(groups)}, found
