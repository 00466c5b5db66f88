"""Splits that the clips of an audit allow, and their numbers of folds; no recording is read."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fusion.core.contracts.errors import ParameterError, SplitError, UnknownNameError
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.workflows.audit import plan_audit


@pytest.fixture
def plan(tmp_path: Path):
    """Function that plans an audit of a table; no recording is read."""

    def planned(*, speakers: int = 6, splits: tuple[str, ...] = (), sentences=0, folds_given=0,
                **config):  # fmt: skip
        """Plan an audit; without sentences or folds, these columns of the table are empty."""
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


def test_impossible_splits_are_left_out_with_the_reason(plan):
    planned = plan()
    assert list(planned.plans) == ["random", "speaker"]
    assert list(planned.refused) == ["sentence", "corpus"]
    assert "column called" not in planned.refused["sentence"]
    assert "needs the sentence of every clip" in planned.refused["sentence"]
    assert "at least 2 corpora; there is 1" in planned.refused["corpus"]
    assert [p.config.split for p in planned.plans.values()] == ["random", "speaker"]


def test_every_split_has_as_many_folds_as_its_groups_allow(plan):
    planned = plan(sentences=2, folds=5)
    assert {m: len(p.splits) for m, p in planned.plans.items()} == {
        "random": 5,
        "speaker": 5,
        "sentence": 2,
    }


def test_prescribed_folds_apply_to_all_splits(plan):
    planned = plan(sentences=4, folds_given=3)
    assert {m: len(p.splits) for m, p in planned.plans.items()} == {
        "random": 3,
        "speaker": 3,
        "sentence": 3,
    }


def test_a_published_split_is_audited_if_it_is_named(plan):
    assert "published" not in {**plan(folds_given=3).plans, **plan(folds_given=3).refused}
    planned = plan(folds_given=3, splits=("published", "random"))
    assert list(planned.plans) == ["random", "published"]
    assert [len(p.splits) for p in planned.plans.values()] == [3, 3]
    assert planned.plans["published"].splits[0].speaker_independent
    with pytest.raises(SplitError, match="prescribes neither"):
        plan(splits=("published",))


def test_two_speakers_still_allow_other_splits(plan):
    planned = plan(sentences=4, speakers=2)
    assert list(planned.plans) == ["random", "sentence"]
    assert "at least 3 speakers" in planned.refused["speaker"]


def test_a_requested_split_must_be_possible(plan):
    with pytest.raises(SplitError, match="2 corpora; there is 1"):
        plan(splits=("speaker", "corpus"))
    assert list(plan(splits=("speaker", "random")).plans) == ["random", "speaker"]
    with pytest.raises(UnknownNameError, match="no split 'speakers'"):
        plan(splits=("speakers",))
    with pytest.raises(ParameterError, match="'random' is named twice"):
        plan(splits=("random", "random"))


def test_more_folds_than_speakers_are_refused(plan):
    with pytest.raises(SplitError, match="at least 20 speakers; there are 6"):
        plan(folds=20)
    # If speakers allow no split at all, the other splits remain.
    assert list(plan(sentences=4, speakers=2, folds=4).plans) == ["random", "sentence"]


def test_clips_that_allow_no_split_are_refused(plan):
    with pytest.raises(
        SplitError, match=r"No split of the clips is possible. speaker: .* random: .* corpus: "
    ):
        plan(speakers=1, folds=200)
