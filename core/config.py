"""What a run was asked to do, as small frozen dataclasses that survive JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

from ..cache.urls import without_user
from .contracts.space import LogUniform, Space, Uniform
from .errors import ParameterError
from .modes import ModeName
from .parameters import bind
from .task import AdaptName


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one training; the same for baselines and fused model.

    Set with ``--set train.NAME=VALUE``.

    Parameters
    ----------
    epochs : int
        Budget of every training, in passes over the training clips.
    start : {"baselines", "scratch"}
        Where the branches of the fused model start: with the weights that each has in its
        single-modality baseline, or untrained. A fused model that starts from the baselines
        trains for `finetune` times `epochs` more; a control, the best single modality, is then
        trained from scratch for the same total.
    finetune : float
        Epochs of a fused model that starts from the baselines, as a share of `epochs`, in
        (0, 1]; at least one epoch.
    branch_rate : float
        Factor on the learning rate of branches that start from the baselines, > 0.
    batch_size : int
        Clips per step.
    optimizer : {"adamw", "sgd"}
        AdamW, or SGD with Nesterov momentum 0.9.
    lr : float
        Peak learning rate, after warm-up; falls to 0 along a cosine.
    warmup : float
        Share of all steps in which the learning rate rises.
    weight_decay : float
        Weight decay; decoupled in AdamW, a part of the gradient in SGD.
    clip : float
        Largest norm of the gradient over all parameters; 0 means no clipping.
    label_smoothing : float
        Probability spread over the other classes in the target.
    class_weights : {"none", "sqrt", "balanced"}
        Weight of a class in the loss: equal, by the square root of 1/frequency, or by
        1/frequency.
    smooth : int
        The best epoch is the one with the highest mean of validation UAR over this many
        epochs up to it.
    patience : int
        Stop when that mean has not risen for this many epochs; 0 means never.
    average : float
        Decay of the moving average of the weights that is validated and handed out, per
        step; 0 means the weights themselves.
    dim : int
        Size of the embedding of each branch.
    normalise : {"feature", "channel", "none"}
        Standardise inputs by training-split statistics. "feature": one mean and deviation for
        each channel and for each index of an axis called "frequency", "coefficient" or
        "statistic" (and for each value of an array whose axes have no names); "channel": one
        for each channel; "none": not at all.
    masks : int
        Masks of each kind per clip and step (SpecAugment, Park 2019); 0 switches them off.
    mask_frequency, mask_time : float
        Largest width of a mask, as a share of the axis, on axes that the modality calls
        "frequency" and "time".
    shift_frequency, shift_time : float
        Largest random shift along such an axis, as a share of it; circular in time.
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the networks. Auto: bfloat16 where the device computes it natively.
    compile : bool
        Compile the branches with torch.compile.
    threads : int
        CPU threads of each training, where it has a process of its own. More of them help a
        training that is alone on a machine; another number rounds differently.
    graphs : bool
        On CUDA, record the work of branches that allow it as CUDA graphs. Without effect elsewhere,
        and on compiled branches.
    """

    epochs: int = 80
    start: Literal["baselines", "scratch"] = "baselines"
    finetune: float = 0.25
    branch_rate: float = 0.1
    batch_size: int = 16
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 1e-2
    clip: float = 5.0
    label_smoothing: float = 0.1
    class_weights: Literal["none", "sqrt", "balanced"] = "sqrt"
    smooth: int = 5
    patience: int = 30
    average: float = 0.98
    dim: int = 64
    normalise: Literal["feature", "channel", "none"] = "feature"
    masks: int = 2
    mask_frequency: float = 0.125
    mask_time: float = 0.125
    shift_frequency: float = 0.05
    shift_time: float = 0.25
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    threads: int = 1
    graphs: bool = True

    # Neither epochs nor batch_size: every trial has the same budget.
    space: ClassVar[Mapping[str, Space]] = {
        "lr": LogUniform(3e-4, 3e-2),
        "weight_decay": LogUniform(1e-4, 1e-1),
        "label_smoothing": Uniform(0.0, 0.3),
    }

    def __post_init__(self) -> None:
        positive = ("epochs", "branch_rate", "batch_size", "lr", "dim", "smooth", "threads")
        if not 0 < self.finetune <= 1:
            raise ParameterError(
                f"train.finetune must be above 0 and at most 1, and is {self.finetune}."
            )
        if self.batch_size < 2:
            raise ParameterError(
                "train.batch_size must be 2 or more: batch normalisation needs it."
            )
        shares = (
            "warmup", "label_smoothing", "average", "mask_frequency", "mask_time",
            "shift_frequency", "shift_time",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ParameterError(f"train.{name} must be above 0, and is {getattr(self, name)}.")
        for name in shares:
            if not 0 <= getattr(self, name) < 1:
                value = getattr(self, name)
                raise ParameterError(f"train.{name} must be from 0 to below 1, and is {value}.")
        for name in ("weight_decay", "clip", "patience", "masks"):
            if not getattr(self, name) >= 0:
                raise ParameterError(
                    f"train.{name} must be 0 or more, and is {getattr(self, name)}."
                )

    @property
    def finetuning(self) -> TrainConfig:
        """The settings of a fused model that starts from the baselines: fewer epochs."""
        return replace(self, epochs=max(1, round(self.finetune * self.epochs)))


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
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_json`."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known
        }
        return cls(**values)
