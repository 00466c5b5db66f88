"""Suite for branches: each broken branch fails the corresponding check."""

from typing import ClassVar

import pytest
from right_plugins import Fine
from suites import failures, group_of

from fusion.core.testing.runner import suite_for
from fusion.testing import BranchSuite


def test_a_valid_branch_passes():
    assert failures(BranchSuite, Fine) == {}


class Gridless(Fine):
    """Maps without a grid."""

    def maps(self, x):
        return x.flatten(2).mean(dim=2) if x.dim() > 2 else x

    def pool(self, maps):
        return self.embed(maps)


class TwoRoads(Fine):
    """forward differs from pool(maps(x))."""

    def forward(self, x):
        return super().forward(x).relu() + 1


class Forgetful(Fine):
    """No `map_channels`."""

    def __init__(self, shape, dim: int = 64):
        super().__init__(shape, dim)
        del self.map_channels

    __doc__ += Fine.__doc__


class Fixed(Fine):
    """A fixed size of the embedding."""

    def __init__(self, shape):
        super().__init__(shape, 16)


class Loud(Fine):
    """Divides by the standard deviation of a clip."""

    def maps(self, x):
        maps = super().maps(x)
        return maps / maps.flatten(1).std(dim=1).view(-1, *[1] * (maps.dim() - 1))

    __doc__ += Fine.__doc__


class Recorded(Fine):
    """Valid: all work is done on the device."""

    recordable: ClassVar = True
    __doc__ += Fine.__doc__


class Asks(Recorded):
    """Reads a value that depends on the clips."""

    def maps(self, x):
        return super().maps(x) * (1.0 if x.mean().item() > 0 else 0.5)

    __doc__ += Fine.__doc__


class Choosy(Fine):
    """Accepts video only."""

    @classmethod
    def accepts(cls, shape):
        return len(shape) == 4

    __doc__ += Fine.__doc__


@pytest.mark.parametrize(
    ("plugin", "intended", "words"),
    [
        (Gridless, "maps_and_pool", "maps(x) has shape (8, 1)"),
        (TwoRoads, "maps_and_pool", "forward(x) is not pool(maps(x))"),
        (Forgetful, "attributes", "`map_channels` is None"),
        (Fixed, "dim_is_a_parameter", "the branch has no parameter `dim`"),
        (Loud, "zeros", "hold NaN"),
        (
            Asks,
            "recorded_work_is_the_same",
            "forward can't be recorded in a CUDA graph: the code reads",
        ),
    ],
)
def test_a_broken_branch_fails_its_check(plugin, intended, words):
    result = failures(BranchSuite, plugin, only={f"test_{intended}"})
    assert words in result[f"test_{intended}"]


def test_only_recordable_branches_are_checked_for_recording():
    outcomes = [
        group_of(suite_for("branch", plugin), "recorded work is the same").outcome
        for plugin in (Fine, Recorded)
    ]
    assert outcomes == ["skipped", "passed"]


def test_a_branch_for_other_shapes():
    with pytest.raises(pytest.fail.Exception, match="accepts none of the shapes"):
        failures(BranchSuite, Choosy)
    assert failures(BranchSuite, Choosy, shapes=((3, 4, 5, 6),)) == {}
