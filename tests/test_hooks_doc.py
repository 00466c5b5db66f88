"""Signatures and examples in docs/reference/hooks.md."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from doc_scripts import doc_script

from fusion.core.analysis.diagnosis import DATA_RULES, TRAINING_RULES
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.registry.collecting import HOOKS
from fusion.core.registry.registry import Entry, Registry
from fusion.core.testing.runner import run, suite_for

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "reference/hooks.md").read_text(encoding="utf-8")
BUILD = "python docs/generate writes the signatures again"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return doc_script("hooks")


def test_every_hook_and_method_is_documented_with_its_signature(builder: ModuleType) -> None:
    expected = builder.blocks()
    listed = builder.headings(PAGE)
    assert sorted(listed) == sorted(expected), BUILD
    assert builder.written(PAGE) == PAGE, BUILD


def test_signatures_in_the_blocks(builder: ModuleType) -> None:
    blocks = builder.blocks()
    assert blocks["fusion_strategies"] == (
        "@hookimpl\ndef fusion_strategies() -> Sequence[type[Strategy]]\n"
    )
    assert blocks["Corpus.detect"] == "@classmethod\ndef detect(cls, path: Path) -> bool\n"
    assert blocks["Balancer.acts_from"] == "@property\ndef acts_from(self) -> int\n"
    assert blocks["Strategy.calibrate"] == (
        "def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None\n"
    )
    assert "accepts_missing: ClassVar[bool] = False\n" in blocks["Strategy.attributes"]
    assert "name: ClassVar[str]\n" in blocks["Plugin.attributes"]
    assert "name:" not in blocks["Strategy.attributes"]
    hooks = [name for name in blocks if name.startswith("fusion_")]
    assert hooks == list(HOOKS.values())


def test_an_outdated_signature_is_found(builder: ModuleType) -> None:
    true = "def prescribe(self, patient: Patient) -> Prescription | None\n"
    stale = PAGE.replace(true, "def prescribe(self) -> Prescription\n")
    assert stale != PAGE
    assert builder.written(stale) == PAGE
    with pytest.raises(KeyError):
        builder.written(PAGE.replace("#### `Remedy.prescribe`", "#### `Remedy.describe`"))


def test_every_attribute_is_documented(builder: ModuleType) -> None:
    for heading, code in builder.blocks().items():
        if heading.endswith(".attributes"):
            following = PAGE.split(f"#### `{heading}`")[1].split("\n#")[0]
            text = following.rsplit("```", 1)[1]
            for line in code.splitlines():
                name = line.partition(":")[0]
                assert f"`{name}`" in text, f"{heading}: {name}"


# -- the examples --------------------------------------------------------------------

SOURCES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(kind: str, tmp_path: Path) -> Entry:
    """The example of one kind, loaded like a user's plugin."""
    (source,) = (text for text in SOURCES if f"def {HOOKS[kind]}()" in text)
    file = tmp_path / f"{kind}_of_the_page.py"
    file.write_text(source, encoding="utf-8")
    entries = Registry([str(file)]).entries(kind)
    (own,) = (entry for entry in entries if entry.source.distribution == str(file))
    return own


def test_every_kind_has_one_example() -> None:
    assert len(SOURCES) == len(HOOKS)


def studio(folder: Path) -> Path:
    """Write recordings of two speakers with three labels and two takes each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for speaker in ("anna", "ben"):
        for label in ("happy", "sad", "angry"):
            for take in (1, 2):
                noise = 0.1 * rng.normal(size=1600)
                soundfile.write(folder / f"{speaker}_{label}_{take}.wav", noise, 16000)
    return folder


@pytest.mark.parametrize("kind", HOOKS)
def test_the_example_passes_its_suite(kind: str, example: Entry, tmp_path: Path) -> None:
    more = {"sample": studio(tmp_path / "sample")} if kind == "corpus" else {}
    groups = list(run(suite_for(kind, example.cls, **more)))
    failed = [
        f"{group.name}, {result.case}: {result.fault}"
        for group in groups
        for result in group.of("failed")
    ]
    assert not failed, "\n".join(failed)
    assert sum(group.outcome == "passed" for group in groups) > 5


@pytest.mark.parametrize("kind", ["corpus"])
def test_the_example_corpus_reads_labels_and_speakers(example: Entry, tmp_path: Path) -> None:
    folder = studio(tmp_path / "sample")
    assert example.cls.detect(folder) and not example.cls.detect(tmp_path)  # type: ignore[attr-defined]
    clips = list(example.cls(folder, take=2).clips())  # type: ignore[call-arg,attr-defined]
    assert [(clip.name, clip.label, clip.speaker, clip.corpus) for clip in clips][:2] == [
        ("anna_angry_2.wav", "angry", "anna", "studio"),
        ("anna_happy_2.wav", "happy", "anna", "studio"),
    ]
    assert len(clips) == 6


@pytest.mark.parametrize("kind", ["extractor"])
def test_the_example_extractor_returns_levels_in_decibels(example: Entry, tmp_path: Path) -> None:
    from fusion import Recording

    file = tmp_path / "steps.wav"
    soundfile.write(file, np.repeat([0.5, 0.25, 0.125, 0.0], 1000), 16000, subtype="FLOAT")
    found = example.cls(parts=4).extract(Recording(file))  # type: ignore[call-arg,attr-defined]
    # The levels are 20 log10 of 1/2, 1/4 and 1/8, and the floor.
    assert found == pytest.approx([-6.0206, -12.0412, -18.0618, -100.0], abs=1e-3)


@pytest.mark.parametrize("kind", ["remedy"])
def test_the_example_remedy_prescribes_more_weight_decay(example: Entry) -> None:
    from fusion import Patient

    assert set(example.cls.mends) <= {rule.__name__ for rule in (*DATA_RULES, *TRAINING_RULES)}  # type: ignore[attr-defined]
    remedy = example.cls()
    patient = Patient("gated", (), {"mel": "cnn"}, {}, ())
    assert remedy.prescribe(patient) is None  # type: ignore[attr-defined]
    found = remedy.prescribe(Patient("gated", (), {"mel": "cnn"}, {}, (object(),)))  # type: ignore[attr-defined,arg-type]
    decay = found.settings["train"]["weight_decay"]
    assert decay == pytest.approx(5 * TrainConfig().weight_decay)
