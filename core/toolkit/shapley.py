"""Shapley values: what each player adds, averaged over every order of joining (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from math import factorial
from typing import Any, TypeVar

Value = TypeVar("Value", bound=Any)  # a number, an array or a tensor


def shapley_values(
    worth: Callable[[Collection[str]], Value], players: Sequence[str]
) -> dict[str, Value]:
    """phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! * (v(S + m) - v(S)).

    They sum to v(all) - v(none). Each of the 2**M coalitions is asked for once.

    Parameters
    ----------
    worth : callable
        v: members of a coalition, in the order of `players` -> a number, array or tensor.
    players : sequence of str
        M names.
    """
    total = len(players)
    known = {
        frozenset(members): worth(members)
        for size in range(total + 1)
        for members in combinations(players, size)
    }
    share = [
        factorial(size) * factorial(total - size - 1) / factorial(total) for size in range(total)
    ]
    return {
        player: sum(
            share[len(members)] * (known[members | {player}] - value)
            for members, value in known.items()
            if player not in members
        )
        for player in players
    }
