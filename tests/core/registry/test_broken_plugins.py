"""Every way in which a plugin can be broken, and the whole of what is said of it."""

import re
from pathlib import Path

import numpy as np
import pytest
from broken_plugins import BROKEN, a_sum, running
from places import TESTS

from fusion.core.cli import run_cli
from fusion.core.contracts import Recording
from fusion.core.contracts.errors import CorpusError, PluginError, UnknownNameError
from fusion.core.data.corpora import Source, load_dataset
from fusion.core.data.extraction import Extraction, make_extractor
from fusion.core.registry.registry import Registry
from fusion.core.testing.checks.problem import SmallBranch, SmallMaps, small_trainer
from fusion.core.training.model import FusionModel, check_model
from fusion.core.workflows.experiment import Observer, _Trackers

V1 = TESTS / "compat" / "v1"
HEALTHY = a_sum(name="their_healthy")


def install(folder, name, text):
    """A distribution as pip would leave it: a module, its metadata, its entry point."""
    (folder / f"broken_{name}.py").write_text(text)
    info = folder / f"broken_{name}-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fusion-{name}\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(f"[fusion]\n{name} = broken_{name}\n")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put plugins where Python finds installed ones."""

    def put(texts):
        for name, text in texts.items():
            install(tmp_path, name, text)
            monkeypatch.delitem(__import__("sys").modules, f"broken_{name}", raising=False)

    monkeypatch.syspath_prepend(str(tmp_path))
    return put


def hint(remedy, name):
    return f"{remedy}{'' if remedy[-1] in '.?' else '.'} Or go without the plugin: -p no:{name}"


# -- loading -------------------------------------------------------------------------------


