"""Hooks of a plugin module, including renamed ones, and the classes that they return."""

from pathlib import Path
from types import ModuleType

import pluggy
import pytest
from broken_plugins import a_sum
from places import TESTS

from fusion import Balancer, Branch, Extractor, Strategy, hookimpl
from fusion.core.contracts import hooks
from fusion.core.registry import collecting, registry
from fusion.core.registry.problems import BrokenPluginError
from fusion.core.registry.registry import Registry

V1 = TESTS / "compat" / "v1"


class Sum(Strategy):
    """Adds."""

    name = "their_sum"


class Other(Sum):
    """Adds as well."""

    name = "their_other"


class Odd(Balancer):
    """Does nothing."""

    name = "their_odd"


@pytest.fixture
def manager():
    created = pluggy.PluginManager(hooks.PROJECT)
    created.add_hookspecs(hooks)
    return created


def module_of(name="mine", **functions):
    """Return a module with the given functions as hooks."""
    module = ModuleType(name)
    for hook, function in functions.items():
        setattr(module, hook, hookimpl(function))
    return module


def collected(module, manager):
    """Return the deprecation warnings of the hooks, and the kinds and classes that they return."""
    uses = collecting.register(module, module.__name__, manager)
    return uses, list(collecting.classes_of(module, manager, {}))


# -- names -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "mel", "mel_2", "x__"])
def test_valid_names(name):
    assert collecting.well_formed(name)


@pytest.mark.parametrize(
    "name", ["", "Mel", "2mel", "_mel", "me-l", "me.l", "mel ", "mel\n", "mél"]
)
def test_invalid_names(name):
    assert not collecting.well_formed(name)


def test_ensemble_is_reserved_except_for_strategies():
    assert "ensemble" not in collecting.reserved("strategy")
    assert "ensemble" in collecting.reserved("extractor")
    assert {"fused", "train"} <= collecting.reserved("strategy")
    assert "ensemble" in collecting.RESERVED  # the previous calls did not change the set


@pytest.mark.parametrize("name", ["keys", "values", "training", "forward"])
def test_extractors_may_not_have_the_names_of_attributes_of_module_dict(name, manager):
    assert collecting.is_module_attribute(name)
    cls = type("Mine", (Extractor,), {"name": name})
    with pytest.raises(BrokenPluginError, match=f"can't be called '{name}': '{name}' is reserved"):
        collected(module_of(fusion_extractors=lambda: [cls]), manager)
    theirs = type("Mine", (Balancer,), {"name": name})
    assert collected(module_of("other", fusion_balancers=lambda: [theirs]), manager)[1]


def test_other_names_of_extractors_are_valid():
    assert not collecting.is_module_attribute("mel")


def test_kinds_hooks_and_contracts():
    for kind, hook in collecting.HOOKS.items():
        assert collecting.kind_of_hook(hook) == kind
        assert collecting.base_of(kind).__name__ == kind.capitalize()
    assert collecting.kind_of_hook("fusion_losses") is None


# -- hooks -----------------------------------------------------------------------------


def test_classes_are_returned_with_their_kind_in_order(manager):
    module = module_of(
        fusion_strategies=lambda: (cls for cls in (Sum, Other)),  # any iterable
        fusion_balancers=lambda: (Odd,),
    )
    uses, result = collected(module, manager)
    assert uses == []
    assert [pair for pair in result if pair[0] == "strategy"] == [
        ("strategy", Sum),
        ("strategy", Other),
    ]
    assert ("balancer", Odd) in result and len(result) == 3


def test_an_empty_list_is_valid(manager):
    assert collected(module_of(fusion_strategies=lambda: []), manager) == ([], [])


def test_only_the_hooks_of_the_module_are_called(manager):
    """Another module, even a broken one, has no effect."""

    def fails():
        raise AssertionError("asked")

    collecting.register(module_of("broken", fusion_strategies=fails), "broken", manager)
    assert collected(module_of(fusion_strategies=lambda: [Sum]), manager) == (
        [],
        [("strategy", Sum)],
    )


def test_a_hook_receives_the_arguments_in_its_signature(monkeypatch):
    @hooks.hookspec
    def fusion_strategies(modalities, corpora):
        """Return strategies, given arguments of a possible later version."""

    monkeypatch.setattr(hooks, "fusion_strategies", fusion_strategies)
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    recorded = []
    module = module_of(fusion_strategies=lambda modalities: recorded.append(modalities) or [Sum])
    collecting.register(module, "mine", manager)
    available = {"modalities": ("mel",), "corpora": ()}
    assert list(collecting.classes_of(module, manager, available)) == [("strategy", Sum)]
    assert recorded == [("mel",)]


