"""Checks of parameter ranges that are given as a sentence, which error messages quote."""

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


def check_ranges(owner: str, needs: str, parameters: Mapping[str, Any]) -> None:
    """Raise if a parameter is outside the range stated in a sentence, or is not finite.

    ``check_ranges("amco", "0.5 <= threshold < 1, eps > 0 and growth >= 0", locals())``

    Parameters
    ----------
    owner : str
        Name of the plugin for users.
    needs : str
        Ranges joined by commas and "and", which the message quotes. The accepted forms are
        ``a > 0``, ``a and b >= 1``, ``0 <= a < 1``, ``1 <= a <= b``, ``a in [0, 1)``,
        ``a from 0 to below 1`` and ``a between 0 and 1``, which excludes both ends.
    parameters : mapping
        Values by parameter name; other entries are ignored.

    Raises
    ------
    ParameterError
        If a value is out of range. The message contains the ranges and the values, in the same
        order.
    ValueError
        If the sentence has any other form.
    """
    comparisons = list(_comparisons(needs, parameters))
    if not all(_COMPARE[compare](a, b) and math.isfinite(a + b) for a, compare, b in comparisons):
        names = dict.fromkeys(
            name for name in re.findall(rf"\b{_NAME}", needs) if name in parameters
        )
        values = ", ".join(f"{name}={parameters[name]}" for name in names)
        raise ParameterError(f"{owner} needs {needs}, and was given {values}.")


def _comparisons(needs: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield the left value, the operator and the right value of every comparison."""

    def value(text: str) -> Any:
        return parameters[text] if text in parameters else float(text)

    plain = needs
    for phrase, interval in _PHRASES.items():
        plain = re.sub(phrase, interval, plain)
    if rest := _RANGE.sub("", plain).replace("and", "").strip(" ,"):
        raise ValueError(f"{rest!r} in {needs!r} is not a range.")
    for match in _RANGE.finditer(plain):
        for name in re.findall(rf"\b{_NAME}", match["names"].replace(" and ", ", ")):
            if match["low"]:
                yield value(match["low"]), match["above"], parameters[name]
            if match["compare"]:
                yield parameters[name], match["compare"], value(match["bound"])
            if between := match["interval"]:
                low, high = between[1:-1].split(", ")
                yield float(low), "<=" if between[0] == "[" else "<", parameters[name]
                yield parameters[name], "<=" if between[-1] == "]" else "<", float(high)
