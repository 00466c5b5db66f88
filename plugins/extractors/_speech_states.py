"""Hidden states of speech models, batched without changing the states of any recording."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ...core.contracts.errors import PluginError
from ...core.toolkit.optional import required
from ._speech_models import ModelFolder, frames_of, pieces_of, samples_of_one_frame

Waveform = npt.NDArray[np.float32]
Layer = int | Literal["mean"]  # 0 is the input of the first transformer layer

# Longest input: the memory of attention grows with the square of the length, and Whisper accepts
# no more.
MOST_SECONDS = 30.0


class SpeechModel:
    """Frozen speech model, loaded onto a device.

    Parameters
    ----------
    folder : ModelFolder
        Folder of the model.
    device : torch.device
        Device on which the model computes.
    precision : torch.dtype
        Dtype of weights and arithmetic.

    Attributes
    ----------
    sample_rate : int
        Sample rate of the input waveforms, in hertz.

    Raises
    ------
    PluginError
        If the model can't be loaded, or its weight files lack tensors.
    """

    def __init__(self, folder: ModelFolder, device: torch.device, precision: torch.dtype) -> None:
        self.layers = folder.layers
        self.device = device
        self.precision = precision
        self.prepare, network = _load(folder)
        self.sample_rate = int(self.prepare.sampling_rate)
        self.reader = (_Spectra if folder.family == "whisper" else _Samples)(self.prepare, network)
        self.reader.network.to(device, precision).eval().requires_grad_(False)

    def states(self, waveforms: Sequence[Waveform], layer: Layer) -> list[Tensor]:
        """Return the hidden states (t, D) float32 of each waveform (n,), on the device.

        Recordings longer than 30 s are split into equal pieces, whose states are concatenated.
        """
        most = self.reader.most
        pieces: list[Waveform] = []
        counts: list[int] = []
        for waveform in waveforms:
            parts = np.array_split(self.reader.normalised(waveform), pieces_of(len(waveform), most))
            pieces += parts
            counts.append(len(parts))
        states = iter(self._in_batches(pieces, layer, len(waveforms)))
        return [torch.cat([next(states) for _ in range(count)]) for count in counts]

    def _in_batches(self, pieces: Sequence[Waveform], layer: Layer, size: int) -> Iterator[Tensor]:
        """Yield the states (t, D) of each piece, computed in batches of `size` pieces."""
        for start in range(0, len(pieces), size):
            batch = pieces[start : start + size]
            states = self._read(batch, layer)  # (B, T, D)
            for own, piece in zip(states, batch, strict=True):
                yield own[: self.reader.frames(len(piece))]  # (t, D)

    @torch.inference_mode()
    def _read(self, batch: Sequence[Waveform], layer: Layer) -> Tensor:
        """Return the states (B, T, D) float32 of prepared waveforms, including padded frames."""
        inputs = {
            name: x.to(self.device, self.precision if x.is_floating_point() else x.dtype)
            for name, x in self.reader.inputs(batch).items()
        }
        with _exact(self.device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about the way in which WavLM calls torch
            out = self.reader.network(**inputs, output_hidden_states=layer != self.layers)
        # The network's output is used as the state of the last layer, because only some models
        # apply their final normalisation to the hidden states as well.
        last: Tensor = out.last_hidden_state
        if layer == self.layers:
            return last.float()
        if layer != "mean":
            state: Tensor = out.hidden_states[layer]
            return state.float()
        total = last.float()
        for states in out.hidden_states[: self.layers]:
            total = total + states.float()
        return total / (self.layers + 1)


# -- inputs -----------------------------------------------------------------------------


class _Samples:
    """Input of wav2vec 2.0, HuBERT and WavLM: padded waveforms with an attention mask."""

    def __init__(self, prepare: Any, network: Any) -> None:
        self.prepare, self.network = prepare, network
        self.kernels, self.strides = network.config.conv_kernel, network.config.conv_stride
        self.shortest = samples_of_one_frame(self.kernels, self.strides)
        self.most = round(MOST_SECONDS * prepare.sampling_rate)
        self.row_by_row: _RowByRow | None = None
        if network.config.feat_extract_norm == "group":
            self.row_by_row = network.feature_extractor = _RowByRow(network.feature_extractor)

    def normalised(self, waveform: Waveform) -> Waveform:
        """Normalise to mean 0 and deviation 1 if the model requires it; pad to at least one frame.

        The config of the model's feature extractor determines whether waveforms are normalised.
        """
        rate = self.prepare.sampling_rate
        features = self.prepare(waveform, sampling_rate=rate, return_attention_mask=False)
        values = np.asarray(features["input_values"][0], np.float32)
        return np.pad(values, (0, max(0, self.shortest - len(values))))

    def inputs(self, pieces: Sequence[Waveform]) -> dict[str, Tensor]:
        lengths = torch.tensor([len(piece) for piece in pieces])
        values = pad_sequence([torch.from_numpy(p) for p in pieces], batch_first=True)  # (B, n)
        if self.row_by_row is not None:
            self.row_by_row.lengths = lengths.tolist()
        if int(lengths.min()) == values.shape[1]:
            return {"input_values": values}
        mask = torch.arange(values.shape[1]) < lengths[:, None]  # (B, n)
        return {"input_values": values, "attention_mask": mask.long()}

    def frames(self, samples: int) -> int:
        return frames_of(samples, self.kernels, self.strides)


class _RowByRow(nn.Module):
    """Convolutional front end that processes each row of a batch at the row's own length.

    Group normalisation computes statistics over a row's whole duration, and padding would change
    these statistics. Models with ``feat_extract_norm: group`` ("wav2vec2-base" and others) are
    trained without a mask. The rows are therefore convolved one by one. The resulting frames are
    padded; the transformer can mask padded frames.
    """

    def __init__(self, convolutions: nn.Module) -> None:
        super().__init__()
        self.convolutions = convolutions
        self.lengths: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return the padded frames (B, C, T) of waveforms (B, n)."""
        if all(length == x.shape[1] for length in self.lengths):
            whole: Tensor = self.convolutions(x)
            return whole
        rows = [
            self.convolutions(row[None, :length])[0].T  # (t, C)
            for row, length in zip(x, self.lengths, strict=True)
        ]
        return pad_sequence(rows, batch_first=True).transpose(1, 2)


