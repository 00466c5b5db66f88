"""Tables of clips and their recordings, and the clips that are read from them."""

from touched import touch

from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_sources
from fusion.plugins.corpora.folder import Folder
from fusion.plugins.corpora.table import Table

CORPORA = {"table": Table, "folder": Folder}
ROW = "path,label,speaker\n{0}1.wav,happy,{0}1\n{0}2.wav,sad,{0}2\n"


def tables(folder, *names):
    """Write a table of two clips, and their recordings, for each name."""
    for name in names:
        file = folder / name
        touch(folder, f"{file.stem}1.wav", f"{file.stem}2.wav")
        file.write_text(ROW.format(file.stem))


def loaded(text):
    """Return part and name of each clip of a value of --data."""
    data = load_dataset(parse_sources(str(text), CORPORA), CORPORA, labels="native")
    return sorted((clip.split, clip.name) for clip in data.clips)
