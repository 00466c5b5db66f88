"""Clips that a corpus reads, without the steps that follow in a run."""

from fusion.core.contracts.data import ColumnChoice


def read_corpus(cls, path, choice=None, **parameters):
    """Return a corpus of the class `cls` and its clips."""
    corpus = cls(path, **parameters)
    corpus.columns = choice or ColumnChoice()
    return corpus, list(corpus.clips())
