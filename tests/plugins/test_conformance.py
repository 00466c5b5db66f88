"""Every built-in plugin passes the suites that third parties get."""

from typing import ClassVar

from fusion.plugins.balancers.gradscale import GradScale
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.crnn import CRNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.branches.resnet import ResNet
from fusion.plugins.branches.transformer import Transformer
from fusion.plugins.corpora.crema_d import CremaD
from fusion.plugins.corpora.demo import Demo
from fusion.plugins.corpora.emodb import EmoDB
from fusion.plugins.corpora.folder import Folder
from fusion.plugins.corpora.ravdess import RAVDESS
from fusion.plugins.corpora.savee import Savee
from fusion.plugins.corpora.table import Table
from fusion.plugins.corpora.tess import Tess
from fusion.plugins.extractors.levelset import LevelSet
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.mfcc import MFCC
from fusion.plugins.extractors.persistence import Persistence
from fusion.plugins.remedies import ladder
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
from fusion.testing import (
    BalancerSuite,
    BranchSuite,
    CorpusSuite,
    ExtractorSuite,
    RemedySuite,
    StrategySuite,
)


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


# -- extractors ----------------------------------------------------------------------------


class TestMel(ExtractorSuite):
    plugin = Mel


class TestFixedMel(ExtractorSuite):
    plugin = Mel
    parameters: ClassVar = {"ref": "fixed", "trim_db": 40.0}


class TestMFCC(ExtractorSuite):
    plugin = MFCC


class TestPersistence(ExtractorSuite):
    plugin = Persistence
    parameters: ClassVar = {"max_points": 60}


class TestPersistenceOfMFCC(ExtractorSuite):
    plugin = Persistence
    parameters: ClassVar = {"max_points": 60, "points": "mfcc"}


class TestLevelSet(ExtractorSuite):
    plugin = LevelSet


class TestLevelSetOfUnevenBands(ExtractorSuite):
    plugin = LevelSet
    parameters: ClassVar = {"n_mels": 20, "surface_bands": 3, "families": ("contours", "surface")}


# -- corpora -------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


class TestRAVDESS(CorpusSuite):
    plugin = RAVDESS

    def make(self, folder):
        touch(folder, *(f"Actor_0{a}/03-01-0{e}-01-02-01-0{a}.wav" for a in (1, 2) for e in (1, 3)))


class TestCremaD(CorpusSuite):
    plugin = CremaD

    def make(self, folder):
        touch(folder, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1040_ITH_SAD_X.wav")


class TestSavee(CorpusSuite):
    plugin = Savee

    def make(self, folder):
        touch(folder, "AudioData/DC/a01.wav", "AudioData/JE/sa15.wav", "AudioData/JK/su03.wav")


class TestTess(CorpusSuite):
    plugin = Tess

    def make(self, folder):
        touch(folder, "OAF_angry/OAF_back_angry.wav", "YAF_fear/YAF_back_fear.wav")


class TestEmoDB(CorpusSuite):
    plugin = EmoDB

    def make(self, folder):
        touch(folder, "wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a02La.wav")


class TestFolder(CorpusSuite):
    plugin = Folder

    def make(self, folder):
        touch(folder, "happy/anna/1.wav", "sad/anna/2.wav", "sad/ben/1.wav")


class TestFolderWithPattern(CorpusSuite):
    plugin = Folder
    parameters: ClassVar = {"speaker": r"spk(\d+)"}

    def make(self, folder):
        touch(folder, "happy/spk1_1.wav", "sad/spk1_1.wav", "sad/spk2_1.wav")


class TestTable(CorpusSuite):
    plugin = Table

    def make(self, folder):
        touch(folder, "clips/a.wav", "clips/b.wav")
        rows = "path,label,speaker,start,end\nclips/a.wav,joy,anna,,\n"
        rows += "clips/b.wav,sad,ben,0.5,1.5\nclips/b.wav,anger,ben,1.5,2\n"
        (folder / "clips.csv").write_text(rows)
        return folder / "clips.csv"


class TestDemo(CorpusSuite):
    plugin = Demo


# -- remedies ------------------------------------------------------------------------------


class TestRebuilt(RemedySuite):
    plugin = ladder.Rebuilt


class TestPretrained(RemedySuite):
    plugin = ladder.Pretrained


class TestLevelled(RemedySuite):
    plugin = ladder.Levelled


class TestAdaptive(RemedySuite):
    plugin = ladder.Adaptive


class TestBalanced(RemedySuite):
    plugin = ladder.Balanced


class TestJoined(RemedySuite):
    plugin = ladder.Joined


class TestCorrected(RemedySuite):
    plugin = ladder.Corrected


class TestAveraged(RemedySuite):
    plugin = ladder.Averaged
