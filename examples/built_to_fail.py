r"""A fusion built to fail, for `fusion diagnose` and `fusion repair` to be tried on.

    fusion -p examples/built_to_fail.py repair --strategy concat_oversized \
        --set train.normalise=none

Embeddings joined by a network of some four million weights before the head, on inputs as they are
stored (persistence images have forty times the spread of spectrograms), no branch pretrained,
nothing balanced.
"""

from fusion import hookimpl
from fusion.plugins.strategies.concat import Concat
from fusion.testing import faults

FarTooLarge = faults.oversized(Concat, width=2048)


@hookimpl
def fusion_strategies():
    return [FarTooLarge]
