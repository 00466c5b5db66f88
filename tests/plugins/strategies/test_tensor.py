"""The strategy `tensor` passes the suite that third parties get."""

from fusion.plugins.strategies.tensor import TensorFusion
from fusion.testing import StrategySuite


class TestTensor(StrategySuite):
    plugin = TensorFusion
