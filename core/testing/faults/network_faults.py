"""Deliberate faults in networks; `scaled` and `dead` are also available for extractors.

See :mod:`fusion.testing.faults`.
"""

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
    """Return a class whose values are on another scale: multiplied by `factor`.

    Parameters
    ----------
    cls : type
        An extractor (the fault scales its arrays), a branch (its embedding and maps), or a
        strategy (its inputs from `modality`).
    factor : float
        Finite and not 0.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The fault breaks a fusion that adds, compares or multiplies modalities: the modality with the
    large values decides alone, and its gradient dominates the clipped norm. A fusion that
    normalises its inputs should not be affected. The scale of an extractor has no effect after
    standardisation, or in a branch that starts with batch normalisation. So the fault of an
    extractor does harm only with ``train.normalise=none``. A framework should report that the
    scales of the modalities differ, and the size of the difference.
    """
    _check_size("scaled", "factor", factor)
    label = Label("scaled", f"all values are multiplied by {factor:g}.", {"factor": factor}, name)
    if kind_of(cls) == "extractor":
        return _extractor(cls, label, lambda array, _: array * factor)
    return _altered(cls, label, "multiply", modality)


def dead(cls: T, share: float = 1.0, *, modality: str | None = None, name: str | None = None) -> T:
    """Return a class whose output, or a share of it, is zero.

    Parameters
    ----------
    cls : type
        A branch (``round(share * D)`` units of its embedding and the same share of the channels of
        its maps are zero), a strategy (a share of its inputs from `modality` is zero), or an
        extractor (all values of about that share of the recordings are zero). The recordings are
        chosen by a hash of folder, file name, start and end, so the choice is the same every time.
    share : float
        Share of the zeros, from 0 to 1.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    No gradient passes a dead unit. With ``share=1`` the modality carries no information, and its
    scores are the same for every clip. A framework should report that the branch is dead or, for
    an extractor, the share of zeros in the inputs.
    """
    check_share("dead", share)
    label = Label("dead", f"a share of {share:g} of the output is zero.", {"share": share}, name)
    if kind_of(cls) == "extractor":
        from .faulty_data import is_hit

        return _extractor(cls, label, lambda array, rec: array * (not is_hit(rec, share)))
    return _altered(cls, label, "silence", modality)


def frozen(cls: N, share: float = 1.0, *, name: str | None = None) -> N:
    """Return a network in which some or all weights keep their initial values.

    Parameters
    ----------
    cls : type
        A branch or a strategy.
    share : float
        Share of frozen weights, from 0 to 1. Whole tensors are frozen in the order of their
        creation (mostly the first layers first), until at least this share of all weights is
        frozen.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Running statistics of batch normalisation still change. With the `pretrain` balancer, weights
    start from a baseline, and the baseline was frozen during its training as well. Random
    convolutional features are often useful, so the fault may cost only a few points. A framework
    should report that the weights of the branch are not updated.
    """
    check_share("frozen", share)
    label = Label(
        "frozen", f"a share of {share:g} of the weights is frozen.", {"share": share}, name
    )
    from .faulty_networks import NetworkFault, hold

    return _network(
        cls, label, NetworkFault(prepare=lambda module: hold(module, share=share)), None
    )


def biased(
    cls: N, size: float = 100.0, *, modality: str | None = None, name: str | None = None
) -> N:
    """Return a network in which a large constant swamps the variation between clips.

    Parameters
    ----------
    cls : type
        A branch (the constant is added to its embedding and maps), or a strategy (to its inputs
        from `modality`).
    size : float
        Absolute value of the constant that is added to each unit with a random sign. The norm of
        the added vector is ``size * sqrt(units)``. Healthy units vary by about a third to 1.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The signs are fixed. No information is lost, but a head has to cancel the constant first. Each
    training step of the head changes the scores of all clips alike. In bfloat16, which has 8 bits
    of precision, rounding also removes the variation. A framework should report that the embedding
    is large and hardly varies from clip to clip.
    """
    _check_size("biased", "size", size)
    label = Label("biased", f"{size:g} is added to every unit.", {"size": size}, name)
    return _altered(cls, label, "shift", modality)


def starved(
    cls: N, factor: float = 1e-7, *, modality: str | None = None, name: str | None = None
) -> N:
    """Return a network whose gradient is multiplied by `factor`; its output is unchanged.

    Parameters
    ----------
    cls : type
        A branch, or a strategy. The fault of a strategy acts on the gradient that reaches the
        branch of `modality`: the branch then trains well alone, but not in the fusion.
    factor : float
        Finite and not 0.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    With SGD, the steps of the branch are `factor` times as long. AdamW divides each gradient by
    its own size plus 1e-8, so it takes full steps until the scaled gradients of single weights
    fall towards 1e-8. Factors down to about 1e-5 therefore change almost only the branch's share
    of the clipped norm. At 1e-7 the branch hardly changes, apart from weight decay. With a
    strategy that takes maps, the pooling still learns from its probe. A framework should report
    that the branch's updates are far smaller than those of other branches, and that its probe
    does not improve.
    """
    _check_size("starved", "factor", factor)
    label = Label("starved", f"the gradient is multiplied by {factor:g}.", {"factor": factor}, name)
    return _altered(cls, label, "throttle", modality)


