"""``run.json`` as a typed value: what a run was asked, what it was made of, what it hands out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...cache import Fingerprint
from ..contracts.errors import RunError
from ..data.split_modes import ModeName
from ..toolkit.run_files import as_type
from ..training.model import ModelSpec
from .config import RunConfig

FORMAT = 2


@dataclass(frozen=True)
class FeatureRecord:
    """The fingerprint with which a feature of the run was computed.

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
        """The record of a fingerprint, in values that survive JSON."""
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
        """The fingerprint of the feature called `name`.

        Raises
        ------
        CacheError
            If the record holds none.
        """
        return Fingerprint(
            name, self.version, self.parameters, self.dtype, self.shape, self.libraries
        )


@dataclass(frozen=True)
class SplitRecord:
    """How the clips were divided.

    Attributes
    ----------
    mode : str
        What no two parts share (:data:`~fusion.core.data.split_modes.MODES`).
    speaker_independent : bool
        Whether test speakers are never heard in training.
    folds : int
        Number of folds, K.
    digests : tuple of str
        Of each fold: a digest of which clip is in which part.
    parts : sequence of mapping
        Of each fold: clips and speakers of its parts.
    """

    mode: ModeName
    speaker_independent: bool
    folds: int
    digests: tuple[str, ...]
    parts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Member:
    """One trained model, and its part in the probabilities that are handed out.

    Attributes
    ----------
    training : str
        Its folder in the run directory.
    weight : float
        Share of the member's group in the mean of probabilities over groups.
    power : float
        Power to which the member's probabilities are raised within its group: the groups are
        log-linear pools, with one member or one per modality.
    group : int or None
        The fold that the member was chosen for; None in runs of version 0.1, which hand out a
        plain weighted mean: each member is a group.
    """

    training: str
    weight: float
    spec: ModelSpec
    power: float = 1.0
    group: int | None = None


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` holds.

    Attributes
    ----------
    format : int
        Version of the run directory's format.
    created : str
        ISO 8601, UTC.
    config : RunConfig
        What was asked for, every parameter bound.
    training : mapping
        The training settings.
    versions, machine : mapping of str to str
        Libraries and processor that it was made with.
    classes : tuple of str
        Names of the classes, in the order of the outputs.
    task : str or None
        The sentence that names the task where it is not the plain one.
    synthetic : bool
        Whether a corpus is generated.
    corpora : tuple of str
        Their names.
    dropped_labels : mapping
        Corpus -> label -> clips left out for it.
    failures : sequence of mapping
        Recordings that could not be read: ``feature``, ``recording``, ``reason``.
    absent : mapping of str to int
        Modality -> clips that lack it; only of modalities that some clip lacks.
    features : mapping of str to FeatureRecord
        By modality.
    model : ModelSpec
        The fused model; the baselines follow from it.
    split : SplitRecord
        How the clips were divided.
    trainings : int or None
        How many trainings the run takes; None in runs of older versions.
    control : int
        Epochs of the equal-steps control; 0 where there is none.
    seconds : mapping of str to float
        What ``extraction`` and ``training`` took.
    handed_out : tuple of Member, or None
        The models handed out; None until the run is finished.
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
    failures: Sequence[Mapping[str, str]] = ()
    absent: Mapping[str, int] = field(default_factory=dict)
    trainings: int | None = None
    control: int = 0
    handed_out: tuple[Member, ...] | None = None

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, in the order of the model's branches."""
        return self.model.modalities

    def finished(self, handed_out: Sequence[Member], seconds: float) -> RunRecord:
        """The record of the same run with its outcome; `seconds` is what training took."""
        spent = {**self.seconds, "training": round(seconds, 1)}
        return replace(self, handed_out=tuple(handed_out), seconds=spent)

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the order in which people read them."""
        plain = {**asdict(self), "config": self.config.to_json()}
        return {name: plain[name] for name in _ORDER if plain[name] is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any], file: Path) -> RunRecord:
        """Read what :meth:`to_json` wrote, by this version or an older one.

        Raises
        ------
        RunError
            If a newer version wrote it, or a field is missing or wrong, naming `file` and field.
        """
        found = data.get("format")
        if isinstance(found, int) and found > FORMAT:
            raise RunError(
                f"{file.parent} has run format {found!r}, and this version reads up to {FORMAT}.",
                hint="Update fusion: pip install -U modal-fusion",
            )
        return as_type(_of_today(data), cls, file)


def _of_today(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in what older formats left to the version that wrote them."""
    found, config = data.get("format"), data.get("config")
    if not isinstance(found, int) or found > 1 or not isinstance(config, dict):
        return data
    settings = config.get("settings", {})
    train = settings.get("train", {}) if isinstance(settings, dict) else None
    if not isinstance(train, dict):
        return data  # reading it says what is damaged
    # Until format 2 every fused model started untrained.
    settings = {**settings, "train": {"start": "scratch", **train}}
    return {**data, "config": {**config, "settings": settings}}


_ORDER = ("format", "created", "config", "training", "versions", "machine", "classes", "task",
          "synthetic", "corpora", "dropped_labels", "failures", "absent", "features", "model",
          "split", "trainings", "control", "seconds", "handed_out")  # fmt: skip
