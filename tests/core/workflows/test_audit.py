"""What leaked and what may be said of it, on clips and figures made by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion import Clip, Recording
from fusion.core.contracts.errors import ParameterError, SplitError, UnknownNameError
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.outcome.results import ModelResult
from fusion.core.runs.run import Run
from fusion.core.toolkit.intervals import Comparison, Interval
from fusion.core.workflows.audit import plan_audit
from fusion.core.workflows.audit_results import (
    Audit,
    Column,
    Leakage,
    flattery_sentence,
    independent,
    leakage,
    remarks,
    table_rows,
)

NAN = float("nan")

# -- what leaked ---------------------------------------------------------------------


def clip(name: str, speaker: str, corpus: str = "a", sentence: str = "") -> Clip:
    return Clip(
        Recording(Path(name)), name, "x", speaker, corpus, attributes={"sentence": sentence}
    )


def data_of(clips: list[Clip], keys: list[str], *splits: tuple[list[int], list[int]]) -> RunData:
    """Splits as (train, test); nothing validates. Attributes are lost, as in a run directory."""
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
        clip("0", "s", sentence="hello"),  # trained on
        clip("1", "t", sentence="bye"),  # trained on
        clip("2", "s", sentence="bye"),  # its speaker, its sentence
        clip("3", "u", sentence="HELLO "),  # its sentence, whatever the case
        clip("4", "s", corpus="b", sentence="hello"),  # another corpus's s and hello
        clip("5", "v"),  # the recording of clip 1 under another name
    ]
    data = data_of(clips, ["k0", "k1", "k2", "k3", "k4", "k1"], ([0, 1], [2, 3, 4, 5]))
    assert leakage(data, clips) == Leakage(
        clips=4, speaker=1, sentence=2, known=3, corpus=3, recording=1
    )


def test_leakage_counts_every_fold_for_itself():
    clips = [clip("0", "s"), clip("1", "t"), clip("2", "s"), clip("3", "t")]
    data = data_of(clips, list("abcd"), ([0, 1], [2, 3]), ([1, 3], [0, 2]), ([2, 3], [0, 1]))
    # Fold 0: both speakers. Fold 1: s was not trained on. Fold 2: both.
    assert leakage(data, clips) == Leakage(6, 4, 0, 0, 6, 0)


# -- what it says --------------------------------------------------------------------


def column(split: str, uar: Interval, *, leak: Leakage, train: int = 100) -> Column:
    model = ModelResult("mel", uar, uar, 0.5, 0.6, (uar.value,))
    return Column(split, Run(Path("runs") / split), 1, train, leak, (model,))


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
    found = independent(a, b)
    assert found.difference == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - 0.0136**0.5)
    assert found.high == pytest.approx(0.3)
    assert np.isnan(found.p_value) and found.groups == 4
    assert independent(b, a).low == pytest.approx(-0.3)
    assert np.isnan(independent(a, Interval(0.5, NAN, NAN, 0.95, 1)).low)


def test_the_sentence_on_flattery():
    said = flattery_sentence(
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
    assert said == (
        "Compared with the speaker-disjoint split, in points of UAR, the random one flatters mel "
        "by 12.3 [8.1, 16.0], fused by 9.0 [1.0, 17.0]; it understates ensemble by 5.0 [2.0, 8.0]; "
        "it shows no reliable difference for persistence +1.2 [-1.0, +3.4] (paired over the same "
        "clips)."
    )


def test_the_sentence_claims_nothing_without_an_interval():
    said = flattery_sentence(audit_of({"mel": difference(0.3, NAN, NAN)}, KNOWN, NEW))
    assert "flatters" not in said
    assert "mel +30.0 (no interval: one test speaker)" in said
    assert "with --folds K both test every clip" in said


@pytest.mark.parametrize(
    ("columns", "missing"), [((KNOWN,), "no speaker."), ((NEW,), "no random.")]
)
def test_flattery_takes_both_splits(columns, missing):
    said = flattery_sentence(audit_of({}, *columns))
    assert "can't be said" in said and said.endswith(missing)


def test_remarks_say_what_the_table_hides():
    copied = column("corpus", KNOWN.models[0].uar, leak=Leakage(40, 0, 40, 40, 0, 3), train=50)
    found = remarks(audit_of({}, KNOWN, NEW, copied))
    assert len(found) == 4
    assert "heard in training under random (100 % of the clips): there" in found[0]
    assert "not other corpora" in found[1]
    assert "(random 100, speaker 100, corpus 50)" in found[2]
    assert found[3] == (
        "Under corpus, test clips that were trained on as the very same recording under another "
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


# -- which splits the clips allow ----------------------------------------------------


@pytest.fixture
def plan(tmp_path: Path):
    """Plan an audit of a table; no recording is read for it."""

    def planned(*, speakers: int = 6, splits: tuple[str, ...] = (), sentences=0, folds_given=0,
                **config):  # fmt: skip
        """So many sentences or prescribed folds, where the table says them at all."""
        table = [["path", "label", "speaker", "sentence", "fold"]]
        for s, label, take in itertools.product(range(speakers), ("happy", "sad"), range(4)):
            sentence = f"{take % sentences}" if sentences else ""
            fold = f"{s % folds_given}" if folds_given else ""
            table.append([f"{s}-{label}-{take}.wav", label, f"s{s}", sentence, fold])
            (tmp_path / table[-1][0]).touch()
        (tmp_path / "t.csv").write_text("\n".join(map(",".join, table)))
        request = RunConfig((str(tmp_path / "t.csv"),), cache=str(tmp_path / "cache"), **config)
        return plan_audit(request, Registry(), splits)

    return planned


def test_what_the_clips_do_not_allow_is_left_out_with_the_reason(plan):
    planned = plan()
    assert list(planned.plans) == ["random", "speaker"]
    assert list(planned.refused) == ["sentence", "corpus"]
    assert "column called" not in planned.refused["sentence"]
    assert "what is said in every clip" in planned.refused["sentence"]
    assert "at least 2 corpora; there is 1" in planned.refused["corpus"]
    assert [p.config.split for p in planned.plans.values()] == ["random", "speaker"]


def test_every_split_gets_the_folds_that_its_groups_allow(plan):
    planned = plan(sentences=2, folds=5)
    assert {m: len(p.splits) for m, p in planned.plans.items()} == {
        "random": 5,
        "speaker": 5,
        "sentence": 2,
    }


def test_prescribed_folds_are_the_folds_of_all_splits(plan):
    planned = plan(sentences=4, folds_given=3)
    assert {m: len(p.splits) for m, p in planned.plans.items()} == {
        "random": 3,
        "speaker": 3,
        "sentence": 3,
    }


def test_two_speakers_still_allow_the_others(plan):
    planned = plan(sentences=4, speakers=2)
    assert list(planned.plans) == ["random", "sentence"]
    assert "at least 3 speakers" in planned.refused["speaker"]


def test_a_split_that_is_named_must_be_possible(plan):
    with pytest.raises(SplitError, match="2 corpora; there is 1"):
        plan(splits=("speaker", "corpus"))
    assert list(plan(splits=("speaker", "random")).plans) == ["random", "speaker"]
    with pytest.raises(UnknownNameError, match="no split 'speakers'"):
        plan(splits=("speakers",))
    with pytest.raises(ParameterError, match="'random' is named twice"):
        plan(splits=("random", "random"))


def test_more_folds_than_speakers_are_a_mistake(plan):
    with pytest.raises(SplitError, match="at least 20 speakers; there are 6"):
        plan(folds=20)
    # Where speakers would not do anyway, the other splits go on.
    assert list(plan(sentences=4, speakers=2, folds=4).plans) == ["random", "sentence"]


def test_no_split_at_all(plan):
    with pytest.raises(SplitError, match=r"allow no split at all. speaker: .* random: .* corpus: "):
        plan(speakers=1, folds=200)


def test_how_many_clips_lack_what_is_remarked():
    audit = replace(audit_of({}, NEW), absent={"video": 3})
    assert remarks(audit)[0].startswith("3 clips have no video. Alone,")
    plain = audit.to_json()
    assert plain["absent"] == {"video": 3} and remarks(audit)[0] in plain["sentences"]
    assert not any("have no" in remark for remark in remarks(audit_of({}, NEW)))
