"""Feature-wise linear modulation: modalities scale and shift each other's embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, hookimpl
from ...core.contracts.errors import ParameterError


class Film(Strategy):
    """Scaling and shift of each embedding, entry by entry, by the other modalities.

    ::

        f_t    = gamma_t(z_c) * z_t + beta_t(z_c)     for each target modality t
        scores = head([f_t of all targets t])

    The strategy is feature-wise linear modulation (FiLM). z_c is the concatenation of the
    embeddings of all modalities other than t, the conditions of t. gamma_t and beta_t are linear in
    z_c. gamma_t is learned as its difference from 1, so training starts near f_t = z_t.

    By default each modality is a target once, and the modalities play equal roles: scores =
    head([f_1 .. f_M]). With the parameter `target`, the other modalities condition only the
    modality `target`, and scores = head(f_t). For two modalities this rule is the paper's form. A
    single modality has no condition: f = z.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.
    target : str or None
        The only modality that the other modalities condition; None conditions each modality in
        turn.

    When to use
    -----------
    If one modality determines how to interpret another, for example by who speaks or how loudly.

    Cost
    ----
    For each target t, 2 x D_t x (sum of D_m over m != t) weights, quadratic in the number of
    modalities; little time.

    References
    ----------
    Perez et al. (2018), "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI.
    """

    name = "film"

    def __init__(
        self, dims: dict[str, int], num_classes: int, *, target: str | None = None
    ) -> None:
        super().__init__(dims, num_classes)
        if target is not None and target not in dims:
            raise ParameterError(
                f"film.target is {target!r}, which is not a modality of this model. "
                f"Possible: {', '.join(dims)}, or none to condition each modality in turn."
            )
        self.order = list(dims)
        self.targets = [target] if target is not None else list(dims)
        joined = sum(dims.values())
        # A single modality has no conditions, so there is nothing to learn.
        conditioned = self.targets if len(dims) > 1 else []
        self.modulation = nn.ModuleDict(
            {t: nn.Linear(joined - dims[t], 2 * dims[t]) for t in conditioned}
        )
        self.head = nn.Linear(sum(dims[t] for t in self.targets), num_classes)

    def modulated(self, target: str, inputs: dict[str, Tensor]) -> Tensor:
        """Return the modulated embedding of a target, gamma(z_c) * z_t + beta(z_c), (B, D_t)."""
        z = inputs[target]
        if target not in self.modulation:
            return z
        conditions = torch.cat([inputs[m] for m in self.order if m != target], dim=1)
        gamma, beta = self.modulation[target](conditions).chunk(2, dim=1)  # (B, D_t) each
        result: Tensor = (1 + gamma) * z + beta
        return result

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        joined = torch.cat([self.modulated(t, inputs) for t in self.targets], dim=1)
        scores: Tensor = self.head(joined)  # (B, sum of the targets' D) -> (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Film]
