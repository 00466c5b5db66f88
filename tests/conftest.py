"""Shared fixtures."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import attacks
import pytest
from hypothesis import HealthCheck, settings

# Tests that need more examples set them. There is no deadline, so a busy machine fails no test.
settings.register_profile(
    "bounded", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bounded"))

# Threads of small operations wait very long for each other on a busy machine. The variable is set
# before torch and numpy are imported; processes of whole runs have one thread anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Run the tests of a class or module in one process, whose trainings they share."""
    from xdist.scheduler import LoadScopeScheduling

    return LoadScopeScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count tests with the mark `attack`, and tests on a full disk, as one attack each."""
    report = yield
    mark = item.get_closest_marker("attack")
    on_disk = "small_disk" in getattr(item, "fixturenames", ())
    if report.when == "call" and not report.skipped and (mark or on_disk):
        attacks.record(mark.args[0] if mark else "full disk", report.passed)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of attacks to the main process of pytest-xdist."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["attacks"] = dict(attacks.counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Receive the counts of attacks of a process of pytest-xdist."""
    attacks.add(getattr(node, "workeroutput", {}).get("attacks", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts of attacks."""
    for number, line in enumerate(attacks.table()):
        if not number:
            terminalreporter.section("attacks")
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def ravdess() -> Path:
    """Folder of RAVDESS recordings at 16 kHz, for tests on real speech."""
    beside = Path(__file__).resolve().parents[2] / "shared/data/ravdess16k"
    folder = Path(os.environ.get("FUSION_TEST_DATA", beside))
    if not any(folder.glob("Actor_*/*")):
        pytest.skip(f"no RAVDESS recordings in {folder}; FUSION_TEST_DATA names another folder")
    return folder


@pytest.fixture
def local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use ``tmp_path/local`` for copies from other machines, without a token."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "local"))
    monkeypatch.delenv("FUSION_CACHE_TOKEN", raising=False)
    monkeypatch.delenv("FUSION_CACHE_TOKEN_FILE", raising=False)
