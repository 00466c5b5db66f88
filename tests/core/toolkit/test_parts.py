"""Names of the parts of a split."""

import pytest

from fusion.core.toolkit.parts import is_numbered, part_in, part_of


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train", "train"), (" Training ", "train"), ("DEV", "val"), ("Development", "val"),
        ("valid", "val"), ("Test1", "test"), ("test_3", "test"), ("evaluation", "test"),
        ("1", None), ("", None), ("contest", None), ("trained", None),
    ],
)  # fmt: skip
def test_part_of(text, part):
    assert part_of(text) == part


@pytest.mark.parametrize(
    ("cells", "result"),
    [
        (["1", "2"], True), (["1.0", "", "2.0"], True), (["", ""], False), ([], False),
        (["1", "train"], False), (["test1"], False), ([".", "1"], False),
    ],
)  # fmt: skip
def test_is_numbered(cells, result):
    assert is_numbered(cells) == result


@pytest.mark.parametrize(
    ("stem", "result"),
    [
        ("train", ("train", "")), ("polish_dev", ("val", "polish")), ("test-a-b", ("test", "a b")),
        ("train_sent_emo", ("train", "sent emo")), ("metadata", None), ("a_train_b", None),
        ("", None),
    ],
)  # fmt: skip
def test_part_in(stem, result):
    assert part_in(stem) == result
