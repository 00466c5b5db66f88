"""``fusion plugins new``: its output and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion.core.cli import run_cli


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_output_of_new(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["plugins", "new", "tracker", "my_table"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "fusion-my-table: tracker 'my_table', in fusion-my-table",
        "",
        "  fusion_my_table.py",
        "  tests/test_my_table.py",
        "  pyproject.toml",
        "  README.md",
        "  .github/workflows/test.yml",
        "  .gitignore",
        "",
        "Next:",
        "",
        "  cd fusion-my-table",
        '  python -m pip install -e ".[test]"',
        "  python -m pytest",
        "  fusion plugins check my_table",
        "  fusion run --tracker my_table --epochs 5",
    ]
    assert Path("fusion-my-table/fusion_my_table.py").is_file()


def test_a_corpus_is_checked_on_its_samples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["plugins", "new", "corpus", "voices", "--dir", "here and now"]) == 0
    output = capsys.readouterr().out
    assert "  cd 'here and now'\n" in output
    assert output.endswith(
        "  python tests/test_voices.py samples\n"
        "  fusion plugins check voices --data samples\n"
        "  fusion run --data voices=samples --epochs 5\n"
    )


def test_a_package_in_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["plugins", "new", "remedy", "rest", "--dir", "."]) == 0
    assert "  cd .\n" not in capsys.readouterr().out
    assert Path("fusion_rest.py").is_file()


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["strategi", "tilt"], ["no kind of plugin 'strategi'", "Did you mean 'strategy'"]),
        (["strategy", "my-gate"], ["'my-gate' can't be the name", "Did you mean my_gate?"]),
        (["branch", "gated"], ["'gated' is taken: it is a strategy of modal-fusion"]),
        (["strategy", "fused"], ["'fused' is reserved"]),
        (
            ["strategy", "tilt", "--dir", "no/such"],
            ["the parent of such, does not exist", "--dir FOLDER"],
        ),
        (["strategy"], ["Missing argument 'NAME'"]),
    ],
)
def test_mistakes_in_new(
    arguments: list[str], output: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["plugins", "new", *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for part in output:
        assert part in error
    assert not list(Path().iterdir())


def test_an_existing_package_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["plugins", "new", "remedy", "rest"]) == 0
    before = Path("fusion-rest/fusion_rest.py").read_bytes()
    assert run_cli(["plugins", "new", "remedy", "rest"]) == 2
    error = capsys.readouterr().err
    assert f"{Path('fusion-rest').resolve()} is not empty" in error
    assert Path("fusion-rest/fusion_rest.py").read_bytes() == before
