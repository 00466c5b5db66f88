from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from fusion import FusionError, Recording
from fusion.cache import FeatureCache, build
from fusion.cache.builds.work import Item
from fusion.core.cli import run_cli
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.data.extraction import computation_of, extract_all, fingerprint_of, make_extractor
from fusion.core.runs.predictor import Predictor
from fusion.core.runs.run import Run
from fusion.plugins.extractors import _speech_models as speech_models
from fusion.plugins.extractors.ssl import SSL
from fusion.testing import ExtractorSuite

transformers = pytest.importorskip("transformers")
from tiny_speech_models import LAYERS, MODELS, RATE, WIDTH, save_model  # noqa: E402

Array = npt.NDArray[np.float32]

every_model = pytest.mark.parametrize("name", MODELS)
FAMILIES = ["wav2vec2-group", "hubert-layer", "wavlm-group", "whisper"]
every_family = pytest.mark.parametrize("name", FAMILIES)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module", autouse=True)
def _own_digests(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Keep digests in a temporary folder, also in worker processes, and not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: save_model(folder / name, name) for name in MODELS}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    """Noise of 1, 0.4, 1.55, 0.7 and 0.7 s."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    lengths = (16000, 6400, 24800, 11200, 11200)
    return [
        recording(folder / f"{number}.wav", 0.1 * rng.normal(size=length))
        for number, length in enumerate(lengths)
    ]


def recording(path: Path, samples: npt.ArrayLike, rate: int = RATE) -> Recording:
    soundfile.write(path, np.asarray(samples), rate, subtype="FLOAT")
    return Recording(path)


def reference(folder: Path, clip: Recording) -> list[Array]:
    """All hidden states (t, D) of a clip by transformers, the last as the model returns it."""
    waveform, rate = soundfile.read(clip.path, dtype="float32")
    prepare = transformers.AutoFeatureExtractor.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = prepare(waveform, sampling_rate=rate, return_tensors="pt")
    if folder.name == "whisper":
        network = network.get_encoder()
        inputs = {"input_features": inputs["input_features"]}
    with torch.no_grad():
        out = network(**inputs, output_hidden_states=True)
    states = [*out.hidden_states[:-1], out.last_hidden_state]
    length = len(waveform)
    if folder.name == "whisper":  # one state per started 20 ms
        states = [state[:, : -(-length // 320)] for state in states]
    return [state[0].numpy() for state in states]


# -- values --------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize(("layer", "index"), [("last", LAYERS), (-1, LAYERS), (0, 0), (-2, 2)])
def test_values_equal_those_of_transformers(
    models: dict[str, Path], clips: list[Recording], name: str, layer: int | str, index: int
) -> None:
    expected = reference(models[name], clips[0])[index]  # (t, D)
    assert expected.shape == (50 if name == "whisper" else 49, WIDTH)
    extractor = SSL(model=str(models[name]), layer=layer, pooling="frames", frames=len(expected))
    result = extractor.check(extractor.extract(clips[0]))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, 0].T, expected, atol=1e-5)


@every_model
def test_a_batch_equals_single_recordings(
    models: dict[str, Path], clips: list[Recording], name: str
) -> None:
    """Batches contain recordings of different lengths, in different orders."""
    for pooling, layer in (("mean_std", "mean"), ("frames", "last"), ("frames", 1)):
        extractor = SSL(model=str(models[name]), pooling=pooling, layer=layer, frames=100)
        single = [extractor.extract(clip) for clip in clips]
        for order in ([0, 1, 2, 3, 4], [3, 4], [1, 2, 0]):
            together = extractor.extract_many([clips[i] for i in order])
            for i, result in zip(order, together, strict=True):
                np.testing.assert_allclose(result, single[i], atol=1e-4)


@every_family
def test_pooling_by_hand(models: dict[str, Path], clips: list[Recording], name: str) -> None:
    states = reference(models[name], clips[1])
    model = str(models[name])
    every = np.mean(states, axis=0)  # (t, D): the mean of all layers
    np.testing.assert_allclose(SSL(model=model).extract(clips[1]), every.mean(axis=0), atol=1e-5)
    both = SSL(model=model, layer=1, pooling="mean_std").extract(clips[1])
    expected = np.concatenate([states[1].mean(axis=0), states[1].std(axis=0)])
    np.testing.assert_allclose(both, expected, atol=1e-5)


@every_family
def test_frames_are_centred(models: dict[str, Path], clips: list[Recording], name: str) -> None:
    states = reference(models[name], clips[1])[-1]  # (t, D)
    have = len(states)
    wide = SSL(model=str(models[name]), layer="last", pooling="frames", frames=have + 5)
    result = wide.extract(clips[1])[:, 0].T  # (frames, D)
    np.testing.assert_allclose(result[2 : have + 2], states, atol=1e-5)
    assert not result[:2].any()
    assert not result[have + 2 :].any()
    narrow = SSL(model=str(models[name]), layer="last", pooling="frames", frames=have - 4)
    np.testing.assert_allclose(narrow.extract(clips[1])[:, 0].T, states[2:-2], atol=1e-5)


def test_whisper_reads_long_recordings_in_pieces(models: dict[str, Path], tmp_path: Path) -> None:
    """The context of this model is 2 s: 5 s are split into three equal pieces and joined."""
    samples = np.float32(0.1 * np.random.default_rng(1).normal(size=5 * RATE))
    pieces = [
        recording(tmp_path / f"{i}.wav", piece)
        for i, piece in enumerate(np.array_split(samples, 3))
    ]
    expected = [reference(models["whisper"], piece)[-1] for piece in pieces]
    extractor = SSL(model=str(models["whisper"]), layer="last")
    result = extractor.extract(recording(tmp_path / "whole.wav", samples))
    np.testing.assert_allclose(result, np.concatenate(expected).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_samples_are_normalised_as_the_model_requires(tmp_path: Path, normalise: bool) -> None:
    folder = save_model(tmp_path / "model", "wav2vec2-layer")
    _change(folder / "preprocessor_config.json", do_normalize=normalise)
    samples = 0.1 * np.random.default_rng(2).normal(size=8000)
    clips = [
        recording(tmp_path / "plain.wav", samples),
        recording(tmp_path / "louder_with_an_offset.wav", 2 * samples + 0.3),
    ]
    plain, altered = (SSL(model=str(folder)).extract(clip) for clip in clips)
    assert np.allclose(plain, altered, atol=1e-3) == normalise


def test_recordings_are_resampled_to_the_models_rate(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "hubert-group")
    samples = 0.1 * np.random.default_rng(2).normal(size=16000)
    at_8000, at_16000 = (recording(tmp_path / f"{r}.wav", samples, r) for r in (8000, 16000))
    read_at_16000 = SSL(model=str(folder)).extract(at_16000)
    _change(folder / "preprocessor_config.json", sampling_rate=8000)
    read_at_8000 = SSL(model=str(folder)).extract(at_8000)
    np.testing.assert_allclose(read_at_8000, read_at_16000, atol=1e-6)


@every_model
def test_silence_and_short_clips(models: dict[str, Path], tmp_path: Path, name: str) -> None:
    clips = [
        recording(tmp_path / "silence.wav", np.zeros(RATE)),
        recording(tmp_path / "one.wav", [0.5]),
        recording(tmp_path / "almost.wav", 0.1 * np.random.default_rng(0).normal(size=300)),
    ]
    for pooling in ("mean", "mean_std", "frames"):
        extractor = SSL(model=str(models[name]), pooling=pooling, frames=10)
        together = [extractor.check(array) for array in extractor.extract_many(clips)]
        for clip, result in zip(clips, together, strict=True):
            np.testing.assert_allclose(result, extractor.extract(clip), atol=1e-4)
    one = extractor.extract(clips[2])  # a single frame between zeros
    assert np.flatnonzero(one[:, 0].any(axis=0)).tolist() == [4]
    stereo = np.stack([np.linspace(-0.1, 0.3, 5000), np.linspace(0.3, -0.5, 5000)], axis=1)
    both = recording(tmp_path / "stereo.wav", stereo)
    mono = recording(tmp_path / "mono.wav", stereo.mean(axis=1))
    np.testing.assert_allclose(extractor.extract(both), extractor.extract(mono), atol=1e-5)


def test_weights_of_another_head_and_an_adapter(tmp_path: Path, clips: list[Recording]) -> None:
    """A model fine-tuned with CTC has the same encoder; an adapter after it is not used."""
    plain = save_model(tmp_path / "plain", "wav2vec2-group")
    encoder = transformers.Wav2Vec2Model.from_pretrained(plain)
    config = transformers.Wav2Vec2Config.from_pretrained(plain)
    writer = transformers.Wav2Vec2ForCTC(config)
    writer.wav2vec2.load_state_dict(encoder.state_dict())
    writer.save_pretrained(tmp_path / "writer")
    config.add_adapter, config.output_hidden_size = True, WIDTH
    adapted = transformers.Wav2Vec2Model(config)
    adapted.load_state_dict(encoder.state_dict(), strict=False)
    adapted.save_pretrained(tmp_path / "adapted")
    expected = SSL(model=str(plain), layer="last").extract(clips[0])
    for other in ("writer", "adapted"):
        shutil.copy(plain / "preprocessor_config.json", tmp_path / other)
        result = SSL(model=str(tmp_path / other), layer="last").extract(clips[0])
        np.testing.assert_allclose(result, expected, atol=1e-6)


@needs_gpu
@every_model
def test_cuda_equals_the_cpu(models: dict[str, Path], clips: list[Recording], name: str) -> None:
    model = str(models[name])
    cpu, cuda = (SSL(model=model, device=device) for device in ("cpu", "cuda"))
    assert (cpu.processes, cuda.processes) == (None, 1)
    assert fingerprint_of(cpu) == fingerprint_of(cuda)
    half = SSL(model=model, device="cuda", precision="bfloat16")
    for expected, result, rough in zip(
        *(one.extract_many(clips) for one in (cpu, cuda, half)), strict=True
    ):
        np.testing.assert_allclose(result, expected, atol=1e-4)
        assert rough.dtype == np.float32
        np.testing.assert_allclose(rough, expected, atol=0.1)


# -- one bad recording ---------------------------------------------------------------


def test_a_bad_recording_fails_alone(
    models: dict[str, Path], clips: list[Recording], tmp_path: Path
) -> None:
    extractor = SSL(model=str(models["wav2vec2-group"]))
    missing = Recording(tmp_path / "missing.wav")
    first, failed, last = extractor.extract_many([clips[0], missing, clips[1]])
    assert isinstance(failed, RecordingError)
    assert "the file does not exist" in str(failed)
    np.testing.assert_allclose(first, extractor.extract(clips[0]), atol=1e-4)
    np.testing.assert_allclose(last, extractor.extract(clips[1]), atol=1e-4)
    (only,) = extractor.extract_many([missing])
    assert isinstance(only, RecordingError)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_cache(models: dict[str, Path], clips: list[Recording], tmp_path: Path, jobs: int) -> None:
    """The cache builder extracts 24 clips in batches; two of the clips are missing."""
    named = [(f"clip{i}", clips[i % len(clips)]) for i in range(22)]
    named += [(f"gone{i}", Recording(tmp_path / f"{i}.wav")) for i in range(2)]
    extractor = make_extractor(SSL, {"model": str(models["hubert-group"]), "batch": "4"})
    work = [(computation_of(extractor), [Item(key, clip) for key, clip in named])]
    report = build(FeatureCache(tmp_path / "cache"), work, jobs=jobs)
    assert report.computed == 22
    assert sorted(failure.key for failure in report.failures) == ["gone0", "gone1"]
    keys = [key for key, _ in named[:22]]
    result = FeatureCache(tmp_path / "cache").open(fingerprint_of(extractor), keys).load()
    expected = np.stack([extractor.extract(clip) for _, clip in named[:22]])
    np.testing.assert_allclose(result, expected, atol=1e-4)


# -- declared properties --------------------------------------------------------------


@every_model
@pytest.mark.parametrize(
    ("pooling", "shape", "branch"),
    [
        ("mean", (WIDTH,), "mlp"),
        ("mean_std", (2 * WIDTH,), "mlp"),
        ("frames", (WIDTH, 1, 7), "crnn"),
    ],
)
def test_shape_without_weights(
    models: dict[str, Path],
    tmp_path: Path,
    name: str,
    pooling: str,
    shape: tuple[int, ...],
    branch: str,
) -> None:
    folder = shutil.copytree(models[name], tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"never read")
    extractor = SSL(model=str(folder), pooling=pooling, frames=7)
    assert (extractor.shape, extractor.default_branch) == (shape, branch)


def test_constructing_an_extractor_imports_neither_torch_nor_transformers(
    models: dict[str, Path],
) -> None:
    script = (
        "import sys; from fusion.plugins.extractors.ssl import SSL; "
        "from fusion.core.data.extraction import fingerprint_of; "
        f"fingerprint_of(SSL(model={str(models['whisper'])!r})); "
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (finished.stdout.strip(), finished.stderr) == ("[]", "")


def test_panels(models: dict[str, Path], clips: list[Recording]) -> None:
    pooled = SSL(model=str(models["whisper"]))
    (curve,) = pooled.panels(pooled.extract(clips[0]))
    assert curve.kind == "curve"
    frames = SSL(model=str(models["whisper"]), pooling="frames", frames=60)
    assert frames.seconds == pytest.approx(1.2)
    assert SSL(model=str(models["whisper"])).seconds is None
    array = frames.extract(clips[0])
    (image,) = frames.panels(array)
    assert (image.kind, image.data[""].shape) == ("image", (WIDTH, 60))


class TestPooled(ExtractorSuite):
    plugin = SSL

    @pytest.fixture(autouse=True)
    def _model(self, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "parameters", {"model": str(models["wav2vec2-group"])})


@pytest.mark.slow
class TestFrames(ExtractorSuite):
    plugin = SSL

    @pytest.fixture(autouse=True)
    def _model(self, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        parameters = {"model": str(models["wavlm-group"]), "pooling": "frames", "frames": 20}
        monkeypatch.setattr(type(self), "parameters", parameters)


# -- the fingerprint -----------------------------------------------------------------


def test_the_fingerprint_depends_on_what_changes_the_values(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["wav2vec2-group"]

    def identified(folder: Path = model, **passed: str) -> str:
        return fingerprint_of(make_extractor(SSL, {"model": str(folder), **passed})).id

    own = identified()
    moved = shutil.copytree(model, tmp_path / "elsewhere")
    assert identified(moved) == own
    monkeypatch.chdir(tmp_path)
    assert identified(Path("elsewhere")) == own
    assert identified(batch="3", device="cpu", frames="17") == own
    assert identified(layer="last") == identified(layer="-1") == identified(layer=str(LAYERS))
    different = [
        own, identified(layer="last"), identified(layer="0"), identified(pooling="mean_std"),
        identified(pooling="frames"), identified(pooling="frames", frames="17"),
        identified(models["hubert-group"]),
    ]  # fmt: skip
    assert len(set(different)) == len(different)

    weights = moved / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1  # one bit of one weight: same path, same size, same header
    weights.write_bytes(changed)
    assert identified(moved) != own
    shutil.copy(model / "model.safetensors", weights)
    assert identified(moved) == own
    _change(moved / "preprocessor_config.json", do_normalize=False)
    assert identified(moved) != own


def test_a_relative_folder_is_stored_as_absolute(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models["whisper"]
    monkeypatch.chdir(folder.parent)
    extractor = make_extractor(SSL, {"model": "whisper", "layer": "1"})
    assert extractor.parameters["model"] == str(folder)
    assert extractor.parameters["layer"] == 1


def test_weights_are_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are stored by path, size and modification time, and reused by other processes."""
    monkeypatch.setattr(speech_models, "_SMALL", 0)
    digested: list[Path] = []
    digest = speech_models._digest
    monkeypatch.setattr(speech_models, "_digest", lambda f: (digested.append(f), digest(f))[1])
    folder = save_model(tmp_path / "model", "wav2vec2-group")
    first = speech_models.find_model(str(folder), "x").digest
    assert {file.name for file in digested} == {
        "config.json", "preprocessor_config.json", "model.safetensors",
    }  # fmt: skip
    digested.clear()
    for _ in range(2):
        speech_models._stored_digest.cache_clear()  # simulates another process
        assert speech_models.find_model(str(folder), "x").digest == first
    assert digested == []
    save_model(folder, "wav2vec2-group", seed=1)
    assert speech_models.find_model(str(folder), "x").digest != first
    assert "model.safetensors" in {file.name for file in digested}
    speech_models._digest_file().write_text("{broken")
    speech_models._stored_digest.cache_clear()
    assert speech_models.find_model(str(folder), "x").digest != first


