from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.cache import Fingerprint, digest_many, digest_recording
from fusion.core.contracts.errors import CacheError

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
parameters = st.dictionaries(st.text(max_size=8), values, max_size=5)


def make(**changes: Any) -> Fingerprint:
    fields: dict[str, Any] = {
        "name": "mel",
        "version": "1",
        "parameters": {"bins": 128, "power": 2.0},
        "dtype": "float32",
        "shape": (1, 128, 256),
        "libraries": {"librosa": "0.10.2"},
    }
    return Fingerprint(**{**fields, **changes})


def test_the_canonical_text_never_changes() -> None:
    # A change here invalidates every existing cache.
    assert make().canonical() == (
        '{"dtype":"float32","libraries":{"librosa":"0.10.2"},"name":"mel",'
        '"parameters":{"bins":128,"power":2.0},"shape":[1,128,256],"version":"1"}'
    )
    # printf '%s' '<the text>' | b2sum -l 128
    assert make().id == "b5fd0f8f68ffa214241c928b6d5a8eed"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "mfcc"},
        {"version": "2"},
        {"parameters": {"bins": 128, "power": 2}},
        {"parameters": {"bins": 128}},
        {"parameters": {"bins": 128, "power": 2.0, "new": None}},
        {"dtype": "float16"},
        {"shape": (1, 256, 128)},
        {"libraries": {"librosa": "0.11"}},
    ],
)
def test_any_changed_field_changes_the_id(change: dict[str, Any]) -> None:
    assert make(**change).id != make().id


def test_values_that_are_equal_in_python_have_different_ids() -> None:
    ids = {make(parameters={"x": x}).id for x in (1, 1.0, True, "1", [1], None, "None", "true")}
    assert len(ids) == 8


def test_spellings_of_one_value_have_one_id() -> None:
    assert make(parameters={"x": (1, 2)}) == make(parameters={"x": [1, 2]})
    assert make(parameters={"a": 1, "b": 2}).id == make(parameters={"b": 2, "a": 1}).id
    assert make(dtype="f4") == make(dtype="float32")
    assert make(shape=(np.int64(1), 128, 256)) == make()
    assert hash(make()) == hash(make())


@given(parameters)
def test_a_fingerprint_can_be_read_back(given: dict[str, Any]) -> None:
    fingerprint = make(parameters=given)
    again = Fingerprint.from_json(fingerprint.canonical())
    assert again == fingerprint
    assert again.id == fingerprint.id
    indented = json.dumps(json.loads(fingerprint.canonical()), indent=2)
    assert Fingerprint.from_json(indented) == fingerprint


@given(parameters, parameters)
def test_equal_ids_mean_equal_parameters(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (make(parameters=a).id == make(parameters=b).id) == (repr_of(a) == repr_of(b))


def repr_of(value: Any) -> Any:
    """Return a value that compares type and content without JSON."""
    if isinstance(value, dict):
        return "dict", sorted((key, repr_of(item)) for key, item in value.items())
    if isinstance(value, list):
        return "list", [repr_of(item) for item in value]
    return type(value).__name__, repr(value)


def test_same_id_in_another_process() -> None:
    code = (
        "from fusion.cache import Fingerprint;"
        "print(Fingerprint('mel', '1', {'b': 0.1, 'a': 1e300, 'ä': 'ß'}, 'float32', (2,), {}).id)"
    )
    local = Fingerprint("mel", "1", {"ä": "ß", "a": 1e300, "b": 0.1}, "float32", (2,), {}).id
    for seed in ("0", "1"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout.strip() == local


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"x": math.nan}, "parameters.x"),
        ({"x": math.inf}, "parameters.x"),
        ({"x": {"y": [1, {2}]}}, "parameters.x.y[1]"),
        ({"x": np.float32(1)}, "parameters.x"),
        ({"x": {1: 2}}, "parameters.x"),
        ({"x": Path("a")}, "parameters.x"),
        ({"x": b"a"}, "parameters.x"),
    ],
)
def test_values_that_json_can_not_represent_are_refused_by_name(
    value: dict[str, Any], named: str
) -> None:
    with pytest.raises(CacheError) as caught:
        make(parameters=value)
    assert caught.value.message.startswith(f"{named} of a fingerprint is ")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a/b"},
        {"name": ""},
        {"name": ".hidden"},
        {"shape": (0,)},
        {"shape": (2.0,)},
        {"dtype": "float33"},
        {"dtype": "object"},
        {"dtype": "U5"},
        {"dtype": "longdouble"},
        {"parameters": {"x": "y" * 70_000}},
    ],
)
def test_invalid_fields_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CacheError):
        make(**change)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shape": 3}', '{"shape": [1], "extra": 2}'])
def test_text_that_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(CacheError, match="Not a fingerprint"):
        Fingerprint.from_json(text)


def test_the_key_of_a_recording_depends_on_its_content(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one.wav", "two.wav", "other.wav"))
    one.write_bytes(b"sound")
    two.write_bytes(b"sound")
    other.write_bytes(b"Sound")
    # printf sound | b2sum -l 128
    assert digest_recording(one) == "6e2c12355c49541a4fde9a80ebc186bb"
    assert digest_recording(one) == digest_recording(two) != digest_recording(other)
    assert len(digest_recording(one)) == 32


def test_each_segment_has_its_own_key(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    segments = [(0.0, None), (0.0, 1.0), (0.0, 2.0), (1.0, None), (1.0, 2.0)]
    keys = [digest_recording(path, start, end) for start, end in segments]
    assert len(set(keys)) == len(keys)
    assert digest_recording(path, 1, 2) == keys[-1]
    assert digest_many([(path, start, end) for start, end in segments]) == keys


def test_unreadable_recordings(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    with pytest.raises(CacheError, match=r"gone\.wav"):
        digest_recording(tmp_path / "gone.wav")
    wanted = [(tmp_path / "gone.wav", 0.0, None), (path, 0.0, None), (tmp_path, 0.0, None)]
    first, second = digest_many(wanted), digest_many(wanted)
    assert first[1] == second[1] == digest_recording(path)
    # The key of an unreadable file is unique, so no cached array can ever match.
    assert len({first[0], first[2], second[0], second[2]}) == 4
