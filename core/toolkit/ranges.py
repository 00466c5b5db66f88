"""Ranges of parameters, checked by the sentence that the error message has."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..contracts.errors import ParameterError

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_NAME = r"[a-z]\w*"
_PHRASES = {
    r"from (\S+) to below (\S+)": r"in [\1, \2)",
    r"between (\S+) and (\S+)": r"in (\1, \2)",
}
_RANGE = re.compile(
    r"(?:(?P<low>\S+) (?P<above><=?) )?"
    rf"\b(?P<names>{_NAME}(?:, {_NAME})*(?: and {_NAME})?) "
    r"(?:(?P<compare>[<>]=?) (?P<bound>[\w.-]+)|in (?P<interval>[\[(]\S+, \S+[\])]))"
)


def check_ranges(owner: str, needs: str, given: Mapping[str, Any]) -> None:
    """Raise if a parameter lies outside the range that a sentence gives it, or isn't finite.

    ``check_ranges("amco", "0.5 <= threshold < 1, eps > 0 and growth >= 0", locals())``

    Parameters
    ----------
    owner : str
        What users call the plugin.
    needs : str
        Ranges joined by commas and "and", which the message quotes: ``a > 0``, ``a and b >= 1``,
        ``0 <= a < 1``, ``1 <= a <= b``, ``a in [0, 1)``, ``a from 0 to below 1`` or
        ``a between 0 and 1``, which excludes both.
    given : mapping
        Value of each parameter named, and anything else.

    Raises
    ------
    ParameterError
        With the ranges, and the values in the order in which the ranges name them.
    ValueError
        If the sentence has anything else.
    """
    comparisons = list(_comparisons(needs, given))
    if not all(_COMPARE[compare](a, b) and math.isfinite(a + b) for a, compare, b in comparisons):
        names = dict.fromkeys(name for name in re.findall(rf"\b{_NAME}", needs) if name in given)
        values = ", ".join(f"{name}={given[name]}" for name in names)
        raise ParameterError(f"{owner} needs {needs}; given {values}.")


def _comparisons(needs: str, given: Mapping[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield the left side, the sign and the right side of every comparison."""

    def value(text: str) -> Any:
        return given[text] if text in given else float(text)

    plain = needs
    for phrase, interval in _PHRASES.items():
        plain = re.sub(phrase, interval, plain)
    if rest := _RANGE.sub("", plain).replace("and", "").strip(" ,"):
        raise ValueError(f"No range: {rest!r} in {needs!r}.")
    for found in _RANGE.finditer(plain):
        for name in re.findall(rf"\b{_NAME}", found["names"].replace(" and ", ", ")):
            if found["low"]:
                yield value(found["low"]), found["above"], given[name]
            if found["compare"]:
                yield given[name], found["compare"], value(found["bound"])
            if between := found["interval"]:
                low, high = between[1:-1].split(", ")
                yield float(low), "<=" if between[0] == "[" else "<", given[name]
                yield given[name], "<=" if between[-1] == "]" else "<", float(high)
