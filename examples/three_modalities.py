"""Fusion of three modalities: spectrograms, level sets, and words read from a table.

    python examples/three_modalities.py            takes about two minutes on two cores
    python examples/three_modalities.py --quick    takes some seconds; too short to learn much

The table has one row of numbers per clip, as other tools compute them: embeddings of a transcript
or a video, answers to a questionnaire. A third of the clips have no row, because they were not
transcribed. These clips take part with the modalities that they have.

The voices are generated, and the "transcripts" are drawn at random: each word is a little more
likely in one class than in the others. The scores are therefore no evidence about real speech. With
your own corpus, write the table from your own transcripts, and leave out the code up to
`write_table`.
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
arguments.add_argument("--cache", help="feature cache [default: the user's cache]")
options = arguments.parse_args()

VOCABULARY, WORDS = 16, 12  # words in the vocabulary, and words per transcript


def embedding(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return the relative frequency of each word in a random transcript, (VOCABULARY,)."""
    likely = np.where(np.arange(VOCABULARY) % 6 == label, 2.0, 1.0)
    counts = rng.multinomial(WORDS, likely / likely.sum())
    return counts / WORDS


def write_table(path: Path, clips: list[fusion.Clip]) -> None:
    """Write one row per transcribed clip: `path`, and one column for each number."""
    rng = np.random.default_rng(0)
    classes = sorted({clip.label for clip in clips})
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", *(f"word_{i}" for i in range(VOCABULARY))])
        for clip in clips:
            if rng.random() < 2 / 3:
                numbers = embedding(classes.index(clip.label), rng)
                rows.writerow([clip.recording.path, *numbers.round(4)])


demo = {"speakers": 6, "clips": 2} if options.quick else {}
corpus = Registry().get("corpus", "demo")
write_table(Path(options.table), list(corpus(None, **demo).clips()))

result = fusion.run(
    features=["mel", "levelset", "precomputed"],
    # A strategy that accepts clips with missing modalities. Other strategies see zeros instead, and
    # a run warns about them before training.
    strategy="attention",
    epochs=3 if options.quick else 30,
    set={
        "precomputed.table": options.table,
        **{f"demo.{name}": value for name, value in demo.items()},
        **({"branch.mel.blocks": 2} if options.quick else {}),
    },
    out=options.out,
    cache=options.cache,
)
print(result)
