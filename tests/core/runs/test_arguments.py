"""Arguments of the Python API: suggestions for wrong ones, and the text of correct ones."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.registry.parameters import as_text, parse_settings
from fusion.core.runs.arguments import (
    check_one_of,
    check_whole,
    check_whole_or_none,
    pairs,
    refuse_unknown,
    settings_texts,
    shortened,
    text_mapping,
    texts,
)


def run(data: str = "", *, balance: str = "", **unknown: int) -> None:
    """Stub of an API function with its arguments."""


def test_a_value_in_a_message_has_at_most_60_characters():
    assert shortened("a" * 58) == f"'{'a' * 58}'"
    assert shortened("a" * 59) == f"'{'a' * 56}..." and len(shortened([1] * 99)) == 60


def test_an_unknown_argument_is_refused_with_a_suggestion():
    refuse_unknown({}, run)
    with pytest.raises(UnknownNameError) as caught:
        refuse_unknown({"balanse": 1}, run)
    assert caught.value.message == (
        "There is no argument of fusion.run() 'balanse'. Did you mean 'balance'? "
        "Known: balance, data."
    )
    assert caught.value.hint is None


def test_a_command_line_option_is_refused_with_its_python_form():
    with pytest.raises(UnknownNameError) as caught:
        refuse_unknown({"resume": "runs/x"}, run)
    assert caught.value.hint == "To resume a run: fusion.resume(RUN)"


@pytest.mark.parametrize("value", [1, -1, 2.0, "2", True, None])
def test_a_value_that_is_no_whole_number_above_the_minimum_is_refused(value):
    with pytest.raises(ParameterError) as caught:
        check_whole(2, jobs=3, folds=value)
    assert caught.value.message == (f"folds must be a whole number of 2 or more, and is {value!r}.")


def test_none_is_accepted_only_for_optional_numbers():
    check_whole(0, seed=0)
    check_whole_or_none(2, folds=None, jobs=2)
    with pytest.raises(ParameterError, match="folds must be"):
        check_whole_or_none(2, jobs=None, folds=1)


def test_an_unknown_choice_is_refused():
    check_one_of("split", "speaker", ["speaker", "random"])
    with pytest.raises(UnknownNameError, match="no choice for split 'speakr'. Did you mean 'spe"):
        check_one_of("split", "speakr", ["speaker", "random"])
    with pytest.raises(UnknownNameError, match="no choice for split 'None'"):
        check_one_of("split", None, ["speaker", "random"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("demo", ("demo",)),
        (Path("a/b"), ("a/b",)),
        (["demo", Path("x")], ("demo", "x")),
        ((name for name in "ab"), ("a", "b")),
        ("", ()),
        ([], ()),
        (["", "a"], ("a",)),
    ],
)
def test_one_text_or_several(value, expected):
    assert texts("data", value) == expected


@pytest.mark.parametrize(("value", "named"), [(3, "3"), (None, "None"), (["a", 3], "3")])
def test_a_value_that_is_no_text_is_refused(value, named):
    with pytest.raises(ParameterError) as caught:
        texts("data", value)
    assert caught.value.message == (
        f"data must be one or several texts or paths, and {named} is neither."
    )


def test_pairs_are_written_as_on_the_command_line():
    assert pairs("branch", {"mel": "crnn", "text": "mlp"}) == ("mel=crnn", "text=mlp")
    assert pairs("dtype", "float16") == ("float16",)
    assert pairs("dtype", None) == ()
    with pytest.raises(ParameterError, match="dtype must be one or several texts"):
        pairs("dtype", 16)


names = st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,4}){1,2}", fullmatch=True)
values = st.integers() | st.booleans() | st.none() | st.lists(st.integers(0, 9), min_size=2)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, values, max_size=4))
def test_settings_survive_conversion_to_text(chosen):
    result = parse_settings(settings_texts(chosen))
    assert {f"{o}.{n}": v for o, inner in result.items() for n, v in inner.items()} == {
        name: as_text(value) for name, value in chosen.items()
    }


@pytest.mark.parametrize(
    ("chosen", "example"),
    [
        ({"train": {"lr": 1}}, 'set={"train.lr": ...}'),
        ({"train": {}}, 'set={"train.NAME": ...}'),
        ({"branch.mel": {"blocks": 2}}, 'set={"branch.mel.blocks": ...}'),
        ({"lr": 1}, 'set={"OWNER.lr": ...}'),
        ({3: 1}, 'set={"OWNER.3": ...}'),
    ],
)
def test_settings_of_another_form_are_refused_with_an_example(chosen, example):
    ((name, value),) = chosen.items()
    with pytest.raises(ParameterError) as caught:
        settings_texts({"train.epochs": 2, **chosen})
    assert f"maps {name!r} to {value!r}" in caught.value.message
    assert example in caught.value.hint


def test_a_mapping_of_texts():
    assert text_mapping("columns", None) == text_mapping("columns", {}) == {}
    assert text_mapping("columns", {"label": "Emo"}) == {"label": "Emo"}
    for value in ("label=Emo", ["label"], {"label": 1}, {1: "label"}):
        with pytest.raises(ParameterError, match="columns must map texts to texts, and is "):
            text_mapping("columns", value)
