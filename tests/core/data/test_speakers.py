"""Speakers as people: spellings of names, and people who share a recording."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_clips import clip

from fusion.core.contracts.errors import CorpusError
from fusion.core.data.speakers import (
    check_corpora_apart,
    merge_speakers,
    merged_text,
    spelling_key,
)

SAME = [
    ("Anna01", "anna01"), ("1", "01"), ("1", "001"), ("0", "00"), ("7", "7.0"), ("07", "7.00"),
    (" 7", "7"), ("Anna\tLee", "anna  lee\n"), ("spk_003", "SPK_3"), ("Ses01F", "Ses1F"),
    ("Jos\u00e9", "Jose\u0301"), ("Straße", "STRASSE"), ("İ", "i̇"), ("感01", "感1"),
]  # fmt: skip
DIFFERENT = [
    ("1", "10"), ("10", "100"), ("1", "2"), ("Anna", "Ann"), ("a1", "a_1"), ("1.5", "15"),
    ("7.0", "70"), ("v1.0", "v1"), ("José", "Jose"), ("s1_10", "s1_1"), ("", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_name(one, other):
    assert spelling_key(one) == spelling_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_of_two_speakers(one, other):
    assert spelling_key(one) != spelling_key(other)


@given(st.text(max_size=12))
def test_the_key_of_a_key_is_itself_and_forms_and_blanks_do_not_matter(name):
    key = spelling_key(name)
    assert spelling_key(f" {name}\n") == key
    for form in ("NFC", "NFD"):
        assert spelling_key(unicodedata.normalize(form, name)) == key


def test_people_are_merged_within_their_corpus_only():
    clips = [clip("a", "1", "sad"), clip("b", "01", "sad"), clip("a", "2", "sad")]
    assert merge_speakers(clips, []) == (clips, {})


def test_names_and_recordings_are_merged_together():
    names = ["Eve", "eve", "Bob", "dan", "zoe"]
    clips = [clip("x", name, "sad", take) for take, name in enumerate(names)]
    merged, people = merge_speakers(clips, [(1, 2)])  # eve and Bob share a recording
    assert [c.speaker for c in merged] == ["Bob", "Bob", "Bob", "dan", "zoe"]
    assert people == {"x": (("Bob", "Eve", "eve"),)}
    assert [c.name for c in merged] == [c.name for c in clips]
    again, people_again = merge_speakers(clips[::-1], [(3, 2)])
    assert again == merged[::-1] and people_again == people


def test_the_line_about_merged_speakers_is_bounded():
    assert merged_text({}) == ""
    assert merged_text({"x": (("Anna01", "anna01"), ("01", "1"))}) == (
        "speakers that are one person: Anna01 = anna01; 01 = 1"
    )
    two = merged_text({"a": (("1", "2"),), "b": (("3", "4"),)})
    assert two == "speakers that are one person: a/1 = 2; b/3 = 4"
    many = {"x": tuple((f"{i}", f"0{i}") for i in range(1, 9))}
    assert merged_text(many).endswith("; 5 = 05; and 3 more")
    long = {"x": (tuple("abcdefgh"),)}
    assert merged_text(long).endswith(": a = b = c = d = e (and 3 more names)")


def test_corpora_that_share_recordings_are_named_with_the_first_pair():
    clips = [clip("a", "1", "sad"), clip("a", "2", "sad"), clip("b", "x", "sad"),
             clip("b", "y", "sad"), clip("c", "z", "sad")]  # fmt: skip
    check_corpora_apart(clips, [(0, 1), (2, 3)])
    with pytest.raises(CorpusError) as caught:
        check_corpora_apart(clips, [(0, 2), (1, 3), (3, 4)])
    assert "The corpora 'a' and 'b' share 2 recordings" in caught.value.message
    assert "First: a/1/sad-0.wav (a/1/sad-0.wav) is b/x/sad-0.wav" in caught.value.message
    assert "--data of a or of b" in caught.value.hint
