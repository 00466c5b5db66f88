"""Compression: available codecs, the codec of a dataset, and missing packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import SHAPE, fingerprint

from fusion.cache import Fingerprint
from fusion.cache.shards.codecs import CODECS, codec_of, codec_options, missing_codec
from fusion.core.contracts.errors import CacheError

pytest.importorskip("hdf5plugin")


@pytest.mark.parametrize("codec", [*CODECS, None, "gzip"])
def test_packed_arrays_are_chunks_with_a_known_codec(tmp_path: Path, codec: Any) -> None:
    data = np.zeros((7, *SHAPE), np.float32)
    options = codec_options(codec, fingerprint()) if codec in CODECS else {"compression": codec}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        packed = file.create_dataset("data", data=data, **options)
        assert codec_of(packed) == (codec if codec in CODECS else None)
        assert missing_codec(packed) is None
        if codec in CODECS:
            assert packed.chunks == (1, *SHAPE)
        np.testing.assert_array_equal(packed[:], data)


def test_an_unknown_codec() -> None:
    with pytest.raises(CacheError, match="no codec 'lzma'. Known: zstd, blosc2"):
        codec_options("lzma", fingerprint())  # type: ignore[arg-type]


def test_a_single_number_can_be_packed(tmp_path: Path) -> None:
    single = Fingerprint("x", "1", {}, "int8", (), {})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("data", (3,), "i1", **codec_options("zstd", single))
        assert data.chunks == (1,)


def test_missing_hdf5plugin_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        options = codec_options("zstd", fingerprint())
        packed = file.create_dataset("data", (3, *SHAPE), "f4", **options)
        monkeypatch.setattr("fusion.cache.shards.codecs._readable", lambda data: False)
        for missing in (missing_codec(packed), refused(monkeypatch)):
            assert missing is not None
            assert "needs the package hdf5plugin" in missing.message
            assert missing.hint == "pip install 'modal-fusion[pack]'"


def refused(monkeypatch: pytest.MonkeyPatch) -> CacheError:
    monkeypatch.setattr("fusion.cache.shards.codecs._plugin", lambda: None)
    with pytest.raises(CacheError) as caught:
        codec_options("zstd", fingerprint())
    return caught.value
