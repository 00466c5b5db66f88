"""``fusion cache verify``, ``gc``, ``pack`` and ``unpack``."""

from __future__ import annotations

import click

COMMANDS: list[click.Command] = []
