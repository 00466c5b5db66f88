"""Records of runs that were never made: what run.json has to hold, and what a test asks for."""

from fusion.core.contracts import Modality
from fusion.core.runs.config import RunConfig
from fusion.core.runs.record import FORMAT, FeatureRecord, RunRecord, SplitRecord
from fusion.core.training.model import BranchSpec, ModelSpec


def model_of(modalities=("a", "b"), dim=8):
    branches = tuple(BranchSpec(Modality(m, (4,), ()), "mlp") for m in modalities)
    return ModelSpec(branches, 2, dim, "concat")


def split_of(splits, clips):
    digests = tuple(split.digest(clips) for split in splits)
    return SplitRecord("speaker", True, len(digests), digests)


def feature_of(id="0" * 32):
    return FeatureRecord(id, "1", {}, (4,), "float32", {})


def record_of(**changes):
    """A record in which everything is there, and nothing says much but for `changes`."""
    record = {
        "format": FORMAT,
        "config": RunConfig(("demo",), strategy="concat"),
        "classes": ("low", "high"),
        "features": {},
        "model": model_of(),
        "split": SplitRecord("speaker", True, 1, ()),
        "seconds": {},
    }
    return RunRecord(**{**record, **changes})
