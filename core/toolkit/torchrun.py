"""Whether torchrun started this process, asked without torch."""

from __future__ import annotations

import os

from ..contracts.errors import UserError


def started_by_torchrun() -> bool:
    """Whether this is one of several processes that ``torchrun`` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def refuse_torchrun(command: str) -> None:
    """Raise UserError where each of several processes would do the whole of `command`."""
    if started_by_torchrun():
        raise UserError(
            f"Of what trains, torchrun can start fusion run only: each of its processes would do "
            f"all of fusion {command}.",
            hint=f"Without torchrun, trainings go side by side: fusion {command} ...",
        )
