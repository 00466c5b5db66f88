"""Speakers in file names, found by the user's regular expression."""

import pytest

from fusion.core.contracts.errors import CorpusError, ParameterError
from fusion.core.toolkit.patterns import SpeakerPattern


@pytest.mark.parametrize(
    ("pattern", "texts", "speaker"),
    [
        (r"spk(\d+)", ["happy/spk7_1.wav"], "7"),
        (r"(a|b)?/spk(?P<speaker>\d+)", ["happy/spk12_1.wav"], "12"),  # the named group is used
        (r"(\d+)", ["anna", "take 3 of 5"], "3"),  # first match in the first text with a match
        (r"(\d+)", ["1", "2"], "1"),
        (r"spk(\d*)", ["spk", "spk4"], "4"),  # an empty speaker is no match
        (r"x|spk(\d+)", ["x", "spk4"], "4"),  # an unmatched group is no match
    ],
)
def test_the_group_is_the_speaker(pattern, texts, speaker):
    assert SpeakerPattern(pattern, "folder.speaker").find(*texts) == speaker


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "is not a regular expression: missing"), ("anna", "has 0 groups, but needs exactly one"),
     ("(a)(b)", "has 2 groups, but needs exactly one"), ("(?P<who>a)(b)", "has 2 groups")],
)  # fmt: skip
def test_a_pattern_without_exactly_one_group_is_refused(pattern, words):
    with pytest.raises(ParameterError) as error:
        SpeakerPattern(pattern, "folder.speaker")
    assert error.value.message.startswith(f"folder.speaker={pattern!r} {words}")
    if "groups" in words:
        assert r"folder.speaker='spk(\d+)'" in error.value.hint


def test_texts_without_a_speaker_are_quoted():
    pattern = SpeakerPattern("spk([0-9]+)", "table.speaker")
    with pytest.raises(CorpusError) as error:
        pattern.find("a.wav", "anna")
    assert error.value.message == (
        "table.speaker='spk([0-9]+)' finds no speaker in 'a.wav' or 'anna'."
    )
