"""Deliberate faults in the training data: wrong pairs of modalities, wrong labels, duplicates.

See :mod:`fusion.testing.faults`.
"""

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
    """Return an extractor that gives recordings the arrays of other recordings.

    The modality then does not belong to the other modalities of a clip.

    Parameters
    ----------
    cls : type
        An extractor.
    share : float
        Share of exchanged recordings, from 0 to 1: ``round(share * n)`` of the n recordings below
        the root get the array of another recording.
    seed : int
        Seed of the choice and of the permutation; 0 or more.
    levels : int
        Number of folder levels between a recording's folder and the root, 0 or more: 1 if each
        speaker has a folder, 0 if all files are in one folder.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    The permutation of the files below the root is the same in every process and on every machine
    that has the same files, even if a run does not use all files. The key of an array in the cache
    depends on the content of the requested recording, not of the recording that replaces it. So
    after files are added or removed, the cache mixes arrays of the old and the new permutation. Use
    a separate cache if the files change. The extractor refuses parts of a file (with start or end).
    A framework should report that the modality is worse than chance on its labels, or that the
    modality contradicts other modalities.
    """
    check_share("shuffled", share)
    if levels < 0 or seed < 0:
        raise ValueError(
            f"faults.shuffled needs levels, seed >= 0, and was given {levels}, {seed}."
        )
    if kind_of(cls) != "extractor":
        raise refuse("shuffled", cls, "an extractor")
    strength = {"share": share, "seed": seed, "levels": levels}
    does = f"a share of {share:g} of the arrays belongs to other recordings."
    label = Label("shuffled", does, strength, name)
    from .faulty_data import faulty_extractor, partner

    of = partial(partner, share=share, seed=seed, levels=levels)
    return cast("E", faulty_extractor(cls, label, of=of))


def mislabelled(cls: C, share: float = 0.3, seed: int = 0, *, name: str | None = None) -> C:
    """Return a corpus with label noise: a share of the clips has another, random label.

    Parameters
    ----------
    cls : type
        A corpus.
    share : float
        Share of mislabelled clips, from 0 to 1: exactly ``round(share * n)`` of the n clips that
        take part in a run on shared labels.
    seed : int
        Seed of the choice of clips and labels.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    Labels of validation and test clips are also wrong, so no model can score above about ``1 -
    share``. A framework should report that well-trained models disagree with the labels of the
    corpus. Select the corpus by name: ``--data ravdess_mislabelled=PATH``.
    """
    strength = {"share": share, "seed": seed}
    label = Label("mislabelled", f"a share of {share:g} of the labels is wrong.", strength, name)
    return _corpus(cls, label, "mislabel")


def duplicated(cls: C, share: float = 0.3, seed: int = 0, *, name: str | None = None) -> C:
    """Return a corpus with duplicates: copies of clips under the name of another speaker.

    Parameters
    ----------
    cls : type
        A corpus.
    share : float
        Share of duplicated clips, from 0 to 1: ``round(share * n)`` of the n clips are listed
        twice. The copy is called ``name#copy`` and has another speaker of the corpus: speakers
        are paired.
    seed : int
        Seed of the choice of clips.
    name : str, optional
        See :mod:`fusion.testing.faults`.

    Notes
    -----
    A split by the stated speakers may put a clip and its copy into different parts. The training
    clips then include copies of test clips, and test scores are too high. A framework should keep
    both in one part, and report which clips are the same recording. fusion makes one speaker of
    each pair. Select the corpus by name: ``--data demo_duplicated``.
    """
    strength = {"share": share, "seed": seed}
    label = Label("duplicated", f"a share of {share:g} is listed twice.", strength, name)
    return _corpus(cls, label, "duplicate")


def _corpus(cls: C, label: Label, alteration: str) -> C:
    """Return a corpus whose clips a function of `faulty_data` changes; `alteration` names it."""
    check_share(label.fault, label.strength["share"])
    if kind_of(cls) != "corpus":
        raise refuse(label.fault, cls, "a corpus")
    from . import faulty_data

    alter = partial(getattr(faulty_data, alteration), **label.strength)
    return cast("C", faulty_data.faulty_corpus(cls, label, alter))
