r"""Deliberately failing fusion for trying `fusion diagnose` and `fusion repair`.

    fusion -p examples/built_to_fail.py repair --strategy concat_oversized \
        --features mel,persistence --branch persistence=cnn --set mel.hop=256 \
        --set train.start=scratch --set train.normalise=none

A network of about four million weights precedes the head. The inputs are not normalised:
persistence images have forty times the spread of spectrograms. Every branch is trained from scratch
(`train.start=scratch`), and no balancer is used.
"""

from fusion import hookimpl
from fusion.plugins.strategies.concat import Concat
from fusion.testing import faults

FarTooLarge = faults.oversized(Concat, width=2048)


@hookimpl
def fusion_strategies():
    return [FarTooLarge]
