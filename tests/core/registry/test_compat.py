"""Methods are called with what their signature names."""

import pytest

from fusion.core.registry.compat import call


def test_a_method_gains_an_argument():

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


def test_what_every_version_has_is_given_by_place_whatever_it_is_called():
    assert call(lambda record: record, {"epoch": 1}, seconds=2.5) == {"epoch": 1}


def test_an_argument_that_goes_by_place_alone_is_not_named():
    def epoch(event, seconds=0.0, /):
        return event, seconds

    assert call(epoch, 1, seconds=2.5) == (1, 0.0)


def test_an_argument_that_goes_by_name_alone_is_named():
    def epoch(event, *, seconds):
        return event, seconds

    assert call(epoch, 1, seconds=2.5, memory=3) == (1, 2.5)


def test_without_more_to_give_the_signature_is_not_asked_for():
    """Some methods, of C for instance, have none."""
    with pytest.raises(ValueError, match="no signature found"):
        call(dict.update, {}, more=1)
    assert call(max, 1, 2) == 2


def test_what_a_method_raises_goes_through():
    def epoch(event):
        raise KeyError(event)

    with pytest.raises(KeyError, match="1"):
        call(epoch, 1, seconds=2.5)
