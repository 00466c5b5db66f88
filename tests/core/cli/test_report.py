"""``fusion report``, and the report that ends every run."""

import json
import shutil

import pytest

from fusion.core.cli import run_cli


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_a_finished_run_has_a_report(finished):
    html = (finished / "report.html").read_text()
    results = json.loads((finished / "results.json").read_text())
    for model in results["models"]:
        assert f"{100 * model['uar']['value']:.1f} [" in html
    # Arrays come from the cache; each of two clips has one image of mel and six of persistence.
    assert html.count("data:image/png;base64,") == 2 * (1 + 6)
    assert html.count("Euclidean diagram</h4>") == 2
    assert "no longer in the cache" not in html and "no longer exist at their paths" not in html
    assert len(html) < 1_000_000


def test_the_command_writes_the_report_again(copied, finished, capsys):
    before = (copied / "report.html").read_text()
    (copied / "report.html").unlink()
    assert run_cli(["report", str(copied)]) == 0
    assert capsys.readouterr().out == f"report: {copied / 'report.html'}\n"
    # In another folder the page differs only in its name.
    again = (copied / "report.html").read_text().replace(str(copied), str(finished))
    assert again.replace("report: copy", "report: run") == before


def test_the_report_is_written_to_another_file(finished, tmp_path, capsys):
    out = tmp_path / "new" / "page.html"
    assert run_cli(["report", str(finished), "--out", str(out)]) == 0
    assert out.read_bytes() == (finished / "report.html").read_bytes()


def test_a_report_of_several_runs(finished, copied, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(["report", str(finished), str(copied)]) == 0
    assert capsys.readouterr().out == "report: report-comparison.html\n"
    html = (tmp_path / "report-comparison.html").read_text()
    assert "copy minus run: fused</th><td>+0.0</td>" in html
    assert "All settings are equal." in html


def test_a_report_without_cache_and_recordings_omits_only_their_images(copied, tmp_path):
    info = json.loads((copied / "run.json").read_text())
    info["config"]["cache"] = str(tmp_path / "empty")
    (copied / "run.json").write_text(json.dumps(info))
    clips = (copied / "clips.csv").read_text()
    (copied / "clips.csv").write_text(clips.replace(".wav,0.0", "gone.wav,0.0"))
    assert run_cli(["report", str(copied)]) == 0
    html = (copied / "report.html").read_text()
    assert html.count("no longer in the cache") == 2 and "no longer exist at their paths" in html
    assert "data:image/png" not in html and 'id="calibration"' in html


@pytest.mark.parametrize("runs", [["nowhere"], []])
def test_a_folder_without_a_run_is_refused(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(["report", *runs]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(finished, tmp_path, capsys):
    assert run_cli(["report", str(finished), "--out", str(tmp_path)]) == 2
    recorded = capsys.readouterr().err
    assert f"The report {tmp_path} can't be written" in recorded and "--out" in recorded
    assert not list(tmp_path.iterdir())


def test_an_unfinished_run_is_refused(copied, capsys):
    (copied / "results.json").unlink()
    assert run_cli(["report", str(copied)]) == 2
    assert "fusion run --resume" in capsys.readouterr().err


def test_a_report_that_fails_does_not_fail_the_run(copied, monkeypatch, capsys):
    (copied / "report.html").unlink()

    def broken(*_, **__):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("fusion.core.workflows.experiment.write_report", broken)
    assert run_cli(["run", "--resume", str(copied)]) == 0
    recorded = capsys.readouterr()
    assert "can't be written (ZeroDivisionError: by hand)" in recorded.err
    assert f"fusion report {copied}" in recorded.err and "report:" not in recorded.out


def test_no_report_suppresses_the_report(copied, capsys):
    (copied / "report.html").unlink()
    assert run_cli(["run", "--resume", str(copied), "--no-report"]) == 0
    assert not (copied / "report.html").exists() and "report:" not in capsys.readouterr().out
    assert run_cli(["run", "--resume", str(copied)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"report: {copied / 'report.html'}")
