"""``fusion explain`` on a finished run, and requests that are refused."""

import json
import shutil

import pytest
from small_runs import SMALL

from fusion.core.analysis.explain.clips import ClipExplainer
from fusion.core.api import explain
from fusion.core.cli import run_cli
from fusion.core.runs.bundle import write_bundle
from fusion.core.runs.outcome.selection import FoldSelection, Selection
from fusion.core.runs.run import Run


@pytest.fixture(scope="module")
def explained(finished, tmp_path_factory):
    """Content of the output file, computed with few permutations."""
    out = tmp_path_factory.mktemp("explained") / "figures.json"
    code = run_cli(["explain", str(finished), "--permutations", "2", "--out", str(out)])
    assert code == 0
    return json.loads(out.read_text())


def test_figures_of_a_run(explained, finished):
    groups = [(c["group"]["modality"], c["group"]["name"]) for c in explained["contributions"]]
    info = json.loads((finished / "run.json").read_text())

    assert explained["model"] == "fused"
    assert explained["part"] == "test"
    assert explained["modalities"] == ["mel", "persistence"]
    assert groups[:4] == [
        ("mel", None),
        ("persistence", None),
        ("persistence", "Euclidean H0"),
        ("persistence", "Euclidean H1"),
    ]
    assert [name for _, name in groups[-5:]] == ["Euclidean", "temporal", "Wasserstein", "H0", "H1"]
    lines = (finished / "clips.csv").read_text().splitlines()
    assert len(explained["clips"]) == sum(line.endswith(",test") for line in lines)
    assert {clip["label"] for clip in explained["clips"]} == set(info["classes"])


def test_contributions_of_parts_sum_to_the_whole(explained):
    chance = 1 / len(explained["classes"])
    by_name = {(c["group"]["modality"], c["group"]["name"]): c for c in explained["contributions"]}
    wholes = [c for (_, name), c in by_name.items() if name is None]
    channels = [c for (_, name), c in by_name.items() if name and not c["group"]["pooled"]]
    persistence = by_name["persistence", None]

    uar = sum(explained["uar_shapley"].values())
    assert uar == pytest.approx(explained["uar"]["value"] - chance, abs=1e-5)
    for shares in (explained["true"], explained["predicted"]):
        assert sum(shares["values"].values()) == pytest.approx(
            shares["all"] - shares["none"], abs=1e-5
        )
    assert sum(c["signed"] for c in channels) == pytest.approx(persistence["signed"], abs=1e-4)
    assert sum(c["share"] for c in wholes) == pytest.approx(1, abs=1e-4)
    total = sum(c["signed"] for c in wholes)
    assert total == pytest.approx(explained["difference"], abs=explained["worst_gap"] + 1e-4)
    assert explained["worst_gap"] < 0.05


def test_the_output_of_explain(finished, capsys):
    out = finished / "explain.json"
    assert run_cli(["explain", str(finished), "--permutations", "1", "--axis", "mel=time"]) == 0
    printed = capsys.readouterr().out

    assert "fused on 12 test clips of 2 speakers: UAR " in printed
    assert "Shapley values of the modalities (points)" in printed
    assert "  time 0 to 3 " in printed
    assert "    all Wasserstein " in printed
    assert "another part replaces it" in printed
    assert f"every clip's: {out}" in printed
    assert json.loads(out.read_text())["permutations"] == 1
    out.unlink()  # other tests use the same run


def test_an_explanation_is_reproducible(finished, explained):
    again = explain(finished, permutations=2)

    assert {**again.to_json(), "run": ""} == {**explained, "run": ""}


def test_one_modality_on_validation(finished, tmp_path, capsys):
    out = tmp_path / "mel.json"
    code = run_cli(["explain", str(finished), "--model", "mel", "--part", "val", "--json",
                    "--permutations", "1", "--device", "cpu", "--out", str(out)])  # fmt: skip
    printed = json.loads(capsys.readouterr().out)

    assert code == 0
    assert printed == json.loads(out.read_text())
    assert printed["modalities"] == ["mel"]
    assert [c["group"]["modality"] for c in printed["contributions"]] == ["mel"]  # one channel
    assert any("validation scores are optimistic" in note for note in printed["notes"])