REFUSED = {
    "exit": (
        lambda: exit("no licence"),
        "its hook fusion_strategies raised SystemExit: no licence",
    ),
    "class": (lambda: Sum, "returned the class Sum, and must return a list of Strategy classes."),
    "nothing": (lambda: None, "returned None, and must return a list of Strategy classes."),
    "other kind": (lambda: [Sum, Odd], "returned the class Odd, which is not a Strategy class."),
    "text": (lambda: "Sum", "returned 'S', which is not a Strategy class."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_failing_hook_is_named(case, manager):
    function, reason = REFUSED[case]
    with pytest.raises(BrokenPluginError) as caught:
        collected(module_of(fusion_strategies=function), manager)
    assert reason in caught.value.message
    assert caught.value.hook == "fusion_strategies"


def test_a_class_of_another_kind_is_reported_with_its_hook(manager):
    with pytest.raises(BrokenPluginError) as caught:
        collected(module_of(fusion_strategies=lambda: [Odd]), manager)
    assert caught.value.hint == "A balancer is registered by fusion_balancers."


def test_an_unusable_class_is_named_with_its_hook(manager):
    class Flat(Branch):
        name = "flat"

        def __init__(self, shape, size: int = 8):
            super().__init__(shape, size)

    with pytest.raises(BrokenPluginError) as caught:
        collected(module_of(fusion_branches=lambda: [Flat]), manager)
    assert caught.value.message == (
        "its class Flat (of fusion_branches) has no parameter 'dim', which fusion gives to every "
        "branch."
    )
    assert caught.value.hook == "fusion_branches"


def test_a_module_without_hooks_is_refused(manager):
    with pytest.raises(BrokenPluginError, match="it has no function marked @hookimpl"):
        collecting.register(ModuleType("mine"), "mine", manager)


def test_a_hook_of_a_later_version_can_be_optional(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        a_sum(name="their_healthy")
        + "\n@hookimpl(optionalhook=True)\ndef fusion_losses():\n    return 1 / 0\n"
    )
    assert Registry([str(file)], strict=True).strategy("their_healthy")


def test_a_plugin_that_pluggy_refuses_is_reported_with_its_message(installed):
    installed({"wraps": a_sum().replace("@hookimpl", "@hookimpl(wrapper=True)")})
    (problem,) = Registry().problems
    assert str(problem) == (
        "plugin 'wraps' (fusion-wraps 2.1) was skipped: pluggy rejects it: Declared as "
        "wrapper=True or hookwrapper=True but function is not a generator function."
    )


# -- changed hooks -----------------------------------------------------------------------


BOTH = """
from fusion import Strategy, hookimpl

class {cls}(Strategy):
    name = "{cls}".lower()

@hookimpl
def fusion_strategies({argument}):
    {cls}.told = {told}
    return [{cls}]
"""


def test_a_hook_may_gain_an_argument(tmp_path, monkeypatch):
    """The hook of an old plugin is called without the argument, that of a new plugin with it."""

    @hooks.hookspec
    def fusion_strategies(modalities):
        """Return strategies, as in a later version."""

    monkeypatch.setattr(hooks, "fusion_strategies", fusion_strategies)
    monkeypatch.setitem(registry.ARGUMENTS, "modalities", lambda _: ("mel", "video"))
    files = []
    for cls, argument, told in [("Old", "", "None"), ("New", "modalities", "modalities")]:
        files.append(tmp_path / f"{cls.lower()}.py")
        files[-1].write_text(BOTH.format(cls=cls, argument=argument, told=told))
    result = Registry([str(file) for file in files], strict=True)
    assert result.strategy("old").told is None
    assert result.strategy("new").told == ("mel", "video")
    assert result.strategy("gated")  # built-in plugins do not have the argument either


def test_an_argument_of_a_hook_may_be_deprecated(tmp_path, monkeypatch):
    """A plugin with the argument works and is reported; a plugin without it is not affected."""
    missing = DeprecationWarning("the argument modalities of fusion_strategies goes in version 3")

    @hooks.hookspec(warn_on_impl_args={"modalities": missing})
    def fusion_strategies(modalities):
        """Return strategies, as in an earlier version."""

    monkeypatch.setattr(hooks, "fusion_strategies", fusion_strategies)
    monkeypatch.setitem(registry.ARGUMENTS, "modalities", lambda _: ("mel",))
    files = []
    for cls, argument in [("New", ""), ("Old", "modalities")]:
        files.append(str(tmp_path / f"{cls.lower()}.py"))
        told = argument or "None"
        Path(files[-1]).write_text(BOTH.format(cls=cls, argument=argument, told=told))
    result = Registry(files, strict=True)
    assert result.strategy("new").told is None
    assert result.strategy("old").told == ("mel",)
    assert [str(d) for d in result.deprecations] == [
        f"plugin 'old' ({files[1]}) should be updated: {missing}."
    ]


def test_a_hook_may_be_renamed(tmp_path, monkeypatch):
    @hooks.renamed_hook("fusion_strategies", gone_in=3)
    def fusion_joiners():
        """Return strategies, under the earlier name."""

    monkeypatch.setattr(hooks, "fusion_joiners", fusion_joiners, raising=False)
    file = tmp_path / "mine.py"
    text = (V1 / "strategy.py").read_text()
    file.write_text(text.replace("def fusion_strategies", "def fusion_joiners"))
    registry = Registry([str(file)])
    assert registry.strategy("v1_weighted")
    assert [str(d) for d in registry.deprecations] == [
        f"plugin 'mine' ({file}) should be updated: the hook fusion_joiners is now "
        "called fusion_strategies; fusion_joiners will be removed in version 3 of the contract."
    ]
