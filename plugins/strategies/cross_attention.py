"""Cross-attention fusion: the tokens of each modality attend to those of other modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, Uniform, hookimpl
from ._tokens import Tokens, check_sizes, encoder_layer


class CrossAttention(Strategy):
    """Multimodal transformer (MulT): each modality attends to every other modality.

    ::

        cross_jm:  z <- z + attention(queries LN(z), keys and values LN(x_j)),   from z = x_m
                   z <- z + FF(LN(z)),   both repeated `layers` times; the result is LN(z)
        y_m    = mean over the tokens of T_m([cross_jm for j != m])
        scores = head([y_1 .. y_M])

    x_m are the tokens of modality m: the projected cells of the modality's feature map plus
    sinusoidal positions. For every ordered pair (j, m) a stack of cross-modal layers updates the
    tokens of m by attention to the tokens of j. In every layer, keys and values are computed from
    the unchanged tokens x_j. The results for all j are concatenated on the channels and pass
    through a self-attention transformer T_m.

    Departures from the paper: as in the authors' code, the residual is z, while the paper prints
    LN(z). The tokens of y_m are averaged; the paper takes the last token of a sequence, which a
    grid does not have. The head is linear. The hidden layer of FF has twice the token width and
    GELU; that of the authors has four times the width and ReLU. Projected tokens are not multiplied
    by sqrt(width) before positions are added. Queries and keys have separate layer normalisations;
    in the authors' code, queries and keys share one layer normalisation.

    With a single modality, the strategy is a plain transformer over the tokens of this modality. If
    modality j has a single token (branch `mlp`), all tokens of the other modalities read the same
    value from j.

    If a clip lacks modality j, the attention to j is zero in every layer, and y_j is zero.

    Parameters
    ----------
    dims : dict of str to int
        Channels of the feature map by modality.
    num_classes : int
        Number of classes.
    width : int
        Size of a token; a multiple of `heads`.
    heads : int
        Attention heads, >= 1.
    layers : int
        Layers of each cross-modal stack and of each self-attention transformer, >= 1.
    max_tokens : int
        Maximum number of cells, >= 1; a larger grid is averaged down.
    dropout : float
        Dropout in the layers and before the head, in [0, 1).

    When to use
    -----------
    If the content of one modality determines where to look in another, and if there are enough
    clips to learn this relation. The modalities need not be aligned. For more than two or three
    modalities prefer `bottleneck`, whose cost is linear in M.

    Cost
    ----
    M * (M - 1) cross-modal stacks. The attention of a stack has T_m * T_j * heads values per clip
    and layer, with T at most `max_tokens`. About 8 * layers * width^2 * M^2 * (M - 1) weights for M
    > 1.

    References
    ----------
    Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL.
    """

    name = "cross_attention"
    takes = "maps"
    accepts_missing = True
    space: ClassVar = {"dropout": Uniform(0.0, 0.5)}

    def __init__(
        self,
        dims: dict[str, int],
        num_classes: int,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 1,
        max_tokens: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, num_classes)
        check_sizes(
            self.name,
            width=width,
            heads=heads,
            dropout=dropout,
            layers=layers,
            max_tokens=max_tokens,
        )
        self.order = list(dims)
        self.tokens = nn.ModuleDict({m: Tokens(c, width, max_tokens) for m, c in dims.items()})
        self.targets = nn.ModuleDict(
            {m: _Target([j for j in dims if j != m], width, heads, layers, dropout) for m in dims}
        )
        self.dropout = nn.Dropout(dropout)
        joined = width * max(1, len(dims) - 1)
        self.head = nn.Linear(len(dims) * joined, num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        tokens = {m: self.tokens[m](inputs[m]) for m in self.order}  # (B, T_m, width) each
        absent = {} if present is None else dict(zip(self.order, ~present.T, strict=True))
        pooled = [self.targets[m](tokens[m], tokens, absent) for m in self.order]
        if present is not None:
            pooled = [_zero_absent(y, absent[m]) for m, y in zip(self.order, pooled, strict=True)]
        joined = torch.cat(pooled, dim=1)  # (B, M * max(1, M - 1) * width)
        scores: Tensor = self.head(self.dropout(joined))  # (B, num_classes)
        return scores


class _Target(nn.Module):
    """Cross-modal stacks and self-attention transformer of one target modality."""

    def __init__(
        self, sources: Sequence[str], width: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.cross = nn.ModuleDict({j: _Stack(width, heads, layers, dropout) for j in sources})
        joined = width * max(1, len(sources))
        self.layers = nn.Sequential(
            *(encoder_layer(joined, heads, dropout) for _ in range(layers)), nn.LayerNorm(joined)
        )

    def forward(
        self,
        own: Tensor,
        tokens: Mapping[str, Tensor],
        absent: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the pooled target, (B, max(1, M - 1) * width), from the tokens of all modalities.

        `absent` has a (B,) bool for each modality, or is None if no clip lacks a modality.
        """
        absent = absent or {}
        crossed = [stack(own, tokens[j], absent.get(j)) for j, stack in self.cross.items()]
        joined = torch.cat(crossed, dim=2) if crossed else own  # (B, T, (M - 1) * width)
        pooled: Tensor = self.layers(joined).mean(dim=1)
        return pooled


class _Stack(nn.Module):
    """Cross-modal layers from one source to one target."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_CrossLayer(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, target: Tensor, source: Tensor, absent: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            target = layer(target, source, absent)
        out: Tensor = self.norm(target)  # (B, T_target, width)
        return out


class _CrossLayer(nn.Module):
    """Cross-modal layer: attention to the source and a feed-forward part, both residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_target = nn.LayerNorm(width)
        self.norm_source = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, target: Tensor, source: Tensor, absent: Tensor | None = None) -> Tensor:
        keys = self.norm_source(source)  # (B, T_source, width)
        queries = self.norm_target(target)  # (B, T_target, width)
        attended, _ = self.attention(queries, keys, keys, need_weights=False)
        if absent is not None:
            attended = _zero_absent(attended, absent)
        target = target + self.dropout(attended)
        out: Tensor = target + self.feed_forward(target)
        return out


def _zero_absent(x: Tensor, absent: Tensor) -> Tensor:
    """Return (B, ...) with zeros for the clips, (B,), that lack the source modality."""
    return x.masked_fill(absent.view(-1, *[1] * (x.dim() - 1)), 0.0)


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [CrossAttention]
