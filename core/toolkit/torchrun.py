"""Detection of torchrun without an import of torch."""

from __future__ import annotations

import os

from ..contracts.errors import UserError


def started_by_torchrun() -> bool:
    """Return True if this is one of several processes that ``torchrun`` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def refuse_torchrun(command: str) -> None:
    """Raise UserError if ``torchrun`` started several processes for `command`."""
    if started_by_torchrun():
        raise UserError(
            f"torchrun can't start fusion {command}: each of its processes would repeat all "
            "trainings. Only fusion run supports torchrun.",
            hint=f"Without torchrun, trainings run in parallel: fusion {command} ...",
        )
