"""``fusion cache export`` and ``import``."""

from __future__ import annotations

import click

COMMANDS: list[click.Command] = []