def test_installed_ones_are_told_of_and_skipped_and_the_rest_works(installed, capsys):
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
def test_an_installed_one_stops_a_strict_program(name, installed, capsys):
    text, reason, remedy = BROKEN[name]
    installed({name: text})
    assert run_cli(["--strict-plugins", "plugins", "show", "gated"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: plugin '{name}' (fusion-{name} 2.1) can't be used: {reason}",
        f"hint:  {hint(remedy, name)}",
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_one_that_was_asked_for_is_an_error(name, tmp_path, capsys):
    text, reason, remedy = BROKEN[name]
    file = tmp_path / f"broken_{name}.py"
    file.write_text(text)
    assert run_cli(["plugins", "show", "gated", "-p", str(file)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: plugin 'broken_{name}' ({file}) can't be used: {reason}",
        f"hint:  {hint(remedy, f'broken_{name}')}",
    ]


def test_it_can_be_left_out_as_the_hint_says(installed, tmp_path, capsys):
    installed({"raises": BROKEN["raises"][0]})
    assert run_cli(["--strict-plugins", "plugins", "show", "gated", "-p", "no:raises"]) == 0
    file = str(tmp_path / "broken_raises.py")
    assert run_cli(["plugins", "show", "gated", "-p", file, "-p", "no:broken_raises",
                    "-p", "no:raises"]) == 0  # fmt: skip
    assert capsys.readouterr().err == ""


def test_what_is_not_there_is_an_error_that_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(["plugins", "show", "gated", "-p", "./mine.py"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: plugin 'mine' ({tmp_path / 'mine.py'}) can't be used: there is no such file.",
        "hint:  Mend the path given to -p. Or go without the plugin: -p no:mine",
    ]
    assert run_cli(["plugins", "show", "gated", "-p", "their.module"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: plugin 'their.module' (module) can't be used: its import failed: "
        "ModuleNotFoundError: No module named 'their'",
        "hint:  Give a file (./my.py), or a module that Python finds. Or go without the plugin: "
        "-p no:their.module",
    ]


def test_a_name_that_is_taken_costs_that_class_alone(installed, capsys):
    both = a_sum(name="gated").replace("[Sum]", "[Sum, Other]")
    both += "\nclass Other(Sum):\n    name = 'their_other'\n"
    installed({"both": both})
    registry = Registry()
    (problem,) = registry.problems
    version = next(e.source.version for e in registry.entries() if e.name == "gated")
    assert str(problem) == (
        "the strategy 'gated' of plugin 'both' (fusion-both 2.1) was skipped: plugin 'gated' "
        f"(modal-fusion {version}) has one of that name."
    )
    assert problem.hook == "fusion_strategies"
    assert problem.remedy == (
        "Rename it, or block the other one (-p no:gated). Or go without the plugin: -p no:both"
    )
    assert registry.strategy("their_other")
    assert run_cli(["--strict-plugins", "plugins", "show", "gated"]) == 2
    assert "(fusion-both 2.1) can't be used: plugin 'gated'" in capsys.readouterr().err


def test_two_others_of_one_name_the_first_by_name_stays(installed):
    installed({"zeta": a_sum(name="their_sum"), "alpha": a_sum(name="their_sum")})
    registry = Registry()
    assert registry.strategy("their_sum").__module__ == "broken_alpha"
    assert [str(p) for p in registry.problems] == [
        "the strategy 'their_sum' of plugin 'zeta' (fusion-zeta 2.1) was skipped: plugin 'alpha' "
        "(fusion-alpha 2.1) has one of that name."
    ]


def test_two_of_one_name_in_a_plugin(installed):
    installed({"twice": a_sum("return [Sum, Sum]")})
    registry = Registry()
    assert [str(p) for p in registry.problems] == [
        "the strategy 'their_sum' of plugin 'twice' (fusion-twice 2.1) was skipped: it has two of "
        "that name."
    ]
    assert registry.strategy("their_sum")


def test_an_entry_point_that_is_no_module(installed, tmp_path):
    installed({"colon": HEALTHY})
    points = tmp_path / "broken_colon-2.1.dist-info" / "entry_points.txt"
    points.write_text("[fusion]\ncolon = broken_colon:Sum\n")
    (problem,) = Registry().problems
    assert str(problem) == (
        "plugin 'colon' (fusion-colon 2.1) was skipped: its entry point names a type, which is no "
        "module."
    )
    assert problem.remedy.startswith("Name the module in pyproject.toml, without a colon. Or go")


def test_a_broken_module_that_was_removed_from_the_path(installed, tmp_path):
    installed({"gone": HEALTHY})
    (tmp_path / "broken_gone.py").unlink()
    (problem,) = Registry().problems
    assert problem.reason == (
        "its import failed: ModuleNotFoundError: No module named 'broken_gone'"
    )
    assert problem.remedy.startswith("Install its distribution again.")


def test_a_hook_that_a_later_version_may_have_can_be_optional(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        HEALTHY + "\n@hookimpl(optionalhook=True)\ndef fusion_losses():\n    return 1 / 0\n"
    )
    assert Registry([str(file)], strict=True).strategy("their_healthy")


def test_what_pluggy_alone_refuses_is_said_in_its_words(installed):
    installed({"wraps": a_sum().replace("@hookimpl", "@hookimpl(wrapper=True)")})
    (problem,) = Registry().problems
    assert str(problem) == (
        "plugin 'wraps' (fusion-wraps 2.1) was skipped: pluggy refuses it: Declared as "
        "wrapper=True or hookwrapper=True but function is not a generator function."
    )


def test_nothing_is_left_of_a_plugin_that_was_refused(installed):
    """Not in the manager either, where the next one would meet it."""
    installed({name: text for name, (text, _, _) in BROKEN.items()} | {"healthy": HEALTHY})
    registry = Registry()
    assert len(registry.problems) == len(BROKEN)
    names = {name for name, _ in registry._manager.list_name_plugin()}
    assert "fusion-healthy:healthy" in names
    assert not any(name.startswith("fusion-") and "healthy" not in name for name in names)


def test_a_name_that_a_broken_plugin_would_have_says_why_it_is_not_there(installed):
    installed({"raises": BROKEN["raises"][0]})
    with pytest.raises(UnknownNameError) as caught:
        Registry().strategy("raises")
    assert caught.value.hint.startswith("plugin 'raises' (fusion-raises 2.1) was skipped: its hook")


# -- a run: what is returned ---------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path):
    """A registry with the plugin that breaks in a way."""

    def made(way):
        file = tmp_path / "mine.py"
        file.write_text(running(way))
        return Registry([str(file)])

    yield made


def said(error, tmp_path):
    """The whole message, without the folder of this test."""
    return str(error).replace(f"{tmp_path}/", "")


OF_THEIR_ODD = "The balancer 'their_odd' of plugin 'mine' (mine.py) returned "
RETURNED = {
    "inputs": (
        "None from inputs, where a dict of tensors by modality is expected.",
        "Is there a `return` at the end of Odd.inputs?",
    ),
    "parameter_groups": (
        "None from parameter_groups, where a list of ParameterGroup is expected.",
        "Is there a `return` at the end of Odd.parameter_groups?",
    ),
    "state_dict": (
        "None from state_dict, where a dict is expected.",
        "Is there a `return` at the end of Odd.state_dict?",
    ),
    "present": (
        "a tensor of shape (8, 2) from present, where a bool tensor of shape (8, 2) = (clips, "
        "modalities) is expected.",
        "Look at Odd.present.",
    ),
    "representations": (
        "a tensor of shape (7, 6) for 'voice' from representations, where a tensor of shape "
        "(8, 6) is expected.",
        "Look at Odd.representations.",
    ),
    "modalities": (
        "a dict of the modalities c from representations, where one of voice, face is expected.",
        "Look at Odd.representations.",
    ),
    "logits": (
        "a tensor of shape () from logits, where a tensor of shape (8, 3) = (clips, classes) is "
        "expected.",
        "Look at Odd.logits.",
    ),
    "losses": (
        "0.5 for the loss 'their_odd.x' from losses, where a scalar tensor is expected.",
        "Look at Odd.losses.",
    ),
    "passes": (
        "a list of 1 from passes, where a list of Pass is expected.",
        "Look at Odd.passes.",
    ),
    "clips": (
        "a ndarray from clips, where a Clips is expected.",
        "Look at Odd.clips.",
    ),
    "stage": (
        "'warm-up' from stage, where a Stage is expected.",
        "Look at Odd.stage.",
    ),
    "metrics": (
        "a tensor of shape () for 'their_odd.x' from metrics, where a number (float(...)) is "
        "expected.",
        "Look at Odd.metrics.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", RETURNED)
def test_a_balancers_hook_that_returns_what_it_should_not(way, plugin, tmp_path):
    balancer = plugin(way).balancer("their_odd")()
    with pytest.raises(PluginError) as caught:
        small_trainer([balancer], checkpoint=tmp_path / "checkpoint.pt").fit()
    message, remedy = RETURNED[way]
    assert said(caught.value, tmp_path) == f"{OF_THEIR_ODD}{message}\n  hint: {remedy}"


def test_a_balancer_that_does_nothing_wrong_trains(plugin, tmp_path):
    balancer = plugin("none").balancer("their_odd")()
    assert small_trainer([balancer], checkpoint=tmp_path / "c.pt").fit().epoch > 0


def test_scores_of_a_wrong_shape_in_training(plugin, tmp_path):
    strategy = plugin("scores").strategy("their_sum")
    with pytest.raises(PluginError) as caught:
        small_trainer(strategy=strategy).fit()
    assert said(caught.value, tmp_path) == (
        "The strategy 'their_sum' of plugin 'mine' (mine.py) returned a tensor of shape (8, 2) "
        "from forward, where a tensor of shape (8, 3) = (clips, classes) is expected.\n"
        "  hint: Look at Sum.forward."
    )


def test_weights_of_a_wrong_shape_before_training(plugin, tmp_path):
    strategy = plugin("weights").strategy("their_sum")({"a": 6}, 3)
    with pytest.raises(PluginError) as caught:
        check_model(FusionModel({"a": SmallBranch((4,))}, strategy, 3))
    assert said(caught.value, tmp_path) == (
        "The strategy 'their_sum' of plugin 'mine' (mine.py) returned a tensor of shape (2, 5) "
        "from modality_weights, where a tensor of shape (2, 1) = (clips, modalities) is "
        "expected.\n  hint: Look at Sum.modality_weights."
    )


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (
            "embedding",
            "a tensor of shape (2, 7) for 'a' from pool, where a tensor of shape (2, 8) = (clips, "
            "dim) is expected.\n  hint: Look at Flat.pool.",
        ),
        (
            "maps",
            "a tensor of shape (2, 4) for 'a' from maps, where a map of shape (2, 5, *grid) = "
            "(clips, map_channels, *grid) is expected.\n  hint: Look at Flat.maps.",
        ),
    ],
)
def test_embedding_and_map_of_a_wrong_shape(way, message, plugin, tmp_path):
    branch = plugin(way).branch("flat")((4,))
    branch.map_channels += way == "maps"
    model = FusionModel({"a": branch}, SmallMaps({"a": branch.map_channels}, 3), 3)
    with pytest.raises(PluginError) as caught:
        check_model(model)
    start = "The branch 'flat' of plugin 'mine' (mine.py) returned "
    assert said(caught.value, tmp_path) == start + message


def test_an_embedding_of_a_wrong_shape_without_maps(plugin, tmp_path):
    branch = plugin("embedding").branch("flat")((4,))
    strategy = plugin("embedding").strategy("their_sum")({"a": 8}, 3)
    with pytest.raises(PluginError, match=r"shape \(2, 7\) for 'a' from forward"):
        check_model(FusionModel({"a": branch}, strategy, 3))


EXTRACTED = {
    "array": (
        "Extractor 'pitch' of plugin 'mine' (mine.py) declares arrays of shape (3,) and returned "
        "one of shape (4,).\n  hint: Set self.shape in __init__ to what extract() returns."
    ),
    "no array": (
        "Extractor 'pitch' of plugin 'mine' (mine.py) returned None.\n"
        "  hint: Is there a `return` at the end of extract()?"
    ),
}


@pytest.mark.parametrize("way", EXTRACTED)
def test_an_extractor_that_returns_what_it_did_not_declare(way, plugin, tmp_path):
    extractor = make_extractor(plugin(way).extractor("pitch"), {})
    with pytest.raises(PluginError) as caught:
        Extraction.of(extractor).compute(Recording(Path("a.wav")))
    assert said(caught.value, tmp_path) == EXTRACTED[way]


# -- a run: what is raised -----------------------------------------------------------------

READ = {
    "clips raises": (
        "The corpus 'own' failed to read its clips: KeyError: 'label'. Raised in Own.clips "
        "(mine.py, line LINE), the corpus 'own' of plugin 'mine' (mine.py).\n"
        "  hint: Is this its data? If so, its author should know of this."
    ),
    "no clips": (
        "The corpus 'own' of plugin 'mine' (mine.py) returned None from clips.\n"
        "  hint: Is there a `yield` in Own.clips?"
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
def test_a_corpus_that_can_not_be_read(way, plugin, tmp_path):
    corpora = plugin(way).corpora()
    with pytest.raises(PluginError) as caught:
        load_dataset([Source("own", None)], corpora)
    assert re.sub(r"line \d+", "line LINE", said(caught.value, tmp_path)) == READ[way]


def test_a_corpus_that_fails_to_look_at_a_path(plugin, tmp_path):
    corpora = plugin("detect raises").corpora()
    corpora["own"].needs_path = True
    with pytest.raises(PluginError) as caught:
        load_dataset([Source(None, tmp_path)], corpora)
    assert re.sub(r"line \d+", "line LINE", said(caught.value, tmp_path)) == (
        f"The corpus 'own' failed to look at {tmp_path}: ValueError: what is this? Raised in "
        "Own.detect (mine.py, line LINE), the corpus 'own' of plugin 'mine' (mine.py).\n"
        f"  hint: Name the corpus (--data CORPUS={tmp_path}), or leave this one out: -p no:own"
    )
    assert not issubclass(PluginError, CorpusError)


@pytest.fixture
def cli(tmp_path, capsys):
    """``fusion run`` on a few arrays, with a plugin that breaks in a way: exit code, last lines."""
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


def test_an_exception_before_the_long_work(cli):
    code, lines = cli("forward raises", "--strategy", "their_sum")
    assert code == 2
    assert lines == [
        "error: The strategy Sum fails on a batch of two clips: RuntimeError: sizes do not match. "
        f"Raised in Sum.forward {WHOSE}.",
        "hint:  The same with --debug shows the traceback. Go without the plugin: -p no:mine",
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
def test_a_balancer_that_breaks_before_the_long_work(way, error, cli):
    code, lines = cli(way, "--balance", "their_odd")
    assert (code, lines[0]) == (2, f"error: {error}")
    assert len(lines) == 2 and lines[1].startswith("hint:  ")


def test_an_exception_in_a_training_that_can_not_be_sent(cli):
    """It would end the pool, and be taken for a process that was killed."""
    code, lines = cli("raises late", "--strategy", "their_sum")
    assert code == 1
    assert lines == [
        f"error: fold0/fused failed: TwoArguments: one and two. Raised in Sum.forward {WHOSE}.",
        "hint:  Where: fusion --debug run --resume run. Go without the plugin: -p no:mine",
    ]


@pytest.mark.slow
def test_an_exception_in_a_helper_in_a_training(cli):
    code, lines = cli("helper raises", "--strategy", "their_sum")
    assert code == 1
    assert lines[0] == (
        "error: fold0/fused failed: RuntimeError: the helper fails. Raised in Head.forward "
        f"{WHOSE}."
    )


def test_what_a_plugin_raises_on_purpose_keeps_its_words(cli):
    code, lines = cli("refuses", "--strategy", "their_sum")
    assert code == 2
    assert lines == [
        "error: Too few clips for their_sum.",
        f"from:  Sum.forward {WHOSE}",
        "hint:  Take more.",
    ]


@pytest.mark.slow
def test_an_exception_in_a_balancers_hook_in_a_training(cli):
    code, lines = cli("gradients raises", "--balance", "their_odd")
    assert code == 1
    assert lines[0] == (
        "error: fold0/fused failed: ZeroDivisionError: division by zero. Raised in Odd.gradients "
        "(mine.py, line LINE), the balancer 'their_odd' of plugin 'mine' (mine.py)."
    )


def test_an_exception_in_an_extractor_in_other_processes(cli):
    code, lines = cli("extract raises", "--features", "pitch")
    assert code == 2
    (line,) = lines
    assert re.sub(r"data/\w+\.npy", "FILE", line) == (
        "error: No recording could be read. The first: FILE: pitch: IndexError: list index out of "
        "range. Raised in Pitch.extract (mine.py, line LINE), the extractor 'pitch' of plugin "
        "'mine' (mine.py)."
    )


def test_a_tracker_that_fails_is_left_out(plugin, tmp_path):
    told = []
    observer = Observer()
    observer.warned = told.append
    trackers = _Trackers([plugin("none").tracker("lines")()], observer)
    trackers.call("epoch", {"epoch": 1})
    trackers.call("epoch", {"epoch": 2})
    trackers.close()
    assert [re.sub(r"line \d+", "line LINE", said(text, tmp_path)) for text in told] == [
        "The tracker 'lines' failed in epoch and is left out: ConnectionError: no network. Raised "
        "in Lines.epoch (mine.py, line LINE), the tracker 'lines' of plugin 'mine' (mine.py)."
    ]
