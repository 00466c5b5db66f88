"""Broken plugins of every kind, and the complete messages about them."""

import re
from pathlib import Path

import numpy as np
import pytest
from broken_plugins import BROKEN, a_sum, broken_registry, running, said
from places import TESTS

from fusion.core.cli import run_cli
from fusion.core.contracts import Recording
from fusion.core.contracts.errors import CorpusError, PluginError, UnknownNameError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.extraction import Extraction, make_extractor
from fusion.core.data.sources import Source
from fusion.core.registry.registry import Registry
from fusion.core.workflows.experiment import Observer, _Trackers

V1 = TESTS / "compat" / "v1"
HEALTHY = a_sum(name="their_healthy")


def hint(remedy, name):
    return f"{remedy}{'' if remedy[-1] in '.?' else '.'} Or run without the plugin: -p no:{name}"


# -- loading -------------------------------------------------------------------------------


def test_broken_installed_plugins_are_reported_and_skipped(installed, capsys):
    installed({name: text for name, (text, _, _) in BROKEN.items()} | {"healthy": HEALTHY})
    expected = []
    for name in sorted(BROKEN):
        _, reason, remedy = BROKEN[name]
        expected.append(f"warning: plugin '{name}' (fusion-{name} 2.1) was skipped: {reason}")
        expected.append(f"hint:    {hint(remedy, name)}")
    assert run_cli(["plugins", "show", "their_healthy"]) == 0
    seen = capsys.readouterr()
    assert seen.err.splitlines() == expected
    assert "their_healthy" in seen.out and "fusion-healthy 2.1" in seen.out


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_installed_plugin_stops_a_strict_program(name, installed, capsys):
    text, reason, remedy = BROKEN[name]
    installed({name: text})
    assert run_cli(["--strict-plugins", "plugins", "show", "gated"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: plugin '{name}' (fusion-{name} 2.1) can't be used: {reason}",
        f"hint:  {hint(remedy, name)}",
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_requested_plugin_is_an_error(name, tmp_path, capsys):
    text, reason, remedy = BROKEN[name]
    file = tmp_path / f"broken_{name}.py"
    file.write_text(text)
    assert run_cli(["plugins", "show", "gated", "-p", str(file)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: plugin 'broken_{name}' ({file}) can't be used: {reason}",
        f"hint:  {hint(remedy, f'broken_{name}')}",
    ]


def test_a_broken_plugin_can_be_blocked_as_the_hint_suggests(installed, tmp_path, capsys):
    installed({"raises": BROKEN["raises"][0]})
    assert run_cli(["--strict-plugins", "plugins", "show", "gated", "-p", "no:raises"]) == 0
    file = str(tmp_path / "broken_raises.py")
    assert run_cli(["plugins", "show", "gated", "-p", file, "-p", "no:broken_raises",
                    "-p", "no:raises"]) == 0  # fmt: skip
    assert capsys.readouterr().err == ""


def test_a_missing_plugin_is_reported_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(["plugins", "show", "gated", "-p", "./mine.py"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: plugin 'mine' ({tmp_path / 'mine.py'}) can't be used: the file does not exist.",
        "hint:  Correct the path given to -p. Or run without the plugin: -p no:mine",
    ]
    assert run_cli(["plugins", "show", "gated", "-p", "their.module"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: plugin 'their.module' (module) can't be used: its import failed: "
        "ModuleNotFoundError: No module named 'their'",
        "hint:  Give a file (./my.py), or a module that Python finds. Or run without the plugin: "
        "-p no:their.module",
    ]


def test_a_taken_name_skips_only_that_class(installed, capsys):
    both = a_sum(name="gated").replace("[Sum]", "[Sum, Other]")
    both += "\nclass Other(Sum):\n    name = 'their_other'\n"
    installed({"both": both})
    registry = Registry()
    (problem,) = registry.problems
    version = next(e.source.version for e in registry.entries() if e.name == "gated")
    assert str(problem) == (
        "the strategy 'gated' of plugin 'both' (fusion-both 2.1) was skipped: plugin 'gated' "
        f"(modal-fusion {version}) already registers this name."
    )
    assert problem.hook == "fusion_strategies"
    assert problem.remedy == (
        "Rename it, or block the other plugin (-p no:gated). Or run without the plugin: -p no:both"
    )
    assert registry.strategy("their_other")
    assert run_cli(["--strict-plugins", "plugins", "show", "gated"]) == 2
    assert "(fusion-both 2.1) can't be used: plugin 'gated'" in capsys.readouterr().err


def test_of_two_plugins_with_one_name_the_alphabetically_first_is_kept(installed):
    installed({"zeta": a_sum(name="their_sum"), "alpha": a_sum(name="their_sum")})
    registry = Registry()
    assert registry.strategy("their_sum").__module__ == "broken_alpha"
    assert [str(p) for p in registry.problems] == [
        "the strategy 'their_sum' of plugin 'zeta' (fusion-zeta 2.1) was skipped: plugin 'alpha' "
        "(fusion-alpha 2.1) already registers this name."
    ]


def test_a_name_registered_twice_by_a_plugin_is_reported(installed):
    installed({"twice": a_sum("return [Sum, Sum]")})
    registry = Registry()
    assert [str(p) for p in registry.problems] == [
        "the strategy 'their_sum' of plugin 'twice' (fusion-twice 2.1) was skipped: it registers "
        "this name twice."
    ]
    assert registry.strategy("their_sum")


def test_refused_plugins_leave_no_trace(installed):
    """The plugin manager does not keep them either."""
    installed({name: text for name, (text, _, _) in BROKEN.items()} | {"healthy": HEALTHY})
    registry = Registry()
    assert len(registry.problems) == len(BROKEN)
    names = {name for name, _ in registry._manager.list_name_plugin()}
    assert "fusion-healthy:healthy" in names
    assert not any(name.startswith("fusion-") and "healthy" not in name for name in names)


def test_an_unknown_name_of_a_broken_plugin_hints_at_the_plugin(installed):
    installed({"raises": BROKEN["raises"][0]})
    with pytest.raises(UnknownNameError) as caught:
        Registry().strategy("raises")
    assert caught.value.hint.startswith("plugin 'raises' (fusion-raises 2.1) was skipped: its hook")


# -- a run: invalid return values ----------------------------------------------------------


EXTRACTED = {
    "array": (
        "Extractor 'pitch' of plugin 'mine' (mine.py) declares arrays of shape (3,), but returned "
        "one of shape (4,).\n  hint: Set self.shape in __init__ to the shape that extract() "
        "returns."
    ),
    "no array": (
        "Extractor 'pitch' of plugin 'mine' (mine.py) returned None.\n"
        "  hint: Is there a `return` at the end of extract()?"
    ),
}


@pytest.mark.parametrize("way", EXTRACTED)
def test_an_extractor_that_returns_an_undeclared_array_is_reported(way, tmp_path):
    extractor = make_extractor(broken_registry(way, tmp_path).extractor("pitch"), {})
    with pytest.raises(PluginError) as caught:
        Extraction.of(extractor).compute(Recording(Path("a.wav")))
    assert said(caught.value, tmp_path) == EXTRACTED[way]


# -- a run: exceptions ---------------------------------------------------------------------

READ = {
    "clips raises": (
        "The corpus 'own' failed to read its clips: KeyError: 'label'. Raised in Own.clips "
        "(mine.py, line LINE), the corpus 'own' of plugin 'mine' (mine.py).\n"
        "  hint: If this is data of that corpus, report the error to the author of the plugin."
    ),
    "no clips": (
        "The corpus 'own' of plugin 'mine' (mine.py) returned None from clips.\n"
        "  hint: Does Own.clips contain a `yield`?"
    ),
    "text": (
        "The corpus 'own' of plugin 'mine' (mine.py) yielded a str from clips, where a Clip is "
        "expected.\n  hint: Look at Own.clips."
    ),
    "corpus": (
        "The corpus 'own' of plugin 'mine' (mine.py) yielded a clip of the corpus 'theirs'.\n"
        "  hint: Write in Own.clips: Clip(..., corpus=self.name)"
    ),
}


@pytest.mark.parametrize("way", READ)
def test_a_corpus_that_fails_to_read_its_clips_is_reported(way, tmp_path):
    corpora = broken_registry(way, tmp_path).corpora()
    with pytest.raises(PluginError) as caught:
        load_dataset([Source("own", None)], corpora)
    assert re.sub(r"line \d+", "line LINE", said(caught.value, tmp_path)) == READ[way]


def test_a_corpus_that_fails_to_examine_a_path_is_reported(tmp_path):
    corpora = broken_registry("detect raises", tmp_path).corpora()
    corpora["own"].needs_path = True
    with pytest.raises(PluginError) as caught:
        load_dataset([Source(None, tmp_path)], corpora)
    assert re.sub(r"line \d+", "line LINE", said(caught.value, tmp_path)) == (
        f"The corpus 'own' failed to examine {tmp_path}: ValueError: what is this? Raised in "
        "Own.detect (mine.py, line LINE), the corpus 'own' of plugin 'mine' (mine.py).\n"
        f"  hint: Name the corpus (--data CORPUS={tmp_path}), or leave this one out: -p no:own"
    )
    assert not issubclass(PluginError, CorpusError)


@pytest.fixture
def cli(tmp_path, capsys):
    """Return a function that runs ``fusion run`` with a broken plugin: exit code and last lines."""
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for speaker in range(4):
        for number in range(6):
            label = ("glad", "blue")[number % 2]
            np.save(data / f"s{speaker}_{label}_{number}.npy", rng.normal(size=8))
    theirs = [f for kind in ("corpus", "extractor", "branch") for f in ("-p", f"{V1}/{kind}.py")]

    def run(way, *options):
        file = tmp_path / "mine.py"
        file.write_text(running(way))
        code = run_cli(["run", "--data", str(data), "--out", str(tmp_path / "run"),
                        "--cache", str(tmp_path / "cache"), "--set", "train.dim=4",
                        "--features", "v1_values", "--epochs", "2", "--no-report",
                        "--jobs", "2", "-p", str(file), *theirs, *options])  # fmt: skip
        lines = capsys.readouterr().err.replace(f"{tmp_path}/", "").splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith("error:")), 0)
        return code, [re.sub(r"line \d+", "line LINE", line) for line in lines[start:]]

    return run


WHOSE = "(mine.py, line LINE), the strategy 'their_sum' of plugin 'mine' (mine.py)"


def test_an_exception_before_extraction_and_training(cli):
    code, lines = cli("forward raises", "--strategy", "their_sum")
    assert code == 2
    assert lines == [
        "error: The strategy Sum fails on a batch of two clips: RuntimeError: sizes do not match. "
        f"Raised in Sum.forward {WHOSE}.",
        "hint:  Repeat the command with --debug to see the traceback. Run without the plugin: -p "
        "no:mine",
    ]


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("adapt", "The balancer 'their_odd' of plugin 'mine' (mine.py) returned None from adapt, "
                  "where a Strategy is expected."),
        ("setup raises", "The balancer 'their_odd' fails in setup: KeyError: 'mel'. Raised in "
                         "Odd.setup (mine.py, line LINE), the balancer 'their_odd' of plugin "
                         "'mine' (mine.py)."),
    ],
)  # fmt: skip
def test_a_balancer_that_fails_before_extraction_and_training(way, error, cli):
    code, lines = cli(way, "--balance", "their_odd")
    assert (code, lines[0]) == (2, f"error: {error}")
    assert len(lines) == 2 and lines[1].startswith("hint:  ")


def test_an_exception_in_training_that_can_not_be_pickled(cli):
    """An unpicklable exception would end the pool, as if the process had been killed."""
    code, lines = cli("raises late", "--strategy", "their_sum")
    assert code == 1
    assert lines == [
        f"error: fold0/fused failed: TwoArguments: one and two. Raised in Sum.forward {WHOSE}.",
        "hint:  For a traceback: fusion --debug run --resume run. "
        "Run without the plugin: -p no:mine",
    ]


@pytest.mark.slow
def test_an_exception_in_a_helper_class_during_training(cli):
    code, lines = cli("helper raises", "--strategy", "their_sum")
    assert code == 1
    assert lines[0] == (
        "error: fold0/fused failed: RuntimeError: the helper fails. Raised in Head.forward "
        f"{WHOSE}."
    )


def test_a_fusion_error_raised_by_a_plugin_keeps_its_message(cli):
    code, lines = cli("refuses", "--strategy", "their_sum")
    assert code == 2
    assert lines == [
        "error: Too few clips for their_sum.",
        f"from:  Sum.forward {WHOSE}",
        "hint:  Take more.",
    ]


@pytest.mark.slow
def test_an_exception_in_a_balancers_hook_during_training(cli):
    code, lines = cli("gradients raises", "--balance", "their_odd")
    assert code == 1
    assert lines[0] == (
        "error: fold0/fused failed: ZeroDivisionError: division by zero. Raised in Odd.gradients "
        "(mine.py, line LINE), the balancer 'their_odd' of plugin 'mine' (mine.py)."
    )


def test_an_exception_of_an_extractor_in_other_processes(cli):
    code, lines = cli("extract raises", "--features", "pitch")
    assert code == 2
    (line,) = lines
    assert re.sub(r"data/\w+\.npy", "FILE", line) == (
        "error: No recording can be read. First failure: FILE: pitch: IndexError: list index out "
        "of range. Raised in Pitch.extract (mine.py, line LINE), the extractor 'pitch' of plugin "
        "'mine' (mine.py)."
    )


def test_a_failing_tracker_is_removed(tmp_path):
    told = []
    observer = Observer()
    observer.warned = told.append
    trackers = _Trackers([broken_registry("none", tmp_path).tracker("lines")()], observer)
    trackers.call("epoch", {"epoch": 1})
    trackers.call("epoch", {"epoch": 2})
    trackers.close()
    assert [re.sub(r"line \d+", "line LINE", said(text, tmp_path)) for text in told] == [
        "The tracker 'lines' failed in epoch and is left out: ConnectionError: no network. Raised "
        "in Lines.epoch (mine.py, line LINE), the tracker 'lines' of plugin 'mine' (mine.py)."
    ]
