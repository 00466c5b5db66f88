"""Write a folder of recordings to try fusion with: `python make_recordings.py FOLDER`.

The recordings are those of the generated demo corpus (synthetic voices), sorted as your own could
be: FOLDER/EMOTION/SPEAKER/TAKE.wav.
"""

import shutil
import sys
from pathlib import Path

from fusion.plugins.corpora.demo import Demo


def main(folder: Path) -> None:
    """Copy the clips of the demo corpus into one folder for each emotion and speaker."""
    clips = list(Demo(None).clips())
    for clip in clips:
        take = Path(clip.name).stem.rsplit("_", 1)[1]
        target = folder / clip.label / f"speaker_{clip.speaker}" / f"{take}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip.recording.path, target)
    print(f"{len(clips)} recordings in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_recordings.py FOLDER")
    main(Path(sys.argv[1]))
