"""Bottleneck fusion: the modalities exchange information through a few shared tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ._presence import equal_weights
from ._tokens import Tokens, check_sizes, encoder_layer


class Bottleneck(Strategy):
    """Multimodal bottleneck transformer: modalities interact through a few shared tokens only.

    ::

        [x_m, s_m] <- layer_m([x_m, s])                      for each modality m
        s          <- 1/M * sum over m of s_m                after each layer
        scores      = 1/M * sum over m of head(LN_m(class token of x_m))

    x_m is a class token followed by the tokens of modality m. The tokens are the projected cells of
    the modality's feature map plus sinusoidal positions. s is a small set of shared bottleneck
    tokens. The layer of a modality attends only over the modality's own tokens and s. After each
    layer the copies s_m are averaged over the modalities, so all information that passes between
    modalities goes through s. One linear head reads the class token of every modality, and the
    scores are averaged.

    A modality receives information from s one layer after another modality has written it, so one
    exchange needs two layers. The last ``exchanges + 1`` of the layers have the bottleneck, and at
    most ``layers - 1`` exchanges are possible. (The paper's fusion layer L_f is ``layers - 1 -
    exchanges``.) With ``exchanges=0`` there is no bottleneck: the transformers are separate and
    only the scores are averaged.

    If a clip lacks modalities, s and the scores are averaged over the modalities that it has.

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
        Transformer layers of each modality, >= 1.
    exchanges : int
        Number of exchanges between the modalities, from 0 to ``layers - 1``.
    bottlenecks : int
        Number of shared tokens, >= 1.
    max_tokens : int
        Maximum number of cells, >= 1; a larger grid is averaged down.
    dropout : float
        Dropout in the layers, in [0, 1).

    When to use
    -----------
    For feature maps of many redundant cells, if full attention between all tokens overfits or costs
    too much. The maps need a grid of many cells: `cnn` with 7 blocks reduces a spectrogram to 2
    cells, so use fewer blocks, or the branch `transformer`.

    Cost
    ----
    M * layers transformer layers, each with at most (max_tokens + bottlenecks + 1)^2 * heads
    attention values per clip. Weights: about 8 * width^2 * layers per modality.

    References
    ----------
    Nagrani et al. (2021), "Attention Bottlenecks for Multimodal Fusion", NeurIPS.
    """

    name = "bottleneck"
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
        layers: int = 2,
        exchanges: int = 1,
        bottlenecks: int = 4,
        max_tokens: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, num_classes)
        check_sizes(
            self.name, width=width, heads=heads, dropout=dropout,
            layers=layers, bottlenecks=bottlenecks, max_tokens=max_tokens,
        )  # fmt: skip
        if not 0 <= exchanges < layers:
            raise ParameterError(
                f"bottleneck.exchanges must be from 0 to layers - 1, and is {exchanges} with "
                f"{layers} layers: one exchange needs two layers."
            )
        self.order = list(dims)
        self.layers = layers
        # Index of the first layer with the bottleneck.
        self.first = layers - 1 - exchanges if exchanges else layers
        self.streams = nn.ModuleDict(
            {m: _Stream(c, width, heads, layers, max_tokens, dropout) for m, c in dims.items()}
        )
        # Registered only if used, so that every parameter is trained.
        self.shared = _small(bottlenecks, width) if exchanges else None
        self.head = nn.Linear(width, num_classes)

    def exchange(
        self, inputs: dict[str, Tensor], present: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the tokens of each modality after the last layer, (B, 1 + T_m, width).

        The class token comes first.
        """
        streams = {m: cast(_Stream, self.streams[m]) for m in self.order}
        own = {m: stream.start(inputs[m]) for m, stream in streams.items()}
        shared: Tensor | None = None
        for index in range(self.layers):
            if index == self.first and self.shared is not None:
                batch = len(own[self.order[0]])
                shared = self.shared.expand(batch, -1, -1)  # (B, bottlenecks, width)
            copies: list[Tensor] = []
            for m, stream in streams.items():
                own[m], copy = stream.layer(index, own[m], shared)
                copies.append(copy)
            if shared is not None:
                shared = _mean(copies, present)
        return own

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        own = self.exchange(inputs, present)
        scores = [self.head(cast(_Stream, self.streams[m]).norm(own[m][:, 0])) for m in self.order]
        return _mean(scores, present)  # (B, num_classes)


class _Stream(nn.Module):
    """Class token, tokens and layers of one modality."""

    def __init__(
        self, channels: int, width: int, heads: int, layers: int, max_tokens: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = Tokens(channels, width, max_tokens)
        self.class_token = _small(1, width)
        self.layers = nn.ModuleList([encoder_layer(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def start(self, maps: Tensor) -> Tensor:
        tokens = self.tokens(maps)  # (B, T, width)
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def layer(self, index: int, own: Tensor, shared: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply one layer to the modality's own and the shared tokens; return both separately."""
        count = own.shape[1]
        both = own if shared is None else torch.cat([own, shared], dim=1)
        after: Tensor = self.layers[index](both)
        return after[:, :count], after[:, count:]


def _mean(parts: Sequence[Tensor], present: Tensor | None) -> Tensor:
    """Return the mean of (B, ...) tensors over the modalities that each clip has."""
    together = torch.stack(list(parts))  # (M, B, ...)
    if present is None:
        return together.mean(dim=0)
    weights = equal_weights(present).T.to(together.dtype)  # (M, B)
    return (together * weights.view(*weights.shape, *[1] * (together.dim() - 2))).sum(dim=0)


def _small(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(1, count, width))


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Bottleneck]
