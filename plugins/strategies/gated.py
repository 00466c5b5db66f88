"""Gated fusion: a log-linear pool with a weight per modality and clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.contracts import Baseline, Choice, LogInteger, Strategy, hookimpl
from ...core.contracts.errors import ParameterError
from ._heads import adopt_heads

_SHARPNESS = 4.0  # of the softplus, which maps 1 to 1.00 and 0 to 0.17
_SMALLEST = 1e-12


class Gated(Strategy):
    """Log-linear pool of single-modality classifiers, weighted per modality and clip.

    ::

        scores = sum over m of a_m(x) log softmax(head_m(z_m))

        gate=held_out:  a_m(x) = softplus_4(prior_m + u_m + v_m c_m(x))
                        c_m(x) = 1 - H(p_m) / log C
        gate=trained:   a(x)   = M softmax(MLP([z_1 .. z_M]))

    Each modality m has its own linear head, and p_m = softmax(head_m(z_m)). Log-probabilities are a
    common scale, so long embeddings give a modality no advantage over short ones.

    *held_out*: softplus_4(t) = log(1 + exp(4 t)) / 4. c_m(x) is the confidence of modality m for
    clip x. H is the entropy of the probabilities p_m, and C is the number of classes. The prior is
    1 for the modality that reached the highest UAR on validation when trained alone, and 0 for
    other modalities (1/M each without baselines). u (the competence of a modality) and v (the
    effect of the modality's confidence) are fitted to held-out clips, because on memorised training
    clips every modality would seem accurate. The fit starts from u = v = 0. The softplus is never
    0, so every branch receives a gradient.

    *trained*: the MLP has one hidden layer and is trained on the training clips together with the
    rest of the model. Departure from the paper: the gated multimodal unit (GMU) has a vector gate,
    one value per modality and dimension, on tanh features. Here the gate is one softmax number per
    modality and clip, applied to log-probabilities, without tanh.

    The fused model starts from the heads of the baselines: with *held_out* it starts as the
    log-linear pool of the baselines. A modality that a clip lacks has weight 0 for that clip.

    The reported share of a modality is the relative size of its part of the scores: the norm of
    a_m(x) log p_m, centred over the classes, divided by the sum of these norms over the modalities.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.
    gate : {"held_out", "trained"}
        Rule that computes the weights; see above.
    hidden : int
        Width of the hidden layer of the *trained* gate, >= 1.

    When to use
    -----------
    As the default, above all if the modalities are accurate on different clips. The gate shows how
    much each modality counts for each clip.

    Cost
    ----
    (sum of D_m) x C + 2 M weights and negligible time. *trained* adds M D x hidden + hidden x M
    weights.

    References
    ----------
    Arevalo et al. (2017), "Gated Multimodal Units for Information Fusion", ICLR workshop. Genest
    and Zidek (1986), "Combining Probability Distributions", Statistical Science 1(1).
    """

    name = "gated"
    default = True
    accepts_missing = True
    reads_validation = True
    space: ClassVar = {"gate": Choice("held_out", "trained"), "hidden": LogInteger(8, 128)}

    prior: Tensor

    def __init__(
        self,
        dims: dict[str, int],
        num_classes: int,
        *,
        gate: Literal["held_out", "trained"] = "held_out",
        hidden: int = 32,
    ) -> None:
        super().__init__(dims, num_classes)
        if hidden < 1:
            raise ParameterError(f"gated.hidden must be 1 or more, and is {hidden}.")
        self.order = list(dims)
        count = len(dims)
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})
        self.register_buffer("prior", torch.full((count,), 1.0 / count))
        self.competence = nn.Parameter(torch.zeros(count))  # u
        self.confidence = nn.Parameter(torch.zeros(count))  # v
        self.gate: nn.Module | None = None
        if gate == "trained":
            self.gate = nn.Sequential(
                nn.Linear(sum(dims.values()), hidden), nn.ReLU(), nn.Linear(hidden, count)
            )

    def held_out_parameters(self) -> Sequence[nn.Parameter]:
        # With a single modality the weight changes no decision.
        own = self.gate is None and len(self.order) > 1
        return (self.competence, self.confidence) if own else ()

    @torch.no_grad()
    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        best = max(self.order, key=lambda m: baselines[m].val_uar)  # the first of equal values
        self.prior.copy_(torch.tensor([float(m == best) for m in self.order]))
        adopt_heads(self.heads, baselines)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        return self._parts(inputs, present).sum(dim=1)  # (B, C)

    def modality_weights(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        parts = self._parts(inputs, present)
        sizes = (parts - parts.mean(dim=2, keepdim=True)).norm(dim=2)  # (B, M)
        shares: Tensor = sizes / sizes.sum(dim=1, keepdim=True).clamp_min(_SMALLEST)
        return shares

    def _parts(self, inputs: dict[str, Tensor], present: Tensor | None) -> Tensor:
        """Return the part of the scores that each modality contributes, (B, M, C)."""
        scores = [self.heads[m](inputs[m]).float() for m in self.order]
        logs = torch.stack(scores, dim=1).log_softmax(dim=2)  # (B, M, C)
        weights = self._weights(inputs, logs)
        if present is not None:
            weights = weights * present
        return weights[:, :, None] * logs

    def _weights(self, inputs: dict[str, Tensor], logs: Tensor) -> Tensor:
        """Return the weights a_m(x), (B, M), given the log-probabilities (B, M, C)."""
        if self.gate is not None:
            gates: Tensor = self.gate(torch.cat([inputs[m] for m in self.order], dim=1)).float()
            return len(self.order) * gates.softmax(dim=1)
        # Without gradient, so that a branch cannot learn to look confident.
        logs = logs.detach()
        entropy = -(logs.exp() * logs).sum(dim=2)  # (B, M)
        certain = 1 - entropy / math.log(max(2, logs.shape[2]))
        raised = self.prior + self.competence + self.confidence * certain
        return functional.softplus(raised, beta=_SHARPNESS)


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Gated]
