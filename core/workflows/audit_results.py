"""Results of a leakage audit: scores by split, leaked test clips, and conclusions."""

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
from ..data.split_modes import corpus_of, mode_of_splits, sentence_of, speaker_of
from ..data.task import task_sentence
from ..runs.outcome.results import ModelResult, finite
from ..runs.outcome.test_predictions import SavedPredictions
from ..runs.run import Run
from ..toolkit.intervals import Comparison, Interval, paired_comparison
from .experiment import RunResult


@dataclass(frozen=True, slots=True)
class Leakage:
    """Number of test clips that share an attribute with a training clip, over all folds.

    Attributes
    ----------
    clips : int
        Test clips.
    speaker, corpus, recording : int
        Test clips whose speaker, corpus, or recording is also in training. Two recordings are the
        same if their content is the same; file names do not matter.
    sentence : int
        Test clips whose sentence is known and is also in training.
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
    """Results under one split.

    Attributes
    ----------
    split : str
        Name of a split mode in :mod:`fusion.core.data.split_modes`.
    run : Run
        Run of the split.
    folds : int
        Number of folds; 1 for a single split.
    train_clips : int
        Number of training clips, mean over folds.
    leakage : Leakage
        Overlap of the test clips with training.
    models : tuple of ModelResult
        Results of the modalities, the fused model, the ensemble and the chosen model.
    speaker_independent : bool
        Whether the split keeps test speakers out of training and validation.
    """

    split: str
    run: Run
    folds: int
    train_clips: int
    leakage: Leakage
    models: tuple[ModelResult, ...]
    speaker_independent: bool

    @property
    def test_speakers(self) -> int:
        """Number of test speakers."""
        return self.models[0].uar.groups

    def model(self, name: str) -> ModelResult:
        """Return the result of the model called `name`."""
        return next(m for m in self.models if m.name == name)


@dataclass(frozen=True)
class Audit:
    """Results of an audit.

    Attributes
    ----------
    columns : tuple of Column
        Results of each split.
    refused : dict
        Reason why a split is impossible, by the name of the split.
    flattery : dict
        UAR of each model under the random split minus its UAR under the speaker-disjoint split.
        Empty if the random or the speaker-disjoint split is missing.
    same_clips : bool
        Whether the random and the speaker-disjoint split tested the same clips. If so, the
        differences in `flattery` are paired.
    synthetic : bool
        Whether the clips were generated.
    absent : dict
        Number of clips that lack each modality. Modalities that every clip has are left out.
    adapt : str
        ``"speaker"`` if features were standardised by each speaker's unlabelled clips.
    """

    columns: tuple[Column, ...]
    refused: dict[str, str]
    flattery: dict[str, Comparison]
    same_clips: bool
    synthetic: bool
    absent: Mapping[str, int] = field(default_factory=dict)
    adapt: str = "none"

    def column(self, split: str) -> Column | None:
        """Return the results under `split`, or None if the audit has no such split."""
        return next((c for c in self.columns if c.split == split), None)

    def to_json(self) -> dict[str, Any]:
        """Return the audit as plain values; an undefined figure is None."""
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
    """Return the results and the leakage of the run of one split."""
    data = result.run.data
    train = [len(s.train) for s in data.splits]
    return Column(
        split,
        result.run,
        len(data.splits),
        round(sum(train) / len(train)),
        leakage(data, dataset.clips),
        result.results.models,
        mode_of_splits(split, result.run.record.split.speaker_independent).speaker_independent,
    )


# -- leakage -------------------------------------------------------------------------


def leakage(data: RunData, clips: Sequence[Clip]) -> Leakage:
    """Count the test clips that share a speaker, sentence, corpus or recording with training.

    Parameters
    ----------
    data : RunData
        Clips, keys and splits of a run.
    clips : sequence of Clip
        The same clips, or more, with the attributes that a run directory does not store.
    """
    by_name = {(clip.corpus, clip.name): sentence_of(clip) for clip in clips}
    sentences = [by_name.get((clip.corpus, clip.name)) for clip in data.clips]
    return Leakage(
        sum(len(split.test) for split in data.splits),
        _in_training(data, [speaker_of(clip) for clip in data.clips]),
        _in_training(data, sentences),
        sum(sentences[i] is not None for split in data.splits for i in split.test.tolist()),
        _in_training(data, [corpus_of(clip) for clip in data.clips]),
        _in_training(data, data.keys),
    )


def _in_training(data: RunData, groups: Sequence[Hashable]) -> int:
    """Count the test clips, over all folds, whose group is also in training; ignore group None."""
    count = 0
    for split in data.splits:
        in_training = {groups[i] for i in split.train.tolist()} - {None}
        count += sum(groups[i] in in_training for i in split.test.tolist())
    return count


# -- conclusions ---------------------------------------------------------------------


def conclude_audit(columns: Sequence[Column], refused: Mapping[str, str]) -> Audit:
    """Compare the random split with the split by speaker, model by model."""
    record = columns[0].run.record  # all columns have the same clips
    audit = Audit(
        tuple(columns), dict(refused), {}, False, record.synthetic, record.absent,
        record.config.adapt,
    )  # fmt: skip
    random, speaker = audit.column("random"), audit.column("speaker")
    if random is None or speaker is None:
        return audit
    one, other = _predictions(random), _predictions(speaker)
    same_clips = one.clips == other.clips
    names = [model.name for model in speaker.models]
    if same_clips:
        flattery = {m: paired_comparison(one.confusions(m), other.confusions(m)) for m in names}
    else:
        flattery = {m: independent(random.model(m).uar, speaker.model(m).uar) for m in names}
    return replace(audit, flattery=flattery, same_clips=same_clips)


def _predictions(column: Column) -> SavedPredictions:
    try:
        return SavedPredictions.read(column.run)
    except RunError as error:
        raise RunError(
            error.message,
            hint=f"Delete the folder {column.run.path} and repeat fusion audit, which creates it "
            "anew.",
        ) from error


def independent(a: Interval, b: Interval) -> Comparison:
    """Return the difference of two scores on different clips, with an interval.

    The method MOVER computes the interval from the intervals of the two scores: Zou and Donner
    (2008), *Construction of confidence limits about effect measures*, Statistics in Medicine 27.
    MOVER assumes independent scores. If both scores are on the same speakers, the interval is
    usually too wide. The p-value is NaN.
    """
    difference = a.value - b.value
    low = difference - np.hypot(a.value - a.low, b.high - b.value)
    high = difference + np.hypot(a.high - a.value, b.value - b.low)
    return Comparison(
        difference, float(low), float(high), float("nan"), min(a.groups, b.groups), a.level
    )


def flattery_sentence(audit: Audit) -> str:
    """Return a sentence with the points of UAR by which the random split overstates each model."""
    if not audit.flattery:
        missing = [split for split in ("random", "speaker") if audit.column(split) is None]
        return (
            "How much a random split flatters these models is unknown: the comparison needs the "
            "random and the speaker-disjoint split, and this audit has no "
            f"{' and no '.join(missing)}."
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
    verdict = "; it ".join(part for part in parts if part)
    sentence = (
        f"Compared with the speaker-disjoint split, in points of UAR, the random split {verdict}"
    )
    if audit.same_clips:
        return f"{sentence} (paired over the same clips)."
    return (
        f"{sentence} (the two splits test different clips, and the intervals assume independence; "
        "with --folds K both splits test every clip)."
    )


def _by(model: str, c: Comparison) -> str:
    size = sorted((abs(c.low), abs(c.high)))
    return f"{model} by {100 * abs(c.difference):.1f} [{100 * size[0]:.1f}, {100 * size[1]:.1f}]"


def _signed(c: Comparison) -> str:
    if np.isnan(c.low):
        return f"{100 * c.difference:+.1f} (no interval: one test speaker)"
    return f"{100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]"


def remarks(audit: Audit) -> list[str]:
    """Return caveats that explain the table of an audit."""
    texts = [sentence] if (sentence := task_sentence(audit.adapt)) else []
    texts += absence_text(audit.absent)
    dependent = [
        f"{c.split} ({100 * c.leakage.speaker / c.leakage.clips:.0f} % of the clips)"
        for c in audit.columns
        if c.leakage.speaker
    ]
    if dependent:
        texts.append(
            "Intervals resample test speakers. Test speakers are also in training under "
            f"{' and '.join(dependent)}: there, intervals do not cover new speakers."
        )
    if audit.column("corpus") is not None:
        texts.append(
            "Under corpus, intervals cover other speakers of the tested corpora, not other corpora."
        )
    sizes = {column.split: column.train_clips for column in audit.columns}
    if min(sizes.values()) < 0.9 * max(sizes.values()):
        listed = ", ".join(f"{split} {clips}" for split, clips in sizes.items())
        texts.append(
            f"The splits have different numbers of training clips ({listed}), which may explain "
            "part of the differences."
        )
    texts += [
        f"Under {column.split}, test clips that are also in training, as the same recording under "
        f"another name: {column.leakage.recording}."
        for column in audit.columns
        if column.leakage.recording
    ]
    return texts


# -- files ---------------------------------------------------------------------------


def _column_json(column: Column) -> dict[str, Any]:
    return {
        "split": column.split,
        "run": str(column.run.path),
        "speaker_independent": column.speaker_independent,
        "folds": column.folds,
        "train_clips": column.train_clips,
        "test_speakers": column.test_speakers,
        "test_clips_in_training": asdict(column.leakage),
        "models": [asdict(model) for model in column.models],
    }


def table_rows(audit: Audit) -> Iterator[Sequence[Any]]:
    """Yield the rows of audit.csv: a header, and one row per split and model."""
    yield ["split", "speaker_independent", "model", "uar", "uar_low", "uar_high", "accuracy",
           "macro_f1", "val_uar", "folds", "train_clips", "test_clips", "test_speakers",
           "heard_speaker", "heard_sentence", "heard_corpus", "heard_recording"]  # fmt: skip
    for column in audit.columns:
        leak = column.leakage
        sentence = leak.sentence if leak.known else ""
        for model in column.models:
            figures = [model.uar.value, model.uar.low, model.uar.high, model.accuracy.value,
                       model.macro_f1, model.val_uar]  # fmt: skip
            yield [column.split, column.speaker_independent, model.name,
                   *("" if np.isnan(f) else f"{f:.6f}" for f in figures), column.folds,
                   column.train_clips, leak.clips, column.test_speakers, leak.speaker, sentence,
                   leak.corpus, leak.recording]  # fmt: skip
