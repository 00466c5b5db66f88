"""The corpus `ravdess` passes the suite that third parties get."""

from touched import touch

from fusion.plugins.corpora.ravdess import RAVDESS
from fusion.testing import CorpusSuite


class TestRAVDESS(CorpusSuite):
    plugin = RAVDESS

    def make(self, folder):
        touch(folder, *(f"Actor_0{a}/03-01-0{e}-01-02-01-0{a}.wav" for a in (1, 2) for e in (1, 3)))
