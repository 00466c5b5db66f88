"""A corpus of text, and a finished run on it that nothing was trained for."""

from untrained_runs import copied as copied
from untrained_runs import corpus as corpus
from untrained_runs import made as made
