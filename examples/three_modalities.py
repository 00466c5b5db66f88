"""Sound, shape of sound, and words: three modalities, of which one is no audio at all.

    python examples/three_modalities.py            about two minutes on two cores
    python examples/three_modalities.py --quick    some seconds; too short to learn much

The words come from a table with one row of numbers per clip, as any tool makes them: embeddings of
a transcript, of a video, answers to a questionnaire. A third of the clips have no row: nobody
transcribed them. They take part with the modalities that they have.

Here the voices are generated and the "transcripts" are drawn at random, each word a little more
likely in one class than in another, so the figures are evidence of nothing. With your own corpus,
write the table from your own transcripts, and leave out everything up to `write_table`.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

import fusion
from fusion.core.registry import Registry

arguments = argparse.ArgumentParser(description="Three modalities, one of them from a table.")
arguments.add_argument("--quick", action="store_true", help="fewer voices and epochs")
arguments.add_argument("--table", default="words.csv", help="table to write [default: words.csv]")
arguments.add_argument("--out", help="run directory [default: runs/DATE-METHODS]")
arguments.add_argument("--cache", help="where features are kept [default: the user's cache]")
given = arguments.parse_args()

VOCABULARY, WORDS = 16, 12  # words that there are, and words of a transcript


def embedding(label: int, rng: np.random.Generator) -> np.ndarray:
    """How often each word occurs in a made-up transcript, (VOCABULARY,)."""
    likely = np.where(np.arange(VOCABULARY) % 6 == label, 2.0, 1.0)
    counts = rng.multinomial(WORDS, likely / likely.sum())
    return counts / WORDS


def write_table(path: Path, clips: list[fusion.Clip]) -> None:
    """One row per clip that somebody transcribed: `path`, and a column for each number."""
    rng = np.random.default_rng(0)
    classes = sorted({clip.label for clip in clips})
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", *(f"word_{i}" for i in range(VOCABULARY))])
        for clip in clips:
            if rng.random() < 2 / 3:
                numbers = embedding(classes.index(clip.label), rng)
                rows.writerow([clip.recording.path, *numbers.round(4)])


demo = {"speakers": 6, "clips": 2} if given.quick else {}
corpus = Registry().get("corpus", "demo")
write_table(Path(given.table), list(corpus(None, **demo).clips()))

result = fusion.run(
    features=["mel", "levelset", "precomputed"],
    # A strategy that takes whatever a clip has. Those that can't be told are said before training.
    strategy="attention",
    epochs=3 if given.quick else 30,
    set={
        "precomputed.table": given.table,
        **{f"demo.{name}": value for name, value in demo.items()},
        **({"branch.mel.blocks": 2} if given.quick else {}),
    },
    out=given.out,
    cache=given.cache,
)
print(result)
