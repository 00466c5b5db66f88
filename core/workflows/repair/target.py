"""Target of a repair: the validation UAR at which the repair stops."""

from __future__ import annotations

from dataclasses import dataclass

from ...contracts.errors import ParameterError

_NAMED = {"minimum": 0.0, "target": 0.02, "stretch": 0.06}


@dataclass(frozen=True, slots=True)
class Target:
    """UAR that the fused model has to reach on validation.

    Attributes
    ----------
    name : str
        ``"minimum"``: UAR of the best single modality; ``"target"``: 2 points above the minimum;
        ``"stretch"``: 6 points above the minimum; or a number: the UAR in percent.
    """

    name: str = "target"

    def __post_init__(self) -> None:
        if self.name in _NAMED:
            return
        try:
            percent = float(self.name)
        except ValueError:
            percent = -1.0
        if not 1 < percent <= 100:
            raise ParameterError(
                f"--target can't be {self.name!r}. Accepted: minimum (the best single modality), "
                "target (2 points more), stretch (6 points more), or a UAR in percent, above 1 and "
                "up to 100."
            )

    def goal(self, best_single: float) -> float:
        """Return the UAR to reach, in [0, 1], from the UAR of the best single modality."""
        if self.name in _NAMED:
            return min(1.0, best_single + _NAMED[self.name])
        return float(self.name) / 100
