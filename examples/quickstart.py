"""Does fusing two views of the same clips help? Ask it of generated voices, in two minutes.

    python examples/quickstart.py            about two minutes on two cores
    python examples/quickstart.py --quick    some seconds; too short to learn much

Your own recordings take the place of the demo corpus with --data: a folder with one folder of
recordings per class, a table, or a corpus that `fusion plugins list` names.
"""

import argparse

import fusion

arguments = argparse.ArgumentParser(description="Fused, or the best single view?")
arguments.add_argument("--data", default=(), help="your corpus [default: generated voices]")
arguments.add_argument("--quick", action="store_true", help="fewer voices and epochs")
arguments.add_argument("--out", help="run directory [default: runs/DATE-METHODS]")
arguments.add_argument("--cache", help="where features are kept [default: the user's cache]")
given = arguments.parse_args()

settings = {"demo.speakers": 6, "demo.clips": 2, "branch.mel.blocks": 2} if given.quick else {}

# Each view alone, both fused from there, an ensemble, and a control: the best view alone for as
# many steps as the fused model had in all. Validation speakers choose among them, and speakers
# that were never heard measure them once.
result = fusion.run(
    data=given.data,
    strategy="gated",  # how the views are joined
    balance=["gradscale"],  # how they are trained together
    epochs=3 if given.quick else 30,
    set=settings,  # any parameter: fusion plugins show NAME
    out=given.out,
    cache=given.cache,
)

# The table with its intervals, and the verdict: one sentence on fusion, one on the model that
# is handed out.
print(result)

# Every epoch of every training is there for your own plots.
print("\nvalidation UAR of each training, first and best epoch:")
for training, epochs in result.history().items():
    curve = [epoch["val_uar"] for epoch in epochs]
    print(f"  {training:<20} {100 * curve[0]:5.1f}  {100 * max(curve):5.1f}")

# The model that validation chose labels new recordings, here or later:
#     fusion.load(result.path).predict(["new.wav"])
