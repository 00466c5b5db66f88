from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.toolkit.shapley import shapley_values

NAMES = ["c", "a", "d", "b"]  # not in alphabetical order


def by_permutations(worth, players):
    """Compute each player's marginal contribution, averaged over every order of joining."""
    orders = list(permutations(players))
    total = dict.fromkeys(players, 0.0)
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            total[player] += worth[before | {player}] - worth[before]
    return {player: value / len(orders) for player, value in total.items()}


def game(players, seed):
    rng = np.random.default_rng(seed)
    sets = {frozenset(p for i, p in enumerate(players) if code >> i & 1)
            for code in range(2 ** len(players))}  # fmt: skip
    return {members: float(rng.normal()) for members in sorted(sets, key=sorted)}


@given(st.integers(1, 4), st.integers(0, 100))
def test_the_average_over_all_orders(count, seed):
    players = NAMES[:count]
    worth = game(players, seed)
    result = shapley_values(lambda members: worth[frozenset(members)], players)
    assert result == pytest.approx(by_permutations(worth, players))
    total = worth[frozenset(players)] - worth[frozenset()]
    assert sum(result.values()) == pytest.approx(total)


def test_the_glove_game_by_hand():
    """Players a and b each have a left glove, c has the right one; a pair is worth 1."""
    result = shapley_values(lambda s: float("c" in s and len(s) > 1), ["a", "b", "c"])
    # c adds 1 unless it is first (2 of 6 orders); a adds 1 only directly after a leading c.
    assert result == pytest.approx({"a": 1 / 6, "b": 1 / 6, "c": 4 / 6})


def test_each_coalition_is_evaluated_once_in_the_players_order():
    requested = []

    def worth(members):
        requested.append(tuple(members))
        return float(len(members))

    assert shapley_values(worth, ["c", "a"]) == {"c": 1.0, "a": 1.0}
    assert requested == [(), ("c",), ("a",), ("c", "a")]


def test_one_player_and_tensors_with_their_gradient():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    result = shapley_values(lambda members: x * len(members), ["only"])
    torch.testing.assert_close(result["only"], x)
    result["only"].sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
