"""Leakage and the conclusions from it, on clips and figures made by hand."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from report_runs import write_run

from fusion import Clip, Recording
from fusion.core.contracts.errors import RunError
from fusion.core.data.corpora import Dataset
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.runs.outcome.results import ModelResult
from fusion.core.runs.result import RunResult
from fusion.core.runs.run import Run
from fusion.core.toolkit.intervals import Comparison, Interval
from fusion.core.workflows.audit_results import (
    Audit,
    Column,
    Leakage,
    column_of,
    conclude_audit,
    flattery_sentence,
    independent,
    leakage,
    remarks,
    table_rows,
)

NAN = float("nan")

# -- leakage -------------------------------------------------------------------------


def clip(name: str, speaker: str, corpus: str = "a", sentence: str = "") -> Clip:
    return Clip(
        Recording(Path(name)), name, "x", speaker, corpus, attributes={"sentence": sentence}
    )


def data_of(clips: list[Clip], keys: list[str], *splits: tuple[list[int], list[int]]) -> RunData:
    """Return run data with splits (train, test), no validation, and no attributes, as stored."""
    return RunData(
        tuple(replace(c, attributes={}) for c in clips),
        tuple(keys),
        np.zeros(len(clips), np.int64),
        ("x", "y"),
        tuple(
            Split(np.array(train), np.array([], np.int64), np.array(test), fold, False)
            for fold, (train, test) in enumerate(splits)
        ),
    )


def test_leakage_by_hand():
    clips = [
        clip("0", "s", sentence="hello"),  # in training
        clip("1", "t", sentence="bye"),  # in training
        clip("2", "s", sentence="bye"),  # known speaker, known sentence
        clip("3", "u", sentence="HELLO "),  # known sentence in another case
        clip("4", "s", corpus="b", sentence="hello"),  # s and hello of another corpus
        clip("5", "v"),  # the recording of clip 1 under another name
    ]
    data = data_of(clips, ["k0", "k1", "k2", "k3", "k4", "k1"], ([0, 1], [2, 3, 4, 5]))
    assert leakage(data, clips) == Leakage(
        clips=4, speaker=1, sentence=2, known=3, corpus=3, recording=1
    )


def test_leakage_is_summed_over_folds():
    clips = [clip("0", "s"), clip("1", "t"), clip("2", "s"), clip("3", "t")]
    data = data_of(clips, list("abcd"), ([0, 1], [2, 3]), ([1, 3], [0, 2]), ([2, 3], [0, 1]))
    # Fold 0: both speakers are known. Fold 1: s is not. Fold 2: both are.
    assert leakage(data, clips) == Leakage(6, 4, 0, 0, 6, 0)


# -- sentences -----------------------------------------------------------------------


def column(split: str, uar: Interval, *, leak: Leakage, train: int = 100) -> Column:
    model = ModelResult("mel", uar, uar, 0.5, 0.6, (uar.value,))
    apart = split in ("speaker", "corpus")
    return Column(split, Run(Path("runs") / split), 1, train, leak, (model,), apart)


def audit_of(
    flattery: dict[str, Comparison], *columns: Column, same: bool = False, **refused: str
) -> Audit:
    return Audit(columns, refused, flattery, same, synthetic=False)


def difference(value: float, low: float, high: float) -> Comparison:
    return Comparison(value, low, high, NAN, 6, 0.95)


KNOWN = column("random", Interval(0.7, 0.6, 0.8, 0.95, 6), leak=Leakage(40, 40, 40, 40, 40, 0))
NEW = column("speaker", Interval(0.6, 0.5, 0.7, 0.95, 6), leak=Leakage(40, 0, 40, 40, 40, 0))


def test_the_difference_of_two_independent_scores():
    a, b = Interval(0.7, 0.6, 0.78, 0.95, 18), Interval(0.5, 0.44, 0.56, 0.95, 4)
    # 0.2 - sqrt(0.10**2 + 0.06**2), 0.2 + sqrt(0.08**2 + 0.06**2)
    matches = independent(a, b)
    assert matches.difference == pytest.approx(0.2)
    assert matches.low == pytest.approx(0.2 - 0.0136**0.5)
    assert matches.high == pytest.approx(0.3)
    assert np.isnan(matches.p_value) and matches.groups == 4
    assert independent(b, a).low == pytest.approx(-0.3)
    assert np.isnan(independent(a, Interval(0.5, NAN, NAN, 0.95, 1)).low)


def test_the_sentence_on_optimistic_scores():
    output = flattery_sentence(
        audit_of(
            {
                "mel": difference(0.123, 0.081, 0.16),
                "fused": difference(0.09, 0.01, 0.17),
                "persistence": difference(0.012, -0.01, 0.034),
                "ensemble": difference(-0.05, -0.08, -0.02),
            },
            KNOWN,
            NEW,
            same=True,
        )
    )
    assert output == (
        "Compared with the speaker-disjoint split, in points of UAR, the random split flatters mel "
        "by 12.3 [8.1, 16.0], fused by 9.0 [1.0, 17.0]; it understates ensemble by 5.0 [2.0, 8.0]; "
        "it shows no reliable difference for persistence +1.2 [-1.0, +3.4] (paired over the same "
        "clips)."
    )


def test_the_sentence_claims_nothing_without_an_interval():
    output = flattery_sentence(audit_of({"mel": difference(0.3, NAN, NAN)}, KNOWN, NEW))
    assert "flatters" not in output
    assert "mel +30.0 (no interval: one test speaker)" in output
    assert "with --folds K both splits test every clip" in output


@pytest.mark.parametrize(
    ("columns", "missing"), [((KNOWN,), "no speaker."), ((NEW,), "no random.")]
)
def test_the_sentence_needs_both_splits(columns, missing):
    output = flattery_sentence(audit_of({}, *columns))
    assert "is unknown" in output and output.endswith(missing)


def test_remarks_mention_what_the_table_hides():
    copied = column("corpus", KNOWN.models[0].uar, leak=Leakage(40, 0, 40, 40, 0, 3), train=50)
    matches = remarks(audit_of({}, KNOWN, NEW, copied))
    assert len(matches) == 4
    assert "also in training under random (100 % of the clips): there" in matches[0]
    assert "not other corpora" in matches[1]
    assert "(random 100, speaker 100, corpus 50)" in matches[2]
    assert matches[3] == (
        "Under corpus, test clips that are also in training, as the same recording under another "
        "name: 3."
    )
    assert remarks(audit_of({}, NEW)) == []


def test_an_undefined_figure_is_empty_in_csv_and_null_in_json():
    lonely = column("speaker", Interval(0.5, NAN, NAN, 0.95, 1), leak=Leakage(4, 0, 0, 0, 4, 0))
    audit = audit_of({"mel": difference(0.1, NAN, NAN)}, KNOWN, lonely)
    header, _, row = table_rows(audit)
    shown = dict(zip(header, row, strict=True))
    assert shown["uar"] == "0.500000" and shown["uar_low"] == ""
    assert shown["heard_sentence"] == "" and shown["heard_corpus"] == 4
    plain = audit.to_json()
    assert plain["splits"][1]["models"][0]["uar"]["low"] is None
    assert plain["flattery"]["models"]["mel"]["high"] is None
    assert plain["splits"][1]["test_speakers"] == 1


def test_a_remark_counts_clips_that_lack_a_modality():
    audit = replace(audit_of({}, NEW), absent={"video": 3})
    assert remarks(audit)[0].startswith("3 clips have no video. For these clips")
    plain = audit.to_json()
    assert plain["absent"] == {"video": 3} and remarks(audit)[0] in plain["sentences"]
    assert not any("have no" in remark for remark in remarks(audit_of({}, NEW)))


# -- from runs -------------------------------------------------------------------------


def column_from(path: Path, split: str, **run: int | str) -> Column:
    """Return the column of a synthetic run; modality a is wrong about one clip of each part."""
    write_run(path / split, **run)
    result = RunResult.read(Run.open(path / split))
    data = result.run.data
    return column_of(split, result, Dataset(data.clips, data.classes, {}, ("c",)))


def test_a_column_has_the_figures_of_its_run(tmp_path):
    matches = column_from(tmp_path, "speaker", folds=3)
    assert (matches.split, matches.folds, matches.train_clips, matches.test_speakers) == (
        "speaker", 3, 12, 9)  # fmt: skip
    # No test speaker is in training, all clips are from one corpus, and no sentence is known.
    assert matches.leakage == Leakage(36, 0, 0, 0, 36, 0)
    assert [model.name for model in matches.models] == ["a", "b", "fused", "ensemble", "chosen"]
    assert matches.model("b") is matches.models[1]


def test_models_are_compared_over_clips_that_both_splits_tested(tmp_path):
    random, speaker = (column_from(tmp_path, s, folds=3) for s in ("random", "speaker"))
    rows = (random.run.path / "predictions.csv").read_text().splitlines()
    # Under the random split the fused model is always right. Under the other it has 3 errors, all
    # in the first class.
    header = rows[0].split(",")
    model, label, output = (header.index(name) for name in ("model", "label", "predicted"))
    for i, row in enumerate(rows):
        cells = row.split(",")
        if cells[model] == "fused":
            cells[output] = cells[label]
        rows[i] = ",".join(cells)
    random.run.write_text("predictions.csv", "\n".join(rows) + "\n")
    audit = conclude_audit([random, speaker], {"corpus": "one corpus"})
    assert audit.same_clips and audit.refused == {"corpus": "one corpus"}
    assert list(audit.flattery) == ["a", "b", "fused", "ensemble", "chosen"]
    assert audit.flattery["a"].difference == 0 and audit.flattery["a"].p_value == 1
    assert audit.flattery["fused"].difference == pytest.approx(3 / 36)
    assert audit.column("speaker") is speaker and audit.column("sentence") is None
    assert flattery_sentence(audit).endswith("(paired over the same clips).")
    plain = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    assert plain["sentences"] == [flattery_sentence(audit), *remarks(audit)]
    assert [s["speaker_independent"] for s in plain["splits"]] == [False, True]


def test_models_that_tested_other_clips_are_compared_by_their_intervals(tmp_path):
    random = column_from(tmp_path, "random", speaker="t")
    speaker = column_from(tmp_path, "speaker")
    audit = conclude_audit([random, speaker], {})
    assert not audit.same_clips
    a, b = (column.model("b").uar for column in (random, speaker))
    np.testing.assert_equal(astuple(audit.flattery["b"]), astuple(independent(a, b)))
    assert np.isnan(audit.flattery["b"].p_value)


def test_without_both_splits_nothing_is_compared(tmp_path):
    audit = conclude_audit([column_from(tmp_path, "speaker")], {"random": "too few"})
    assert audit.flattery == {} and not audit.same_clips
    assert flattery_sentence(audit).endswith("this audit has no random.")


def test_missing_predictions_of_a_split_are_reported(tmp_path):
    columns = [column_from(tmp_path, split) for split in ("random", "speaker")]
    (columns[1].run.path / "predictions.csv").unlink()
    with pytest.raises(RunError, match="predictions.csv can't be read") as caught:
        conclude_audit(columns, {})
    assert caught.value.hint == (
        f"Delete the folder {columns[1].run.path} and repeat fusion audit, which creates it anew."
    )


def test_the_table_has_a_row_per_split_and_model():
    header, *rows = table_rows(audit_of({}, KNOWN, NEW))
    random, speaker = (dict(zip(header, row, strict=True)) for row in rows)
    assert (random["split"], random["speaker_independent"], random["model"]) == (
        "random", False, "mel")  # fmt: skip
    assert speaker["speaker_independent"] is True and speaker["uar"] == "0.600000"
    assert (random["heard_speaker"], speaker["heard_speaker"]) == (40, 0)
    assert (speaker["train_clips"], speaker["test_clips"], speaker["test_speakers"]) == (
        100, 40, 6)  # fmt: skip
    assert speaker["heard_sentence"] == 40  # 40 of 40 known
