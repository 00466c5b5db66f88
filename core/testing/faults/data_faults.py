"""Faults on purpose in what is learned from: pairing, labels, duplicates. See `faults`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from .faulty_class import Label, check_share, kind_of, refuse

if TYPE_CHECKING:
    from ...contracts import Corpus, Extractor

    C = TypeVar("C", bound=type[Corpus])
    E = TypeVar("E", bound=type[Extractor])


def shuffled(
    cls: E, share: float = 1.0, seed: int = 0, *, levels: int = 1, name: str | None = None
) -> E:
    """Modalities that do not belong together: each recording gets the array of another one.

    Parameters
    ----------
    cls : type
        An extractor.
    share : float
        From 0 to 1: of the recordings below the root, ``round(share * n)`` change places, none
        keeps its own.
    seed : int
        Which, and with whom; 0 or more.
    levels : int
        How far the root lies above a recording's folder: 1 where each speaker has a folder, 0
        where all files lie in one; 0 or more.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    A fixed permutation of the files that lie below the root, the same in every process and on
    every machine that has the same files, whether a run uses all of them or not. The cache keeps
    the array under the content of the recording that asked: add or remove files, and arrays of
    before and after lie side by side. Use a cache of its own where the files change. Parts of a
    file (with start or end) are refused. A framework should say that the modality knows less
    than chance about its labels, or that it contradicts the others.
    """
    check_share("shuffled", share)
    if levels < 0 or seed < 0:
        raise ValueError(f"faults.shuffled needs levels, seed >= 0; given {levels}, {seed}.")
    if kind_of(cls) != "extractor":
        raise refuse("shuffled", cls, "an extractor")
    strength = {"share": share, "seed": seed, "levels": levels}
    label = Label("shuffled", f"a share of {share:g} are of another recording.", strength, name)
    from .faulty_data import faulty_extractor, partner

    of = partial(partner, share=share, seed=seed, levels=levels)
    return cast("E", faulty_extractor(cls, label, of=of))


def mislabelled(cls: C, share: float = 0.3, seed: int = 0, *, name: str | None = None) -> C:
    """Label noise: another label, at random, for a share of the clips.

    Parameters
    ----------
    cls : type
        A corpus.
    share : float
        From 0 to 1, of the clips whose label a run on shared labels uses; exactly
        ``round(share * n)``.
    seed : int
        Which clips, and which labels.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The labels of validation and test are wrong as well, so no model can score above about
    ``1 - share``. A framework should say that models which know the corpus disagree with its
    labels. Ask for the corpus by name: ``--data ravdess_mislabelled=PATH``.
    """
    strength = {"share": share, "seed": seed}
    label = Label("mislabelled", f"a share of {share:g} of the labels is wrong.", strength, name)
    return _corpus(cls, label, "mislabel")


def duplicated(cls: C, share: float = 0.3, seed: int = 0, *, name: str | None = None) -> C:
    """Duplicates that leak: a share of the clips once more, as another speaker's.

    Parameters
    ----------
    cls : type
        A corpus.
    share : float
        From 0 to 1: ``round(share * n)`` clips are listed twice, the copy as ``name#copy`` and
        of another speaker of the corpus.
    seed : int
        Which clips, and which speakers.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    A split by speaker does not keep a clip and its copy in one part, so test clips are heard in
    training and figures are too high. A framework should say which clips are the same recording,
    and in which parts they lie. Ask for the corpus by name: ``--data demo_duplicated``.
    """
    strength = {"share": share, "seed": seed}
    label = Label("duplicated", f"a share of {share:g} is listed twice.", strength, name)
    return _corpus(cls, label, "duplicate")


def _corpus(cls: C, label: Label, alteration: str) -> C:
    """A corpus whose clips go through a function of `faulty_data`, by name."""
    check_share(label.fault, label.strength["share"])
    if kind_of(cls) != "corpus":
        raise refuse(label.fault, cls, "a corpus")
    from . import faulty_data

    alter = partial(getattr(faulty_data, alteration), **label.strength)
    return cast("C", faulty_data.faulty_corpus(cls, label, alter))
