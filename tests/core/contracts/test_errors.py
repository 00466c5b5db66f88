"""The hierarchy of errors: classes, messages and pickling."""

import pickle
import re

import pytest

from fusion.core.contracts import errors
from fusion.core.contracts.errors import (
    FusionError,
    MissingModalityError,
    RecordingError,
    TrainingError,
    UnknownNameError,
    UserError,
)


def drawn_tree():
    """Return the base of each error according to the module's docstring."""
    above, path = {}, []
    for line in errors.__doc__.splitlines():
        if result := re.match(r" {4}([ │├└─]*)([A-Z]\w+Error)\b", line):
            depth = len(result[1]) // 4
            path = [*path[:depth], result[2]]
            above[result[2]] = path[-2] if depth else None
    return above


def test_the_hierarchy_in_the_docstring_is_that_of_the_classes():
    above = drawn_tree()
    assert set(above) == set(errors.__all__)
    for name, parent in above.items():
        cls = getattr(errors, name)
        expected = Exception if parent is None else getattr(errors, parent)
        assert cls.__bases__[0] is expected, name


def test_user_errors_exit_with_2_and_failed_runs_with_1():
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__}
    assert {name for name, code in codes.items() if code == 1} == {"FusionError", "TrainingError"}
    assert set(codes.values()) == {1, 2}
    assert not issubclass(TrainingError, UserError)


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [
        ("gatd", ["sum", "gated"], "no strategy 'gatd'. Did you mean 'gated'? Known: gated, sum."),
        ("gated", ["gates", "gatd", "gated2"], "'gated'. Did you mean 'gated2' or 'gatd'? Known: "),
        ("xyz", iter(["sum", "gated"]), "There is no strategy 'xyz'. Known: gated, sum."),
        ("xyz", (), "There is no strategy 'xyz'. Known: none."),
    ],
)
def test_an_unknown_name_is_reported_with_the_known_ones(name, reference, message):
    assert message in str(UnknownNameError("strategy", name, reference))


def test_a_hint_is_on_a_separate_line():
    assert str(FusionError("Broken.")) == "Broken."
    assert str(UnknownNameError("strategy", "x", ["sum"], hint="List them.")) == (
        "There is no strategy 'x'. Known: sum.\n  hint: List them."
    )


def test_an_error_can_be_pickled_completely():
    """The constructor of UnknownNameError takes other arguments than the message."""
    error = UnknownNameError("strategy", "gatd", ["gated"], hint="List them.")
    error.clip = "a.wav"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is UnknownNameError
    assert (str(again), again.hint, again.clip) == (str(error), "List them.", "a.wav")


def test_a_missing_modality_is_a_recording_error_and_absent():
    from fusion.cache.errors import Absent

    for kind in (RecordingError, Absent):
        with pytest.raises(kind):
            raise MissingModalityError("no transcript")
