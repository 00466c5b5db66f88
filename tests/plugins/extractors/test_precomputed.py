"""The precomputed extractor: features read from a table."""

import csv

import numpy as np
import pytest

from fusion import MissingModalityError, Recording
from fusion.core.contracts.errors import ParameterError
from fusion.core.data.extraction import fingerprint_of, make_extractor
from fusion.core.registry.registry import Registry

CLS = Registry().extractor("precomputed")


@pytest.fixture
def table(tmp_path):
    def write(*rows, name="text.csv", header=("path", "a", "b")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return str(path)

    return write


def made(table, **passed):
    return make_extractor(CLS, {"table": table, **passed})


def test_a_row_is_the_array_of_its_recording(table, tmp_path):
    extractor = made(table(("x.wav", 1.5, -2), ("sub/y.wav", 3, 4)))
    assert extractor.shape == (2,) and extractor.columns == ("a", "b")
    result = extractor.extract(Recording(tmp_path / "x.wav"))
    assert result.dtype == np.float32 and result.tolist() == [1.5, -2]
    assert extractor.extract(Recording(tmp_path / "sub" / "y.wav")).tolist() == [3, 4]
    result[:] = 0  # the extractor returns a copy
    assert extractor.extract(Recording(tmp_path / "x.wav")).tolist() == [1.5, -2]


def test_no_row_or_an_empty_row_is_a_missing_modality(table, tmp_path):
    extractor = made(table(("x.wav", 1, 2), ("y.wav", "", "")))
    for name in ("y.wav", "z.wav"):
        with pytest.raises(MissingModalityError, match=f"text.csv has no row for .*{name}"):
            extractor.extract(Recording(tmp_path / name))


def test_parts_of_a_recording(table, tmp_path):
    header = ("path", "start", "end", "v")
    extractor = made(table(("x.wav", "", 1.5, 7), ("x.wav", 1.5, "", 8), header=header))
    assert extractor.extract(Recording(tmp_path / "x.wav", 0.0, 1.5)).tolist() == [7]
    assert extractor.extract(Recording(tmp_path / "x.wav", 1.5)).tolist() == [8]
    with pytest.raises(MissingModalityError):
        extractor.extract(Recording(tmp_path / "x.wav"))


def test_only_numeric_columns_are_features(table):
    path = table(("x.wav", "hello", 1, 2, "1;2"), header=("file", "words", "t_0", "t_1", "list"))
    assert made(path).columns == ("t_0", "t_1")
    assert made(path, columns="t_1").columns == ("t_1",)
    assert made(path, columns="t_*").columns == ("t_0", "t_1")


def test_root(table, tmp_path):
    (tmp_path / "audio").mkdir()
    extractor = made(table(("x.wav", 1, 2)), root=str(tmp_path / "audio"))
    assert extractor.extract(Recording(tmp_path / "audio" / "x.wav")).tolist() == [1, 2]


def test_paths_are_relative_to_the_folder_of_their_table(table, tmp_path):
    first = made(table(("x.wav", 1, 2)))
    assert first.parameters["root"] == ""
    other = made(**{**first.parameters, "table": table(("y.wav", 3, 4), name="sub/other.csv")})
    assert other.extract(Recording(tmp_path / "sub" / "y.wav")).tolist() == [3, 4]


def test_the_fingerprint_depends_on_the_content_of_the_table_only(table):
    first = fingerprint_of(made(table(("x.wav", 1, 2))))
    moved = fingerprint_of(made(table(("x.wav", 1, 2), name="sub/other.csv")))
    other = fingerprint_of(made(table(("x.wav", 1, 3), name="sub/third.csv")))
    fewer = fingerprint_of(made(table(("x.wav", 1, 2), name="sub/4.csv"), columns="a"))
    assert moved == first
    assert len({first.id, other.id, fewer.id}) == 3


def test_a_table_that_was_edited_is_read_again(table, tmp_path):
    path = table(("x.wav", 1, 2))
    before = fingerprint_of(made(path))
    table(("x.wav", 1, 9))
    extractor = made(path)
    assert fingerprint_of(extractor) != before
    assert extractor.extract(Recording(tmp_path / "x.wav")).tolist() == [1, 9]


WRONG = {
    "no table": ({}, "precomputed needs a table"),
    "missing": ({"table": "nowhere.csv"}, "nowhere.csv can't be read"),
    "twice": ([("x.wav", 1, 2), ("x.wav", 1, 2)], "line 3: an earlier row is for .*x.wav, too"),
    "half empty": (
        [("x.wav", 1, ""), ("y.wav", 1, 2)],
        "line 2: some columns are empty: b",
    ),
    "a typo": (
        [("x.wav", 1, 2), ("y.wav", 1, "3,0"), ("z.wav", 2, 2)],
        "line 3: b is '3,0', but a",
    ),
    "no numbers": ([("x.wav", "u", "v")], "no numeric column"),
    "no path": ([("", 1, 2)], "line 2: the path is missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_refused(table, case):
    passed, message = WRONG[case]
    with pytest.raises(ParameterError, match=message):
        make_extractor(CLS, passed if isinstance(passed, dict) else {"table": table(*passed)})


def test_unknown_and_non_numeric_columns_are_refused(table):
    path = table(("x.wav", 1, "u"))
    with pytest.raises(ParameterError, match=r"no column 'c'; it has: a, b\."):
        made(path, columns="c")
    with pytest.raises(ParameterError, match="Column b holds 'u', which is not a number"):
        made(path, columns="b")


# -- tables as people have them --------------------------------------------------------


def test_labels_speakers_and_row_numbers_are_never_features(table):
    header = ("", "file", "label", "Speaker_ID", "fold", "start", "Unnamed: 7", "loudness")
    path = table((0, "x.wav", 1, 11, 2, "", 0, 0.5), (1, "y.wav", 0, 12, 1, "", 1, 0.25),
                 header=header)  # fmt: skip
    extractor = made(path)
    assert extractor.columns == ("loudness",)
    assert extractor.note == "columns of text.csv that are features (1): loudness"
    assert made(path, columns="fold,loudness").columns == ("fold", "loudness")


def test_opensmile_writes_the_length_of_a_file_as_its_end(table, tmp_path):
    header = ("file", "start", "end", "F0semitoneFrom27.5Hz_sma3nz_amean", "jitter")
    rows = [
        ("x.wav", "0 days 00:00:00", "0 days 00:00:01.898", 31.5, 0.01),
        ("y.wav", "0 days 00:00:00", "0 days 00:00:01", 1, 1),
        ("y.wav", "0 days 00:00:01", "0 days 00:00:02.5", 2, 2),
    ]
    extractor = made(table(*rows, header=header))
    assert extractor.columns == ("f0semitonefrom27.5hz_sma3nz_amean", "jitter")
    whole = extractor.extract(Recording(tmp_path / "x.wav"))
    assert whole.tolist() == pytest.approx([31.5, 0.01])
    assert extractor.extract(Recording(tmp_path / "y.wav", 1.00001, 2.5)).tolist() == [2, 2]
    with pytest.raises(MissingModalityError):  # the file has two rows
        extractor.extract(Recording(tmp_path / "y.wav"))


def test_recordings_are_found_by_trailing_components(table, tmp_path):
    for speaker in ("DC", "JE"):
        (tmp_path / "audio" / speaker).mkdir(parents=True)
        (tmp_path / "audio" / speaker / "a.wav").touch()
    rows = (("C:\\corpus\\DC\\a.wav", 1), ("/old/JE/a.wav", 2))
    extractor = made(table(*rows, header=("Clip", "v")), recording="Clip")
    values = [extractor.extract(Recording(tmp_path / "audio" / s / "a.wav")) for s in ("DC", "JE")]
    assert [v.tolist() for v in values] == [[1], [2]]
    with pytest.raises(ParameterError, match="'a.wav' could be .*DC/a.wav or .*JE/a.wav"):
        made(table(("a.wav", 1), header=("path", "v"), name="b.csv"))


def test_parameters_of_older_runs_give_the_same_fingerprint(table):
    path = table(("x.wav", 1, 2))
    assert fingerprint_of(made(path)) == fingerprint_of(made(path, recording="", ignore=()))
    assert made(path, ignore="b").columns == ("a",)
