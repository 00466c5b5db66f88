"""The branch `cnn` passes the suite that third parties get."""

from fusion.plugins.branches.cnn import CNN
from fusion.testing import BranchSuite


class TestCNN(BranchSuite):
    plugin = CNN
