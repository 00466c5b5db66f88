"""Compatibility with plugins written for version 1 of the plugin contract.

The files in v1/ are examples of third-party plugins. A change that requires an edit of one of
them requires a new version of the contract instead.
"""

import hashlib
import json
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

import fusion
from fusion import Patient
from fusion.core.registry.registry import HOOKS, Registry

V1 = Path(__file__).parent / "v1"
FILES = sorted(str(file) for file in V1.glob("*.py"))
DIGESTS = {
    "balancer.py": "dd5cd111c0f5c219",
    "branch.py": "d07784f617e22a09",
    "corpus.py": "364e83da52067bc9",
    "extractor.py": "b19c6c4802dd7b60",
    "remedy.py": "6c2809062b1721b2",
    "strategy.py": "01cb5543f10d10c7",
    "tracker.py": "f278102d2f91046b",
}


@pytest.fixture
def data(tmp_path):
    """Folder of forty arrays of four speakers; the sign of the mean is the class."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for speaker in range(4):
        for number in range(10):
            label, mean = ("glad", 1.0) if number % 2 else ("blue", -1.0)
            np.save(folder / f"s{speaker}_{label}_{number}.npy", rng.normal(mean, 1.0, size=12))
    return folder


def test_there_is_a_plugin_of_every_kind():
    assert [Path(file).stem for file in FILES] == sorted(HOOKS)


def test_the_files_are_unchanged():
    found = {Path(f).name: hashlib.sha256(Path(f).read_bytes()).hexdigest()[:16] for f in FILES}
    assert found == DIGESTS


def test_the_plugins_load_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry = Registry(FILES, strict=True)
    assert (registry.problems, registry.deprecations) == ([], [])
    mine = {(e.kind, e.name) for e in registry.entries() if e.source.distribution in FILES}
    assert mine == {
        ("corpus", "v1_arrays"), ("extractor", "v1_values"), ("extractor", "v1_sorted"),
        ("branch", "v1_linear"), ("strategy", "v1_weighted"), ("balancer", "v1_everything"),
        ("tracker", "v1_lines"), ("remedy", "v1_slower"), ("remedy", "v1_plainer"),
    }  # fmt: skip


def test_a_run_with_all_plugins(data, tmp_path):
    result = fusion.run(
        data,
        features=["v1_values", "v1_sorted"],
        strategy="v1_weighted",
        balance="v1_everything",
        tracker="v1_lines",
        plugins=FILES,
        epochs=2,
        set={"train.dim": 4, "train.finetune": 1.0, "v1_everything.rate": 0.5},
        cache=tmp_path / "cache",
        out=tmp_path / "run",
        jobs=1,
        report=False,
        quiet=True,
    )
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["model"]["strategy"] == "v1_weighted"
    assert [b["branch"] for b in info["model"]["branches"]] == ["v1_linear", "v1_linear"]
    assert info["config"]["settings"]["branch.v1_values"] == {"hidden": 6}
    lines = [json.loads(line) for line in (tmp_path / "run" / "lines.jsonl").open()]
    assert [line[0] for line in lines] == ["start", *["epoch"] * 10, "finish", "close"]
    fused = (tmp_path / "run" / "fold0" / "fused" / "epochs.jsonl").read_text().splitlines()
    steps = [json.loads(line)["v1_everything.steps"] for line in fused]
    assert steps[0] > 0 and steps[1] == 2 * steps[0]
    first = next(data.iterdir())
    assert result.predict(first)[0].label in ("happy", "sad")


def test_remedies_of_version_1_prescribe():
    registry = Registry(FILES)
    patient = Patient("gated", ("v1_everything",), {"mel": "cnn"}, {}, ())
    assert registry.remedy("v1_slower")().prescribe(patient).settings == {"train": {"lr": 1e-4}}
    assert registry.remedy("v1_plainer")().prescribe(patient).strategy == "concat"


# -- new names -----------------------------------------------------------------------------

OLD = """
from fusion import Balancer, hookimpl

class Old(Balancer):
    '''Named as at first.'''
    name = "old"

    def embeddings(self, representations, step):
        return {m: 2 * z for m, z in super().embeddings(representations, step).items()}

@hookimpl
def fusion_balancers():
    return [Old]
"""


@pytest.fixture
def old(tmp_path):
    file = tmp_path / "old.py"
    file.write_text(textwrap.dedent(OLD))
    return str(file)


def test_an_override_of_an_old_name_is_called_by_the_new_name(old):
    with pytest.warns(DeprecationWarning, match="Old.embeddings is now called representations"):
        registry = Registry([old])
    balancer = registry.balancer("old")()
    with pytest.warns(DeprecationWarning, match="Balancer.embeddings is now called"):
        assert balancer.representations({"mel": 3}, None) == {"mel": 6}


def test_an_old_name_is_reported_once_per_plugin(old):
    with pytest.warns(DeprecationWarning):
        (deprecation,) = Registry([old]).deprecations
    assert str(deprecation) == (
        f"plugin 'old' ({old}) should be updated: Old.embeddings is now called representations; "
        "embeddings will be removed in version 2 of the contract."
    )


def test_the_command_line_shows_the_deprecation_in_one_line(old, capsys):
    from fusion.core.cli import run_cli

    with pytest.warns(DeprecationWarning):
        assert run_cli(["plugins", "show", "old", "-p", old]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: plugin 'old'") and line.endswith("version 2 of the contract.")
