"""File signals.csv: one row per measured clip, read by key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_clips import clip

from fusion.core.contracts.errors import RunError
from fusion.core.data.dataset import RunData
from fusion.core.runs.run import OutputFolder
from fusion.core.runs.signals_file import SIGNALS, read_signals, signal_rows
from fusion.core.toolkit.signal import Signal

SIGNAL = Signal(1.5, 0.25, 0.125, 0.0, 1 / 3)
DATA = RunData(
    tuple(clip("c", "1", "sad", take) for take in range(3)),
    ("k0", "k1", "k0"),
    np.zeros(3, np.int64),
    ("sad",),
    (),
)


def test_measurements_are_written_for_each_clip_and_read_by_key(tmp_path: Path) -> None:
    OutputFolder(tmp_path).write_csv(SIGNALS, signal_rows(DATA, {"k0": SIGNAL}))
    assert (tmp_path / SIGNALS).read_text().splitlines() == [
        "name,corpus,key,seconds,peak,rms,clipped,constant",
        "1/sad-0.wav,c,k0,1.5,0.25,0.125,0,0.333333",
        "1/sad-2.wav,c,k0,1.5,0.25,0.125,0,0.333333",
    ]
    assert read_signals(tmp_path / SIGNALS) == {"k0": Signal(1.5, 0.25, 0.125, 0.0, 0.333333)}


def test_an_older_run_has_no_measurements_and_damage_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / SIGNALS
    assert read_signals(path) == {}
    for text in (
        "key,seconds\nk,1\n",
        "name,corpus,key,seconds,peak,rms,clipped,constant\nx,c,k,1",
    ):
        path.write_text(text)
        with pytest.raises(RunError, match=r"signals.csv can't be read") as caught:
            read_signals(path)
        assert "delete it" in (caught.value.hint or "")
