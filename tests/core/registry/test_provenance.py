"""Notes on exceptions that plugins raise."""

import copyreg
import pickle
import traceback
import types
from concurrent.futures import ProcessPoolExecutor

import pytest

from fusion.cache.builds.workers import process_pool
from fusion.core.contracts.errors import ParameterError, PluginError
from fusion.core.registry import provenance
from fusion.core.registry.problems import Source
from fusion.core.registry.provenance import (
    Relayed,
    guilt_of,
    message_of,
    name_of,
    note,
    noted,
    register_module,
    relay,
)

THEIRS = """
import functools

from fusion.core.contracts.data import Corpus, Extractor

def helper():
    return {}["key"]

class Pitch(Extractor):
    name = "pitch"

    def extract(self, recording):
        return helper()

    def nested(self):
        return [value for value in map(lambda x: 1 / x, [0])]

    @classmethod
    def detect(cls, path):
        return helper()

    @functools.lru_cache
    def kept(self):
        return helper()

def alone():
    return helper()

def ask(other):
    return other()
"""


def module(name, text=THEIRS):
    created = types.ModuleType(name)
    exec(compile(text, f"/somewhere/{name.replace('.', '/')}.py", "exec"), vars(created))
    return created


@pytest.fixture
def theirs(monkeypatch):
    monkeypatch.setattr(provenance, "_SOURCES", {})
    register_module("theirs", Source("mine", "fusion-mine", "2.1"))
    return module("theirs")


def raised(function, *args):
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_innermost_frame_and_the_class_of_the_called_method(theirs):
    guilt = guilt_of(raised(theirs.Pitch().extract, None))
    assert guilt.source == Source("mine", "fusion-mine", "2.1")
    assert (guilt.part, guilt.method, guilt.place) == (
        "the extractor 'pitch'", "helper", "theirs.py, line 7",
    )  # fmt: skip
    assert str(guilt) == (
        "helper (theirs.py, line 7), the extractor 'pitch' of plugin 'mine' (fusion-mine 2.1)"
    )


def test_nested_functions_and_class_methods_belong_to_the_class(theirs):
    assert guilt_of(raised(theirs.Pitch().nested)).method == "Pitch.nested.<lambda>"
    assert guilt_of(raised(theirs.Pitch().nested)).part == "the extractor 'pitch'"
    assert guilt_of(raised(theirs.Pitch.detect, None)).part == "the extractor 'pitch'"
    assert guilt_of(raised(theirs.Pitch().kept)).part == "the extractor 'pitch'"


def test_a_function_of_the_module_has_no_class(theirs):
    assert str(guilt_of(raised(theirs.alone))) == (
        "helper (theirs.py, line 7), plugin 'mine' (fusion-mine 2.1)"
    )


def test_of_two_plugins_the_inner_one_is_named(theirs):
    register_module("others.deep", Source("other", "fusion-other", "1"))
    other = module("others.deep.inside")
    assert guilt_of(raised(theirs.ask, other.alone)).source.plugin == "other"
    assert guilt_of(raised(other.ask, theirs.alone)).source.plugin == "mine"


def test_an_inherited_method_belongs_to_the_subclass(theirs):
    register_module("others", Source("other", "fusion-other", "1"))
    other = types.ModuleType("others")
    other.Pitch = theirs.Pitch
    exec("class Deeper(Pitch):\n    name = 'deeper'\n", vars(other))
    guilt = guilt_of(raised(other.Deeper().nested))
    assert (guilt.part, guilt.source.plugin) == ("the extractor 'deeper'", "other")


def test_exceptions_from_other_code_have_no_note(theirs):
    error = raised(lambda: 1 / 0)
    assert note(error) is None
    assert not hasattr(error, "__notes__")
    assert message_of(error) == "ZeroDivisionError: division by zero"


def test_the_note_is_added_once_and_is_part_of_the_traceback(theirs):
    def outer():
        with noted(), noted():
            theirs.alone()

    error = raised(outer)
    note(error)
    expected = "Raised in helper (theirs.py, line 7), plugin 'mine' (fusion-mine 2.1)."
    assert error.__notes__ == [expected]
    assert traceback.format_exception(error)[-1].strip() == expected
    assert message_of(error) == f"KeyError: 'key'. {expected}"


def test_the_cause_of_an_exception_is_considered(theirs):
    def wrapped():
        try:
            theirs.alone()
        except KeyError as error:
            raise PluginError("It can't be made.", hint="Mend it.") from error

    error = raised(wrapped)
    assert guilt_of(error).source.plugin == "mine"
    assert message_of(error).startswith("It can't be made. Raised in helper (")


def test_a_message_with_the_note_gets_no_second_one(theirs):
    def wrapped():
        try:
            theirs.alone()
        except KeyError as error:
            raise PluginError(message_of(error)) from error

    error = raised(wrapped)
    assert note(error) is not None
    assert not hasattr(error, "__notes__")


def test_circular_causes_are_handled(theirs):
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert guilt_of(first) is None


# -- between processes ---------------------------------------------------------------------


class TwoArgumentsError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class OpenError(Exception):
    """An exception with an attribute that can't be pickled."""

    def __init__(self, output):
        super().__init__(output)
        self.held = lambda: None


ERRORS = {
    "any": KeyError("key"),
    "ours": ParameterError("No.", hint="Yes."),
    "two": TwoArgumentsError("one", "two"),
    "open": OpenError("said"),
}


def fail(which):
    register_module("theirs", Source("mine", "fusion-mine", "2.1"))
    created = types.ModuleType("theirs")
    created.error = ERRORS[which]
    exec(compile("def fail():\n    raise error\n", "theirs.py", "exec"), vars(created))
    created.fail()


@pytest.mark.parametrize(
    ("which", "kind", "text"),
    [
        ("any", KeyError, "KeyError: 'key'."),
        ("ours", ParameterError, "No."),
        ("two", Relayed, "TwoArgumentsError: one and two."),
        ("open", Relayed, "OpenError: said."),
    ],
)
def test_the_note_survives_pickling(which, kind, text, monkeypatch):
    monkeypatch.setattr(provenance, "_SOURCES", {})
    for cls in [cls for cls in copyreg.dispatch_table if issubclass(cls, BaseException)]:
        monkeypatch.delitem(copyreg.dispatch_table, cls)  # of tblib, which dask imports
    with pytest.raises(kind) as caught:
        relay(fail, which)
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is kind
    expected = "Raised in fail (theirs.py, line 2), plugin 'mine' (fusion-mine 2.1)."
    assert error.__notes__ == [expected]
    assert message_of(error) == f"{text} {expected}"


def test_an_exception_that_can_not_be_unpickled_does_not_end_the_pool():
    with process_pool(1) as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        error = pool.submit(relay, fail, "two").exception()
        assert isinstance(error, Relayed) and guilt_of(error).source.plugin == "mine"
        assert pool.submit(len, "abc").result() == 3


def test_relay_returns_what_the_function_returns():
    assert relay(divmod, 7, 2) == (3, 1)


# -- names ---------------------------------------------------------------------------------


def test_names_of_plugins_in_messages(theirs):
    pitch = theirs.Pitch()
    assert name_of(pitch) == "the extractor 'pitch' of plugin 'mine' (fusion-mine 2.1)"
    assert name_of(theirs.Pitch, capital=True).startswith("The extractor 'pitch' of")
    assert name_of(3) == "the class int"
