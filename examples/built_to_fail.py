r"""A fusion built to fail, for `fusion diagnose` and `fusion repair` to be tried on.

    fusion -p examples/built_to_fail.py repair --strategy concat_oversized \
        --features mel,persistence --branch persistence=cnn --set mel.hop=256 \
        --set train.start=scratch --set train.normalise=none

A network of some four million weights joins the embeddings before the head. The inputs are as they
are stored: persistence images have forty times the spread of spectrograms. Every branch starts from
nothing (`train.start=scratch`), and nothing is balanced.
"""

from fusion import hookimpl
from fusion.plugins.strategies.concat import Concat
from fusion.testing import faults

FarTooLarge = faults.oversized(Concat, width=2048)


@hookimpl
def fusion_strategies():
    return [FarTooLarge]