class _Spectra:
    """Input of Whisper: a log-mel spectrogram of 30 s; shorter pieces are followed by silence.

    There is no mask, because the model is trained on inputs with silence at the end. The frames
    of the silence are cut off.
    """

    def __init__(self, prepare: Any, network: Any) -> None:
        self.prepare, self.network = prepare, network.get_encoder()
        self.most = int(prepare.n_samples)
        # The second of the model's two convolutions has stride 2.
        self.step = 2 * int(prepare.hop_length)

    def normalised(self, waveform: Waveform) -> Waveform:
        return waveform

    def inputs(self, pieces: Sequence[Waveform]) -> dict[str, Tensor]:
        rate = self.prepare.sampling_rate
        features = self.prepare(list(pieces), sampling_rate=rate, return_tensors="pt")
        return {"input_features": features["input_features"]}  # (B, n_mels, 3000)

    def frames(self, samples: int) -> int:
        return -(-samples // self.step)


# -- loading ----------------------------------------------------------------------------

# A model may come from a stranger: never execute Python files of its folder, and never ask to.
_NO_CODE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_UNUSED = ("masked_spec_embed",)  # a tensor for training only, which some checkpoints lack


def _load(folder: ModelFolder) -> tuple[Any, Any]:
    """Load a model's feature extractor and network from its folder, without network access."""
    transformers = required("transformers", extra="transformers", by="The extractor 'ssl'")
    try:
        with _quietly(transformers.utils.logging):
            prepare = transformers.AutoFeatureExtractor.from_pretrained(folder.path, **_NO_CODE)
            config = transformers.AutoConfig.from_pretrained(folder.path, **_NO_CODE)
            if getattr(config, "add_adapter", False):
                config.add_adapter = False  # adapters shorten the sequence for a decoder
            network, loading = transformers.AutoModel.from_pretrained(
                folder.path,
                config=config,
                weights_only=True,
                output_loading_info=True,
                **_NO_CODE,
            )
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise PluginError(
            f"The speech model in {folder.path} can't be loaded: {type(error).__name__}: {reason}",
            hint="Copy or download the model again; its files may belong to different models.",
        ) from error
    # transformers initialises missing tensors at random. The decoder of Whisper is not used.
    lacking = sorted(
        key
        for key in loading["missing_keys"]
        if not key.endswith(_UNUSED) and not key.startswith("decoder.")
    )
    if lacking:
        raise PluginError(
            f"The weights in {folder.path} lack {len(lacking)} of the tensors of a "
            f"{folder.family} model, for example {lacking[0]!r}.",
            hint="Copy or download the model again; its files may belong to different models.",
        )
    return prepare, network


@contextlib.contextmanager
def _quietly(logging: Any) -> Iterator[None]:
    """Suppress the progress bars, log messages and warnings of transformers."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Disable TF32 in convolutions on CUDA, so that float32 is not rounded."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
        yield
