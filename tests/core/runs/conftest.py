"""A corpus of text files, and a finished run on it with untrained models."""

from stepped_recordings import stepped_run as stepped_run
from stepped_recordings import windowed_run as windowed_run
from untrained_runs import copied as copied
from untrained_runs import corpus as corpus
from untrained_runs import made as made
