"""Renamed members of a contract: both names work, and the old name warns."""

import warnings

import pytest

from fusion.core.contracts.data import Plugin
from fusion.core.contracts.renamed import old_names, renamed, uses_of


class Thing(Plugin):
    """A contract with the method `go`, once `run`, and the attribute `speed`, once `pace`."""

    speed = 1
    pace = renamed("speed", gone_in=3)

    def go(self):
        return ["go"]

    run = renamed("go", gone_in=2)


def test_a_class_with_new_names_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class New(Thing):
            speed = 2

            def go(self):
                return [*super().go(), "new"]

        assert (New().go(), New().speed, uses_of(New)) == (["go", "new"], 2, [])


def test_the_warning_names_class_member_and_version_and_the_file_of_the_class():
    with pytest.warns(DeprecationWarning) as caught:

        class Old(Thing):
            def run(self):
                return "old"

    (warning,) = caught
    assert str(warning.message) == (
        "Old.run is now called go; run will be removed in version 2 of the contract."
    )
    assert warning.filename == __file__
    assert Old().go() == Old().run() == "old"


def test_an_attribute_may_be_renamed():
    with pytest.warns(DeprecationWarning, match="Old.pace is now called speed"):
        Old = type("Old", (Thing,), {"pace": 7})
    assert (Old.speed, Old().speed, Thing.speed) == (7, 7, 1)
    with pytest.warns(DeprecationWarning, match="Thing.pace is now called speed"):
        assert Thing().pace == 1


def test_uses_of_old_names_are_listed_including_inherited_ones():
    assert {name: old.new for name, old in old_names(Thing).items()} == {
        "pace": "speed",
        "run": "go",
    }
    with pytest.warns(DeprecationWarning):
        Old = type("Old", (Thing,), {"run": lambda self: ["old"]})
    Newer = type("Newer", (Old,), {"speed": 3})
    expected = ["Old.run is now called go; run will be removed in version 2 of the contract"]
    assert uses_of(Old) == uses_of(Newer) == expected
    assert uses_of(Thing) == []


# -- the renamed member of the contracts -----------------------------------------------


def test_reading_an_old_name_returns_the_member_of_the_new_name():
    from fusion import Balancer

    class New(Balancer):
        def representations(self, representations, step):
            return "new"

    with pytest.warns(DeprecationWarning, match="will be removed in version 2"):
        assert New().embeddings({}, None) == "new"
    with pytest.warns(DeprecationWarning):
        assert Balancer.embeddings is Balancer.representations


def test_a_class_with_both_names_is_called_by_the_new_one():
    from fusion import Balancer

    with pytest.warns(DeprecationWarning):

        class Both(Balancer):
            def embeddings(self, representations, step):
                return "old"

            def representations(self, representations, step):
                return "new"

    assert Both().representations({}, None) == "new"
    assert Both().embeddings({}, None) == "old"  # the class's own method


def test_a_subclass_of_an_old_class_may_use_either_name():
    from fusion import Balancer

    with pytest.warns(DeprecationWarning):

        class Old(Balancer):
            def embeddings(self, representations, step):
                return ["old"]

        class Older(Old):
            def embeddings(self, representations, step):
                return [*super().embeddings(representations, step), "older"]

    class Newer(Old):
        def representations(self, representations, step):
            return [*super().representations(representations, step), "newer"]

    assert Older().representations({}, None) == ["old", "older"]
    assert Newer().representations({}, None) == ["old", "newer"]
