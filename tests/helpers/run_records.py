"""Artificial records of runs, with the required fields of run.json and those of a test."""

from fusion.core.contracts import Modality
from fusion.core.data.windows import LongClips
from fusion.core.runs.config import RunConfig
from fusion.core.runs.record import FORMAT, FeatureRecord, Member, RunRecord, SplitRecord
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
    """Return a record with minimal values of all required fields, except for `changes`."""
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


def whole_record(**changes):
    """Return the record of a finished run with values for every field."""
    modality = Modality("a", (2, 4), ("frequency", "time"))
    branches = (BranchSpec(modality, "cnn", {"blocks": 2, "dropout": 0.5, "pooling": "mean"}),)
    config = RunConfig(
        ("demo", "table=/clips.csv"), "native", ("a",), {"a": "cnn"}, "gated", ("gradscale",),
        {"train": {"epochs": 3, "start": "baselines"}, "branch.a": {"blocks": 2}}, "random", 2, 7,
        8, "cpu", ("./plugin.py",), ("jsonl",), "/cache", True, {"*": "float16"}, "always", 4,
        {"train": {"lr": {"kind": "uniform", "low": 0.1, "high": 1.0}}}, "speaker",
        {"label": "EmoClass"}, ("index",), {"joy": "happy"},
    )  # fmt: skip
    feature = FeatureRecord("0" * 32, "1", {"hop": 160, "families": ["a", "b"]}, (2, 4), "float32",
                            {"numpy": "2.0"})  # fmt: skip
    whole = {
        "config": config,
        "features": {"a": feature},
        "model": ModelSpec(branches, 2, 8, "gated", {"hidden": 4}, (("gradscale", {"alpha": 1}),)),
        "split": SplitRecord("random", False, 2, ("1f", "2f"), [{"train": {"clips": 3}}] * 2),
        "seconds": {"extraction": 1.5, "training": 2.0},
        "created": "2026-01-02T03:04:05+00:00",
        "training": {"epochs": 3, "lr": 0.01},
        "versions": {"python": "3.11"},
        "machine": {"processor": "x86_64"},
        "task": "A sentence.",
        "synthetic": True,
        "corpora": ("demo", "table"),
        "dropped_labels": {"table": {"bored": 3}},
        "passed_over": {"table": {"no label": 2}},
        "columns": {"table": {"label": "EmoClass"}},
        "unreadable": {"table": 1},
        "failures": [{"feature": "a", "recording": "x.wav", "reason": "empty"}],
        "absent": {"a": 2},
        "long_clips": LongClips({"a": 4.096}, 3, 12),
        "trainings": 16,
        "control": 5,
        "handed_out": tuple(Member(f"fold{k}/a", 0.5, model_of(("a",)), 1.5, k) for k in (0, 1)),
    }
    return record_of(**{**whole, **changes})
