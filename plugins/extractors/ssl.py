"""Hidden states of speech foundation models: wav2vec 2.0, HuBERT, WavLM, Whisper's encoder."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ...core.contracts.data import Extractor, Recording, default_panels
from ...core.contracts.errors import ParameterError, PluginError, RecordingError
from ...core.contracts.hooks import hookimpl
from ...core.contracts.panels import Panel
from ...core.toolkit.audio import fit_frames, load_waveform
from ...core.toolkit.optional import required
from ...core.toolkit.ranges import check_ranges
from ._speech_models import ModelFolder, find_model

if TYPE_CHECKING:
    from torch import Tensor

    from ._speech_states import SpeechModel

Array = npt.NDArray[np.float32]

STATE_SECONDS = 0.02  # distance between two states, in all supported models


class SSL(Extractor):
    """Hidden states of a speech foundation model, (D,), (2 D,) or (D, 1, frames) float32.

    The model is frozen. The model reads the whole recording at the model's sampling rate (16 kHz)
    and with the model's normalisation. Recordings longer than 30 s are split into equal pieces. One
    hidden state covers 20 ms. `pooling` selects the output: the mean over the recording, mean and
    standard deviation, or the sequence of states. With "frames", shorter sequences are centred and
    padded with zeros, and longer sequences are cropped to their middle. Whisper pads its input to
    30 s; the states of this padding are dropped.

    Recordings are processed in batches. The results equal the results of single recordings except
    for rounding. On a GPU a single process extracts all recordings.

    Parameters
    ----------
    model : str
        A folder with ``config.json``, weights and ``preprocessor_config.json``, or a name on the
        Hugging Face hub; the model is then downloaded at the first use. Supported types are
        wav2vec2, hubert, wavlm and whisper.
    layer : int, "last" or "mean"
        Layer whose states are used: 0 is the input of the first transformer layer, 1 to L are the
        outputs of the L layers, and negative numbers count from the end. "last" is layer L; "mean"
        averages all L + 1 states.
    pooling : {"mean", "mean_std", "frames"}
        The mean over time, mean and standard deviation over time, or a sequence of `frames` states.
    frames : int
        Number of states with pooling="frames"; one second has 50 states.
    batch : int
        Recordings per batch. On a GPU, a larger batch is faster and needs more memory. On a CPU, a
        larger batch only needs more memory.
    device : {"auto", "cpu", "cuda"}
        Device on which the model computes. "auto" uses CUDA if available; a prediction on another
        machine selects the device of that machine.
    precision : {"float32", "bfloat16", "float16"}
        Dtype of the computation; half precision requires CUDA. Features are stored as float32, or
        as the dtype that ``--dtype`` sets.

    References
    ----------
    wav2vec 2.0: Baevski et al. (2020), NeurIPS. HuBERT: Hsu et al. (2021), TASLP. WavLM: Chen et
    al. (2022), JSTSP. Whisper: Radford et al. (2023), ICML. The default is the mean of all layers,
    because in Pepino, Riera and Ferrer (2021), "Emotion Recognition from Speech Using wav2vec 2.0
    Embeddings", Interspeech, intermediate layers carry the most information about emotion.
    """

    name = "ssl"
    libraries = ("numpy", "soundfile", "soxr", "torch", "transformers")
    default_branch = "mlp"

    def __init__(
        self,
        *,
        model: str = "facebook/wav2vec2-base",
        layer: int | Literal["last", "mean"] = "mean",
        pooling: Literal["mean", "mean_std", "frames"] = "mean",
        frames: int = 256,
        batch: int = 8,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        check_ranges(self.name, "frames >= 1 and batch >= 1", locals())
        _check_installed()
        self.folder = find_model(model, owner="ssl.model")
        self.layer = _layer(layer, self.folder)
        self.pooling = pooling
        self.batch = batch
        self.precision = precision
        self._requested_device = device
        if device == "cuda" or precision != "float32":
            self._check_device()
        width = self.folder.width
        if pooling == "frames":
            # Each component of a state is a channel: the components have no order, so a
            # convolution along them makes no sense.
            self.shape = (width, 1, frames)
            self.axes = ("coefficient", "row", "time")
            self.default_branch = "crnn"
            self.seconds = frames * STATE_SECONDS
        else:
            self.shape = (width if pooling == "mean" else 2 * width,)
        # The path is absolute, because a relative path depends on the working directory.
        self.parameters = {"model": self.folder.name}

    def identity(self) -> Mapping[str, Any]:
        return {
            "model": self._digest,
            "layer": self.layer,
            "pooling": self.pooling,
            "precision": self.precision,
        }

    @cached_property
    def _digest(self) -> str:
        return self.folder.digest

    @property
    def processes(self) -> int | None:
        """1 on a GPU, because each further process would load the model again; None on a CPU."""
        return None if self.device == "cpu" else 1

    @cached_property
    def device(self) -> str:
        """Device on which the model computes: ``"cuda"`` or ``"cpu"``."""
        if self._requested_device != "auto":
            return self._requested_device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def extract_many(self, recordings: Sequence[Recording]) -> list[Array | RecordingError]:
        model = _loaded(self.folder, self._digest, self.device, self.precision)
        errors: dict[int, RecordingError] = {}
        waveforms: dict[int, Array] = {}
        for index, recording in enumerate(recordings):
            try:
                waveforms[index] = load_waveform(recording, model.sample_rate)
            except RecordingError as error:
                errors[index] = error
        states = model.states(list(waveforms.values()), self.layer)  # each (t, D)
        arrays = dict(zip(waveforms, map(self._pooled, states), strict=True))
        return [errors[i] if i in errors else arrays[i] for i in range(len(recordings))]

    def _pooled(self, states: Tensor) -> Array:
        """Pool the states of one recording, (t, D), to an array of shape `self.shape`."""
        if self.pooling == "frames":
            fitted = fit_frames(states.T.cpu().numpy(), self.shape[2], fill=0.0)  # (D, frames)
            return fitted[:, None]
        pooled = states.mean(dim=0)  # (D,)
        if self.pooling == "mean_std":
            import torch

            # Bessel's correction is left out, so that the deviation of a single state is 0.
            pooled = torch.cat([pooled, states.std(dim=0, correction=0)])  # (2 D,)
        array: Array = pooled.cpu().numpy()
        return array

    def panels(self, array: npt.NDArray[Any], recording: Recording | None = None) -> list[Panel]:
        if self.pooling != "frames":
            return default_panels(self, array)
        return [Panel("", "image", {"": array[:, 0]}, x="time", y="coefficient")]

    def _check_device(self) -> None:
        import torch

        if not torch.cuda.is_available() and self._requested_device == "cuda":
            raise ParameterError(
                "ssl.device=cuda: torch finds no CUDA device on this machine.",
                hint="ssl.device=auto uses CUDA if available, and otherwise the CPU.",
            )
        if self.device == "cpu":
            raise ParameterError(
                f"ssl.precision={self.precision} requires CUDA; this model computes on the CPU.",
                hint="Leave out ssl.precision: half precision is slower on a CPU.",
            )


def _layer(layer: int | str, folder: ModelFolder) -> int | Literal["mean"]:
    """Return the index of a layer, counted from 0, or "mean"."""
    if layer == "mean":
        return "mean"
    index = folder.layers if layer == "last" else int(layer)
    if not -folder.layers - 1 <= index <= folder.layers:
        raise ParameterError(
            f"ssl.layer={layer} is out of range: {folder.path} has {folder.layers} layers.",
            hint=f"Accepted: 0 (input of the first layer) to {folder.layers}, "
            f"-1 to {-folder.layers - 1} (from the end), last, mean.",
        )
    return index % (folder.layers + 1)


def _check_installed() -> None:
    """Raise if transformers is not installed."""
    # An import takes a second, and most commands load no model. find_spec is faster.
    if importlib.util.find_spec("transformers") is None:
        required("transformers", extra="transformers", by="The extractor 'ssl'")


# The last model of this process is kept, because every chunk of work creates its own extractor. A
# failure is stored as well: otherwise each recording would cause another attempt to load the model.
_last: dict[tuple[str, ...], SpeechModel | PluginError] = {}


def _loaded(folder: ModelFolder, digest: str, device: str, precision: str) -> SpeechModel:
    """Return a loaded model; reuse the last model of this process if it is the same model."""
    key = (str(folder.path), digest, device, precision)
    if key not in _last:
        import torch

        from ._speech_states import SpeechModel

        _last.clear()
        try:
            _last[key] = SpeechModel(folder, torch.device(device), getattr(torch, precision))
        except PluginError as error:
            _last[key] = error
    model = _last[key]
    if isinstance(model, PluginError):
        raise model
    return model


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [SSL]
