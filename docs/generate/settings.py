"""Page docs/reference/settings.md: the settings of training and the thresholds of the diagnosis."""

from __future__ import annotations

from pathlib import Path

from methods import markdown_table

from fusion.core.analysis.diagnosis import Thresholds
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.registry.parameters import parameters_of, space_of

PAGE = Path(__file__).parents[1] / "reference/settings.md"
_HEAD = """# Settings

`--set OWNER.NAME=VALUE` sets a parameter, from Python `set={"OWNER.NAME": VALUE}`. The owner is
`train`, `diagnosis`, the name of a plugin, or `branch.MODALITY`. The run directory stores all
values. `python docs/generate` writes this page.

[Methods](methods/index.md) lists the parameters of plugins, [Commands](commands.md) the options of
the command line.
"""


def pages() -> dict[Path, str]:
    """Return the path and the text of the page."""
    parts = [_HEAD]
    for owner, cls, intro in (
        ("train", TrainConfig, "One training. Baselines and fused models have the same settings."),
        ("diagnosis", Thresholds, "Thresholds of the rules of [the diagnosis](diagnosis.md)."),
    ):
        parameters = parameters_of(cls).values()
        parts.append(
            f"## {owner}\n\n{intro}\n\n{markdown_table(owner, parameters, space_of(cls))}\n"
        )
    return {PAGE: "\n".join(parts)}
