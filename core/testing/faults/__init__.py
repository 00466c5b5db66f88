"""Deliberate faults: each function takes a plugin class and returns a faulty version of it.

Use faults to test a diagnosis, a remedy or your own plugin against problems that occur in
practice. Call a fault at the top level of a plugin file::

    from fusion import hookimpl
    from fusion.plugins.branches.cnn import CNN
    from fusion.testing import faults

    Dead = faults.dead(CNN, share=0.5)

    @hookimpl
    def fusion_branches():
        return [Dead]

Then run ``fusion run -p ./my_faults.py --branch mel=cnn_dead``.

The new class is called ``f"{cls.name}_{fault}"``, or `name` if given. The class has the same
parameters as the healthy class (``--set branch.mel.blocks=2``), and can be trained, stored and
loaded like any other class. Faults can be combined: ``faults.scaled(faults.dead(CNN))``. The new
class becomes an attribute of the module that calls the fault, under a capitalised name
(``CnnDead``). Processes that compute features look up the class in that module, so call a fault of
an extractor at the top level of a file.

A fault of a branch also affects the baseline of the branch's modality. A fault of a strategy acts
only inside the fusion, on the inputs from `modality`. The default is the last modality of the run;
``"*"`` stands for all modalities.

By default, a fused model starts from the weights of its baselines. Healthy baselines hide the
effect of a strategy's fault on a branch. The effects of `starved`, `late`, `oversized` and `locked`
show in joint training from scratch: ``--set train.start=scratch``.

The `default_branch_parameters` of an extractor apply only to the healthy branch. Set the same
parameters of a faulty branch with ``--set branch.MODALITY.…``.

Every fault raises two errors:

TypeError
    If the fault is not available for the kind of class, or for a strategy that takes maps.
ValueError
    If the strength is outside the range in the docstring of the fault.

This module does not import torch; a fault imports its dependencies when it is called.
"""

from __future__ import annotations

from .data_faults import duplicated, mislabelled, shuffled
from .network_faults import (
    biased,
    dead,
    frozen,
    late,
    locked,
    narrow,
    oversized,
    scaled,
    starved,
)

__all__ = [
    "biased",
    "dead",
    "duplicated",
    "frozen",
    "late",
    "locked",
    "mislabelled",
    "narrow",
    "oversized",
    "scaled",
    "shuffled",
    "starved",
]
