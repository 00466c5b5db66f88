"""The corpus `emovo` passes the suite that third parties get."""

from touched import touch

from fusion.plugins.corpora.emovo import Emovo
from fusion.testing import CorpusSuite


class TestEmovo(CorpusSuite):
    plugin = Emovo

    def make(self, folder):
        touch(folder, "f1/dis-f1-b1.wav", "f1/gio-f1-n5.wav", "m3/tri-m3-d2.wav")
