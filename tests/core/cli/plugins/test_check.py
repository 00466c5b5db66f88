"""`fusion plugins check`: its output for people and for programs."""

import json
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from fusion.core.cli import run_cli
from fusion.core.registry import registry

TOTAL = '''
import torch
from fusion import Strategy, hookimpl

class Total(Strategy):
    """Adds the embeddings."""
    name = "total"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.order = list(dims)
        self.head = torch.nn.Linear(dims[self.order[0]], num_classes)

    def forward(self, inputs):
        return self.head(sum(inputs[m] for m in self.order))

@hookimpl
def fusion_strategies():
    return [Total]
'''
RIGHT = TOTAL.replace(
    "        self.order = list(dims)\n",
    "        from fusion.core.contracts import equal_dims\n"
    "        self.order, _ = list(dims), equal_dims(dims, self.name)\n",
)
CORPUS = '''
from fusion import Clip, Corpus, Recording, hookimpl

class Mine(Corpus):
    """Files called SPEAKER_LABEL.wav."""
    name = "mine"
    labels = {"joy": "happy"}

    @classmethod
    def detect(cls, path):
        return path.is_dir() and any("_" in f.stem for f in path.glob("*.wav"))

    def clips(self):
        for file in sorted(self.path.glob("*_*.wav")):
            speaker, label = file.stem.split("_")
            yield Clip(Recording(file), file.name, label, speaker, self.name)

@hookimpl
def fusion_corpora():
    return [Mine]
'''
NEEDS = '''
from fusion import Balancer, ParameterError, hookimpl

class Needs(Balancer):
    """Wants a table.

    Parameters
    ----------
    table : str
        A path.
    """
    name = "needs"

    def __init__(self, *, table: str = ""):
        if not table:
            raise ParameterError("needs.table is empty.")

@hookimpl
def fusion_balancers():
    return [Needs]
'''


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def check(capsys, *arguments):
    code = run_cli(["plugins", "check", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_correct_plugin_passes(capsys, file):
    code, out, _ = check(capsys, file(RIGHT))
    assert code == 0
    first, *lines, last, blank = out.splitlines()
    assert first.startswith("strategy 'total' · version 1, ")
    assert "  ✓ output                            3 cases" in lines
    assert (
        "  - calibrate                         skipped: the strategy does not override"
    ) in lines
    assert "  cost on this machine, on the CPU (measured, not judged)" in lines
    assert "      forward and backward, 64 clips, 3 modalities of size 16, 16, 16" in lines
    passed = sum(line.startswith("  ✓") for line in lines)
    skipped = sum(line.startswith("  -") for line in lines)
    summary = f"strategy 'total': {passed} checks passed, 0 failed, {skipped} skipped ("
    assert last.startswith(summary)
    assert not blank


def test_a_faulty_plugin_fails(capsys, file):
    code, out, _ = check(capsys, file(TOTAL))
    assert code == 1
    wanted = """
      ✗ unequal sizes
          Total (strategy 'total'), 2 modalities of size 16, 8
            what failed: raises RuntimeError: The size of tensor a (16) must match
                         the size of tensor b (8) at non-singleton dimension 1
            expected:    scores, or a ParameterError from __init__ that gives the
                         requirement
            usual cause: the size of one modality used for all modalities: support
                         unequal sizes, or call
                         fusion.core.contracts.equal_dims(dims, self.name), which
                         raises the ParameterError
            in:          mine.py, line 15, in forward: return
                         self.head(sum(inputs[m] for m in self.order))
      ✗ order of the inputs               5 cases
          fails in the same way as 'unequal sizes'
    """
    assert textwrap.indent(textwrap.dedent(wanted).strip("\n"), "  ") in out
    assert "Traceback" not in out
    assert all(len(line) <= 80 for line in out.splitlines()[1:])


def test_json_output(capsys, file):
    code, out, _ = check(capsys, file(TOTAL), "gated", "--json")
    assert code == 1
    result = json.loads(out)
    assert result["unchecked"] == []
    total, gated = sorted(result["plugins"], key=lambda each: each["name"] == "gated")
    assert (total["kind"], total["name"], gated["failed"]) == ("strategy", "total", 0)
    by_name = {each["check"]: each for each in total["checks"]}
    (case,) = by_name["unequal sizes"]["cases"]
    assert case["outcome"] == by_name["unequal sizes"]["outcome"] == "failed"
    assert case["where"] == "Total (strategy 'total'), 2 modalities of size 16, 8"
    assert case["cause"].startswith("the size of one modality used for all modalities")
    assert case["frames"][0].startswith("mine.py, line 15")
    assert by_name["calibrate"]["cases"][0]["reason"].startswith(
        "the strategy does not override calibrate"
    )
    counts = [total[outcome] for outcome in ("passed", "failed", "skipped")]
    assert sum(counts) == len(total["checks"])
    assert gated["costs"][0]["seconds"] > 0


def test_a_corpus_is_checked_on_its_path(capsys, file, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("anna_joy", "ben_boredom"):
        (clips / f"{name}.wav").touch()
    code, out, _ = check(capsys, file(CORPUS), "--data", clips)
    assert code == 0
    assert "  ✓ detects its sample\n" in out
    assert "2 speakers; labels that are no shared emotion: boredom (1)" in out
    code, out, _ = check(capsys, file(CORPUS))
    assert code == 0
    assert "skipped: no sample: give --data PATH" in out
    assert "skipped: see 'detects its sample'" in out


def test_parameters_are_set_by_options(capsys, file):
    code, _, err = check(capsys, file(NEEDS))
    assert code == 2
    assert err == (
        "error: balancer 'needs' can't be created with its defaults: needs.table is empty.\n"
        "hint:  Set its parameters: --set needs.PARAMETER=VALUE\n"
    )
    code, out, _ = check(capsys, file(NEEDS), "--set", "needs.table=x")
    assert code == 0, out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gatd"], "There is no plugin 'gatd'. Did you mean 'gated'"),
        (["./nowhere.py"], "the file does not exist"),
        (["gated", "--set", "gated.hiden=3"], "There is no parameter of gated 'hiden'"),
        (["gated", "--set", "mel.hop=3"], "There is no plugin to check 'mel'"),
        (["gated", "--set", "hidden=3"], "--set must be OWNER.PARAMETER=VALUE"),
        (["gated", "--data", "."], "--data applies to a corpus or an extractor"),
        (["mel", "--data", "nowhere"], "The path nowhere does not exist."),
    ],
)
def test_mistakes_in_check(capsys, arguments, words):
    code, out, err = check(capsys, *arguments)
    assert code == 2
    assert not out
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "no function marked @hookimpl"),
        ("import not_there", "No module named 'not_there'"),
        ("def :", "SyntaxError"),
    ],
)
def test_files_without_plugins_are_refused(capsys, file, text, words):
    code, out, err = check(capsys, file(text))
    assert code == 2
    assert not out
    assert words in err


