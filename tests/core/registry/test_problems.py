"""Descriptions of a plugin's source and of returned values."""

import pytest

from fusion.core.registry.problems import Source, describe_value


def test_texts_and_json_of_a_source():
    source = Source("mine", "fusion-mine", "2.1")
    assert str(source) == "plugin 'mine' (fusion-mine 2.1)"
    assert source.origin == "fusion-mine 2.1"
    assert source.to_json() == {
        "plugin": "mine",
        "distribution": "fusion-mine",
        "distribution_version": "2.1",
    }
    assert str(Source("mine", "./mine.py", "")) == "plugin 'mine' (./mine.py)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (0.5, "0.5"),
        ("warm-up", "'warm-up'"),
        (60 * "x", "text of 62 characters"),
        (int, "the class int"),
        ([1], "a list of 1"),
        ({}, "a dict of 0"),
        (range(3), "a range"),
    ],
)
def test_descriptions_of_returned_values(value, text):
    assert describe_value(value) == text
