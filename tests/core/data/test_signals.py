"""Measurements of recordings: once per content, apart from the user's features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion.cache import FeatureCache, digest_many
from fusion.core.contracts import Recording
from fusion.core.data import signals
from fusion.core.data.signals import FOLDER, measured_signals
from fusion.core.toolkit.signal import Signal, measure


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    """Three recordings, of which two have the same content, and a file that is no audio."""
    rng = np.random.default_rng(0)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, rng.uniform(-0.5, 0.5, 800), 8000)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    (tmp_path / "text.wav").write_text("no audio")
    return [Recording(tmp_path / name) for name in ("a.wav", "b.wav", "copy.wav", "text.wav")]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the recordings that are measured from now on."""
    paths: list[Path] = []

    def noting(recording: Recording) -> Signal:
        paths.append(recording.path)
        return measure(recording)

    monkeypatch.setattr(signals, "measure", noting)
    return paths


def keys_of(recordings: list[Recording]) -> list[str]:
    return digest_many([(r.path, r.start, r.end) for r in recordings])


def test_each_content_is_measured_once(
    tmp_path: Path, recordings: list[Recording], measured: list[Path]
) -> None:
    cache, keys = FeatureCache(tmp_path / "cache"), keys_of(recordings)
    first = measured_signals(cache, keys, recordings)
    assert set(first) == set(keys[:3]) and len(first) == 2
    assert first[keys[1]] == measure(recordings[1])
    assert len(measured) == 3  # the copy is not measured, the text fails
    measured.clear()
    moved = recordings[0].path.rename(tmp_path / "renamed.wav")
    again = measured_signals(cache, keys, [Recording(moved), *recordings[1:]])
    assert again == first and [path.name for path in measured] == ["text.wav"]


def test_measurements_are_no_feature_of_the_user(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    measured_signals(cache, keys_of(recordings), recordings)
    assert [path.name for path in cache.root.iterdir()] == [FOLDER]
    assert cache.features() == [] and cache.info() == [] and cache.folders() == []


def test_a_cache_that_cannot_be_written_to_is_no_error(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FOLDER).write_text("a file, no folder")
    found = measured_signals(FeatureCache(tmp_path / "cache"), keys_of(recordings), recordings)
    assert len(found) == 2


def test_an_error_of_a_decoder_stops_nothing(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(recording: Recording) -> None:
        raise ZeroDivisionError(recording.path)

    monkeypatch.setattr(signals, "measure", failing)
    cache = FeatureCache(tmp_path / "cache")
    assert measured_signals(cache, keys_of(recordings), recordings) == {}
    assert not cache.root.exists()


def test_damaged_measurements_are_made_again(tmp_path: Path, recordings: list[Recording]) -> None:
    cache, keys = FeatureCache(tmp_path / "cache"), keys_of(recordings)
    first = measured_signals(cache, keys, recordings)
    for shard in (cache.root / FOLDER).rglob("*.h5"):
        shard.write_bytes(b"damaged")
    assert measured_signals(cache, keys, recordings) == first


def test_a_remote_cache_is_not_asked_and_keeps_measurements_here(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FUSION_CACHE", raising=False)
    cache = FeatureCache("http://localhost:9/")  # no server answers
    found = measured_signals(cache, keys_of(recordings), recordings)
    assert len(found) == 2 and cache.root.is_relative_to(tmp_path)
    assert (cache.root / FOLDER).is_dir()
