"""Typed content of ``run.json``: a run's request, its features and its chosen model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...cache import Fingerprint
from ..contracts import Clip
from ..contracts.errors import RunError
from ..data.intake import Intake, count_by_corpus
from ..data.split_modes import ModeName
from ..data.windows import LongClips
from ..toolkit.run_files import as_type
from ..training.model import ModelSpec
from .config import RunConfig

FORMAT = 3


# A name without separators and leading dot, so that it can't name another folder.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FOLD = re.compile(r"fold[0-9]{1,6}")
_MOST_FOLDS = 1_000_000


@dataclass(frozen=True)
class FeatureRecord:
    """Fingerprint of one feature of a run.

    Attributes
    ----------
    id : str
        The fingerprint's id, 32 hexadecimal digits.
    """

    id: str
    version: str
    parameters: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: str
    libraries: Mapping[str, str]

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> FeatureRecord:
        """Make the record of a fingerprint, with values that are equal after storage as JSON."""
        parameters = json.loads(json.dumps(dict(fingerprint.parameters)))
        return cls(
            fingerprint.id,
            fingerprint.version,
            parameters,
            fingerprint.shape,
            fingerprint.dtype,
            dict(fingerprint.libraries),
        )

    def fingerprint(self, name: str) -> Fingerprint:
        """Return the fingerprint of the feature called `name`.

        Raises
        ------
        CacheError
            If the record's fields do not form a valid fingerprint.
        """
        return Fingerprint(
            name, self.version, self.parameters, self.dtype, self.shape, self.libraries
        )


@dataclass(frozen=True)
class SplitRecord:
    """Split of a run's clips into training, validation and test parts.

    Attributes
    ----------
    mode : str
        Name of the split mode (:data:`~fusion.core.data.split_modes.MODES`).
    speaker_independent : bool
        Whether test speakers are held out of training and validation, in every fold.
    folds : int
        Number of folds, K.
    digests : tuple of str
        For each fold, a digest of the assignment of clips to parts.
    parts : sequence of mapping
        For each fold, the numbers of clips and speakers in each part.
    """

    mode: ModeName
    speaker_independent: bool
    folds: int
    digests: tuple[str, ...]
    parts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Member:
    """Trained model that is part of the chosen model, with its weight.

    Attributes
    ----------
    training : str
        Folder of the member's training in the run directory.
    weight : float
        Weight of the member's group in the mean of probabilities over groups.
    power : float
        Power to which the member's probabilities are raised within its group. A group is a
        log-linear pool of one member, or of one member per modality.
    group : int or None
        The fold that the member was chosen for. None in runs of version 0.1, in which the chosen
        model is a plain weighted mean and each member is a group.
    """

    training: str
    weight: float
    spec: ModelSpec
    power: float = 1.0
    group: int | None = None


@dataclass(frozen=True)
class RunRecord:
    """Content of ``run.json``.

    Attributes
    ----------
    format : int
        Version of the run directory's format.
    created : str
        Time of creation, ISO 8601, UTC.
    config : RunConfig
        The request, with every parameter bound.
    training : mapping
        The training settings.
    versions, machine : mapping of str to str
        Versions of the libraries, and the processor.
    classes : tuple of str
        Names of the classes, in the order of the outputs.
    task : str or None
        Sentence that names the task of a speaker-adapted run; None for other runs.
    synthetic : bool
        Whether the clips of a corpus are generated instead of recorded.
    corpora : tuple of str
        Names of the corpora.
    dropped_labels : mapping
        Number of clips left out because of their label, by corpus and label.
    passed_over : mapping
        Files and rows of the corpora that did not become clips: their number, by corpus and reason.
    columns : mapping
        Columns of tables that were used, by corpus and role.
    unreadable : mapping of str to int
        Number of clips left out because their recordings can't be read or have none of the
        features, by corpus.
    failures : sequence of mapping
        Recordings that could not be read: ``feature``, ``recording``, ``reason``.
    absent : mapping of str to int
        Number of clips that lack a modality, for each modality that some clip lacks.
    long_clips : LongClips or None
        Number of clips that are longer than what some of the features represent; None if there
        are none, and in runs of versions that did not count them.
    features : mapping of str to FeatureRecord
        Fingerprint of each modality's feature, by modality.
    model : ModelSpec
        Description of the fused model, from which the descriptions of the baselines are derived.
    split : SplitRecord
        Split of the clips.
    trainings : int or None
        Number of trainings of the run; None in runs of older versions.
    control : int
        Epochs of the equal-steps control; 0 if the run has no control.
    seconds : mapping of str to float
        Duration of ``extraction`` and ``training`` in seconds.
    handed_out : tuple of Member, or None
        Members of the chosen model; None until the run is finished.
    """

    format: int
    config: RunConfig
    classes: tuple[str, ...]
    features: Mapping[str, FeatureRecord]
    model: ModelSpec
    split: SplitRecord
    seconds: Mapping[str, float]
    created: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    synthetic: bool = False
    corpora: tuple[str, ...] = ()
    dropped_labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    passed_over: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    failures: Sequence[Mapping[str, str]] = ()
    absent: Mapping[str, int] = field(default_factory=dict)
    long_clips: LongClips | None = None
    trainings: int | None = None
    control: int = 0
    handed_out: tuple[Member, ...] | None = None

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, in the order of the model's branches."""
        return self.model.modalities

    def intake(self, clips: Iterable[Clip]) -> list[Intake]:
        """Return the account of each corpus; `clips` are the clips of the run."""
        used = count_by_corpus(clips)
        return [
            Intake(
                corpus,
                used[corpus],
                self.dropped_labels.get(corpus, {}),
                self.passed_over.get(corpus, {}),
                self.unreadable.get(corpus, 0),
                columns=self.columns.get(corpus, {}),
            )
            for corpus in self.corpora
        ]

    def finished(self, handed_out: Sequence[Member], seconds: float) -> RunRecord:
        """Return a copy with the chosen model's members and the training time in seconds."""
        spent = {**self.seconds, "training": round(seconds, 1)}
        return replace(self, handed_out=tuple(handed_out), seconds=spent)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in an order that a person can read easily."""
        plain = {**asdict(self), "config": self.config.to_json()}
        return {name: plain[name] for name in _ORDER if plain[name] is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any], file: Path) -> RunRecord:
        """Make a record from the JSON object that this version or an older version wrote.

        Raises
        ------
        RunError
            If a newer version wrote `data`, or a field is missing or wrong. The message names
            `file` and the field.
        """
        version = data.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise RunError(
                f"{file.parent} has run format {version!r}, but this version reads up to {FORMAT}.",
                hint="Update fusion: pip install -U modal-fusion",
            )
        record = as_type(_upgraded(data), cls, file)
        _check_names(record, file)
        return record


def _check_names(record: RunRecord, file: Path) -> None:
    """Raise if a name in the record is no name of a modality or training.

    Names of modalities and trainings become parts of paths.

    Raises
    ------
    RunError
        If a name could lead out of the run directory, or the number of folds is impossible.
    """
    modalities = {*record.features, *record.config.features, *record.model.modalities}
    for name in sorted(modalities):
        if not _NAME.fullmatch(name):
            raise RunError(f"{file} is damaged: {name!r} is not the name of a modality.")
    for member in record.handed_out or ():
        fold, _, model = member.training.partition("/")
        if not (_FOLD.fullmatch(fold) and _NAME.fullmatch(model)):
            raise RunError(f"{file} is damaged: {member.training!r} is not a training.")
    members = [(member.training, member.group) for member in record.handed_out or ()]
    if len(set(members)) < len(members):
        raise RunError(f"{file} is damaged: a member of the chosen model is listed twice.")
    if not 1 <= record.split.folds <= _MOST_FOLDS:
        raise RunError(f"{file} is damaged: it has {record.split.folds} folds.")


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Convert the JSON object of an older format to the current format."""
    version, config = data.get("format"), data.get("config")
    if not isinstance(version, int) or version >= FORMAT or not isinstance(config, dict):
        return data
    # Until format 2 every fused model started untrained.
    earlier = {"start": "scratch"} if version < 2 else {}
    data = {**data, "config": with_earlier_settings(config, earlier)}
    if isinstance(data.get("training"), dict):
        data["training"] = {"windows": "middle", **data["training"]}
    return data


def with_earlier_settings(
    config: dict[str, Any], earlier: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return a stored configuration with the settings that its version left unsaid.

    Parameters
    ----------
    config : dict
        A configuration as a file holds it, possibly damaged.
    earlier : mapping
        Further values of training settings that the configuration lacks.
    """
    settings = config.get("settings", {})
    train = settings.get("train", {}) if isinstance(settings, dict) else None
    if not isinstance(train, dict):
        return config  # in this case as_type reports the damaged field
    # Until format 3 the setting did not exist, and only the middle of a long clip was used.
    train = {**earlier, "windows": "middle", **train}
    tables: dict[str, Any] = {
        "columns": {},
        "ignored_columns": [],
        "label_map": {},
    }  # new in format 3
    return {**tables, **config, "settings": {**settings, "train": train}}


_ORDER = ("format", "created", "config", "training", "versions", "machine", "classes", "task",
          "synthetic", "corpora", "dropped_labels", "passed_over", "columns",
          "unreadable", "failures", "absent", "long_clips", "features", "model",
          "split", "trainings", "control", "seconds", "handed_out")  # fmt: skip
