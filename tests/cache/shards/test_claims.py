from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from side_by_side import start_together, take_over_all

from fusion.cache.builds.workers import process_pool
from fusion.cache.errors import StorageError
from fusion.cache.shards.claims import (
    Claims,
    claim_path,
    claimed,
    claims_of,
    described,
    find_dead_claims,
    holders,
    remove_claims,
    remove_dead_claim,
)
from fusion.cache.shards.files import SYSTEM

DEAD = 2**22 + 1  # above the largest process id of Linux


def put(folder: Path, key: str, owner: str, age: float = 0.0) -> Path:
    """Write a claim of another owner."""
    path = claim_path(folder, key)
    path.parent.mkdir(exist_ok=True)
    path.write_text(owner)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_claim_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    with Claims(tmp_path) as mine, Claims(tmp_path) as yours:
        assert mine.take("a")
        assert not yours.take("a")
        assert yours.take("b")
        assert claimed(tmp_path, ["a", "b", "c"]) == {"a", "b"}
        own = {path.name for path in claims_of(tmp_path, {os.getpid()})}
        assert own == {claim_path(tmp_path, "a").name, claim_path(tmp_path, "b").name}
        assert claims_of(tmp_path, {DEAD}) == []
    assert claimed(tmp_path, ["a", "b"]) == set()
    assert list((tmp_path / "claims").iterdir()) == []
    with Claims(tmp_path) as again:
        assert again.take("a")


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    test_a_claim_is_exclusive_until_it_is_released(tmp_path)


