"""The branch `mlp` passes the suite that third parties get."""

from fusion.plugins.branches.mlp import MLP
from fusion.testing import BranchSuite


class TestMLP(BranchSuite):
    plugin = MLP
