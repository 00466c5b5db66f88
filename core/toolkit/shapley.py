"""Shapley values: the gain from each player, averaged over all orders (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from math import factorial
from typing import Any, TypeVar

Value = TypeVar("Value", bound=Any)  # a number, an array or a tensor


def shapley_values(
    worth: Callable[[Collection[str]], Value], players: Sequence[str]
) -> dict[str, Value]:
    """Return the Shapley value of each player.

    phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! * (v(S + m) - v(S)). The values sum to
    v(all) - v(none). `worth` is called once for each of the 2**M coalitions.

    Parameters
    ----------
    worth : callable
        The function v, which takes the members of a coalition in the order of `players`, and
        returns a number, array or tensor.
    players : sequence of str
        Names of the M players.

    Returns
    -------
    dict
        Shapley value by player, of the type that `worth` returns.
    """
    total = len(players)
    values = {
        frozenset(members): worth(members)
        for size in range(total + 1)
        for members in combinations(players, size)
    }
    share = [
        factorial(size) * factorial(total - size - 1) / factorial(total) for size in range(total)
    ]
    return {
        player: sum(
            share[len(members)] * (values[members | {player}] - value)
            for members, value in values.items()
            if player not in members
        )
        for player in players
    }
