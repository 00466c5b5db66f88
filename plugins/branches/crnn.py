"""Branch with convolution blocks and a recurrent network over time."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...core.contracts import Branch, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.ranges import check_ranges


class CRNN(Branch):
    """Convolution blocks, then a bidirectional GRU, averaged over time.

    ::

        embedding = embed(mean over time of biGRU(convolutions(x)))

    The branch is a convolutional recurrent network (CRNN). Convolution blocks compute local
    features, a bidirectional gated recurrent unit (GRU) reads these features along time, and embed
    is a linear layer with ReLU.

    A block is convolution, max pooling, batch normalisation and ReLU, as in `cnn`; the first
    convolution has stride 2 instead of the pooling. Every block halves the frequency axis, and
    only the first `time_halvings` blocks halve time, so that a sequence remains. By default the
    remaining frequency axis is flattened into the features, as in the papers: the distribution
    of energy over frequency distinguishes voices and vowels. The mean over frequency
    (`frequency=mean`) discards this distribution and makes the recurrent network smaller.

    Time is the last axis. If an array has no time axis (a persistence image), the last axis is
    treated as time. The branch accepts such arrays, but `cnn` or `resnet` suit them better.

    The maps for strategies are the recurrent states, (B, 2 * hidden, time).

    Parameters
    ----------
    shape : tuple of int
        (channels, frequency, time).
    dim : int
        Size of the embedding.
    blocks : int
        Number of convolution blocks, >= 1. An axis of one cell is not halved further.
    channels : int
        Channels of the first block's output, >= 1; each block doubles the channels, up to
        `max_channels`.
    max_channels : int
        Largest number of channels of a block, >= 1.
    time_halvings : int
        Number of blocks, counted from the first, that halve the time axis, >= 0.
    frequency : {"flatten", "mean"}
        Whether the remaining frequencies are flattened into the features or averaged.
    hidden : int
        Size of the recurrent state in each direction, >= 1.
    layers : int
        Recurrent layers, >= 1.
    dropout : float
        Dropout before the recurrent network and on the pooled features, in [0, 1).

    When to use
    -----------
    For spectrograms of speech.

    Cost
    ----
    The recurrent network takes time / 2^time_halvings steps in sequence, so on a GPU it is slower
    than a `cnn` with the same number of operations.

    References
    ----------
    Shi et al. (2017), "An End-to-End Trainable Neural Network for Image-based Sequence
    Recognition and Its Application to Scene Text Recognition", TPAMI. For sound: Cakir et al.
    (2017), "Convolutional Recurrent Neural Networks for Polyphonic Sound Event Detection", TASLP.
    The recurrent unit: Cho et al. (2014), "Learning Phrase Representations using RNN
    Encoder-Decoder for Statistical Machine Translation", EMNLP.
    """

    name = "crnn"
    space: ClassVar = {"dropout": Uniform(0.0, 0.6)}

    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int = 64,
        *,
        blocks: int = 4,
        channels: int = 32,
        max_channels: int = 64,
        time_halvings: int = 2,
        frequency: Literal["flatten", "mean"] = "flatten",
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(shape, dim)
        check_ranges(
            self.name,
            "blocks, channels, max_channels, hidden and layers >= 1 and time_halvings >= 0",
            locals(),
        )
        if not 0 <= dropout < 1:
            raise ParameterError(f"crnn.dropout must be in [0, 1), and is {dropout}.")
        self.flatten = frequency == "flatten"
        wide, height, width = shape
        stack: list[nn.Module] = []
        for index in range(blocks):
            narrow, wide = wide, min(max_channels, channels * 2**index)
            if index == 0:
                stride = (2, 2 if time_halvings else 1)
                stack.append(nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False))
                height, width = -(-height // stride[0]), -(-width // stride[1])
            else:
                window = (min(2, height), min(2, width) if index < time_halvings else 1)
                stack.append(nn.Conv2d(narrow, wide, 3, padding=1, bias=False))
                stack.append(nn.MaxPool2d(window))
                height, width = height // window[0], width // window[1]
            stack += [nn.BatchNorm2d(wide), nn.ReLU()]
        self.blocks = nn.Sequential(*stack).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.before = nn.Dropout(dropout)
        self.recurrent = nn.GRU(
            wide * height if self.flatten else wide,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
        )
        self.map_channels = 2 * hidden
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(2 * hidden, dim)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and min(shape) > 0

    def maps(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        local = self.blocks(x)  # (B, C, F, T)
        if self.flatten:
            sequence = local.flatten(1, 2).transpose(1, 2)  # (B, T, C * F)
        else:
            sequence = local.mean(dim=2).transpose(1, 2)  # (B, T, C)
        states: Tensor = self.recurrent(self.before(sequence))[0]  # (B, T, 2 * hidden)
        return states.transpose(1, 2)

    def pool(self, maps: Tensor) -> Tensor:
        pooled = self.dropout(maps.mean(dim=2))  # (B, 2 * hidden)
        embedding: Tensor = self.embed(pooled).relu()  # (B, D)
        return embedding


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [CRNN]
