"""Branch that is a ResNet-18, trained from scratch."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...core.contracts import Branch, Uniform, hookimpl
from ...core.contracts.errors import ParameterError

_SMALL = 64  # pixels; the small stem is used for inputs with a shorter side below this value


class ResNet(Branch):
    """ResNet-18: a stem, four stages of two residual blocks, mean pooling and a linear layer.

    A block is relu(x + f(x)), where f is two 3 x 3 convolutions, each with batch normalisation. If
    a stage halves the grid and doubles the channels, x passes a 1 x 1 convolution of stride 2. At
    width 64 with 3 channels the branch is the published network of 11.2 million weights, without
    the head of that network.

    There are two stems. "large" is for photographs: a 7 x 7 convolution of stride 2 and 3 x 3
    max pooling of stride 2, which together leave 1/16 of the cells. "small" is the stem of the
    paper for 32 x 32 images: a 3 x 3 convolution that keeps the grid. "auto" selects the small
    stem if the shorter side of the input is below 64.

    The maps for strategies are (B, 8 * width, H, W). H and W are 1/32 of the input's height and
    width with the large stem, and 1/8 with the small stem.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width).
    dim : int
        Size of the embedding.
    width : int
        Channels of the first stage, >= 1; the last stage has eight times as many channels.
    stem : {"auto", "large", "small"}
        First layers of the network; see above.
    dropout : float
        Dropout on the pooled features, in [0, 1).

    When to use
    -----------
    For images and spectrograms, if there are thousands of clips to train the millions of weights.
    Try `cnn` first.

    Cost
    ----
    At width 64 about 1.1e9 multiplications for a clip of shape (1, 128, 256) and half of that for
    (6, 32, 32). The cost grows with the square of the width: on a CPU set width=16.

    References
    ----------
    He et al. (2016), "Deep Residual Learning for Image Recognition", CVPR.
    """

    name = "resnet"
    recordable = True
    space: ClassVar = {"dropout": Uniform(0.0, 0.6)}

    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int = 64,
        *,
        width: int = 64,
        stem: Literal["auto", "large", "small"] = "auto",
        dropout: float = 0.2,
    ) -> None:
        super().__init__(shape, dim)
        if width < 1:
            raise ParameterError(f"resnet.width must be 1 or more, and is {width}.")
        if not 0 <= dropout < 1:
            raise ParameterError(f"resnet.dropout must be in [0, 1), and is {dropout}.")
        if stem == "auto":
            stem = "small" if min(shape[1:]) < _SMALL else "large"
        self.stem = _stem(shape[0], width, large=stem == "large")
        self.stages = nn.Sequential(
            _stage(width, width, 1),
            _stage(width, 2 * width, 2),
            _stage(2 * width, 4 * width, 2),
            _stage(4 * width, 8 * width, 2),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.map_channels = 8 * width
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(8 * width, dim)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and min(shape) > 0

    def maps(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        maps: Tensor = self.stages(self.stem(x))  # (B, 8 * width, H, W)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        pooled = self.dropout(maps.mean(dim=(2, 3)))  # (B, 8 * width)
        embedding: Tensor = self.embed(pooled).relu()  # (B, D)
        return embedding


class _Block(nn.Module):
    """Residual block relu(x + f(x))."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.stride = stride
        self.shortcut = nn.Sequential()
        if stride != 1 or narrow != wide:
            self.shortcut.append(nn.Conv2d(narrow, wide, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        # Slicing replaces a stride of the shortcut's 1 x 1 convolution. For that stride oneDNN 3
        # writes the gradient out of bounds if there are fewer than 8 channels (channels last,
        # processors with AVX2).
        thinned = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        out: Tensor = (self.body(x) + self.shortcut(thinned)).relu()
        return out


def _stage(narrow: int, wide: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(narrow, wide, stride), _Block(wide, wide, 1))


def _stem(channels: int, width: int, *, large: bool) -> nn.Sequential:
    kernel, stride = (7, 2) if large else (3, 1)
    stem = nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
    if large:
        stem.append(nn.MaxPool2d(3, stride=2, padding=1))
    return stem


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [ResNet]
