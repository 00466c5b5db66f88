from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fusion.cache.exchange.tables import read_table
from fusion.core.contracts.errors import CacheError

ALIASES = {"path": ("wav", "file"), "start": ("begin",)}


def table(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("wav,begin,x\na b.wav,1.5,\n", "t.csv"),
        ("\ufeffWAV; Begin ;x\n a b.wav;1.5;\n\n;;\n", "t.csv"),
        ("wav\tbegin\tx\r\na b.wav\t1.5\t\r\n", "t.tsv"),
    ],
)
def test_aliases_of_columns_are_resolved(tmp_path: Path, text: str, name: str) -> None:
    result = read_table(table(tmp_path, text, name), ALIASES)
    assert result.columns == ("path", "start", "x")
    (row,) = result.rows
    assert row.cells == {"path": "a b.wav", "start": "1.5"}
    assert row.location == f"{tmp_path / name}, line 2"
    assert row.number("start") == 1.5 and row.number("x") is None


def test_the_name_of_a_column_has_priority_over_aliases(tmp_path: Path) -> None:
    result = read_table(table(tmp_path, "wav,file,path\n1,2,3\n"), ALIASES)
    assert result.columns == ("wav", "file", "path")
    assert result.rows[0].get("path") == "3"


def test_line_numbers_are_those_of_an_editor(tmp_path: Path) -> None:
    result = read_table(table(tmp_path, 'path,x\n\n"a\nb",1\nc,2\n'), ALIASES)
    assert [(row.line, row.get("path")) for row in result.rows] == [(4, "a\nb"), (5, "c")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv holds no rows"),
        ("path,x\n", "t.csv holds no rows"),
        ("path,x\na,1\nb\n", "t.csv, line 3: 1 cells, but the first line names 2 columns"),
        ("path,x,X\na,1,2\n", "t.csv, line 1: Two columns are called 'x'"),
        ('path,x\na,1\n"b,2\n', "t.csv, line 3: unexpected end of data"),
    ],
)
def test_malformed_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CacheError, match=message):
        read_table(table(tmp_path, text), ALIASES)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="not encoded in UTF-8: .* at byte 5"):
        read_table(table(tmp_path, "path\né\n", encoding="latin-1"), ALIASES)


@pytest.mark.parametrize("value", ["x", "nan", "inf", "1,5"])
def test_invalid_numbers(tmp_path: Path, value: str) -> None:
    (row,) = read_table(table(tmp_path, f"path;start\na;{value}\n"), ALIASES).rows
    with pytest.raises(
        CacheError, match=f"t.csv, line 2: Column start holds '{value}', which is not"
    ):
        row.number("start")


# -- dialects --------------------------------------------------------------------------

DIALECTS = {
    "sep line": "sep=;\nwav;x\na,b.wav;1\n",
    "bar": "wav|x\na,b.wav|1\n",
    "quoted header": '"wav","x, in m"\n"a,b.wav",1\n',
    "backslash": 'wav,x\n"a,b.wav","say \\"a\\", b"\n',
    "UTF-16": "wav\tx\na,b.wav\t1\n",
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_dialects(tmp_path: Path, kind: str) -> None:
    encoding = "utf-16" if kind == "UTF-16" else "utf-8"
    result = read_table(table(tmp_path, DIALECTS[kind], encoding=encoding), ALIASES)
    assert [row.get("path") for row in result.rows] == ["a,b.wav"]
    assert result.roles == {"path": "wav"} and len(result.columns) == 2


def test_a_tsv_file_without_quotation_marks(tmp_path: Path) -> None:
    text = 'wav\ttext\na.wav\t"Hello" he said\nb.wav\t"\n'
    result = read_table(table(tmp_path, text, "t.tsv"), ALIASES)
    assert [row.get("text") for row in result.rows] == ['"Hello" he said', '"']


def test_json_as_pandas_writes_it(tmp_path: Path) -> None:
    records = '[{"wav": "a.wav", "x": 1.0}, {"wav": "b.wav", "x": null}]'
    columns = '{"wav": {"0": "a.wav", "1": "b.wav"}, "x": {"0": 1, "1": null}}'
    for number, text in enumerate((records, columns)):
        result = read_table(table(tmp_path, text, f"{number}.json"), ALIASES)
        assert [row.cells for row in result.rows] == [{"path": "a.wav", "x": "1"},
                                                      {"path": "b.wav"}]  # fmt: skip
    for text, message in (("[1]", "not a list of JSON objects"), ("[" * 100_000, "not valid JSON")):
        with pytest.raises(CacheError, match=message):
            read_table(table(tmp_path, text, "bad.json"), ALIASES)


def test_unknown_suffixes_and_missing_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CacheError, match=r"t.pkl is not a table. Accepted suffixes: .csv"):
        read_table(table(tmp_path, "x", "t.pkl"), ALIASES)
    for name, extra in (("t.parquet", "parquet"), ("t.xlsx", "excel")):
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        monkeypatch.setitem(sys.modules, "openpyxl", None)
        with pytest.raises(CacheError, match="needs the package") as caught:
            read_table(table(tmp_path, "x", name), ALIASES)
        assert caught.value.hint == f"pip install 'modal-fusion[{extra}]'"


@pytest.mark.parametrize("name", ["t.parquet", "t.xlsx"])
def test_files_of_another_format_are_refused(tmp_path: Path, name: str) -> None:
    _ = [pytest.importorskip("openpyxl"), pytest.importorskip("pyarrow")]
    with pytest.raises(CacheError, match=rf"{name}: It can't be read as"):
        read_table(table(tmp_path, "wav,x\n", name), ALIASES)