def test_one_of_many_concurrent_claims_succeeds(tmp_path: Path) -> None:
    keys = [f"key{n}" for n in range(50)]
    everyone = [Claims(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        took = list(pool.map(lambda one: [one.take(key) for key in keys], everyone))
    assert [sum(column) for column in zip(*took, strict=True)] == [1] * 50


@pytest.mark.parametrize(
    ("owner", "age", "alive"),
    [
        ("here self", 0, True),
        ("here self", 3500, True),  # a single long computation
        ("here self", 3700, False),  # the process id has been reused
        ("here dead", 0, False),
        ("elsewhere 1", 0, True),
        ("elsewhere 1", 590, True),
        ("elsewhere 1", 610, False),
        ("", 0, True),  # being written
        ("", 61, False),
        ("no claim at all", 61, False),
    ],
)
def test_claims_count_while_their_owner_is_alive(
    tmp_path: Path, owner: str, age: float, alive: bool
) -> None:
    names = {"here": SYSTEM, "self": str(os.getpid()), "dead": str(DEAD)}
    path = put(tmp_path, "a", " ".join(names.get(word, word) for word in owner.split(" ")), age)
    assert claimed(tmp_path, ["a"]) == ({"a"} if alive else set())
    assert find_dead_claims(tmp_path) == ([] if alive else [path])
    with Claims(tmp_path) as mine:
        assert mine.take("a") != alive
    assert path.exists() == alive


def test_claims_are_renewed_after_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Claims(tmp_path) as mine:
        mine.take("a")
        path = claim_path(tmp_path, "a")
        os.utime(path, (1000, 1000))
        mine.renew()
        assert path.stat().st_mtime == 1000  # less than a minute ago
        mine._renewed -= 61
        mine.renew()
        assert path.stat().st_mtime > time.time() - 10


def test_claims_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead, alive = (
        put(tmp_path, "a", f"{SYSTEM} {DEAD}"),
        put(tmp_path, "b", f"{SYSTEM} {os.getpid()}"),
    )
    remove_claims([tmp_path, tmp_path / "none"], {DEAD})
    assert not dead.exists()
    assert alive.exists()


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_the_claim_of_a_killed_process_does_not_count(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path;"
        "from fusion.cache.shards.claims import Claims;"
        "Claims(Path(sys.argv[1])).take('a'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(find_dead_claims(tmp_path)) == 1
    with Claims(tmp_path) as mine:
        assert mine.take("a")


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_a_dead_claim_is_taken_over_by_one_of_several(tmp_path: Path) -> None:
    """Two builders resume the work of a killed one."""
    keys = [f"key{n}" for n in range(300)]
    for key in keys:
        put(tmp_path, key, f"{SYSTEM} {DEAD}")
    with process_pool(2) as pool:
        futures = [pool.submit(take_over_all, tmp_path, tmp_path / "go", keys) for _ in range(2)]
        start_together(tmp_path / "go", 2)
        took = [future.result() for future in futures]
        assert sorted([*took[0], *took[1]]) == sorted(keys)
    assert len(list((tmp_path / "claims").glob(".*"))) == 2  # the files that claims are links to


def test_a_claim_taken_over_by_another_process_is_not_touched(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    mine.take("a")
    theirs = put(tmp_path, "a", "elsewhere 1", age=100)
    mine._renewed -= 61
    mine.renew()
    assert time.time() - theirs.stat().st_mtime > 90
    mine.__exit__()
    assert theirs.read_text() == "elsewhere 1"


def test_a_claim_taken_over_is_not_removed(tmp_path: Path) -> None:
    """The claim is dead when it is found, and alive when it is to be removed."""
    path = put(tmp_path, "a", f"{SYSTEM} {DEAD}")
    assert find_dead_claims(tmp_path) == [path]
    with Claims(tmp_path) as mine:
        mine.take("a")
        assert not remove_dead_claim(path)
        assert claimed(tmp_path, ["a"]) == {"a"}
    assert remove_dead_claim(path)


# -- leases --------------------------------------------------------------------------


@pytest.mark.parametrize(("owner", "lease"), [("elsewhere 7\n", 600), (f"{SYSTEM} 1\n", 3600)])
def test_a_claim_of_the_future_expires_by_observation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, lease: int
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    put(tmp_path, "a", owner, age=-1e7)
    assert claimed(tmp_path, ["a"]) == {"a"}
    now += lease - 1
    assert claimed(tmp_path, ["a"]) == {"a"}
    now += 2
    assert claimed(tmp_path, ["a"]) == set()
    with Claims(tmp_path) as mine:
        assert mine.take("a")


def test_a_renewal_is_observed_whatever_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for minute in range(30):
        put(tmp_path, "a", "elsewhere 7\n", age=-1e7 - minute)
        assert claimed(tmp_path, ["a"]) == {"a"}
        now += 300


def test_holders_are_named(tmp_path: Path) -> None:
    for key, owner in (("a", "elsewhere 7\n"), ("b", "elsewhere 7\n"), ("c", f"{SYSTEM} 8\n")):
        put(tmp_path, key, owner)
    put(tmp_path, "d", "?")
    text = described(holders(tmp_path, "abcd"))
    assert text == f"process 7 on elsewhere, process 8 on {SYSTEM}, an unknown process"


@pytest.mark.parametrize("content", ["x " * 4000, "\x1b[8m 3", "host -1e9", "[" * 5000])
def test_a_claim_without_an_owner_expires_after_a_minute(tmp_path: Path, content: str) -> None:
    put(tmp_path, "a", content, age=61)
    assert claimed(tmp_path, ["a"]) == set()
    put(tmp_path, "a", content, age=10)
    assert claimed(tmp_path, ["a"]) == {"a"}


def test_a_linked_folder_of_claims_is_neither_read_nor_written(tmp_path: Path) -> None:
    folder, outside = tmp_path / "feature", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    precious = outside / ("0" * 32)
    precious.write_text("precious")
    os.utime(precious, (0, 0))
    (folder / "claims").symlink_to(outside)
    assert find_dead_claims(folder) == [] and claims_of(folder, [1]) == []
    with Claims(folder) as mine, pytest.raises(StorageError):
        mine.take("a")
    assert [path.name for path in outside.iterdir()] == [precious.name]


def test_only_names_of_claims_are_claims(tmp_path: Path) -> None:
    put(tmp_path, "a", f"{SYSTEM} {DEAD}\n")
    other = tmp_path / "claims" / "notes.txt"
    other.write_text("precious")
    os.utime(other, (0, 0))
    assert find_dead_claims(tmp_path) == [claim_path(tmp_path, "a")]
