"""Calls of methods with the arguments in their signature."""

import pytest

from fusion.core.registry.compat import call


def test_a_method_may_gain_an_argument():

    class Old:
        def epoch(self, event):
            return event

    class New:
        def epoch(self, event, seconds=0.0):
            return event, seconds

    class Any:
        def epoch(self, event, **more):
            return event, more

    def asked(tracker):
        return call(tracker.epoch, 1, seconds=2.5, memory=3)

    assert asked(Old()) == 1
    assert asked(New()) == (1, 2.5)
    assert asked(Any()) == (1, {"seconds": 2.5, "memory": 3})


def test_arguments_of_every_version_are_positional():
    assert call(lambda record: record, {"epoch": 1}, seconds=2.5) == {"epoch": 1}


def test_positional_only_arguments_are_not_passed_by_keyword():
    def epoch(event, seconds=0.0, /):
        return event, seconds

    assert call(epoch, 1, seconds=2.5) == (1, 0.0)


def test_keyword_only_arguments_are_passed_by_keyword():
    def epoch(event, *, seconds):
        return event, seconds

    assert call(epoch, 1, seconds=2.5, memory=3) == (1, 2.5)


def test_without_further_arguments_no_signature_is_needed():
    """Some methods, for example those implemented in C, have no signature."""
    with pytest.raises(ValueError, match="no signature found"):
        call(dict.update, {}, more=1)
    assert call(max, 1, 2) == 2


def test_exceptions_of_a_method_are_not_caught():
    def epoch(event):
        raise KeyError(event)

    with pytest.raises(KeyError, match="1"):
        call(epoch, 1, seconds=2.5)
