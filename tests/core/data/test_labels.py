"""Labels that are spelled in several ways, and their mapping to classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.data.labels import (
    join_spellings,
    joined_spellings,
    spelling_key,
    spellings_text,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [("angry", "Angry"), ("angry", " angry"), ("angry", "angry\t"), ("hot anger", "Hot_Anger"),
     ("hot anger", "hot-anger"), ("hot anger", "hot  anger"), ("\u00c4rger", "A\u0308rger"),
     ("STRASSE", "stra\u00dfe")],
)  # fmt: skip
def test_case_blanks_and_unicode_form_do_not_distinguish_labels(one, other):
    assert spelling_key(one) == spelling_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("angry", "anger"), ("arger", "\u00e4rger"), ("hotanger", "hot anger"), ("1", "01"),
     ("-", "_"), ("", "-")],
)  # fmt: skip
def test_other_differences_distinguish_labels(one, other):
    assert spelling_key(one) != spelling_key(other)


def test_the_most_frequent_spelling_is_used_and_then_the_first_by_sorting():
    chosen = join_spellings(["angry", "Angry", "Angry", " angry", "Sad", "sad", "calm"])
    assert chosen == {
        "angry": "Angry", "Angry": "Angry", " angry": "Angry", "Sad": "Sad", "sad": "Sad",
        "calm": "calm",
    }  # fmt: skip
    assert joined_spellings(chosen) == {"Angry": (" angry", "angry"), "Sad": ("sad",)}


def test_the_line_shows_blanks():
    text = spellings_text({"Angry": (" angry", "angry"), "Sad": ("sad",)})
    assert text == "labels joined by spelling: Angry = ' angry', 'angry'; Sad = 'sad'"


@given(st.lists(st.text(max_size=4)))
def test_the_spelling_in_use_is_one_of_the_labels_and_the_order_does_not_matter(labels):
    chosen = join_spellings(labels)
    assert set(chosen) == set(labels) and set(chosen.values()) <= set(labels)
    assert join_spellings(reversed(labels)) == chosen
    assert all(chosen[best] == best for best in chosen.values())
