"""Groups of a modality's entries, by their names."""

import pytest
import torch

from fusion import Modality
from fusion.core.analysis.explain.groups import MAX_PARTS, Group, groups_of
from fusion.core.contracts.errors import PluginError, UnknownNameError

NAMES = ("Round H0", "Round H1", "Square H0", "Square H1")


def test_names_of_two_words_are_grouped_by_each_word():
    groups = groups_of([Modality("a", (4, 2), ("channel", "time"))], {"a": NAMES})

    assert [(g.name, g.entries, g.pooled) for g in groups] == [
        ("", (), False),
        *((name, (i,), False) for i, name in enumerate(NAMES)),
        ("Round", (0, 1), True),
        ("Square", (2, 3), True),
        ("H0", (0, 2), True),
        ("H1", (1, 3), True),
    ]


def test_neighbours_on_a_long_axis_share_a_part():
    modality = Modality("a", (1, 20), ("channel", "frequency"))

    groups = groups_of([modality], {}, {"a": "frequency"})[1:]

    assert len(groups) == MAX_PARTS
    assert [e for g in groups for e in g.entries] == list(range(20))
    assert groups[0].name == "frequency 0 to 2"
    assert not any(g.pooled for g in groups)


def test_many_names_are_grouped_by_their_first_words():
    names = [f"{family} {band} {kind}" for family, band in
             [("surface", "low"), ("surface", "high"), ("levels", "low"), ("levels", "middle"),
              ("levels", "high")] for kind in ("H0", "H1")]  # fmt: skip

    groups = groups_of([Modality("a", (10, 2), ("channel", "statistic"))], {"a": names})

    by_band = {
        "surface low": (0, 1), "surface high": (2, 3), "levels low": (4, 5),
        "levels middle": (6, 7), "levels high": (8, 9),
    }  # fmt: skip
    assert [(g.name, g.entries, g.pooled) for g in groups[1:]] == [
        *((name, entries, False) for name, entries in by_band.items()),
        ("H0", (0, 2, 4, 6, 8), True),
        ("H1", (1, 3, 5, 7, 9), True),
    ]


@pytest.mark.parametrize("names", [[f"{i} a" for i in range(9)], ["a b"] * 8 + ["c"],
                                   [f"a {i}" for i in range(9)]])  # fmt: skip
def test_many_names_without_common_first_words_are_not_grouped(names):
    groups = groups_of([Modality("a", (9, 2), ("channel", "statistic"))], {"a": names})
    assert [g.name for g in groups[1:3]] == ["channel 0 to 1", names[2]]


@pytest.mark.parametrize("axes", [(), ("time", "place"), ("channel", "time")])
def test_a_single_channel_has_no_groups(axes):
    assert groups_of([Modality("a", (1, 4), axes)], {}) == [Group("a")]


def test_unknown_modalities_and_axes_are_named():
    modality = Modality("mono", (2, 4), ("channel", "time"))
    with pytest.raises(UnknownNameError, match="modality to divide 'stereo'.*Known: mono"):
        groups_of([modality], {}, {"stereo": "time"})
    with pytest.raises(UnknownNameError, match="axis of mono 'tme'. Did you mean 'time'"):
        groups_of([modality], {}, {"mono": "tme"})
    with pytest.raises(PluginError, match="'mono' names 4 channels, but its arrays have 2"):
        groups_of([modality], {"mono": NAMES})


def test_a_group_replaces_only_its_own_values():
    group = Group("a", "outer", 0, (0, 2))
    x, other = torch.arange(6.0).reshape(1, 3, 2), torch.full((1, 3, 2), 9.0)

    assert group.replaced(x, other).tolist() == [[[9, 9], [2, 3], [9, 9]]]
    assert group.total(x).tolist() == [0 + 1 + 4 + 5]
    assert Group("a").total(x).tolist() == [15]
