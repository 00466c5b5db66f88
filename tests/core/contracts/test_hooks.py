"""The hooks: one of each kind, and old names that are told of."""

import inspect

import pluggy
import pytest

from fusion.core.contracts import hooks

KINDS = ("corpora", "extractors", "branches", "strategies", "balancers", "trackers", "remedies")


@pytest.fixture
def old(monkeypatch):
    """A hook that was called fusion_joiners once."""

    @hooks.renamed_hook("fusion_strategies", gone_in=3)
    def fusion_joiners():
        """As it was called."""

    monkeypatch.setattr(hooks, "fusion_joiners", fusion_joiners, raising=False)


def manager():
    made = pluggy.PluginManager(hooks.PROJECT)
    made.add_hookspecs(hooks)
    return made


def test_there_is_a_hook_for_every_kind_of_plugin_and_no_other():
    found = {name for name in vars(manager().hook) if name.startswith("fusion_")}
    assert found == {f"fusion_{kind}" for kind in KINDS}


def test_every_hook_is_documented_and_takes_no_argument_that_is_not_in_the_registry():
    from fusion.core.registry.registry import ARGUMENTS

    for kind in KINDS:
        hook = getattr(hooks, f"fusion_{kind}")
        assert hook.__doc__.startswith("Return ")
        assert set(inspect.signature(hook).parameters) <= set(ARGUMENTS)


def test_an_old_name_is_a_hook_still(old):
    plugin = type("Plugin", (), {"fusion_joiners": hooks.hookimpl(lambda self: ["mine"])})()
    found = manager()
    with pytest.warns(DeprecationWarning):
        found.register(plugin)
    found.check_pending()  # a hook nobody specifies is an error here
    assert found.hook.fusion_joiners() == [["mine"]]


def test_an_old_name_is_told_of_with_its_new_one_and_its_end(old):
    assert hooks.new_name("fusion_joiners") == "fusion_strategies"
    plugin = type("Plugin", (), {"fusion_joiners": hooks.hookimpl(lambda self: ["mine"])})()
    with pytest.warns(DeprecationWarning) as caught:
        manager().register(plugin)
    assert [str(warning.message) for warning in caught] == [
        "the hook fusion_joiners is now called fusion_strategies; fusion_joiners will be removed "
        "in version 3 of the contract"
    ]


@pytest.mark.parametrize("name", [*(f"fusion_{kind}" for kind in KINDS), "fusion_unheard_of"])
def test_of_a_name_that_is_not_old_there_is_nothing_to_tell(name):
    assert hooks.new_name(name) == name
    assert getattr(getattr(hooks, name, None), "fusion_spec", {}).get("warn_on_impl") is None
