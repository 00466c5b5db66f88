"""A remedy: a change of a configuration that `fusion repair` may try."""

from __future__ import annotations

from typing import ClassVar

from fusion import Remedy, hookimpl

api_version = 1


class MyPlugin(Remedy):
    """Pulls the weights harder towards zero, and trusts the labels less.

    A remedy that always changes the same says so in attributes. One that depends on the run
    (its strategy, its faults) overrides ``prescribe(patient)``, and may return None.

    When to use
    -----------
    Few clips, wrong labels, or a head that knows the training clips by heart.
    """

    name = "my_plugin"
    mends = ("overfitting_head", "label_noise")  # where one is found, it is tried first
    order = 45  # its place on the ladder otherwise
    settings: ClassVar = {"train": {"weight_decay": 0.1, "label_smoothing": 0.2}}


@hookimpl
def fusion_remedies() -> list[type[Remedy]]:
    return [MyPlugin]
