"""What a run was asked to do, as small frozen dataclasses that survive JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ...cache.remote.urls import without_user
from ..contracts.space import Space
from ..contracts.train_config import TrainConfig
from ..data.split_modes import ModeName
from ..data.task import AdaptName
from ..registry.parameters import bind


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run was asked to do; stored with it and enough to repeat it.

    Attributes
    ----------
    data : tuple of str
        Sources as given: ``"demo"``, a path, or ``"corpus=path"``.
    labels : str
        ``"shared"``, ``"native"`` or a comma-separated list.
    features : tuple of str
        Extractors, one modality each.
    branches : mapping
        Modality -> branch, where it was chosen.
    strategy : str
        Fusion strategy.
    balancers : tuple of str
        Balancers in the order in which they act.
    settings : mapping
        Owner -> parameter -> value, as text; owners are plugins, ``branch.<modality>`` and
        ``train``.
    split : {"speaker", "sentence", "corpus", "random"}
        What no two parts share.
    folds : int or None
        Cross-validation folds; None means one split.
    seed : int
        Of the split, the weights, the order of clips.
    split_seed : int or None
        Of the split, where it is not `seed`: other seeds then train on the same clips.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    plugins : tuple of str
        As given to ``-p``.
    trackers : tuple of str
        Trackers besides those that are always on.
    cache : str or None
        Cache folder, or the URL of another machine's; None means the user's.
    strict : bool
        Whether one unreadable recording stops the run.
    dtypes : mapping
        Feature -> what it is stored as, where that was chosen; ``"*"`` for all others.
    verify : {"open", "always"}
        Whether training compares every array it reads with its checksum.
    tune : int
        Trials of every training, the first of them with the settings as given; 0 means no
        tuning.
    space : mapping or None
        Owner -> parameter -> the range that trials choose from (a Space, or its JSON). None
        means what the plugins declare, but for what `settings` fix; a run stores which it was.
    adapt : {"none", "speaker"}
        Whether the unlabelled clips of each speaker standardise that speaker's features.
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

    @property
    def train(self) -> TrainConfig:
        """The training settings, defaults filled in."""
        return TrainConfig(**bind(TrainConfig, self.settings.get("train", {}), owner="train"))

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers; of a URL neither user nor password."""
        data = asdict(self)
        if self.cache is not None:
            data["cache"] = without_user(self.cache)
        if self.space is not None:
            data["space"] = {
                owner: {n: v.to_json() if isinstance(v, Space) else v for n, v in ranges.items()}
                for owner, ranges in self.space.items()
            }
        plain: dict[str, Any] = json.loads(json.dumps(data))  # no tuples, as when read again
        return plain
