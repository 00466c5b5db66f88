"""Plugin hooks: one per kind, and warnings about renamed hooks."""

import inspect

import pluggy
import pytest

from fusion.core.contracts import hooks

KINDS = ("corpora", "extractors", "branches", "strategies", "balancers", "trackers", "remedies")


@pytest.fixture
def old(monkeypatch):
    """Add fusion_joiners, a former name of fusion_strategies."""

    @hooks.renamed_hook("fusion_strategies", gone_in=3)
    def fusion_joiners():
        """Return strategies, under the former name."""

    monkeypatch.setattr(hooks, "fusion_joiners", fusion_joiners, raising=False)


def manager():
    created = pluggy.PluginManager(hooks.PROJECT)
    created.add_hookspecs(hooks)
    return created


def test_there_is_one_hook_per_kind_of_plugin():
    result = {name for name in vars(manager().hook) if name.startswith("fusion_")}
    assert result == {f"fusion_{kind}" for kind in KINDS}


def test_every_hook_is_documented_and_has_known_arguments():
    from fusion.core.registry.registry import ARGUMENTS

    for kind in KINDS:
        hook = getattr(hooks, f"fusion_{kind}")
        assert hook.__doc__.startswith("Return ")
        assert set(inspect.signature(hook).parameters) <= set(ARGUMENTS)


def test_a_renamed_hook_still_works(old):
    plugin = type("Plugin", (), {"fusion_joiners": hooks.hookimpl(lambda self: ["mine"])})()
    result = manager()
    with pytest.warns(DeprecationWarning):
        result.register(plugin)
    result.check_pending()  # raises an error for hooks without a specification
    assert result.hook.fusion_joiners() == [["mine"]]


def test_a_renamed_hook_warns_with_the_new_name_and_the_version(old):
    assert hooks.new_name("fusion_joiners") == "fusion_strategies"
    plugin = type("Plugin", (), {"fusion_joiners": hooks.hookimpl(lambda self: ["mine"])})()
    with pytest.warns(DeprecationWarning) as caught:
        manager().register(plugin)
    assert [str(warning.message) for warning in caught] == [
        "the hook fusion_joiners is now called fusion_strategies; fusion_joiners will be removed "
        "in version 3 of the contract"
    ]


@pytest.mark.parametrize("name", [*(f"fusion_{kind}" for kind in KINDS), "fusion_unheard_of"])
def test_a_current_hook_does_not_warn(name):
    assert hooks.new_name(name) == name
    assert getattr(getattr(hooks, name, None), "fusion_spec", {}).get("warn_on_impl") is None
