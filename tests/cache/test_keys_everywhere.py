"""Keys are equal in every process and every version of Python.

Hypothesis generates the inputs here, and other interpreters compute the keys again.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fusion.cache import Fingerprint, digest_recording
from tests.cache.test_fingerprint import parameters

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ["3.12", "3.13", "3.14"]

fields = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True),
        "version": st.text(max_size=6),
        "parameters": parameters,
        "dtype": st.sampled_from(["float32", "float16", "f8", "int64", "bool", "complex64"]),
        "shape": st.lists(st.integers(1, 9), max_size=3),
        "libraries": st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3),
    }
)
recordings = st.tuples(st.binary(max_size=64), st.floats(0, 100), st.none() | st.floats(100, 1000))

# Reads a line of JSON for each case and prints its key.
ANSWER = """
import json, pathlib, sys, tempfile
from fusion.cache import Fingerprint, digest_recording
file = pathlib.Path(tempfile.mkdtemp()) / "recording"
for line in sys.stdin:
    case = json.loads(line)
    if isinstance(case, dict):
        print(Fingerprint(**{**case, "shape": tuple(case["shape"])}).id)
    else:
        file.write_bytes(bytes.fromhex(case[0]))
        print(digest_recording(file, case[1], case[2]))
"""


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return examples of hypothesis, including corner cases."""
    result: list[Any] = []

    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(strategy)
    def collect(case: Any) -> None:
        result.append(case)

    collect()
    return result


@functools.cache
def cases() -> tuple[list[Any], list[Any]]:
    """Return fingerprints and recordings."""
    return drawn(fields, 300), drawn(recordings, 100)


def check(python: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Check that another interpreter computes the same keys."""
    created, recorded = cases()
    lines, expected = [], []
    for case in created:
        lines.append(json.dumps(case))
        expected.append(Fingerprint(**{**case, "shape": tuple(case["shape"])}).id)
    for content, start, end in recorded:
        lines.append(json.dumps([content.hex(), start, end]))
        (tmp_path / "recording").write_bytes(content)
        expected.append(digest_recording(tmp_path / "recording", start, end))
    answer = subprocess.run(
        [python, "-c", ANSWER],
        input="\n".join(lines),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == expected
    assert len(set(expected)) > 300  # the keys differ


@pytest.mark.parametrize("seed", ["0", "1"])
def test_keys_in_another_process(seed: str, tmp_path: Path) -> None:
    check(sys.executable, {"PYTHONHASHSEED": seed}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_keys_in_another_python(
    version: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    folder = tmp_path_factory.mktemp(f"python{version}")
    environment = folder / "venv"
    bin_folder = environment / ("Scripts" if os.name == "nt" else "bin")
    install = [bin_folder / "python", "-m", "pip", "install", "-q", "numpy"]
    for command in ([python, "-m", "venv", environment], install):
        created = subprocess.run(command, capture_output=True, text=True, check=False)
        if created.returncode:
            pytest.skip(f"no numpy for Python {version}: {created.stderr.strip()[-200:]}")
    # The checkout is importable as the package `fusion`; computing keys needs only numpy.
    (folder / "fusion").symlink_to(ROOT, target_is_directory=True)
    check(str(bin_folder / "python"), {"PYTHONPATH": str(folder)}, tmp_path)


def interpreter(version: str) -> str | None:
    """Return a Python of the given version, from the path or from pyenv."""
    candidates = [f"python{version}"]
    candidates += map(
        str, sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    )
    return next((name for name in candidates if says_version(name, version)), None)


def says_version(name: str, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        output = subprocess.run([name, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return output.stdout.strip() == version


def changed(case: dict[str, Any]) -> list[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return functions that each change one field."""
    return [
        lambda c: {**c, "name": c["name"] + "x"},
        lambda c: {**c, "version": c["version"] + "x"},
        lambda c: {**c, "parameters": {**c["parameters"], "one more": 1}},
        lambda c: {**c, "dtype": "int8"},
        lambda c: {**c, "shape": (*c["shape"], 1)},
        lambda c: {**c, "libraries": {**c["libraries"], "one more": "1"}},
    ]


@given(fields)
def test_any_changed_field_changes_the_key(case: dict[str, Any]) -> None:
    ids = [Fingerprint(**{**c, "shape": tuple(c["shape"])}).id for c in
           (case, *(change(case) for change in changed(case)))]  # fmt: skip
    assert len(set(ids)) == len(ids)


@given(recordings)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_recording_changes_the_key(
    tmp_path: Path, case: tuple[bytes, float, float | None]
) -> None:
    content, start, end = case
    path = tmp_path / "recording"
    keys = []
    for data, first, last in [
        (content, start, end),
        (content + b"x", start, end),
        (content, start + 0.125, end),
        (content, start, 2000.0 if end is None else end + 0.125),
    ]:
        path.write_bytes(data)
        keys.append(digest_recording(path, first, last))
    assert len(set(keys)) == 4
