"""Schemas of the JSON records of trainings and diagnoses, which stay plain dicts in memory.

A run directory may be damaged, or come from another person. Records are compared with their
schemas when they are read, so that a wrong value is an error that names the file and the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contracts.errors import RunError
from ..toolkit.run_files import as_type

_LAYERS = "layers"
_NUMBERS = (int, float, type(None))


@dataclass(frozen=True)
class TrainingSummary:
    """Fields of training.json whose values are read; a training may have more fields."""

    epoch: int = 0
    best_epoch: int = 0
    best_uar: float = 0.0
    seconds: float = 0.0
    parameters: int = 0
    updates: int | None = None
    start: dict[str, float | None] | None = None
    wall_seconds: float | None = None
    peak_bytes: int | None = None
    precision: str | None = None
    trial: int | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    modality: str | None = None
    graphs: dict[str, str] | None = None
    inputs: dict[str, dict[str, dict[str, float | dict[str, list[float | None]] | None]]] = field(
        default_factory=dict
    )


@dataclass(frozen=True)
class FindingRecord:
    """One finding in diagnosis.json."""

    title: str
    fault: str
    severity: str
    says: str
    rule: str
    modality: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    items: list[str] = field(default_factory=list)
    remedy: str = ""
    command: str | None = None


@dataclass(frozen=True)
class DiagnosisRecord:
    """Content of diagnosis.json."""

    findings: list[FindingRecord]
    signs: dict[str, dict[str, float | None]] | None = None
    thresholds: dict[str, float] | None = None
    caveats: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)


class Record(dict[str, Any]):
    """Content of a file, in which a missing field is an error that names the file."""

    def __init__(self, content: Mapping[str, Any], file: Path) -> None:
        super().__init__(content)
        self._file = file

    def __missing__(self, name: str) -> Any:
        raise RunError(f"{self._file} is damaged: it has no {name!r}.")


def check_record(record: Mapping[str, Any], schema: type, file: Path) -> None:
    """Raise RunError if a record does not match a schema; the message names file and field."""
    as_type(dict(record), schema, file)


def check_epoch(record: Mapping[str, Any], file: Path) -> None:
    """Raise RunError unless a record of an epoch holds numbers, and ``layers`` holds pairs.

    Balancers add figures of any name, so the names are not checked.
    """
    for name, value in record.items():
        is_sound = _are_layers(value) if name == _LAYERS else isinstance(value, _NUMBERS)
        if not is_sound:
            raise RunError(f"{file} is damaged: {name!r} must be a number, and is {value!r:.80}.")
    if not isinstance(record.get("epoch"), int):
        raise RunError(f"{file} is damaged: a record has no 'epoch'.")


def _are_layers(value: Any) -> bool:
    """Return whether a value maps parts of the model to layers to pairs of numbers."""
    return isinstance(value, dict) and all(
        isinstance(layers, dict)
        and all(
            isinstance(pair, list) and all(isinstance(number, _NUMBERS) for number in pair)
            for pair in layers.values()
        )
        for layers in value.values()
    )
