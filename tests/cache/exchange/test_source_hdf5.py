"""Imports of HDF5 files with arrays, and datasets that name the recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import array_of
from cache_sources import PATHS, VIDEO, hdf5, plain, wav_keys

from fusion.cache import FeatureCache, digest_recording
from fusion.cache.exchange.imports import import_feature
from fusion.core.contracts.errors import CacheError


@pytest.mark.parametrize(
    "paths",
    [PATHS, np.array(PATHS, "S"), np.array(PATHS, object)],
    ids=["variable", "fixed", "object"],
)
def test_import_of_hdf5(folder: Path, cache: FeatureCache, paths: Any) -> None:
    source = hdf5(folder, paths=paths, other=np.zeros(6), groups=["a"] * 6)
    assert import_feature(cache, "video", source).stored == 6
    result = cache.open(VIDEO, wav_keys(folder)).load()
    np.testing.assert_array_equal(result, [array_of(n) for n in range(6)])
    assert cache.catalogue(VIDEO).group_counts() == {"a": 6}


def test_hdf5_parts_and_a_dataset_by_name(folder: Path, cache: FeatureCache) -> None:
    source = hdf5(folder, **{"a/paths": PATHS[:2] * 2, "a/starts": [0, 0, 1.5, 1.5],
                             "a/ends": [np.nan, np.nan, 2, np.nan], "a/x": np.eye(4)})  # fmt: skip
    created = import_feature(cache, "eye", source, dataset="/a/x").fingerprint
    again = import_feature(cache, "eye", source)  # the only dataset with paths in its group
    assert again.present == 4
    keys = [
        digest_recording(folder / path, *part)
        for path, part in zip(PATHS[:2] * 2, [(), (), (1.5, 2.0), (1.5,)], strict=True)
    ]
    np.testing.assert_array_equal(cache.open(created, keys).load(), np.eye(4))


def test_compressed_chunks(folder: Path, cache: FeatureCache) -> None:
    with h5py.File(folder / "all.h5", "w") as file:
        data = np.stack([array_of(n) for n in range(6)])
        file.create_dataset("data", data=data, chunks=(4, 3, 5), compression="gzip")
        file["paths"] = PATHS
    assert import_feature(cache, "video", folder / "all.h5").stored == 6
    np.testing.assert_array_equal(cache.open(VIDEO, wav_keys(folder)).load(), data)


BAD_HDF5: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "does not name the recordings of the arrays in /video"),
    "too few": ({"paths": PATHS[:3]}, "paths beside /video .* of 6 entries"),
    "numbers": ({"paths": np.arange(6)}, "/paths in .* must hold texts, not int64"),
    "no recording": ({"paths": [*PATHS[:5], "x"]}, r"all.h5, video\[5\]: There is no recording"),
    "texts": ({"paths": PATHS, "starts": PATHS}, "/starts in .* must hold numbers"),
    "no length": (
        {"paths": PATHS, "ends": [-1.0] * 6},
        r"video\[0\]: There is no part .* to second -1",
    ),
}


@pytest.mark.parametrize("case", BAD_HDF5)
def test_invalid_hdf5_files(folder: Path, cache: FeatureCache, case: str) -> None:
    columns, message = BAD_HDF5[case]
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", hdf5(folder, **columns))


def test_choice_of_the_dataset(folder: Path, cache: FeatureCache) -> None:
    source = hdf5(folder, paths=PATHS, other=np.zeros((6, 2)))
    with pytest.raises(
        CacheError, match=r"several datasets that could hold 'face': other \(6, 2\), v"
    ):
        import_feature(cache, "face", source)
    with pytest.raises(CacheError, match=r"no dataset 'x' of numbers. Datasets: other"):
        import_feature(cache, "face", source, dataset="x")
    assert import_feature(cache, "face", source, dataset="other").fingerprint.shape == (2,)
    with pytest.raises(CacheError, match="is not an HDF5 file: it has no dataset 'x' to choose"):
        import_feature(cache, "face", plain(folder), dataset="x")
