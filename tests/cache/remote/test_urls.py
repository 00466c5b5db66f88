"""URLs: secrets in addresses, and their display."""

from __future__ import annotations

import pytest

from fusion.cache import FeatureCache
from fusion.cache.remote.urls import check_no_query, names_user, without_user
from fusion.core.contracts.errors import CacheError


@pytest.mark.parametrize(
    "url",
    ["http://h/?token=SECRET", "https://h/a#SECRET", "HTTP://h?SECRET", "http://u:a#SECRET@h/",
     "http://h?token=a@SECRET", "http://h/?SECRET\n"],
)  # fmt: skip
def test_secrets_in_the_address_are_refused(url: str) -> None:
    with pytest.raises(CacheError, match="can't hold") as caught:
        FeatureCache(url)
    assert "SECRET" not in str(caught.value)
    assert "FUSION_CACHE_TOKEN_FILE" in str(caught.value)


@pytest.mark.parametrize("url", ["http://h:8300/a", "s3://bucket/a?b#c", "file:///a#b", "http://h"])
def test_addresses_without_a_query_are_accepted(url: str) -> None:
    check_no_query(url)  # only HTTP addresses have queries


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:secret@h/a", "http://h/a"),
        ("s3://u@b, then http://v:p@w@h:1/ and x@y.z", "s3://b, then http://h:1/ and x@y.z"),
        ("http://h/a@b", "http://h/a@b"),  # part of the path
        ("http://h", "http://h"),
    ],
)
def test_users_are_not_shown(text: str, shown: str) -> None:
    assert without_user(text) == shown
    assert names_user(text) == (text != shown)
