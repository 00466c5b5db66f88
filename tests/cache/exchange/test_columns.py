"""Roles of a table's columns."""

import pytest

from fusion.cache.exchange.columns import ColumnChoice, column_names, plain, roles_of, without_index


@pytest.mark.parametrize("name", ["Split_Set", "split set", " SPLIT-SET ", "SplitSet"])
def test_case_blanks_and_punctuation_do_not_matter(name):
    assert plain(name) == "splitset"
    assert roles_of([name], column_names("split"), ColumnChoice()) == {"split": 0}


def test_the_role_has_priority_over_other_names_and_the_user_over_both():
    header = ["file", "path", "emotion", "Label", "mood"]
    aliases = column_names("path", "label")
    assert roles_of(header, aliases, ColumnChoice()) == {
        "path": 1,
        "label": 3,
    }
    chosen = ColumnChoice({"label": "MOOD", "sentence": "file"})
    assert roles_of(header, aliases, chosen) == {
        "label": 4, "sentence": 0, "path": 1,
    }  # fmt: skip


def test_a_column_has_one_role():
    aliases = {"start": ("onset",), "name": ("onset",)}
    assert roles_of(["onset"], aliases, ColumnChoice()) == {"start": 0}


def test_a_chosen_column_must_exist():
    with pytest.raises(KeyError, match="mood"):
        roles_of(["file"], {}, ColumnChoice({"label": "mood"}))


def test_row_numbers_of_data_frames_and_ignored_columns_are_not_read():
    header = ["", "Unnamed: 0", "Unnamed: 12", "level_0", " age", "Sex"]
    assert without_index(header, ("sex",)) == ["", "", "", "", "age", ""]
