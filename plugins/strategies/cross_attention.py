"""Cross-attention: each modality's tokens attend to the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, Uniform, hookimpl
from ._tokens import Tokens, check_sizes, encoder_layer


class CrossAttention(Strategy):
    """y_m = mean of self_m([cross_jm(x_m, x_j) for j != m]); scores = head([y_1 .. y_M]).

    The multimodal transformer MulT. x_m are the tokens of modality m: the
    cells of its feature map, projected, with sinusoidal positions. For every ordered pair a
    stack of cross-modal layers turns m's tokens into queries on j's,

        z <- z + attention(norm(z), norm(x_j)),  z <- z + feed-forward(norm(z)),  from z = x_m,

    where keys and values are x_j itself in every layer, not what j has become. The results
    of all j are concatenated on channels and pass a self-attention transformer.

    Departures: as in the authors' code the residual is z, where the paper prints norm(z); the
    tokens of y_m are averaged, where the paper takes the last of a sequence, which a grid
    does not have; the head is linear. With one modality there is nothing to cross, and a
    plain transformer over its tokens remains. A modality of one token (`mlp`) leaves the
    others no choice of where to look: it is read alike by all their tokens.

    Of a clip that lacks modality j, the attention to j is zero in every layer, and so is y_j.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> channels of its feature map.
    num_classes : int
        Number of classes.
    width : int
        Size of a token; a multiple of `heads`.
    heads : int
        Attention heads, >= 1.
    layers : int
        Layers of each cross-modal stack and of each self-attention transformer, >= 1.
    max_tokens : int
        A larger grid is averaged down to at most so many cells, >= 1.
    dropout : float
        Dropout in the layers and before the head, in [0, 1).

    When to use
    -----------
    Where something in one view says where to look in another, and there are clips enough to
    learn it; the modalities need not be aligned. For more than two or three modalities prefer
    `bottleneck`, whose cost grows with M.

    Cost
    ----
    M * (M - 1) cross-modal stacks, whose attention has T_m * T_j * heads values per clip and
    layer, T at most `max_tokens`; about 8 * layers * width^2 * M^2 * (M - 1) weights for M > 1.

    References
    ----------
    Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language Sequences",
    ACL.
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
            pooled = [_without(y, absent[m]) for m, y in zip(self.order, pooled, strict=True)]
        joined = torch.cat(pooled, dim=1)  # (B, M * max(1, M - 1) * width)
        scores: Tensor = self.head(self.dropout(joined))  # (B, num_classes)
        return scores


class _Target(nn.Module):
    """What one modality learns from the others."""

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
        """(B, T, width) and the tokens of all -> (B, max(1, M - 1) * width).

        `absent` has a (B,) bool for each modality, or is None where all are there.
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
    """z + attention(norm(z), norm(source)), then z + feed-forward(norm(z))."""

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
        seen, _ = self.attention(queries, keys, keys, need_weights=False)
        if absent is not None:
            seen = _without(seen, absent)
        target = target + self.dropout(seen)
        out: Tensor = target + self.feed_forward(target)
        return out


def _without(x: Tensor, absent: Tensor) -> Tensor:
    """(B, ...) with zeros for the clips (B,) that lack what it comes from."""
    return x.masked_fill(absent.view(-1, *[1] * (x.dim() - 1)), 0.0)


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [CrossAttention]