# -- no plugin named ---------------------------------------------------------------------


OWN = [pair for pair in registry._entry_points() if pair[1].distribution == "modal-fusion"]


def own_plugins():
    """Return the entry points of fusion only, whatever else is installed."""
    return OWN


def test_without_third_party_plugins_nothing_is_checked(capsys, monkeypatch):
    monkeypatch.setattr(registry, "_entry_points", own_plugins)
    code, out, _ = check(capsys)
    assert code == 0
    assert out == (
        "No third-party plugin is installed. Name a plugin of fusion, or a file:\n"
        "  fusion plugins check NAME\n"
        "  fusion plugins check ./my_plugin.py\n"
    )


def test_every_third_party_plugin_is_checked(capsys, file, monkeypatch):
    monkeypatch.setattr(registry, "_entry_points", own_plugins)
    monkeypatch.setenv("FUSION_PLUGINS", f"{file(CORPUS, 'a.py')},{file(NEEDS, 'b.py')}")
    code, out, _ = check(capsys)
    assert code == 1
    assert "corpus 'mine': " in out
    assert "strategy" not in out
    assert (
        "  not checked: balancer 'needs' can't be created with its defaults: needs.table\n"
        "  is empty.\n"
        "    Set its parameters: --set needs.PARAMETER=VALUE\n"
    ) in out


def test_an_installed_plugin_that_fails_to_import_counts_as_failed(capsys, monkeypatch):
    broken = (EntryPoint("bad", "not_there", "fusion"), registry.Source("bad", "fusion-bad", "2.1"))
    monkeypatch.setattr(registry, "_entry_points", lambda: [broken, *own_plugins()])
    code, out, _ = check(capsys)
    assert code == 1
    assert "not checked: plugin 'bad' (fusion-bad 2.1) was skipped: its import failed" in out


def test_help_imports_neither_torch_nor_a_suite():
    script = (
        "import sys; from fusion.core.cli import run_cli\n"
        "run_cli(['plugins', 'check', '--help'])\n"
        "heavy = [m for m in sys.modules if m == 'torch' or m.startswith('fusion.core.testing')]\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "[NAME | FILE]..." in ended.stdout
