"""Finding, blocking, skipping and refusing plugins by kind and name."""

import pytest

from fusion.core.contracts.errors import PluginError, UnknownNameError
from fusion.core.registry.registry import Registry

GOOD = """
import torch
from fusion import Strategy, hookimpl

class Sum(Strategy):
    '''Adds the embeddings.'''
    name = "{name}"

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.head = torch.nn.Linear(next(iter(dims.values())), num_classes)

    def forward(self, inputs):
        return self.head(sum(inputs.values()))

@hookimpl
def fusion_strategies():
    return [Sum]
"""


def test_built_in_plugins_are_registered_by_entry_points():
    registry = Registry()
    assert not registry.problems
    names = {(e.kind, e.name) for e in registry.entries()}
    assert {
        ("corpus", "ravdess"), ("corpus", "demo"), ("extractor", "mel"),
        ("extractor", "persistence"), ("branch", "cnn"), ("strategy", "concat"),
        ("strategy", "gated"), ("balancer", "gradscale"), ("tracker", "jsonl"),
    } <= names  # fmt: skip
    assert {e.source.distribution for e in registry.entries()} == {"modal-fusion"}


def test_defaults_are_declared_by_the_plugins():
    registry = Registry()
    assert registry.defaults("extractor") == ["levelset", "mel"]
    assert registry.defaults("strategy") == ["gated"]
    assert registry.defaults("corpus") == ["demo"]
    assert registry.defaults("balancer") == []


def test_a_file_adds_a_plugin(plugin):
    registry = Registry([plugin(GOOD.format(name="my_sum"))])
    assert registry.strategy("my_sum").__doc__ == "Adds the embeddings."


def test_blocking_by_name():
    registry = Registry(["no:gradscale"])
    with pytest.raises(UnknownNameError, match="no balancer 'gradscale'"):
        registry.balancer("gradscale")


def test_blocking_an_unknown_name_is_an_error():
    with pytest.raises(UnknownNameError, match="gradscle"):
        Registry(["no:gradscle"])


def test_the_environment_variable_adds_requests(monkeypatch, plugin):
    monkeypatch.setenv("FUSION_PLUGINS", f"{plugin(GOOD.format(name='my_sum'))}, no:concat")
    registry = Registry()
    assert registry.strategy("my_sum")
    with pytest.raises(UnknownNameError):
        registry.strategy("concat")


BROKEN = {
    "import": ("import not_there_at_all", "its import failed: ModuleNotFoundError"),
    "syntax": ("def :", "SyntaxError"),
    "no hook": ("x = 1", "no function marked @hookimpl"),
    "unknown hook": (
        "from fusion import hookimpl\n@hookimpl\ndef fusion_strategy(): return []",
        "fusion_strategy",
    ),
    "hook argument": (
        "from fusion import hookimpl\n@hookimpl\ndef fusion_strategies(model): return []",
        "model",
    ),
    "hook raises": (
        "from fusion import hookimpl\n@hookimpl\ndef fusion_strategies(): raise KeyError('k')",
        "KeyError: 'k'",
    ),
    "wrong class": (
        "from fusion import hookimpl\n@hookimpl\ndef fusion_strategies(): return [int]",
        "which is not a Strategy class",
    ),
    "no name": (
        "from fusion import Balancer, hookimpl\nclass B(Balancer): pass\n"
        "@hookimpl\ndef fusion_balancers(): return [B]",
        "class B (of fusion_balancers) has no name",
    ),
    "taken name": (GOOD.format(name="gated"), "already registers this name"),
    "reserved name": (
        "from fusion import Extractor, hookimpl\nclass E(Extractor):\n    name = 'fused'\n"
        "@hookimpl\ndef fusion_extractors(): return [E]",
        "'fused' is reserved",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_requested_plugin_is_an_error_with_its_name(plugin, case):
    text, reason = BROKEN[case]
    with pytest.raises(PluginError, match="mine") as caught:
        Registry([plugin(text)])
    assert reason in str(caught.value)


class _Point:
    """An entry point that can't be loaded."""

    name = "bad"
    module = value = "not_there"

    def load(self):
        raise ModuleNotFoundError("No module named 'not_there'")


def test_a_broken_installed_plugin_is_named_and_skipped(monkeypatch):
    from fusion.core.registry import registry as module

    result = module._entry_points()
    broken = (_Point(), module.Source("bad", "fusion-bad", "2.1"))
    monkeypatch.setattr(module, "_entry_points", lambda: [broken, *result])
    registry = Registry()
    (problem,) = registry.problems
    assert str(problem) == (
        "plugin 'bad' (fusion-bad 2.1) was skipped: its import failed: "
        "ModuleNotFoundError: No module named 'not_there'"
    )
    assert registry.strategy("gated")
    with pytest.raises(PluginError, match="fusion-bad 2.1"):
        Registry(strict=True)


def test_an_unknown_name_is_reported_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="no strategy 'gatd'. Did you mean 'gated'"):
        Registry().strategy("gatd")
