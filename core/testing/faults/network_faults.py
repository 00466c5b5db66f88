"""Faults on purpose in what networks compute and learn; `scaled` and `dead` in features, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .faulty_class import Label, check_least, check_share, kind_of, refuse

if TYPE_CHECKING:
    from ...contracts import Branch, Plugin, Strategy
    from .faulty_networks import NetworkFault

    T = TypeVar("T", bound=type[Plugin])
    B = TypeVar("B", bound=type[Branch])
    N = TypeVar("N", bound=type[Branch] | type[Strategy])
    S = TypeVar("S", bound=type[Strategy])


def scaled(
    cls: T, factor: float = 1000.0, *, modality: str | None = None, name: str | None = None
) -> T:
    """Numbers on another scale: all of them times `factor`.

    Parameters
    ----------
    cls : type
        An extractor (its arrays), a branch (its embedding and maps), or a strategy (what it
        receives of `modality`).
    factor : float
        Finite and not 0.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Breaks a fusion that adds, compares or multiplies modalities: the large one decides alone,
    and its gradient takes all of the clipped norm. A fusion that normalises should not notice.
    An extractor's scale is taken out again by standardisation, and by a branch that starts with
    batch normalisation: it does harm with ``train.normalise=none`` only. A framework should say
    that the scales of the modalities differ, and by how much.
    """
    _check_size("scaled", "factor", factor)
    label = Label("scaled", f"everything times {factor:g}.", {"factor": factor}, name)
    if kind_of(cls) == "extractor":
        return _extractor(cls, label, lambda array, _: array * factor)
    return _altered(cls, label, "multiply", modality)


def dead(cls: T, share: float = 1.0, *, modality: str | None = None, name: str | None = None) -> T:
    """Zeros where there should be numbers.

    Parameters
    ----------
    cls : type
        A branch (``round(share * D)`` units of its embedding and that share of its maps'
        channels), a strategy (of what it receives of `modality`), or an extractor (all values
        of about that share of the recordings, drawn by file name, so the same every time).
    share : float
        From 0 to 1.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    No gradient passes a dead unit. With ``share=1`` the modality says nothing, and its scores are
    the same for every clip. A framework should name the branch as dead; of an extractor it should
    report the share of zeros in the inputs.
    """
    check_share("dead", share)
    label = Label("dead", f"a share of {share:g} is zero.", {"share": share}, name)
    if kind_of(cls) == "extractor":
        from .faulty_data import is_hit

        return _extractor(cls, label, lambda array, of: array * (not is_hit(of, share)))
    return _altered(cls, label, "silence", modality)


def frozen(cls: N, share: float = 1.0, *, name: str | None = None) -> N:
    """Weights that never move: they stay as they were initialised.

    Parameters
    ----------
    cls : type
        A branch or a strategy.
    share : float
        From 0 to 1: whole tensors, in the order in which they were made (mostly the first layers
        first), until at least this share of all weights is held.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Running statistics of batch normalisation still move, and weights that start from a trained
    baseline (the `pretrain` balancer) start from one that was frozen as well. Random features of
    a convolution are not bad: the harm is often a few points. A framework should say that the
    branch has no updates.
    """
    check_share("frozen", share)
    label = Label("frozen", f"a share of {share:g} of its weights stays.", {"share": share}, name)
    from .faulty_networks import NetworkFault, hold

    return _network(
        cls, label, NetworkFault(prepare=lambda module: hold(module, share=share)), None
    )


def biased(
    cls: N, size: float = 100.0, *, modality: str | None = None, name: str | None = None
) -> N:
    """A constant that swamps what varies: `size` on every unit, with random signs.

    Parameters
    ----------
    cls : type
        A branch (its embedding and maps), or a strategy (what it receives of `modality`).
    size : float
        Of the constant on each unit; its norm is ``size * sqrt(units)``. Healthy units
        vary by about a third to 1.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The signs are fixed. The information is all there, but a head that reads it has to cancel the
    constant first, and every step it takes changes the scores of all clips alike. In bfloat16,
    which keeps eight bits, what varies is rounded away as well. A framework should say that the
    embedding is large and hardly varies from clip to clip.
    """
    _check_size("biased", "size", size)
    label = Label("biased", f"{size:g} added to every unit.", {"size": size}, name)
    return _altered(cls, label, "shift", modality)


def starved(
    cls: N, factor: float = 1e-7, *, modality: str | None = None, name: str | None = None
) -> N:
    """A branch that the loss hardly reaches: its gradient times `factor`, its output as it was.

    Parameters
    ----------
    cls : type
        A branch, or a strategy (its way to the branch of `modality`, which then trains well
        alone and not in the fusion).
    factor : float
        Finite and not 0.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Under SGD the branch's steps are `factor` times as long. AdamW divides by the gradient's own
    size plus 1e-8, so it takes full steps until the scaled gradient of single weights falls
    towards 1e-8: factors down to about 1e-5 change next to nothing but the share of the clipped
    norm, and at 1e-7 the branch all but stands still, apart from weight decay. Under a strategy
    that takes maps the pooling still learns, from its probe. A framework should say that the
    branch's updates are far smaller than those of the others and its probe stands still.
    """
    _check_size("starved", "factor", factor)
    label = Label("starved", f"{factor:g} of the gradient.", {"factor": factor}, name)
    return _altered(cls, label, "throttle", modality)


def late(cls: N, steps: int = 300, *, modality: str | None = None, name: str | None = None) -> N:
    """A cold start: no gradient reaches a branch in the first `steps` steps of training.

    Parameters
    ----------
    cls : type
        A branch, or a strategy (its way to the branch of `modality`).
    steps : int
        Calls in training, 0 or more; about one per batch.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The head learns from branches that know nothing, and is done before they begin, when the
    learning rate has fallen. Of a strategy the baselines are spared, so that the fusion is behind
    them. A framework should say that the fused loss was flat while the probes were still low.
    """
    check_least("late", "steps", steps, 0)
    label = Label("late", f"nothing learned in {steps} steps.", {"steps": steps}, name)
    from .faulty_networks import Late, NetworkFault

    return _network(cls, label, NetworkFault(lambda: Late(steps)), modality)


def narrow(cls: B, dim: int = 1, *, name: str | None = None) -> B:
    """A branch too poor for its features: it sees `dim` numbers of each clip.

    Parameters
    ----------
    cls : type
        A branch.
    dim : int
        1 or more. The input (C, H, W) is read in its memory's order, cut into so many equal
        runs, and each run is replaced by its mean: of a spectrogram, bands of frequency.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Stands for an architecture that can't learn what its features hold. A framework should say
    that the modality alone stays far below what its features allow, on training clips as well.
    """
    check_least("narrow", "dim", dim, 1)
    if kind_of(cls) != "branch":
        raise refuse("narrow", cls, "a branch")
    label = Label("narrow", f"{dim} numbers of each input.", {"dim": dim}, name)
    from .faulty_networks import NetworkFault, flatten_to

    return _network(cls, label, NetworkFault(see=partial(flatten_to, dim=dim)), None)


def oversized(cls: S, width: int = 2048, *, name: str | None = None) -> S:
    """A head far too big: all embeddings go through two layers of `width` units first.

    Parameters
    ----------
    cls : type
        A strategy that takes embeddings.
    width : int
        1 or more. The layers have about ``width**2`` weights, without normalisation or dropout.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The embeddings side by side, (B, sum D_m), become as many numbers again, which the healthy
    strategy reads as embeddings. Each step costs in proportion to ``width**2``: 4 million weights
    at 2048. Against augmented clips (``train.masks``, ``train.shift_*``) and label smoothing the
    head learns more slowly instead of over-fitting: switch them off to see it do so. A framework
    should say that the fused head is far better on training clips than on validation, more so
    than the probes.
    """
    check_least("oversized", "width", width, 1)
    if kind_of(cls) != "strategy" or cls.takes != "embeddings":
        raise refuse("oversized", cls, "a strategy that takes embeddings")
    from .faulty_networks import NetworkFault, faulty_strategy

    does = f"two layers of {width} units before it."
    label = Label("oversized", does, {"width": width}, name)
    return cast("S", faulty_strategy(cls, label, NetworkFault(), None, width=width))


def locked(
    cls: S, share: float = 0.95, *, modality: str | None = None, name: str | None = None
) -> S:
    """A fusion that is locked in on one modality, whatever the others know.

    Parameters
    ----------
    cls : type
        A strategy that takes embeddings.
    share : float
        From 0 to 1: weight of a linear head on `modality`. The scores of the healthy strategy
        have the rest, bounded to -1 to 1 by tanh.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Stands for a gate that settled on a modality early. The fused scores are those of the
    modality, and the gradient of the other branches is 1 - `share` times as large. The fault does
    harm where the modality knows less than another one does. A framework should say that the
    modality is trusted too much, or that another branch is held back.
    """
    check_share("locked", share)
    if kind_of(cls) != "strategy" or cls.takes != "embeddings":
        raise refuse("locked", cls, "a strategy that takes embeddings")
    from .faulty_networks import NetworkFault, faulty_strategy

    label = Label("locked", f"a share of {share:g} for one modality.", {"share": share}, name)
    return cast("S", faulty_strategy(cls, label, NetworkFault(), modality, share=share))


# -- shared -----------------------------------------------------------------------------


def _extractor(cls: T, label: Label, alter: Callable[..., Any]) -> T:
    from .faulty_data import faulty_extractor

    return cast("T", faulty_extractor(cast(Any, cls), label, alter=alter))


def _altered(cls: T, label: Label, alteration: str, modality: str | None) -> T:
    """A network whose output goes through a function of `faulty_networks`, by name."""
    from . import faulty_networks

    alter = partial(getattr(faulty_networks, alteration), **label.strength)
    fault = faulty_networks.NetworkFault(lambda: faulty_networks.Stateless(alter))
    return _network(cls, label, fault, modality)


def _network(cls: T, label: Label, fault: NetworkFault, modality: str | None) -> T:
    from .faulty_networks import faulty_branch, faulty_strategy

    kind = kind_of(cls)
    if kind == "strategy":
        return cast("T", faulty_strategy(cast(Any, cls), label, fault, modality))
    if kind != "branch":
        raise refuse(label.fault, cls, _POSSIBLE.get(label.fault, "a branch or a strategy"))
    if modality is not None:
        raise TypeError(
            f"faults.{label.fault}: modality={modality!r} is for strategies; a branch is chosen "
            f"for a modality by the run (--branch {modality}={label.name_for(cls)})."
        )
    return cast("T", faulty_branch(cast(Any, cls), label, fault))


_POSSIBLE = dict.fromkeys(("scaled", "dead"), "an extractor, a branch or a strategy")


def _check_size(fault: str, name: str, value: float) -> None:
    if value == 0 or not math.isfinite(value):
        raise ValueError(f"faults.{fault} needs a finite {name} other than 0; given {value}.")
