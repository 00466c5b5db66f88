"""Settings of a training, as plugins may read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from .errors import ParameterError
from .space import LogUniform, Space, Uniform


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of a training, shared by the baselines and the fused model.

    ``--set train.NAME=VALUE`` changes a setting.

    Parameters
    ----------
    epochs : int
        Largest number of passes over the training clips in each training.
    start : {"baselines", "scratch"}
        Initial weights of the fused model's branches: the weights of the single-modality
        baselines, or random weights. A fused model that starts from the baselines trains for
        `finetune` times `epochs` additional epochs. As a control, the best single modality is
        then trained from scratch for the same total number of epochs.
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
        Peak learning rate, reached after warm-up. The learning rate then falls to 0 along a cosine.
    warmup : float
        Share of all steps in which the learning rate rises, in [0, 1).
    weight_decay : float
        Weight decay; decoupled in AdamW, added to the gradient in SGD.
    clip : float
        Largest norm of the gradient over all parameters; 0 means no clipping.
    label_smoothing : float
        Probability spread uniformly over all classes in the target, in [0, 1).
    class_weights : {"none", "sqrt", "balanced"}
        Weight of a class in the loss: equal for all, proportional to the square root of
        1/frequency, or proportional to 1/frequency.
    smooth : int
        Number of epochs over which validation UAR is averaged to choose the best epoch. The score
        of an epoch is the mean over the last `smooth` epochs up to this epoch.
    patience : int
        Training stops after this number of epochs without a rise of the averaged validation UAR
        (see `smooth`); 0 means never.
    average : float
        Decay per step of the moving average of the weights, in [0, 1). The averaged weights are
        validated and stored as the model; 0 disables averaging.
    dim : int
        Size of the embedding of each branch.
    normalise : {"feature", "channel", "none"}
        Standardisation of inputs by statistics of the training split. "feature" uses one mean and
        one deviation for each channel and for each index of an axis called "frequency",
        "coefficient" or "statistic". If the axes of an array have no names, "feature" uses one
        mean and one deviation for each value. "channel" uses one mean and one deviation for each
        channel. "none" means no standardisation.
    masks : int
        Number of masks of each kind per clip and step (SpecAugment, Park 2019); 0 disables them.
    mask_frequency, mask_time : float
        Largest width of a mask on the axes called "frequency" and "time", as a share of the axis.
    shift_frequency, shift_time : float
        Largest random shift along the axes called "frequency" and "time", as a share of the axis.
        The shift in time is circular.
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the networks. "auto" means bfloat16 if the device supports it natively, else
        float32.
    compile : bool
        Whether to compile the branches with torch.compile.
    threads : int
        CPU threads of each training that runs in its own process. More threads speed up a
        training that is alone on a machine. A different number of threads changes rounding.
    windows : {"random", "middle"}
        Use of clips that are longer than what an extractor's array represents (at least 1.5 times
        ``Extractor.seconds``). "random" divides such a clip into windows: each epoch trains on one
        random window of the clip, and the clip's prediction is the mean of the probabilities over
        its windows. "middle" uses only the middle of the clip.
    graphs : bool
        Whether to record, on CUDA, the branches that allow it as CUDA graphs. The setting has no
        effect on other devices and on compiled branches.
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
    windows: Literal["random", "middle"] = "random"

    # The space leaves out epochs and batch_size, so that every trial has the same budget.
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
                "train.batch_size must be 2 or more (batch normalisation needs two clips), and is "
                f"{self.batch_size}."
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
        """Settings for a fused model that starts from the baselines: fewer epochs."""
        return replace(self, epochs=max(1, round(self.finetune * self.epochs)))
