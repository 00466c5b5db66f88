"""Attention fusion: modalities as tokens of a small transformer."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.contracts import LogInteger, Strategy, Uniform, equal_dims, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.ranges import check_ranges


class Attention(Strategy):
    """scores = head(LN(first of T([c, z_1 + e_1, .. z_M + e_M]))), T transformer layers.

    The embeddings are tokens of a transformer encoder, normalised before each part. A learned
    class token c goes first and its output is classified; a learned e_m says which modality a
    token comes from. As layers read tokens normalised, the size and mean of an embedding
    hardly count.

    Reported as weights of the modalities: the class token's attention to them in the last
    layer, over the modalities alone, mean over the heads. It tells where the class token
    looks, not how much what it finds there changes the scores.

    What a clip lacks is no token of it: nothing attends to its place.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.
    layers : int
        Number of transformer layers, >= 1.
    heads : int
        Attention heads, >= 1; must divide the size of the embeddings.
    hidden : int
        Width of each layer's feed-forward part, >= 1.
    dropout : float
        Dropout within the layers, in [0, 1).

    When to use
    -----------
    Three modalities or more that should be read in the light of each other, and clips enough:
    it has more to learn than `gated`.

    Cost
    ----
    About layers x (4 D^2 + 2 D hidden) weights whatever the number of modalities, and several
    times the time of `gated`.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", NeurIPS. Normalisation beforehand: Xiong
    et al. (2020), "On Layer Normalization in the Transformer Architecture", ICML. Class token:
    Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", NAACL.
    """

    name = "attention"
    accepts_missing = True
    space: ClassVar = {"hidden": LogInteger(32, 512), "dropout": Uniform(0.0, 0.5)}

    def __init__(
        self,
        dims: dict[str, int],
        num_classes: int,
        *,
        layers: int = 1,
        heads: int = 4,
        hidden: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, num_classes)
        check_ranges(self.name, "layers, heads and hidden >= 1 and 0 <= dropout < 1", locals())
        dim = equal_dims(dims, self.name)
        if dim % heads:
            possible = ", ".join(str(h) for h in range(1, dim + 1) if dim % h == 0)
            raise ParameterError(
                f"attention.heads must divide the size of the embeddings, {dim}, and is {heads}.",
                hint=f"Possible for {dim}: {possible} (--set attention.heads=N).",
            )
        self.order = list(dims)
        self.heads = heads
        self.token = nn.Parameter(0.02 * torch.randn(dim))
        self.origins = nn.ParameterDict({m: 0.02 * torch.randn(dim) for m in dims})
        # Made one by one: nn.TransformerEncoder would start all layers with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, hidden, dropout, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def tokens(self, inputs: dict[str, Tensor]) -> Tensor:
        """The class token, then one token per modality: (B, 1 + M, D)."""
        own = [inputs[m] + self.origins[m] for m in self.order]  # (B, D) each
        return torch.stack([self.token.expand_as(own[0]), *own], dim=1)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        tokens = self.tokens(inputs)
        absent = _padding(present)
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=absent)  # (B, 1 + M, D)
        scores: Tensor = self.head(self.norm(tokens[:, 0]))  # (B, C)
        return scores

    def modality_weights(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        *before, last = self.layers
        tokens = self.tokens(inputs)
        for layer in before:
            tokens = layer(tokens, src_key_padding_mask=_padding(present))
        queries, keys = self._project(last, tokens)  # (B, 1 + M, H, D / H) each
        looks = torch.einsum("bhd,bmhd->bhm", queries[:, 0], keys[:, 1:])  # (B, H, M)
        if present is not None:
            looks = looks.masked_fill(~present[:, None], -math.inf)
        shares = (looks.float() / math.sqrt(queries.shape[-1])).softmax(dim=2)
        return shares.mean(dim=1)  # (B, M)

    def _project(self, layer: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys of a layer: its attention keeps no weights when it runs."""
        attend = layer.self_attn
        three = functional.linear(layer.norm1(tokens), attend.in_proj_weight, attend.in_proj_bias)
        queries, keys, _ = three.chunk(3, dim=2)  # (B, 1 + M, D) each
        shape = (*tokens.shape[:2], self.heads, -1)
        return queries.reshape(shape), keys.reshape(shape)


def _padding(present: Tensor | None) -> Tensor | None:
    """Tokens that nothing may attend to, (B, 1 + M); the class token is always there."""
    return None if present is None else functional.pad(~present, (1, 0), value=False)


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Attention]
