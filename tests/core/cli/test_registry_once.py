"""Each command loads the plugins once and uses the same registry throughout."""

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.registry.registry import Registry


@pytest.fixture
def built(monkeypatch):
    """List with the plugin requests of every registry that is created in this process."""
    result = []
    build = Registry.__init__

    def counted(self, requests=(), **options):
        result.append(tuple(requests))
        build(self, requests, **options)

    monkeypatch.setattr(Registry, "__init__", counted)
    return result


@pytest.mark.parametrize(
    "words",
    [
        ["report", "{run}", "--out", "{new}/r.html"],
        ["diagnose", "{run}"],
        ["explain", "{run}", "--permutations", "1", "--out", "{new}/e.json"],
        ["predict", "{run}", "{clip}"],
        ["cache", "why", "{run}"],
        ["run", "--resume", "{run}"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_on_a_finished_run_loads_plugins_at_most_once(
    finished, corpus, tmp_path, built, words
):
    clip = corpus.parent / "s0-sad-0.wav"
    passed = [word.format(run=finished, new=tmp_path, clip=clip) for word in words]
    assert run_cli(passed) == 0
    # A finished run that is resumed needs no plugin.
    assert len(built) == (0 if "--resume" in words else 1)


def test_a_new_run_with_diagnosis_and_report_loads_plugins_once(corpus, cache, tmp_path, built):
    words = ["run", "--data", str(corpus), "--cache", cache, "--out", str(tmp_path / "run"),
             "--epochs", "1", "--jobs", "2", "--quiet", *SMALL]  # fmt: skip
    assert run_cli(words) == 0
    assert (tmp_path / "run/report.html").is_file() and (tmp_path / "run/diagnosis.json").is_file()
    assert len(built) == 1
