"""Settings that shorten a whole run to seconds; windows would give four times as many arrays."""

SMALL = ["--set", "mel.n_mels=16", "--set", "mel.frames=32", "--set", "persistence.n_mels=16",
         "--set", "train.windows=middle", "--set", "train.dim=8", "--set", "branch.mel.blocks=2",
         "--set", "branch.mel.channels=4", "--set", "branch.persistence.hidden=8",
         "--features", "mel,persistence", "--jobs", "2"]  # fmt: skip
