"""Audio transformers in the Hugging Face format: AST over a spectrogram, wav2vec 2.0 and HuBERT over samples."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.base import AudioEncoder
from avssl.encoders.huggingface import chosen
from avssl.encoders.huggingface_files import build_config, load_pretrained, read_preprocessor
from avssl.encoders.huggingface_files import transformers as library
from avssl.encoders.weights import copied

FRAME, HOP = 0.025, 0.010  # seconds of a frame of Kaldi's filter banks, and between frames
SAMPLES = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}  # these draw from NumPy, or drop weights
MODELS = {  # transformers' class, arguments, and prefixes of what an encoder leaves out
    "audio-spectrogram-transformer": ("ASTModel", {}, ("classifier.",)),
    "wav2vec2": (
        *("Wav2Vec2Model", SAMPLES),
        ("masked_spec_embed", "quantizer.", "project_hid.", "project_q.", "lm_head.", "projector.", "classifier."),
    ),
    "hubert": ("HubertModel", SAMPLES, ("masked_spec_embed", "lm_head.", "projector.", "classifier.")),
}


class HuggingFaceAudio(AudioEncoder):
    """An audio transformer of the library transformers, its own module, with the preprocessing of its checkpoint.

    Known are AST (Gong et al., Interspeech 2021), wav2vec 2.0 (Baevski et al., NeurIPS 2020) and HuBERT (Hsu et al.,
    2021): the ``model_type`` audio-spectrogram-transformer, wav2vec2 or hubert in config.json. Heads are left out, and
    in training no steps of wav2vec 2.0 and HuBERT are masked and no layers dropped.

    AST sees Kaldi's filter banks, normalised as in preprocessor_config.json; sound shorter than in training is filled
    up with zeros, of which the maps don't tell, and longer sound is refused. Maps are averaged over frequency, and a
    step of them is 100 ms. A step of the other two is 20 ms; they see samples, at mean 0 and variance 1 where
    preprocessor_config.json says so.

    Args:
        path: folder with config.json and model.safetensors, or a name on the hub if ``online``.
        online: whether a name on the hub may be downloaded.
        config: the architecture as a dictionary, the content of config.json, for new weights. An export holds it.
        prepared: settings of the preprocessing, the content of preprocessor_config.json, if ``config`` is given.

    Raises:
        ImportError: if transformers is not installed.
        FileNotFoundError: if there is no such folder.
        ValueError: if the network is unknown, or a tensor is missing, unexpected or of the wrong shape.
    """

    net: Any  # transformers' module

    def __init__(
        self,
        path: str | None = None,
        online: bool = False,
        config: dict[str, Any] | None = None,
        prepared: dict[str, Any] | None = None,
    ) -> None:
        found, kept = chosen("HuggingFaceAudio", path, online, config)
        kind = found["model_type"]
        if kind not in MODELS:
            raise ValueError(f"HuggingFaceAudio: {kind!r} is not among the audio networks {', '.join(MODELS)}")
        settings = dict(prepared or {}) if path is None else read_preprocessor(path, online)
        model, changes, dropped = MODELS[kind]
        rate = settings.get("sampling_rate", 16000)
        if over_samples := "conv_kernel" in found:
            least = _receptive_field(found["conv_kernel"], found["conv_stride"])
        else:
            least = round(FRAME * rate) + (found["patch_size"] - 1) * round(HOP * rate)
        super().__init__(found["hidden_size"], {"config": kept, "prepared": settings}, rate, least)
        self.model_type, self.settings = kind, settings
        self.net = (
            load_pretrained(model, path, online, dropped, **changes)
            if path is not None
            else getattr(library(), model)(build_config({**kept, **changes})).train()
        )
        self.banks = None if over_samples else FilterBanks(rate, found["num_mel_bins"])

    def maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        self.check_sound(sound)
        if self.banks is not None:
            return self._spectrogram_maps(self.banks(sound))
        if self.settings.get("do_normalize", True):
            centred = sound - sound.mean(1, keepdim=True)
            sound = centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()
        return self.net(sound).last_hidden_state.transpose(1, 2)

    def original_state_dict(self) -> dict[str, Tensor]:
        """Return the weights under transformers' names, without heads."""
        return copied(self.net)

    def _spectrogram_maps(self, banks: Tensor) -> Tensor:
        shape, frames = self.net.config, banks.shape[1]  # [B, T, bands]
        if frames > shape.max_length:
            raise ValueError(
                f"HuggingFaceAudio: this AST takes at most {FRAME + (shape.max_length - 1) * HOP:.3f} s of sound, got "
                f"{FRAME + (frames - 1) * HOP:.3f} s. Give shorter clips"
            )
        banks = F.pad(banks, (0, 0, 0, shape.max_length - frames))
        if self.settings.get("do_normalize", True):
            banks = (banks - self.settings.get("mean", -4.2677393)) / (2 * self.settings.get("std", 4.5689974))
        tokens = self.net(banks).last_hidden_state[:, 2:]  # without the class token and that of distillation
        rows = (shape.num_mel_bins - shape.patch_size) // shape.frequency_stride + 1
        maps = rearrange(tokens, "b (f t) d -> b d f t", f=rows).mean(2)
        return maps[:, :, : (frames - shape.patch_size) // shape.time_stride + 1]


class FilterBanks(nn.Module):
    """Kaldi's logarithmic mel filter banks, as torchaudio computes them, of a whole batch at once.

    Frames of 25 ms every 10 ms, without their mean, with pre-emphasis 0.97 and a Hann window; bands from 20 Hz.

    Args:
        rate: sampling rate in Hz.
        bands: number of bands.
    """

    window: Tensor
    banks: Tensor

    def __init__(self, rate: int, bands: int) -> None:
        super().__init__()
        from torchaudio.compliance.kaldi import get_mel_banks

        self.length, self.hop = round(FRAME * rate), round(HOP * rate)
        self.padded = 2 ** math.ceil(math.log2(self.length))
        weights, _ = get_mel_banks(bands, self.padded, rate, 20.0, 0.0, 100.0, -500.0, 1.0)
        self.register_buffer(
            "banks", F.pad(weights, (0, 1)).T.contiguous(), persistent=False
        )  # [padded / 2 + 1, bands]
        self.register_buffer("window", torch.hann_window(self.length, periodic=False), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """Return ``[B, T, bands]`` float32 of sound ``[B, S]``; only whole frames count."""
        with torch.autocast(sound.device.type, enabled=False):
            frames = sound.float().unfold(1, self.length, self.hop)  # [B, T, length]
            frames = frames - frames.mean(2, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
            seen = (frames - 0.97 * before) * self.window
            power = torch.fft.rfft(seen, n=self.padded).abs().square()
            return (power @ self.banks).clamp(min=torch.finfo(torch.float32).eps).log()


def _receptive_field(kernels: list[int], strides: list[int]) -> int:
    """Return how many samples one step of a stack of convolutions sees."""
    length = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        length = (length - 1) * stride + kernel
    return length
