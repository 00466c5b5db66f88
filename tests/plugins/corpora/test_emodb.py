"""The corpus `emodb` passes the suite that third parties get."""

from touched import touch

from fusion.plugins.corpora.emodb import EmoDB
from fusion.testing import CorpusSuite


class TestEmoDB(CorpusSuite):
    plugin = EmoDB

    def make(self, folder):
        touch(folder, "wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a02La.wav")
