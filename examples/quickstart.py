"""Test whether fusing two views of the same clips helps, on generated voices.

    python examples/quickstart.py            takes about two minutes on two cores
    python examples/quickstart.py --quick    takes some seconds; too short to learn much

Use your own recordings with --data: a folder with one folder of recordings per class, a table, or a
corpus that `fusion plugins list` names.
"""

import argparse

import fusion

arguments = argparse.ArgumentParser(description="Compare a fused model with its best single view.")
arguments.add_argument("--data", default=(), help="your corpus [default: generated voices]")
arguments.add_argument("--quick", action="store_true", help="fewer voices and epochs")
arguments.add_argument("--out", help="run directory [default: runs/DATE-METHODS]")
arguments.add_argument("--cache", help="feature cache [default: the user's cache]")
options = arguments.parse_args()

settings = {"demo.speakers": 6, "demo.clips": 2, "branch.mel.blocks": 2} if options.quick else {}

# fusion.run trains each view alone, a fused model that starts from these, an ensemble, and a
# control: the best view alone, trained for as many steps as the fused model had in total.
# Validation speakers select the model; held-out test speakers are used once to score it.
result = fusion.run(
    data=options.data,
    strategy="gated",  # how the embeddings of the views are fused
    balance=["gradscale"],  # how the branches' gradients are balanced
    epochs=3 if options.quick else 30,
    set=settings,  # any parameter; list them with: fusion plugins show NAME
    out=options.out,
    cache=options.cache,
)

# Print the table of scores with confidence intervals, and the verdict: one sentence about fusion
# and one about the selected model.
print(result)

# The history contains every epoch of every training, for example for plots.
print("\nvalidation UAR of each training, first and best epoch:")
for training, epochs in result.history().items():
    curve = [epoch["val_uar"] for epoch in epochs]
    print(f"  {training:<20} {100 * curve[0]:5.1f}  {100 * max(curve):5.1f}")

# The model selected on validation labels new recordings, now or later:
#     fusion.load(result.path).predict(["new.wav"])
