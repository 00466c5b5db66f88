"""The ResNet-18 branch: published size, shape of every stage, blocks by hand."""

from typing import ClassVar

import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.core.training.model import count_parameters
from fusion.plugins.branches.resnet import ResNet, _Block
from fusion.testing import BranchSuite


def test_it_is_the_published_network():
    """ResNet-18 has 11,689,512 weights, of which 513,000 are its head of 1000 classes."""
    branch = ResNet((3, 224, 224), 1000)
    assert count_parameters(branch) == 11_689_512
    assert count_parameters(branch) - count_parameters(branch.embed) == 11_176_512
    weighted = [m for m in branch.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    shortcuts = [m for m in weighted if getattr(m, "kernel_size", 0) == (1, 1)]
    assert len(weighted) - len(shortcuts) == 18
    assert len(shortcuts) == 3


@pytest.mark.parametrize(
    ("shape", "stem", "sides"),
    [
        ((3, 224, 224), "large", [(56, 56), (56, 56), (28, 28), (14, 14), (7, 7)]),
        ((1, 128, 256), "large", [(32, 64), (32, 64), (16, 32), (8, 16), (4, 8)]),
        ((6, 32, 32), "small", [(32, 32), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((2, 5, 99), "small", [(5, 99), (5, 99), (3, 50), (2, 25), (1, 13)]),
        ((1, 1, 1), "small", [(1, 1)] * 5),
    ],
)
def test_the_shape_of_every_stage(shape, stem, sides):
    branch = ResNet(shape, width=4).eval()
    assert branch.stem[0].kernel_size == ((7, 7) if stem == "large" else (3, 3))
    x = branch.stem(torch.randn(1, *shape))
    result = [tuple(x.shape[1:])]
    for stage in branch.stages:
        x = stage(x)
        result.append(tuple(x.shape[1:]))
    expected = [(wide, *side) for wide, side in zip((4, 4, 8, 16, 32), sides, strict=True)]
    assert result == expected
    assert branch.map_channels == 32


def test_the_stem_can_be_chosen():
    assert ResNet((1, 128, 256), width=4, stem="small").stem[0].stride == (1, 1)
    assert ResNet((6, 32, 32), width=4, stem="large").maps(torch.randn(2, 6, 32, 32)).shape[2:] == (
        1,
        1,
    )


def identity_norms(block):
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0


def test_a_block_by_hand():
    """A block computes relu(x + b relu(a x)) if its convolutions only scale."""
    block = _Block(1, 1, 1).eval()
    identity_norms(block)
    with torch.no_grad():
        for convolution, factor in ((block.body[0], 2.0), (block.body[3], -0.25)):
            convolution.weight.zero_()
            convolution.weight[0, 0, 1, 1] = factor
    x = torch.tensor([4.0, -1.0, 0.0, 8.0]).view(1, 1, 2, 2)
    # 4 - 0.25 * 8 = 2; -1 + 0 -> 0; 0; 8 - 0.25 * 16 = 4.
    assert block(x).flatten().tolist() == [2, 0, 0, 4]


def test_a_halving_block_by_hand():
    """The shortcut takes every second cell; the 3 x 3 convolution also reads the neighbours."""
    block = _Block(1, 2, 2).eval()
    identity_norms(block)
    with torch.no_grad():
        block.body[0].weight.fill_(1.0)
        block.body[3].weight.zero_()
        block.body[3].weight[0, 1, 1, 1] = 1.0  # channel 0 is the sum in channel 1
        block.shortcut[0].weight.copy_(torch.tensor([10.0, -1.0]).view(2, 1, 1, 1))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    # The windows around cells (0, 0), (0, 2), (2, 0), (2, 2) sum to 0+1+4+5, 1+2+3+5+6+7, ...
    sums = [10, 24, 4 + 5 + 8 + 9 + 12 + 13, 5 + 6 + 7 + 9 + 10 + 11 + 13 + 14 + 15]
    corners = [0, 2, 8, 10]
    expected = [s + 10 * c for s, c in zip(sums, corners, strict=True)] + [0] * 4
    assert block(x).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("wrong", "word"), [({"width": 0}, "width"), ({"dropout": 1.0}, "dropout")]
)
def test_wrong_parameters_are_refused(wrong, word):
    with pytest.raises(ParameterError, match=f"resnet.{word}"):
        ResNet((1, 8, 8), **wrong)


class TestResNet(BranchSuite):
    plugin = ResNet
    parameters: ClassVar = {"width": 8}
