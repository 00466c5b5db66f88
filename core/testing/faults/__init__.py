"""Faults on purpose: a plugin class in, the same with something wrong out.

For trying a diagnosis, a remedy or a plugin of your own against what goes wrong in practice.
In a plugin file, at its top level::

    from fusion import hookimpl
    from fusion.plugins.branches.cnn import CNN
    from fusion.testing import faults

    Dead = faults.dead(CNN, share=0.5)

    @hookimpl
    def fusion_branches():
        return [Dead]

and then ``fusion run -p ./my_faults.py --branch mel=cnn_dead``.

The new class is called ``f"{cls.name}_{fault}"`` (or `name`), has the parameters of the healthy
one under that name (``--set branch.mel.blocks=2``), and trains, stores and loads like any other.
Faults compose: ``faults.scaled(faults.dead(CNN))``. It becomes an attribute of the module that
calls the fault, under its name in capitals (``CnnDead``), because processes that compute
features look it up there: an extractor's fault belongs at the top level of a file.

A fault of a branch also strikes that modality's own baseline. A fault of a strategy acts inside
the fusion alone, on what it receives of one modality: `modality`, by default the last of the run,
``"*"`` for all of them.

A fused model starts from its baselines by default, and healthy baselines hide what a strategy's
fault does to a branch. `starved`, `late`, `oversized` and `locked` show in joint training from
scratch: ``--set train.start=scratch``.

An extractor's advice on its branch (`default_branch_parameters`) is for the healthy one: give a
faulty branch the same parameters with ``--set branch.MODALITY.…``.

Raises
------
TypeError
    By every fault, for a class of a kind that it is not for (or a strategy that takes maps).
ValueError
    By every fault, for a strength outside the range in its docstring.

Loaded without torch: what a fault needs is imported when it is made.
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
