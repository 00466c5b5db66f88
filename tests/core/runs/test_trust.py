"""A run directory chooses neither code to load nor places that data and tokens are sent to."""

import hashlib

import pytest

from fusion.core.contracts.errors import ParameterError, RunError
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.trust import (
    check_named,
    confirmed_config,
    confirmed_requests,
    registry_of,
    without_places,
)

URL = "http://cache.example:8300"
SERVER = "http://tracker.example:5000"


@pytest.fixture
def evil(tmp_path):
    """Plugin file that leaves a mark when it is executed."""
    file = tmp_path / "evil.py"
    file.write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'executed')!r}).touch()\n"
        "from fusion import hookimpl\n@hookimpl\ndef fusion_strategies():\n    return []\n"
    )
    return file


# -- plugins -----------------------------------------------------------------------------


def test_a_plugin_of_a_run_directory_is_described_and_not_executed(tmp_path, evil):
    with pytest.raises(RunError) as caught:
        registry_of(tmp_path, [str(evil)])
    digest = hashlib.sha256(evil.read_bytes()).hexdigest()
    assert f"{evil} (SHA-256 {digest})" in caught.value.message
    assert f"-p {evil}" in caught.value.hint
    assert not (tmp_path / "executed").exists()


def test_a_plugin_that_the_user_names_is_loaded(tmp_path, evil):
    assert registry_of(tmp_path, [str(evil)], [str(evil)]).requests == (str(evil),)
    assert (tmp_path / "executed").exists()


def test_a_plugin_that_the_user_loaded_in_this_process_needs_no_second_confirmation(tmp_path, evil):
    with pytest.raises(RunError):
        registry_of(tmp_path, [str(evil)])
    Registry([str(evil)])  # as fusion.run(plugins=...) does
    assert registry_of(tmp_path, [str(evil)]).requests == (str(evil),)
    with pytest.raises(RunError):
        registry_of(tmp_path, ["/elsewhere/evil.py"])


def test_a_plugin_in_the_environment_is_loaded(tmp_path, evil, monkeypatch):
    monkeypatch.setenv("FUSION_PLUGINS", str(evil))
    assert registry_of(tmp_path, [str(evil)]).requests == (str(evil),)


def test_the_users_file_replaces_the_file_that_the_run_names(tmp_path, evil):
    stored = ["/another/machine/evil.py", "no:gated"]
    assert registry_of(tmp_path, stored, [str(evil)]).requests == ("no:gated", str(evil))


@pytest.mark.parametrize("request_", ["antigravity", "package.module", "/dev/zero.py", "x y.py"])
def test_modules_and_odd_files_are_refused(tmp_path, request_):
    with pytest.raises(RunError, match="that you did not name"):
        confirmed_requests(tmp_path, [request_], [])


def test_modules_of_installed_plugins_and_blocks_need_no_confirmation(tmp_path):
    stored = ["fusion.plugins.strategies.gated", "no:lmf"]
    assert confirmed_requests(tmp_path, stored, []) == ("no:lmf",)


def test_a_resumed_run_gets_no_further_plugins(tmp_path, evil):
    check_named(tmp_path, ["/elsewhere/evil.py"], [str(evil)])
    with pytest.raises(ParameterError, match="is not part of the run"):
        check_named(tmp_path, [], [str(evil)])


# -- places ------------------------------------------------------------------------------


def requested(**changes):
    settings = {"mlflow": {"uri": SERVER, "experiment": "fusion"}, "jsonl": {}}
    return RunConfig(("demo",), cache=URL, trackers=("mlflow", "jsonl"), settings=settings,
                     **changes)  # fmt: skip


def test_remote_caches_and_trackers_with_places_are_left_out():
    safe = without_places(requested())
    assert (safe.cache, safe.trackers) == (None, ("jsonl",))


@pytest.mark.parametrize("settings", [{"entity": "x"}, {"uri": "databricks"}, {"mode": "online"}])
def test_destinations_of_trackers_are_places(settings):
    config = RunConfig(("demo",), trackers=("board",), settings={"board": settings})
    assert without_places(config).trackers == ()


@pytest.mark.parametrize(
    "place", ["file:/home/x", "s3://bucket", "/etc", "../outside", "a/../../b", "~/x"]
)
def test_places_of_trackers(place):
    config = RunConfig(("demo",), trackers=("board",), settings={"board": {"directory": place}})
    assert without_places(config).trackers == ()


def test_a_configuration_without_places_stays_the_same():
    config = RunConfig(("demo",), cache="/data/cache", trackers=("board",),
                       settings={"board": {"project": "logs", "name": "a b"}})  # fmt: skip
    assert without_places(config) is config


def test_what_is_left_out_is_said_with_the_option_that_confirms_it():
    safe, lines = confirmed_config(requested(), None, {})
    assert (safe.cache, safe.trackers) == (None, ("jsonl",))
    assert len(lines) == 2
    assert f"--cache {URL}" in lines[0]
    assert f"--set mlflow.uri={SERVER}" in lines[1]


def test_confirmed_places_are_used():
    config, lines = confirmed_config(requested(), URL, {"mlflow": {"uri": SERVER}})
    assert (config.cache, config.trackers, lines) == (URL, ("mlflow", "jsonl"), [])


@pytest.mark.parametrize(
    ("cache", "settings"),
    [
        ("http://other", {}),
        (None, {"mlflow": {"uri": "http://other"}}),
        (None, {"mlflow": {"experiment": "fusion"}}),
        (None, {"train": {"epochs": "3"}}),
        (None, {"wandb": {"entity": SERVER}}),
    ],
)
def test_other_values_are_refused(cache, settings):
    with pytest.raises(ParameterError, match="keeps its options"):
        confirmed_config(requested(), cache, settings)
