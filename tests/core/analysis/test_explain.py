"""Permutations of clips in the explanation of a run."""

import numpy as np

from fusion.core.analysis.explain import permuted


def test_permutations_are_seeded_and_differ_between_folds():
    first = permuted(20, 3, 0)

    assert first.shape == (3, 20)
    assert (np.sort(first, axis=1) == np.arange(20)).all()
    assert (permuted(20, 3, 0) == first).all()
    assert (permuted(20, 3, 1) != first).any()