def test_a_recording_is_explained_with_the_chosen_model(finished, corpus, capsys):
    file = corpus.parent / "s0-happy-0.wav"
    assert run_cli(["predict", str(finished), str(file), "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert run_cli(["explain", str(finished), "--clip", str(file), "--json"]) == 0
    (clip,) = json.loads(capsys.readouterr().out)["clips"]

    assert clip["label"] == predicted["label"]
    assert clip["probabilities"] == pytest.approx(predicted["probabilities"], abs=1e-5)
    gained = clip["probabilities"][clip["label"]] - clip["none"]
    assert sum(clip["shapley"].values()) == pytest.approx(gained, abs=1e-5)
    wholes = [part for part in clip["parts"] if part["name"] is None]
    total = sum(part["gradients"] for part in wholes)
    assert total == pytest.approx(clip["difference"] + clip["gap"], abs=1e-4)


def test_a_missing_recording_does_not_stop_the_others(finished, corpus, tmp_path, capsys):
    file, missing = corpus.parent / "s1-sad-0.wav", tmp_path / "none.wav"
    out = tmp_path / "clips.json"
    code = run_cli(
        ["explain", str(finished), "--clip", str(missing), "--clip", str(file), "--out", str(out)]
    )
    printed = capsys.readouterr()

    assert code == 2
    assert f"{missing}" in printed.err
    assert f"{file}: " in printed.out
    assert "Contributions to the label " in printed.out
    first, second = json.loads(out.read_text())["clips"]
    assert (first["label"], first["parts"]) == (None, [])
    assert second["error"] is None


@pytest.mark.parametrize(
    ("chosen", "modalities", "note"),
    [
        ("mel", ["mel"], "uses only mel"),
        ("ensemble", ["mel", "persistence"], "can't handle absent modalities"),
        ("fused", ["mel", "persistence"], None),
    ],
)
def test_every_chosen_model_can_be_explained(finished, corpus, tmp_path, chosen, modalities, note):
    shutil.copytree(finished, tmp_path / "run")
    run = Run(tmp_path / "run")
    fold = FoldSelection({}, {"mel": 0.7, "persistence": 0.3}, chosen)
    members = write_bundle(run, Selection((fold,), "mel"))
    run.finish(members, 1.0)

    explainer = ClipExplainer(run)
    (result,) = explainer.explain([corpus.parent / "s0-sad-0.wav"])
    wholes = [part for part in result.parts if part.group.axis is None]

    assert explainer.modalities == list(result.shapley) == modalities
    assert len(explainer.notes) == (note is not None)
    assert note is None or note in explainer.notes[0]
    assert [part.group.modality for part in wholes] == modalities
    total = sum(part.gradients for part in wholes)
    assert total == pytest.approx(result.difference + result.gap, abs=1e-5)
    assert abs(result.gap) < 0.05


@pytest.mark.slow
def test_folds_in_parallel_give_the_same_explanation(corpus, cache, tmp_path):
    out = tmp_path / "run"
    method = ["--folds", "3", "--epochs", "2", "--strategy", "concat", "--quiet", *SMALL]
    passed = ["run", "--data", str(corpus), "--cache", cache, "--out", str(out), *method]
    assert run_cli(passed) == 0

    alone = explain(out, permutations=2)

    assert explain(out, permutations=2, jobs=2).to_json() == alone.to_json()
    assert (alone.folds, alone.speakers, len(alone.clips)) == (3, 9, 54)
    assert "concat can't handle absent modalities" in alone.notes[0]


@pytest.mark.parametrize(
    ("passed", "output"),
    [
        (["--model", "mell"], "no model of this run 'mell'. Did you mean 'mel'"),
        (["--axis", "mel"], "MODALITY=AXIS"),
        (["--axis", "mel=tone"], "no axis of mel 'tone'. Known: channel, frequency, time"),
        (["--axis", "smell=time"], "no modality to divide 'smell'"),
        (["--axis", "mel=time", "--axis", "mel=channel"], "names mel twice"),
        (["--clip", "x.wav", "--part", "val"], "--part has no effect with --clip"),
        (["--out", "no/such/folder.json"], "the folder no/such does not exist"),
        (["--device", "abacus"], "--device abacus can't be used here"),
    ],
)
def test_unknown_names_are_refused(finished, capsys, passed, output):
    assert run_cli(["explain", str(finished), *passed]) == 2
    assert output in capsys.readouterr().err


def test_an_unfinished_run_is_refused(finished, tmp_path, capsys):
    info = json.loads((finished / "run.json").read_text())
    del info["handed_out"]
    (tmp_path / "run.json").write_text(json.dumps(info))

    assert run_cli(["explain", str(tmp_path)]) == 2
    output = capsys.readouterr().err
    assert "is not finished" in output
    assert f"fusion run --resume {tmp_path}" in output
    assert run_cli(["explain", str(tmp_path / "nowhere")]) == 2
    assert "is not a run directory" in capsys.readouterr().err
