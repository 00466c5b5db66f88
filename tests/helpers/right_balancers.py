"""Valid balancers, and the base class of broken ones."""

import torch
from torch import nn

from fusion import Balancer, Strategy
from fusion.core.contracts.errors import ParameterError


class Fine(Balancer):
    """Valid: scales down the modality with the better probe, by a running mean."""

    name = "fine"

    def setup(self, context):
        self.mean = {}
        self.factors = dict.fromkeys(context.modalities, 1.0)

    def factor(self, scores, m):
        """Return (mean score of all / own score)^2, which is 1 for a single or equal modalities."""
        return (torch.stack(list(scores.values())).mean() / scores[m]) ** 2

    def known(self, step):
        return {m: right.mean() for m, right in step.right.items()}

    def gradients(self, gradients, step):
        for m, score in self.known(step).items():
            self.mean[m] = 0.9 * self.mean.get(m, score) + 0.1 * score
        for m in gradients.modalities:
            self.factors[m] = self.factor(self.mean, m)
            gradients.scale(m, self.factors[m])

    def metrics(self):
        return {f"{self.name}.{m}": float(factor) for m, factor in self.factors.items()}

    def state_dict(self):
        return {"mean": dict(self.mean)}

    def load_state_dict(self, state):
        self.mean = dict(state["mean"])


class Distant(Fine):
    """Valid: adds a loss on the embeddings, with any kind of strategy."""

    def losses(self, losses, step):
        mean = torch.stack(list(step.embeddings.values())).float().mean(dim=0)
        apart = [(z.float() - mean).square().mean() for z in step.embeddings.values()]
        return {**losses, "fine.apart": 0.01 * torch.stack(apart).sum()}


class Wrapped(Strategy):
    """Strategy that scales the scores of another one."""

    name = "wrapped"

    def __init__(self, inner, classes=None):
        super().__init__()
        self.takes = inner.takes
        self.inner = inner
        self.scale = nn.Parameter(torch.rand(()))
        self.more = None if classes is None else nn.Linear(classes, classes + 1)

    def forward(self, inputs):
        scores = self.scale * self.inner(inputs)
        return scores if self.more is None else self.more(scores)


class Adapting(Balancer):
    """Valid: wraps the strategy."""

    name = "adapting"
    takes_over = ("head",)

    def adapt(self, strategy, dims):
        return Wrapped(strategy)


class NoMaps(Adapting):
    """Valid: refuses strategies that it can't adapt."""

    def adapt(self, strategy, dims):
        if strategy.takes == "maps":
            raise ParameterError("Not for maps.")
        return Wrapped(strategy)


UNCHANGED = {"single_unchanged": True, "equal_unchanged": True}
