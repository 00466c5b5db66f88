from __future__ import annotations

import pytest
from cache_computations import fingerprint

from fusion.cache import FeatureCache
from fusion.cache.shards.layout import is_public, is_shard

FOLDER = "mel-" + "0" * 32


@pytest.mark.parametrize("name", ["a.h5", "0f7-1_2.h5", "A.b.h5"])
def test_valid_names_of_shards(name: str) -> None:
    assert is_shard(name)
    assert is_public(FOLDER, name)


@pytest.mark.parametrize(
    "name", ["", ".h5", ".a.h5", "a.h5.tmp", "a.H5", "a b.h5", "../a.h5", "a/b.h5", "a\\b.h5",
             "..h5", "a.h5\n", "ä.h5", "claims"],
)  # fmt: skip
def test_invalid_names_of_shards(name: str) -> None:
    assert not is_shard(name)
    assert not is_public(FOLDER, name)


def test_valid_names_of_folders() -> None:
    assert is_public(FeatureCache("x").folder(fingerprint()).name)
    assert is_public(FOLDER, "fingerprint.json")
    assert is_public(FOLDER, "shards.idx")


@pytest.mark.parametrize(
    "folder", ["", "runs", "..", "-" + "0" * 32, "mel-" + "0" * 31, "mel-" + "G" * 32,
               "a/mel-" + "0" * 32, ".mel-" + "0" * 32],
)  # fmt: skip
def test_invalid_names_of_folders(folder: str) -> None:
    assert not is_public(folder)
    assert not is_public(folder, "a.h5")
