"""Old names in a contract: they work in either direction, and warn."""

import warnings

import pytest

from fusion.core.contracts.data import Plugin
from fusion.core.contracts.renamed import old_names, renamed, uses_of


class Thing(Plugin):
    """A contract whose method `run` is now called `go`, and whose attribute `pace` is `speed`."""

    speed = 1
    pace = renamed("speed", gone_in=3)

    def go(self):
        return ["go"]

    run = renamed("go", gone_in=2)


def test_a_class_that_uses_new_names_only_is_left_in_peace():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class New(Thing):
            speed = 2

            def go(self):
                return [*super().go(), "new"]

        assert (New().go(), New().speed, uses_of(New)) == (["go", "new"], 2, [])


def test_the_warning_says_who_what_and_until_when_and_points_at_the_class():
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


def test_an_attribute_may_have_an_old_name_too():
    with pytest.warns(DeprecationWarning, match="Old.pace is now called speed"):
        Old = type("Old", (Thing,), {"pace": 7})
    assert (Old.speed, Old().speed, Thing.speed) == (7, 7, 1)
    with pytest.warns(DeprecationWarning, match="Thing.pace is now called speed"):
        assert Thing().pace == 1


def test_what_a_class_or_one_above_it_defines_by_an_old_name_is_listed():
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


# -- the one old name that the contracts have ------------------------------------------


def test_reading_an_old_name_gives_what_the_new_one_has():
    from fusion import Balancer

    class New(Balancer):
        def representations(self, representations, step):
            return "new"

    with pytest.warns(DeprecationWarning, match="will be removed in version 2"):
        assert New().embeddings({}, None) == "new"
    with pytest.warns(DeprecationWarning):
        assert Balancer.embeddings is Balancer.representations


def test_a_class_that_has_both_names_is_called_by_the_new_one():
    from fusion import Balancer

    with pytest.warns(DeprecationWarning):

        class Both(Balancer):
            def embeddings(self, representations, step):
                return "old"

            def representations(self, representations, step):
                return "new"

    assert Both().representations({}, None) == "new"
    assert Both().embeddings({}, None) == "old"  # its own, and no business of ours


def test_a_class_made_from_an_old_one_may_use_either_name():
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
