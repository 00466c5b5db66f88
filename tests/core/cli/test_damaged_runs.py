"""Files of a run directory, mutated at random: an error names the file, or the result is right."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attacks import attack

from fusion.core.cli import run_cli

VALUES: list[Any] = [
    None, True, -1, 0, 1e308, -0.5, 2**63, 10**30, "", "x", "../../x", "\x1b[8m", "[/bold]", [], {},
    [[]], {"a": 1}, "é" * 1000,
]  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON value, containers included."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value)
        if isinstance(value, list) else ()
    )  # fmt: skip
    return [path, *(leaf for key, item in inner for leaf in leaves(item, (*path, key)))]


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with another value at a path; ``...`` removes the value."""
    if not path:
        return new
    copy = value.copy()
    if len(path) == 1 and new is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


def mutate_json(text: str, chance: random.Random) -> str:
    value = json.loads(text)
    path = chance.choice(leaves(value)[1:] or [()])
    new = chance.choice([*VALUES, ...]) if path else chance.choice(VALUES)
    return json.dumps(with_value(value, path, new))


def mutate_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    lines[at] = mutate_json(lines[at], chance) + "\n"
    return "".join(lines)


def mutate_csv(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    cells = lines[at].rstrip("\n").split(",")
    column = chance.randrange(len(cells))
    cells[column] = chance.choice(["", "-1", "nan", "1e999", "x", "../../x", "\0", '"', "é" * 300])
    lines[at] = ",".join(cells) + "\n"
    return "".join(lines)


def bytes_changed(file: Path, chance: random.Random) -> None:
    """Damage a file of any kind: cut it, flip a byte, nest it, or put something else there."""
    raw = file.read_bytes()
    kind = chance.randrange(6)
    if kind == 0:
        file.write_bytes(raw[: chance.randrange(len(raw) + 1)])
    elif kind == 1 and raw:
        at = chance.randrange(len(raw))
        file.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << chance.randrange(8))]) + raw[at + 1 :])
    elif kind == 2:
        file.write_bytes(b"[" * 100_000)
    elif kind == 3:
        file.write_bytes(b"\xff\xfe" + raw)
    else:
        file.unlink()
        if kind == 4:
            file.mkdir()
        elif hasattr(os, "mkfifo"):
            os.mkfifo(file)


MUTATIONS: dict[str, Callable[[str, random.Random], str]] = {
    ".json": mutate_json, ".jsonl": mutate_lines, ".csv": mutate_csv,
}  # fmt: skip


def mutate(run: Path, chance: random.Random) -> str:
    """Damage one file of a run; return its name."""
    files = sorted(
        p for p in run.rglob("*")
        if p.is_file() and p.suffix in (".json", ".jsonl", ".csv", ".npz", ".safetensors")
    )  # fmt: skip
    file = chance.choice(files)
    change = MUTATIONS.get(file.suffix)
    if change is None or chance.random() < 0.25:
        bytes_changed(file, chance)
    else:
        text = file.read_text(encoding="utf-8")
        file.write_text(change(text, chance), encoding="utf-8")
    return str(file.relative_to(run))


def commands(run: Path, recording: Path) -> list[list[str]]:
    return [
        ["report", str(run), "--out", str(run / "r.html")],
        ["predict", str(run), str(recording)],
        ["diagnose", str(run)],
        ["explain", str(run), "--jobs", "1", "--permutations", "2"],
        ["cache", "why", str(run)],
        ["run", "--resume", str(run), "--jobs", "1"],
    ]


@pytest.mark.parametrize(("seed", "count"), [(0, 8), pytest.param(1, 150, marks=pytest.mark.slow)])
def test_no_damage_ends_in_a_traceback(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    seed: int, count: int,
) -> None:  # fmt: skip
    recording = corpus.parent / "s0-sad-0.wav"
    chance = random.Random(seed)
    failures = []
    for number in range(count):
        run = tmp_path / "run"
        shutil.copytree(finished, run)
        name = mutate(run, chance)
        for command in commands(run, recording):
            try:
                with attack("damaged file of a run"):
                    check(command, capsys)
            except Exception as error:
                failures.append(f"{number}: {name}: {command[0]}: {error!r}")
        shutil.rmtree(run)
    assert not failures, "\n".join(failures)


def check(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = run_cli(command)
    captured = capsys.readouterr()
    assert code in (0, 1, 2), captured.err
    assert "Traceback" not in captured.err
    assert "\x1b" not in captured.err + captured.out
    assert not (command[0] == "predict" and code == 0 and "nan" in captured.out)
