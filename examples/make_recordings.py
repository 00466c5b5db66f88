"""Write a folder of recordings to try fusion with: `python make_recordings.py FOLDER`.

The recordings are those of the generated demo corpus (synthetic voices), sorted as your own could
be: FOLDER/EMOTION/SPEAKER/TAKE.wav. `--layout audiofolder` and `--layout audformat` describe the
same recordings by a metadata.csv (Hugging Face's AudioFolder) or by an audformat database.
"""

import argparse
import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from fusion import Clip
from fusion.plugins.corpora.demo import Demo


def write_folder(folder: Path, clips: Sequence[Clip]) -> None:
    """Copy the clips into one folder for each emotion and speaker."""
    for clip in clips:
        take = Path(clip.name).stem.rsplit("_", 1)[1]
        copy(clip, folder / clip.label / f"speaker_{clip.speaker}" / f"{take}.wav")


def write_audiofolder(folder: Path, clips: Sequence[Clip]) -> None:
    """Copy the clips and write metadata.csv with the columns file_name, emotion and speaker."""
    for clip in clips:
        copy(clip, folder / clip.name)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "emotion", "speaker"])
        table.writerows([clip.name, clip.label, clip.speaker] for clip in clips)


def write_audformat(folder: Path, clips: Sequence[Clip]) -> None:
    """Copy the clips and write a database with one table of emotions and one of speakers."""
    import audformat

    for clip in clips:
        copy(clip, folder / clip.name)
    database = audformat.Database("demo", source="generated", usage="unrestricted")
    values = {"emotion": [c.label for c in clips], "speaker": [c.speaker for c in clips]}
    index = audformat.filewise_index([clip.name for clip in clips])
    for scheme, texts in values.items():
        database.schemes[scheme] = audformat.Scheme(labels=sorted(set(texts)))
        table = {"emotion": "emotion", "speaker": "files"}[scheme]
        database[table] = audformat.Table(index)
        database[table][scheme] = audformat.Column(scheme_id=scheme)
        database[table][scheme].set(texts)
    database.save(str(folder), storage_format="csv")


def copy(clip: Clip, target: Path) -> None:
    """Copy the recording of a clip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(clip.recording.path, target)


LAYOUTS: dict[str, Callable[[Path, Sequence[Clip]], None]] = {
    "folder": write_folder,
    "audiofolder": write_audiofolder,
    "audformat": write_audformat,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write recordings to try fusion with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="folder")
    arguments = parser.parse_args()
    demo = list(Demo(None).clips())
    LAYOUTS[arguments.layout](arguments.folder, demo)
    print(f"{len(demo)} recordings in {arguments.folder}")
