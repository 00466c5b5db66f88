"""The corpus `folder` passes the suite that third parties get."""

from typing import ClassVar

from touched import touch

from fusion.plugins.corpora.folder import Folder
from fusion.testing import CorpusSuite


class TestFolder(CorpusSuite):
    plugin = Folder

    def make(self, folder):
        touch(folder, "happy/anna/1.wav", "sad/anna/2.wav", "sad/ben/1.wav")


class TestFolderWithPattern(CorpusSuite):
    plugin = Folder
    parameters: ClassVar = {"speaker": r"spk(\d+)"}

    def make(self, folder):
        touch(folder, "happy/spk1_1.wav", "sad/spk1_1.wav", "sad/spk2_1.wav")
