"""Attention fusion: a small transformer with one token per modality."""

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
    """Transformer over the modality embeddings, with a class token that is classified.

    ::

        tokens = [c, z_1 + e_1, .. z_M + e_M]
        scores = head(LN(first token of T(tokens))),    T the transformer layers

    The embeddings are the tokens of a pre-norm transformer encoder. A learned class token c comes
    first, and its output is classified. A learned vector e_m, added to z_m, marks the modality of
    the token. The layers normalise the tokens that they read, so the scale and mean of an embedding
    hardly matter.

    The reported weights of the modalities are the attention of the class token to the modality
    tokens in the last layer, normalised over the modalities and averaged over the heads. The
    weights show where the class token attends, not how much each modality changes the scores.

    A modality that a clip lacks is masked: no token attends to its position.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality; all sizes equal.
    num_classes : int
        Number of classes.
    layers : int
        Number of transformer layers, >= 1.
    heads : int
        Attention heads, >= 1; must divide the size of the embeddings.
    hidden : int
        Width of the feed-forward part of each layer, >= 1.
    dropout : float
        Dropout within the layers, in [0, 1).

    When to use
    -----------
    For three modalities or more if each modality should be interpreted in the context of the other
    modalities, and if there are enough clips: the strategy has more weights to learn than `gated`.

    Cost
    ----
    About layers x (4 D^2 + 2 D hidden) weights for any number of modalities, and several times the
    time of `gated`.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", NeurIPS. Pre-norm layers: Xiong et al.
    (2020), "On Layer Normalization in the Transformer Architecture", ICML. Class token: Devlin et
    al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    NAACL.
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
        # Created one by one: nn.TransformerEncoder would start all layers with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, hidden, dropout, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def tokens(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the class token followed by one token per modality, (B, 1 + M, D)."""
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
        attention = torch.einsum("bhd,bmhd->bhm", queries[:, 0], keys[:, 1:])  # (B, H, M)
        if present is not None:
            attention = attention.masked_fill(~present[:, None], -math.inf)
        shares = (attention.float() / math.sqrt(queries.shape[-1])).softmax(dim=2)
        return shares.mean(dim=1)  # (B, M)

    def _project(self, layer: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the queries and keys of a layer; torch's layer does not expose its attention."""
        attend = layer.self_attn
        three = functional.linear(layer.norm1(tokens), attend.in_proj_weight, attend.in_proj_bias)
        queries, keys, _ = three.chunk(3, dim=2)  # (B, 1 + M, D) each
        shape = (*tokens.shape[:2], self.heads, -1)
        return queries.reshape(shape), keys.reshape(shape)


def _padding(present: Tensor | None) -> Tensor | None:
    """Return a mask of the tokens to ignore, (B, 1 + M); the class token is never masked."""
    return None if present is None else functional.pad(~present, (1, 0), value=False)


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Attention]
