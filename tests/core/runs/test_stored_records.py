"""Records of trainings and diagnoses are compared with their schemas when they are read."""

from pathlib import Path
from typing import Any

import pytest

from fusion.core.contracts.errors import RunError
from fusion.core.runs.stored_records import (
    DiagnosisRecord,
    TrainingSummary,
    check_epoch,
    check_record,
)

FILE = Path("fold0/mel/training.json")
SUMMARY = {"epoch": 3, "best_epoch": 1, "best_uar": 0.5, "seconds": 1.0, "other": ["any"]}
FINDING = {"title": "T", "fault": "f", "severity": "mild", "says": "S", "rule": "r"}


def test_sound_records_pass() -> None:
    inputs = {"mel": {"raw": {"min": 0.0, "max": None, "channels": {"min": [1.0, None]}}}}
    check_record(SUMMARY | {"inputs": inputs, "peak_bytes": None}, TrainingSummary, FILE)
    check_record({"findings": [FINDING], "signs": {"mel": {"rank": None}}}, DiagnosisRecord, FILE)
    check_epoch({"epoch": 1, "val_uar": None, "layers": {"mel": {"a": [0.1, 2]}}}, FILE)


@pytest.mark.parametrize(
    "change",
    [{"epoch": "x"}, {"best_uar": None}, {"inputs": {"mel": {"raw": {"min": []}}}},
     {"start": {"val_uar": "x"}}, {"settings": []}, {"seconds": {}}],
)  # fmt: skip
def test_a_wrong_field_of_a_training_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=next(iter(change))):
        check_record(SUMMARY | change, TrainingSummary, FILE)


@pytest.mark.parametrize(
    "record", [{"findings": True}, {}, {"findings": [{}]}, {"findings": [], "caveats": [1]}]
)
def test_a_damaged_diagnosis_is_an_error(record: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="training.json"):
        check_record(record, DiagnosisRecord, FILE)


@pytest.mark.parametrize(
    "record",
    [{}, {"epoch": "1"}, {"epoch": 1, "val_uar": "x"}, {"epoch": 1, "layers": []},
     {"epoch": 1, "layers": {"mel": 1}}, {"epoch": 1, "layers": {"mel": {"a": ["."]}}},
     {"epoch": 1, "trial": []}],
)  # fmt: skip
def test_a_damaged_epoch_is_an_error(record: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="damaged"):
        check_epoch(record, FILE)