def test_a_name_of_the_hub_is_found_in_its_cache(
    models: dict[str, Path], clips: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of blobs in huggingface_hub's cache are used as digests without hashing."""
    import hashlib

    import huggingface_hub

    folder = tmp_path / "hub/models--tiny--speech"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = folder / "snapshots" / commit
    (folder / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(commit)
    for file in models["hubert-layer"].iterdir():
        blob = folder / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(speech_models, "_digest", lambda _: pytest.fail("hashed"))
    result = make_extractor(SSL, {"model": "tiny/speech"})
    assert result.parameters["model"] == "tiny/speech"
    identity = fingerprint_of(result)
    monkeypatch.undo()
    local = SSL(model=str(models["hubert-layer"]))
    assert identity.parameters == fingerprint_of(local).parameters
    np.testing.assert_array_equal(result.extract(clips[0]), local.extract(clips[0]))


# -- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "output"),
    [
        ({"layer": 4}, r"ssl.layer=4 is out of range: .*whisper has 3 layers"),
        (
            {"layer": -5},
            r"ssl.layer=-5 .*\n.*0 \(input of the first layer\) to 3, -1 to -4 \(from the end\)",
        ),
        ({"frames": 0}, "frames >= 1 and batch >= 1, and was given frames=0, batch=8"),
        ({"batch": 0}, "given frames=256, batch=0"),
    ],
)
def test_parameters_out_of_range(
    models: dict[str, Path], passed: dict[str, int], output: str
) -> None:
    with pytest.raises(ParameterError, match=output):
        SSL(model=str(models["whisper"]), **passed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(models: dict[str, Path]) -> None:
    model = str(models["whisper"])
    with pytest.raises(ParameterError, match="ssl.device=cuda: torch finds no CUDA device"):
        SSL(model=model, device="cuda")
    with pytest.raises(ParameterError, match="ssl.precision=float16 requires CUDA"):
        SSL(model=model, precision="float16")
    assert SSL(model=model).processes is None


def test_a_missing_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    hub = huggingface_hub.constants
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError) as caught:
        SSL(model="facebook/wav2vec2-base")
    output = str(caught.value)
    assert "no model 'facebook/wav2vec2-base'" in output
    assert str(tmp_path) in output  # the searched folders
    assert str(tmp_path / "hub") in output
    assert "hf download facebook/wav2vec2-base" in output
    assert "ssl.model=FOLDER" in output
    with pytest.raises(ParameterError, match="no model '/no/such/folder'.*name is not valid"):
        SSL(model="/no/such/folder")


def test_folders_without_a_model_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return shutil.copytree(models["wav2vec2-group"], tmp_path / name)

    def refused(folder: Path, output: str) -> None:
        with pytest.raises(ParameterError, match=output):
            SSL(model=str(folder))

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty contains no config.json")
    for file in ("config.json", "preprocessor_config.json", "model.safetensors"):
        folder = broken(file)
        (folder / file).unlink()
        refused(folder, f"contains no {file}")
    refused(models["whisper"] / "config.json", "is a file; a model is a folder")
    folder = broken("text")
    _change(folder / "config.json", model_type="bert")
    refused(folder, "of the type 'bert'. Supported: wav2vec2, hubert, wavlm, whisper")
    _change(folder / "config.json", model_type="hubert", hidden_size=None)
    refused(folder, "no valid num_hidden_layers and hidden_size: the values are 3 and None")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json can't be read")


def test_weights_that_do_not_fit(
    models: dict[str, Path], clips: list[Recording], tmp_path: Path
) -> None:
    """The error names the speech model and not the recordings."""
    folder = shutil.copytree(models["wav2vec2-group"], tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = extract_all(SSL(model=str(folder)), clips[:2])
    assert [str(one).partition("\n")[0] for one in result] == [
        str(result[0]).partition("\n")[0]
    ] * 2
    assert f"The speech model in {folder} can't be loaded" in str(result[0])

    mixed = shutil.copytree(models["wav2vec2-group"], tmp_path / "mixed")
    _change(mixed / "config.json", num_hidden_layers=LAYERS + 1)
    lacking = r"lack \d+ of the tensors of a wav2vec2 model, for example 'encoder"
    with pytest.raises(FusionError, match=lacking):
        SSL(model=str(mixed)).extract(clips[0])


def test_without_transformers(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ParameterError) as caught:
        SSL(model=str(models["whisper"]))
    assert "The extractor 'ssl' needs the package transformers" in caught.value.message
    assert "modal-fusion[transformers]" in str(caught.value.hint)


# -- a whole run ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "frames"])
def test_run_and_predict(
    models: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pooling: str,
) -> None:
    run = tmp_path / "run"
    settings = [
        "demo.speakers=6", "demo.clips=2", f"ssl.model={models['wav2vec2-group']}",
        f"ssl.pooling={pooling}", "ssl.frames=40", "mel.n_mels=16", "mel.frames=32",
        "branch.mel.blocks=2", "train.dim=8",
    ]  # fmt: skip
    command = ["run", "--features", "mel,ssl", "--epochs", "2", "--jobs", "2", "--out", str(run)]
    command += ["--cache", str(tmp_path / "cache")]
    assert run_cli([*command, *(part for s in settings for part in ("--set", s))]) == 0
    printed = capfd.readouterr()
    for noise in ("Loading weights", "UNEXPECTED", "UserWarning", "it/s"):
        assert noise not in printed.out + printed.err
    info = json.loads((run / "run.json").read_text())
    branches = {b["modality"]["name"]: b["branch"] for b in info["model"]["branches"]}
    assert branches["ssl"] == ("crnn" if pooling == "frames" else "mlp")
    noise = 0.1 * np.random.default_rng(0).normal(size=(3, RATE))
    files = [str(recording(tmp_path / f"{i}.wav", row).path) for i, row in enumerate(noise)]
    files.insert(1, str(tmp_path / "missing.wav"))
    monkeypatch.chdir(tmp_path)
    together = {p.path: p for p in Predictor(Run.open(run)).predict(map(Path, files))}
    assert [p.label is None for p in together.values()] == [False, True, False, False]
    for file in files:
        (alone,) = Predictor(Run.open(run)).predict([Path(file)])
        assert alone.error == together[alone.path].error
        for label, probability in alone.probabilities.items():
            assert together[alone.path].probabilities[label] == pytest.approx(probability, abs=1e-4)


def _change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