def late(cls: N, steps: int = 300, *, modality: str | None = None, name: str | None = None) -> N:
    """Return a network with a cold start: a branch gets no gradient in the first `steps` steps.

    Parameters
    ----------
    cls : type
        A branch, or a strategy. The fault of a strategy acts on the gradient that reaches the
        branch of `modality`.
    steps : int
        Number of calls in training without a gradient, 0 or more; about one call per batch.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The head is first trained on branches that have learned nothing. The head has converged when the
    branches begin to learn at a reduced learning rate. The fault of a strategy does not affect the
    baselines, so the fusion scores below the baselines. A framework should report that the fused
    loss was flat while the probes were still low.
    """
    check_least("late", "steps", steps, 0)
    label = Label("late", f"no gradient in the first {steps} steps.", {"steps": steps}, name)
    from .faulty_networks import Late, NetworkFault

    return _network(cls, label, NetworkFault(lambda: Late(steps)), modality)


def narrow(cls: B, dim: int = 1, *, name: str | None = None) -> B:
    """Return a branch that sees only `dim` numbers of each clip, too few for its features.

    Parameters
    ----------
    cls : type
        A branch.
    dim : int
        Number of values, 1 or more. The input, for example (C, H, W), is flattened and divided
        into `dim` runs of about equal length. Each run is replaced by its mean. For a spectrogram,
        the runs are bands of frequency.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The fault represents an architecture that can't use the information in its features. A framework
    should report that the modality alone scores far below what its features allow, even on training
    clips.
    """
    check_least("narrow", "dim", dim, 1)
    if kind_of(cls) != "branch":
        raise refuse("narrow", cls, "a branch")
    label = Label("narrow", f"each input is reduced to {dim} numbers.", {"dim": dim}, name)
    from .faulty_networks import NetworkFault, flatten_to

    return _network(cls, label, NetworkFault(see=partial(flatten_to, dim=dim)), None)


def oversized(cls: S, width: int = 2048, *, name: str | None = None) -> S:
    """Return a strategy with a far too large head: two layers of `width` units precede the head.

    Parameters
    ----------
    cls : type
        A strategy that takes embeddings.
    width : int
        Number of units per layer, 1 or more. The layers have about ``width**2`` weights, without
        normalisation or dropout.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The two layers map the concatenated embeddings, (B, sum D_m), to a vector of the same size,
    which the healthy strategy reads as embeddings. The cost of a step is proportional to
    ``width**2``: 4 million weights at 2048. With augmentation (``train.masks``, ``train.shift_*``)
    and label smoothing the head learns more slowly instead of over-fitting. Switch off augmentation
    and label smoothing to see the head over-fit. A framework should report that the gap between
    training and validation scores is far larger for the fused head than for the probes.
    """
    check_least("oversized", "width", width, 1)
    if kind_of(cls) != "strategy" or cls.takes != "embeddings":
        raise refuse("oversized", cls, "a strategy that takes embeddings")
    from .faulty_networks import NetworkFault, faulty_strategy

    does = f"two layers of {width} units come before the strategy."
    label = Label("oversized", does, {"width": width}, name)
    return cast("S", faulty_strategy(cls, label, NetworkFault(), None, width=width))


def locked(
    cls: S, share: float = 0.95, *, modality: str | None = None, name: str | None = None
) -> S:
    """Return a strategy that is locked to one modality, regardless of the other modalities.

    Parameters
    ----------
    cls : type
        A strategy that takes embeddings.
    share : float
        Weight of a linear head on `modality`, from 0 to 1. The scores of the healthy strategy,
        bounded to -1 to 1 by tanh, have the weight 1 - `share`.
    modality, name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The fault represents a gate that settled on one modality early. The fused scores are nearly
    those of the modality alone, and the gradients of the other branches are 1 - `share` times as
    large. The fault does harm if another modality is more informative. A framework should report
    that the fusion relies too much on the modality, or that another branch is held back.
    """
    check_share("locked", share)
    if kind_of(cls) != "strategy" or cls.takes != "embeddings":
        raise refuse("locked", cls, "a strategy that takes embeddings")
    from .faulty_networks import NetworkFault, faulty_strategy

    does = f"one modality has a share of {share:g} in the scores."
    label = Label("locked", does, {"share": share}, name)
    return cast("S", faulty_strategy(cls, label, NetworkFault(), modality, share=share))


# -- shared -----------------------------------------------------------------------------


def _extractor(cls: T, label: Label, alter: Callable[..., Any]) -> T:
    from .faulty_data import faulty_extractor

    return cast("T", faulty_extractor(cast(Any, cls), label, alter=alter))


def _altered(cls: T, label: Label, alteration: str, modality: str | None) -> T:
    """Return a network with the fault of a function of `faulty_networks`, given by name."""
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
            f"faults.{label.fault}: modality={modality!r} is for strategies. Choose the modality "
            f"of a branch in the run: --branch {modality}={label.name_for(cls)}."
        )
    return cast("T", faulty_branch(cast(Any, cls), label, fault))


_POSSIBLE = dict.fromkeys(("scaled", "dead"), "an extractor, a branch or a strategy")


def _check_size(fault: str, name: str, value: float) -> None:
    if value == 0 or not math.isfinite(value):
        raise ValueError(
            f"faults.{fault} needs a finite {name} other than 0, and was given {value}."
        )
