"""Methods of a plugin contract, and those that a plugin overrides."""

import pytest

from fusion import Balancer, Branch, Corpus, Extractor, Strategy
from fusion.core.contracts.data import Plugin
from fusion.core.registry.collecting import HOOKS
from fusion.core.registry.interface import contract_of, holder, methods_of, own_methods


class Mixin:
    """A class that is no plugin."""

    def pool(self, maps):
        return maps


class Mine(Mixin, Branch):
    """A plugin with a method from a class that is no plugin, and a helper method."""

    name = "mine"

    @classmethod
    def accepts(cls, shape):
        return True

    def helper(self):
        return None


class Heir(Mine):
    """Inherits methods and overrides one more."""

    name = "heir"

    def maps(self, x):
        return x


@pytest.mark.parametrize("kind", HOOKS)
def test_a_contract_ends_in_the_class_of_its_kind(kind):
    classes = contract_of(kind)
    assert classes[0] is Plugin
    assert classes[-1].__name__ == kind.capitalize()
    # torch's Module and Python's own classes are not part of the contract.
    assert all(issubclass(cls, Plugin) for cls in classes)


def test_methods_are_in_the_order_of_the_contract():
    assert list(methods_of("corpus")) == ["__init__", "detect", "clips", "pass_over"]
    assert list(methods_of("tracker")) == ["start", "epoch", "finish", "close"]
    assert list(methods_of("branch")) == ["__init__", "accepts", "maps", "pool", "forward"]


def test_a_contract_without_an_init_has_none():
    assert "__init__" not in methods_of("balancer")


def test_methods_are_returned_as_defined_in_their_class():
    assert methods_of("corpus")["detect"] is vars(Corpus)["detect"]
    assert isinstance(methods_of("corpus")["detect"], classmethod)
    assert methods_of("strategy")["forward"] is Strategy.forward


def test_properties_are_included_but_attributes_and_private_names_are_not():
    result = methods_of("extractor")
    assert "processes" in result and isinstance(vars(Extractor)["processes"], property)
    assert not {"name", "shape", "version", "__init_subclass__"} & set(result)


def test_an_old_name_is_listed_under_the_new_name():
    assert "embeddings" in vars(Balancer)
    assert "embeddings" not in methods_of("balancer")
    with pytest.warns(DeprecationWarning, match="now called representations"):

        class Old(Balancer):
            name = "old"

            def embeddings(self, representations, step):
                return representations

    assert own_methods(Old, "balancer") == ["representations"]


def test_own_methods_include_inherited_ones_of_the_contract():
    assert own_methods(Branch, "branch") == []
    assert own_methods(Mine, "branch") == ["accepts", "pool"]
    assert own_methods(Heir, "branch") == ["accepts", "maps", "pool"]


def test_the_holder_is_the_class_that_defines_the_method():
    assert holder(Heir, "maps") is Heir
    assert holder(Heir, "accepts") is Mine
    assert holder(Heir, "pool") is Mixin
    assert holder(Heir, "forward") is None  # defined by the contract
    assert holder(Balancer, "__init__") is None  # defined by Python
