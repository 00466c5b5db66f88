"""Whole runs without training: initial weights, and features of a plugin that reads text.

A recording is a text file of two numbers, a bar and three numbers, such as ``1 2 | 3 4 5``, which
are the features ``first`` and ``second``. A feature without numbers is absent, and a recording
with a word can't be read.
"""

import shutil

import pytest

from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import make_plan
from fusion.core.runs.run import WEIGHTS, Run
from fusion.core.runs.trainings import CONTROL, all_trainings, spec_of
from fusion.core.toolkit.weights import save_weights
from fusion.core.training.model import build_model
from fusion.core.workflows.experiment import conclude, prepare_run, train_run

PLUGIN = """
import numpy as np
from fusion import Extractor, MissingModalityError, RecordingError, hookimpl

class First(Extractor):
    '''The numbers before the bar.'''

    name, shape, part = "first", (2,), 0
    default_branch = "mlp"
    sources = ("table",)

    def __init__(self, *, scale: float = 1.0, table: str = ""):
        self.scale = scale

    def extract(self, recording):
        text = recording.path.read_text().split("|")[self.part]
        if not text.strip():
            raise MissingModalityError(f"no {self.name} in {recording.path}")
        try:
            return np.array([self.scale * float(x) for x in text.split()], np.float32)
        except ValueError:
            raise RecordingError(f"Can't read {recording.path}.") from None

class Second(First):
    '''The numbers after it.'''

    name, shape, part = "second", (3,), 1

@hookimpl
def fusion_extractors():
    return [First, Second]
"""

CLASSES = ("happy", "sad")


def numbers(speaker, label, take):
    """Return the text of a recording; the classes differ more in `first` than in `second`."""
    x = 3 * speaker + take
    return f"{x} {10 * label - x} | {x} {label} {x * x}"


def write_corpus(folder, speakers=6, takes=2, **changed):
    """Write recordings ``s0-happy-0.wav`` ... and a table; `changed` has other texts by name."""
    lines = ["path,label,speaker"]
    for speaker in range(speakers):
        for label, name in enumerate(CLASSES):
            for take in range(takes):
                stem = f"s{speaker}-{name}-{take}"
                text = changed.get(stem.replace("-", "_"), numbers(speaker, label, take))
                (folder / f"{stem}.wav").write_text(text)
                lines.append(f"{stem}.wav,{name},s{speaker}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "numbers_plugin.py").write_text(PLUGIN)


def config_of(folder, settings=None, **changes):
    """Return a configuration for the corpus in `folder`, without equal-steps control by default."""
    given = dict(settings or {})
    train = {"dim": 4, "epochs": 2, "start": "scratch", "precision": "float32"}
    given["train"] = {**train, **given.get("train", {})}
    asked = {
        "features": ("first", "second"),
        "strategy": "concat",
        "labels": "native",
        "plugins": (str(folder / "numbers_plugin.py"),),
        "cache": str(folder / "cache"),
    }
    return RunConfig((str(folder / "clips.csv"),), settings=given, **{**asked, **changes})


def untrained_run(folder, path, config=None):
    """Return a run of `config` with finished trainings, but no selection and test results."""
    config = config or config_of(folder)
    registry = Registry(config.plugins)
    with Run.create(path, registry) as run:
        prepare_run(run, make_plan(config, registry), jobs=1)
        for number, training in enumerate(all_trainings(run)):
            if training.model != CONTROL:
                give_weights(run, training, seed=number)
        for training in all_trainings(run):
            if training.model == CONTROL:
                give_weights(run, training, seed=99)
    return run


def give_weights(run, training, seed=0):
    """Write a finished training whose weights are the initial ones."""
    model = build_model(spec_of(run, training), run.registry, seed)
    run.write_text(f"{training.name}/epochs.jsonl", '{"epoch": 1, "val_uar": 0.5}\n')
    save_weights(run.training(training.name) / WEIGHTS, model.state_dict(), {})
    summary = {"epoch": 1, "best_epoch": 1, "best_uar": 0.5, "seconds": 1.0, "parameters": 10}
    run.write_json(f"{training.name}/training.json", summary)


def finished_run(folder, path, config=None):
    """Return an :func:`untrained_run` with its selection and test results."""
    run = untrained_run(folder, path, config)
    conclude(run, 0, seconds=1.0)
    return run


def trained_run(path, config):
    """Return a run of `config` whose trainings, except the control, ran in this process."""
    registry = Registry(config.plugins)
    with Run.create(path, registry) as run:
        prepare_run(run, make_plan(config, registry), jobs=1)
    train_run(run, jobs=0)
    return run


# -- fixtures, for the conftest.py of a folder -----------------------------------------------


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Corpus of six speakers, two classes and two takes; `made` fills its cache with features."""
    folder = tmp_path_factory.mktemp("texts")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def made(corpus):
    """Finished run of one fold. Read-only."""
    return finished_run(corpus, corpus / "made")


@pytest.fixture
def copied(made, tmp_path):
    """Copy of the run `made`, which a test may change."""
    shutil.copytree(made.path, tmp_path / "copy")
    return Run.open(tmp_path / "copy", made.registry)
