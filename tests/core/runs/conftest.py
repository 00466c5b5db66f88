"""A corpus of text files, and a finished run on it with untrained models."""

from untrained_runs import copied as copied
from untrained_runs import corpus as corpus
from untrained_runs import made as made
