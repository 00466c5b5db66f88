"""Every built-in strategy, branch and balancer passes the suites that third parties get."""

from typing import ClassVar

from fusion.plugins.balancers.gradscale import GradScale
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.crnn import CRNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.branches.resnet import ResNet
from fusion.plugins.branches.transformer import Transformer
from fusion.plugins.strategies.attention import Attention
from fusion.plugins.strategies.bottleneck import Bottleneck
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.cross_attention import CrossAttention
from fusion.plugins.strategies.early import Early
from fusion.plugins.strategies.ensemble import Ensemble
from fusion.plugins.strategies.film import Film
from fusion.plugins.strategies.gated import Gated
from fusion.plugins.strategies.lmf import LMF
from fusion.plugins.strategies.mean import Mean
from fusion.plugins.strategies.normalised import Normalised
from fusion.plugins.strategies.residual import Residual
from fusion.plugins.strategies.sum import Sum
from fusion.plugins.strategies.tensor import TensorFusion
from fusion.testing import BalancerSuite, BranchSuite, StrategySuite


class TestConcat(StrategySuite):
    plugin = Concat


class TestSum(StrategySuite):
    plugin = Sum


class TestMean(StrategySuite):
    plugin = Mean


class TestNormalised(StrategySuite):
    plugin = Normalised


class TestGated(StrategySuite):
    plugin = Gated


class TestFilm(StrategySuite):
    plugin = Film


class TestLMF(StrategySuite):
    plugin = LMF


class TestTensor(StrategySuite):
    plugin = TensorFusion


class TestAttention(StrategySuite):
    plugin = Attention


class TestDeepAttention(StrategySuite):
    plugin = Attention
    parameters: ClassVar = {"layers": 2, "heads": 2, "dropout": 0.0}


class TestResidual(StrategySuite):
    plugin = Residual


class TestLinearResidual(StrategySuite):
    plugin = Residual
    parameters: ClassVar = {"hidden": 0}


class TestEnsemble(StrategySuite):
    plugin = Ensemble


class TestCNN(BranchSuite):
    plugin = CNN


class TestMLP(BranchSuite):
    plugin = MLP


class TestEarly(StrategySuite):
    plugin = Early


class TestBottleneck(StrategySuite):
    plugin = Bottleneck


class TestCrossAttention(StrategySuite):
    plugin = CrossAttention


class TestCRNN(BranchSuite):
    plugin = CRNN


class TestResNet(BranchSuite):
    plugin = ResNet
    parameters: ClassVar = {"width": 8}


class TestTransformer(BranchSuite):
    plugin = Transformer


class TestGradScale(BalancerSuite):
    plugin = GradScale
    single_unchanged = True
    equal_unchanged = True


class TestFixedGradScale(BalancerSuite):
    plugin = GradScale
    parameters: ClassVar = {"mode": "fixed"}
