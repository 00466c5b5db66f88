"""What an audit found: figures side by side, what leaked, and what may be said of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..contracts import Clip
from ..contracts.errors import RunError
from ..data.absence import absence_text
from ..data.corpora import Dataset
from ..data.dataset import RunData
from ..data.split_modes import MODES, corpus_of, sentence_of, speaker_of
from ..data.task import task_sentence
from ..runs.outcome.results import ModelResult, finite
from ..runs.outcome.test_predictions import SavedPredictions
from ..runs.run import Run
from ..toolkit.intervals import Comparison, Interval, paired_comparison
from .experiment import RunResult


@dataclass(frozen=True, slots=True)
class Leakage:
    """How many test clips have something of theirs in training, over all folds.

    Attributes
    ----------
    clips : int
        Test clips.
    speaker, corpus, recording : int
        Whose speaker, corpus, or very recording (the same samples, whatever the file's name)
        was trained on.
    sentence : int
        Whose sentence was, among those whose sentence is known.
    known : int
        Test clips whose sentence is known.
    """

    clips: int
    speaker: int
    sentence: int
    known: int
    corpus: int
    recording: int


@dataclass(frozen=True)
class Column:
    """One split and what came of it.

    Attributes
    ----------
    split : str
        A mode of :mod:`fusion.core.data.split_modes`.
    run : Run
        Its run directory.
    folds : int
        1 for a single split.
    train_clips : int
        Clips that each model is trained on; the mean over folds.
    leakage : Leakage
        What the test clips share with training.
    models : tuple of ModelResult
        Modalities, fused, ensemble, chosen.
    """

    split: str
    run: Run
    folds: int
    train_clips: int
    leakage: Leakage
    models: tuple[ModelResult, ...]

    @property
    def test_speakers(self) -> int:
        return self.models[0].uar.groups

    def model(self, name: str) -> ModelResult:
        return next(m for m in self.models if m.name == name)


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    columns : tuple of Column
        One per split.
    refused : dict
        Split -> why the clips do not allow it.
    flattery : dict
        Model -> its UAR under the random split minus that under the speaker-disjoint one; empty
        without either.
    same_clips : bool
        Whether these two tested the same clips, so that the differences are paired.
    synthetic : bool
        Whether the clips were generated.
    absent : dict
        Modality -> how many clips lack it; only of modalities that some clip lacks.
    adapt : str
        ``"speaker"`` where features were standardised by each speaker's unlabelled clips.
    """

    columns: tuple[Column, ...]
    refused: dict[str, str]
    flattery: dict[str, Comparison]
    same_clips: bool
    synthetic: bool
    absent: Mapping[str, int] = field(default_factory=dict)
    adapt: str = "none"

    def column(self, split: str) -> Column | None:
        return next((c for c in self.columns if c.split == split), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined figure is None."""
        plain = finite(
            {
                "splits": [_column_json(column) for column in self.columns],
                "not_allowed": self.refused,
                "flattery": {
                    "same_clips": self.same_clips,
                    "models": {name: asdict(c) for name, c in self.flattery.items()},
                },
                "synthetic": self.synthetic,
                "absent": dict(self.absent),
                "task": task_sentence(self.adapt),
                "sentences": [flattery_sentence(self), *remarks(self)],
            }
        )
        assert isinstance(plain, dict)
        return plain


def column_of(split: str, result: RunResult, dataset: Dataset) -> Column:
    """What came of the run of one split."""
    data = result.run.data
    train = [len(s.train) for s in data.splits]
    return Column(
        split,
        result.run,
        len(data.splits),
        round(sum(train) / len(train)),
        leakage(data, dataset.clips),
        result.results.models,
    )


# -- what leaked ---------------------------------------------------------------------


def leakage(data: RunData, clips: Sequence[Clip]) -> Leakage:
    """Count the test clips that share something with training.

    Parameters
    ----------
    data : RunData
        Clips, keys and splits of a run.
    clips : sequence of Clip
        The same clips, or more, with the attributes that a run directory does not keep.
    """
    sentences = {(clip.corpus, clip.name): sentence_of(clip) for clip in clips}
    said = [sentences.get((clip.corpus, clip.name)) for clip in data.clips]
    return Leakage(
        sum(len(split.test) for split in data.splits),
        _in_training(data, [speaker_of(clip) for clip in data.clips]),
        _in_training(data, said),
        sum(said[i] is not None for split in data.splits for i in split.test.tolist()),
        _in_training(data, [corpus_of(clip) for clip in data.clips]),
        _in_training(data, data.keys),
    )


def _in_training(data: RunData, groups: Sequence[Hashable]) -> int:
    """Test clips, over all folds, whose group has a clip in training; None is no group."""
    count = 0
    for split in data.splits:
        heard = {groups[i] for i in split.train.tolist()} - {None}
        count += sum(groups[i] in heard for i in split.test.tolist())
    return count


# -- what it says --------------------------------------------------------------------


def conclude_audit(columns: Sequence[Column], refused: Mapping[str, str]) -> Audit:
    """Compare the random split with the one by speaker, model by model."""
    record = columns[0].run.record  # of the same clips as the others
    audit = Audit(
        tuple(columns), dict(refused), {}, False, record.synthetic, record.absent,
        record.config.adapt,
    )  # fmt: skip
    random, speaker = audit.column("random"), audit.column("speaker")
    if random is None or speaker is None:
        return audit
    one, other = _said(random), _said(speaker)
    same = one.clips == other.clips
    names = [model.name for model in speaker.models]
    if same:
        found = {m: paired_comparison(one.confusions(m), other.confusions(m)) for m in names}
    else:
        found = {m: independent(random.model(m).uar, speaker.model(m).uar) for m in names}
    return replace(audit, flattery=found, same_clips=same)


def _said(column: Column) -> SavedPredictions:
    try:
        return SavedPredictions.read(column.run)
    except RunError as error:
        raise RunError(
            error.message,
            hint=f"Delete the folder {column.run.path} and call fusion audit again: it is made "
            "anew.",
        ) from error


def independent(a: Interval, b: Interval) -> Comparison:
    """The difference of two scores on different clips, with an interval from their intervals.

    Zou and Donner (2008), *Construction of confidence limits about effect measures*, Statistics
    in Medicine 27 (MOVER). It takes the two as independent; the same speakers in both make it
    too wide rather than too narrow, as a rule. There is no p-value.
    """
    difference = a.value - b.value
    low = difference - np.hypot(a.value - a.low, b.high - b.value)
    high = difference + np.hypot(a.high - a.value, b.value - b.low)
    return Comparison(
        difference, float(low), float(high), float("nan"), min(a.groups, b.groups), a.level
    )


def flattery_sentence(audit: Audit) -> str:
    """By how many points the random split flatters each model, and what that is worth."""
    if not audit.flattery:
        missing = [split for split in ("random", "speaker") if audit.column(split) is None]
        return (
            "By how much a random split flatters these models can't be said: that takes the random "
            f"and the speaker-disjoint split, and this audit has no {' and no '.join(missing)}."
        )
    more = [_by(m, c) for m, c in audit.flattery.items() if c.low > 0]
    less = [_by(m, c) for m, c in audit.flattery.items() if c.high < 0]
    open_ = [
        f"{m} {_signed(c)}" for m, c in audit.flattery.items() if not (c.low > 0 or c.high < 0)
    ]
    parts = [
        f"flatters {', '.join(more)}" if more else "",
        f"understates {', '.join(less)}" if less else "",
        f"shows no reliable difference for {', '.join(open_)}" if open_ else "",
    ]
    said = "; it ".join(part for part in parts if part)
    sentence = f"Compared with the speaker-disjoint split, in points of UAR, the random one {said}"
    if audit.same_clips:
        return f"{sentence} (paired over the same clips)."
    return (
        f"{sentence} (the two tested different clips, and the intervals take them as independent; "
        "with --folds K both test every clip)."
    )


def _by(model: str, c: Comparison) -> str:
    size = sorted((abs(c.low), abs(c.high)))
    return f"{model} by {100 * abs(c.difference):.1f} [{100 * size[0]:.1f}, {100 * size[1]:.1f}]"


def _signed(c: Comparison) -> str:
    if np.isnan(c.low):
        return f"{100 * c.difference:+.1f} (no interval: one test speaker)"
    return f"{100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]"


def remarks(audit: Audit) -> list[str]:
    """What has to be known to read the table rightly."""
    found = [sentence] if (sentence := task_sentence(audit.adapt)) else []
    found += absence_text(audit.absent)
    heard = [
        f"{c.split} ({100 * c.leakage.speaker / c.leakage.clips:.0f} % of the clips)"
        for c in audit.columns
        if c.leakage.speaker
    ]
    if heard:
        found.append(
            "Intervals resample test speakers. These were heard in training under "
            f"{' and '.join(heard)}: there an interval covers which of the heard speakers are "
            "tested, and says nothing of new ones."
        )
    if audit.column("corpus") is not None:
        found.append(
            "Under corpus an interval covers other speakers of the tested corpora, not other "
            "corpora."
        )
    sizes = {column.split: column.train_clips for column in audit.columns}
    if min(sizes.values()) < 0.9 * max(sizes.values()):
        listed = ", ".join(f"{split} {clips}" for split, clips in sizes.items())
        found.append(
            f"The splits leave different numbers of clips to train on ({listed}): a part of "
            "the differences may come from that."
        )
    found += [
        f"Under {column.split}, test clips that were trained on as the very same recording under "
        f"another name: {column.leakage.recording}."
        for column in audit.columns
        if column.leakage.recording
    ]
    return found


# -- what is written -----------------------------------------------------------------


def _column_json(column: Column) -> dict[str, Any]:
    return {
        "split": column.split,
        "run": str(column.run.path),
        "speaker_independent": MODES[column.split].speaker_independent,
        "folds": column.folds,
        "train_clips": column.train_clips,
        "test_speakers": column.test_speakers,
        "test_clips_in_training": asdict(column.leakage),
        "models": [asdict(model) for model in column.models],
    }


def table_rows(audit: Audit) -> Iterator[Sequence[Any]]:
    """audit.csv: a row per split and model."""
    yield ["split", "speaker_independent", "model", "uar", "uar_low", "uar_high", "accuracy",
           "macro_f1", "val_uar", "folds", "train_clips", "test_clips", "test_speakers",
           "heard_speaker", "heard_sentence", "heard_corpus", "heard_recording"]  # fmt: skip
    for column in audit.columns:
        leak = column.leakage
        sentence = leak.sentence if leak.known else ""
        for model in column.models:
            figures = [model.uar.value, model.uar.low, model.uar.high, model.accuracy.value,
                       model.macro_f1, model.val_uar]  # fmt: skip
            yield [column.split, MODES[column.split].speaker_independent, model.name,
                   *("" if np.isnan(f) else f"{f:.6f}" for f in figures), column.folds,
                   column.train_clips, leak.clips, column.test_speakers, leak.speaker, sentence,
                   leak.corpus, leak.recording]  # fmt: skip
