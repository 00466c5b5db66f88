"""AESDD: the number in brackets is the actor and not a second copy."""

from touched import touch

from fusion.plugins.corpora.aesdd import Aesdd
from fusion.testing import CorpusSuite


class TestAesdd(CorpusSuite):
    plugin = Aesdd

    def make(self, folder):
        touch(folder, "anger/a03 (4).wav", "sadness/s01 (1).wav", "fear/f18 (5)b.wav")


def test_the_number_in_brackets_is_the_actor(tmp_path):
    touch(tmp_path, "anger/a03 (4).wav", "anger/a03 (5).wav", "fear/f18 (5).wav")
    touch(tmp_path, "fear/f18 (5)b.wav", "anger/a03 (4) (1).wav")
    corpus = Aesdd(tmp_path)
    clips = [(c.name, c.speaker, c.label, c.attributes["take"]) for c in corpus.clips()]
    assert clips == [
        ("anger/a03 (4).wav", "4", "angry", ""), ("anger/a03 (5).wav", "5", "angry", ""),
        ("fear/f18 (5).wav", "5", "fearful", ""), ("fear/f18 (5)b.wav", "5", "fearful", "b"),
    ]  # fmt: skip
    assert corpus.passed_over == {"copy of a recording that is read": ["anger/a03 (4) (1).wav"]}
