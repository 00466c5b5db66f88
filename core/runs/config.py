"""Configuration of a run, as a frozen dataclass that can be stored as JSON and read back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ...cache.remote.urls import without_user
from ..contracts.space import Space
from ..contracts.train_config import TrainConfig
from ..data.split_modes import ModeName
from ..data.task import AdaptName
from ..registry.parameters import as_text, bind


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Configuration of a run, stored with the run and sufficient to repeat the run.

    Attributes
    ----------
    data : tuple of str
        Sources as the user gave them: ``"demo"``, a path, or ``"corpus=path"``.
    labels : str
        ``"shared"``, ``"native"`` or a comma-separated list.
    features : tuple of str
        Extractors; each makes one modality.
    branches : mapping
        Branch by modality, for modalities whose branch the user chose.
    strategy : str
        Fusion strategy.
    balancers : tuple of str
        Balancers in the order in which they act.
    settings : mapping
        Value or text by owner and parameter. An owner is a plugin, ``branch.<modality>`` or
        ``train``.
    split : {"speaker", "sentence", "corpus", "random", "published"}
        The unit that no two parts of the split share; ``"published"`` follows the split or the
        folds that the corpus prescribes.
    folds : int or None
        Cross-validation folds; None means one split.
    seed : int
        Seed of the split, the initial weights and the order of clips.
    split_seed : int or None
        Seed of the split if it differs from `seed`. Runs with other seeds can then train on the
        same clips.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    plugins : tuple of str
        Plugin requests as given to ``-p``.
    trackers : tuple of str
        Trackers in addition to the default trackers.
    cache : str or None
        Cache folder, or the URL of a cache on another machine; None means the user's cache.
    strict : bool
        Whether one unreadable recording stops the run.
    dtypes : mapping
        Storage dtype that the user chose, by feature; the key ``"*"`` stands for all other
        features.
    verify : {"open", "always"}
        ``"always"``: training compares every array that it reads with the array's checksum.
    tune : int
        Number of trials of every training; 0 means no tuning. The first trial uses the settings
        as given.
    space : mapping or None
        Range that trials choose from (a Space, or its JSON), by owner and parameter. None means the
        ranges that the plugins declare, except for the parameters in `settings`. A run stores the
        ranges that its trials used.
    adapt : {"none", "speaker"}
        ``"speaker"``: each speaker's features are standardised by the speaker's unlabelled
        clips.
    columns : mapping of str to str
        Columns of tables that the user chose, by role.
    ignored_columns : tuple of str
        Columns of tables that are not read.
    label_map : mapping of str to str
        Labels that the user renamed: new name by the corpus's own label.
    """

    data: tuple[str, ...]
    labels: str = "shared"
    features: tuple[str, ...] = ()
    branches: Mapping[str, str] = field(default_factory=dict)
    strategy: str = ""
    balancers: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    split: ModeName = "speaker"
    folds: int | None = None
    seed: int = 0
    split_seed: int | None = None
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    cache: str | None = None
    strict: bool = False
    dtypes: Mapping[str, str] = field(default_factory=dict)
    verify: Literal["open", "always"] = "open"
    tune: int = 0
    space: Mapping[str, Mapping[str, Any]] | None = None
    adapt: AdaptName = "none"
    columns: Mapping[str, str] = field(default_factory=dict)
    ignored_columns: tuple[str, ...] = ()
    label_map: Mapping[str, str] = field(default_factory=dict)

    @property
    def train(self) -> TrainConfig:
        """Training settings with defaults filled in."""
        return TrainConfig(**bind(TrainConfig, self.settings.get("train", {}), owner="train"))

    def plugin_words(self) -> str:
        """Return the options that name the run's plugins again, each with a space in front."""
        named = (request for request in self.plugins if not request.startswith("no:"))
        return "".join(f" -p {shlex.quote(request)}" for request in named)

    def build_command(self) -> str:
        """Return the ``fusion cache build`` command that computes the features of a run."""
        words = ["fusion", "cache", "build"]
        for option, values in (
            ("-p", self.plugins),
            ("--data", self.data),
            ("--column", [f"{role}={name}" for role, name in self.columns.items()]),
            ("--ignore-column", self.ignored_columns),
            ("--map-label", [f"{own}={new}" for own, new in self.label_map.items()]),
            ("--dtype", [d if f == "*" else f"{f}={d}" for f, d in self.dtypes.items()]),
        ):
            for value in values:
                words += [option, value]
        words += ["--features", ",".join(self.features), "--labels", self.labels]
        words += [] if self.cache is None else ["--cache", self.cache]
        for owner in self.features:
            for name, value in self.settings.get(owner, {}).items():
                words += ["--set", f"{owner}.{name}={as_text(value)}"]
        return shlex.join(words)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts, strings and numbers, without user and password in a URL."""
        data = asdict(self)
        if self.cache is not None:
            data["cache"] = without_user(self.cache)
        if self.space is not None:
            data["space"] = {
                owner: {n: v.to_json() if isinstance(v, Space) else v for n, v in ranges.items()}
                for owner, ranges in self.space.items()
            }
        plain: dict[str, Any] = json.loads(json.dumps(data))  # turns tuples into lists
        return plain
