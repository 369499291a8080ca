"""Unsupervised LSTMs: autoencoder, future predictor and composite model.

N. Srivastava, E. Mansimov, R. Salakhutdinov: Unsupervised Learning of Video Representations using LSTMs. ICML 2015.
https://arxiv.org/abs/1502.04681
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import FrameLSTM
from avssl.encoders.lstm import PeepholeLSTM, State
from avssl.methods.base import Method, a_video
from avssl.methods.recurrent import chronological
from avssl.pixels import denormalise

Kind = Literal["none", "unconditional", "conditional"]


class Decoder(nn.Module):
    """An LSTM that begins with the encoder's state and unrolls a sequence from it (section 2).

    Args:
        values: width of what is decoded at a step.
        width: units a layer, the encoder's.
        layers: the encoder's.
        conditional: read at each step what the last one gave; otherwise nothing is read.
    """

    def __init__(self, values: int, width: int, layers: int, conditional: bool) -> None:
        super().__init__()
        self.lstm = PeepholeLSTM(values if conditional else 0, width, layers)
        self.out = nn.Linear(width, values)

    def forward(self, state: State, steps: int, truth: Tensor | None = None) -> Tensor:
        """Unroll.

        Args:
            state: the encoder's.
            steps: K, how many steps.
            truth: ``[B, K, V]`` the right sequence; a conditional decoder reads it instead of its own last output.

        Returns:
            ``[B, K, V]`` float32.
        """
        found: list[Tensor] = []
        for step in range(steps):
            read = None
            if self.lstm.weight is not None and step > 0:
                read = self.lstm.read(found[-1] if truth is None else truth[:, step - 1])
            state = self.lstm.step(read, state)
            found.append(self.out(state[-1][0]).float())
        return torch.stack(found, 1)


class UnsupervisedLSTM(Method):
    """Say from one vector what was seen, backwards, and what will be seen.

    The encoder LSTM reads the first frames of a clip. Its state is copied into up to two decoder LSTMs: one gives the
    frames back from the last to the first, so that the near ones, which are easy, come first; the other
    one gives the frames that follow. Both together are the composite model (section 2): neither can a
    state that just holds the input predict, nor can one that holds the last frames alone reconstruct. A decoder is
    conditional where it reads its own last output; in training it reads the true frame in its place, as in the
    authors' code. The loss is the squared error of pixels (normalised), or of percepts; see `FrameLSTM`.

    Metrics, of the future where it is predicted, else of the reconstruction: ``temporal``, whether a decoded frame fits
    its own frame better than the other K - 1 of its clip, chance 1 / K, which a still picture gets exactly, however
    good it is; and ``video``, whether it fits its own better than those of the same step in the other clips of the
    batch, chance one over the number of clips. What fits is told by direction alone (`best_fit`), for a prediction that
    minimises squared errors is shrunk towards the mean.

    Args:
        encoder: reads frames or percepts.
        sampler: draws the frames, those to be read and those to be predicted together (the paper: 16 and 13).
        future: frames to predict, the last of the clip, at least 2; without a predictor all are read.
        reconstruct: the decoder of the input.
        predict: the decoder of the future. The paper's best is the composite with a conditional one (section 3).

    Raises:
        ValueError: where there is no decoder, or too few frames to read or to decode.
    """

    encoder: FrameLSTM
    sampler: RandomClips

    def __init__(
        self,
        encoder: FrameLSTM,
        sampler: RandomClips | None = None,
        future: int = 13,
        reconstruct: Kind = "unconditional",
        predict: Kind = "conditional",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or RandomClips(num_frames=29, step=1 / 30)
        if reconstruct == predict == "none":
            raise ValueError("UnsupervisedLSTM: reconstruct and predict are both none; one decoder at least must be")
        self.future = 0 if predict == "none" else future
        self.seen = self.sampler.num_frames - self.future
        if min(self.seen, self.future or self.seen) < 2:
            raise ValueError(
                f"UnsupervisedLSTM: of sampler.num_frames={self.sampler.num_frames} at least 2 must be read, and "
                f"future={future} must be at least 2: change one of them"
            )
        kinds: dict[str, Kind] = {"reconstruction": reconstruct, "prediction": predict}
        shape = (encoder.values, encoder.lstm.width, len(encoder.lstm.before))
        self.decoders = nn.ModuleDict(
            {name: Decoder(*shape, kind == "conditional") for name, kind in kinds.items() if kind != "none"}
        )

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss, the sum of both decoders' mean squared errors, and metrics over B videos."""
        targets, decoded = self.decoded(clips)
        losses = [F.mse_loss(decoded[name], targets[name]) for name in decoded]
        name = "prediction" if "prediction" in decoded else "reconstruction"
        found, target = decoded[name].detach(), targets[name]  # [B N, K, V]
        clip_count, steps = target.shape[:2]
        temporal = best_fit(found, target).mean(1)  # [B N]
        video = best_fit(found.transpose(0, 1), target.transpose(0, 1)).mean(0)  # [B N]
        return {
            "loss": torch.stack(losses).sum(),
            "temporal": a_video(temporal, clips),
            "chance/temporal": torch.full((len(clips),), 1 / steps, device=target.device),
            "video": a_video(video, clips),
            "chance/video": torch.full((len(clips),), 1 / clip_count, device=target.device),
        }

    def decoded(self, clips: Clips) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Targets and what the decoders give, ``[B N, K, V]`` each; the reconstruction from the last frame back."""
        values = self.encoder.read(chronological(clips))  # [B N, T, V]
        seen, future = values.split([self.seen, self.future], 1)
        targets = {"reconstruction": seen.flip(1), "prediction": future}
        _, state = self.encoder.lstm(seen)
        found = {}
        for name, decoder in self.decoders.items():
            target = targets[name]
            found[name] = decoder(state, target.shape[1], target if self.training else None)
        return targets, found

    def describe(self, clips: Clips) -> list[list[str]]:
        """How many frames are read and how many predicted."""
        line = f"{self.seen} frames are read"
        line += f", the next {self.future} predicted" if self.future else " and given back"
        return [[line] * clips.times.shape[1] for _ in range(len(clips))]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Input and future as the LSTM sees them, and what the decoders make of them, earliest first.

        Nothing where it reads percepts.
        """
        if self.encoder.percepts is not None:
            return {}
        targets, decoded = self.decoded(clips)
        names = {"reconstruction": "input", "prediction": "future"}
        drawn = {}
        for name, found in decoded.items():
            for title, values in ((names[name], targets[name]), (name, found)):
                drawn[title] = self._picture(values.flip(1) if name == "reconstruction" else values, len(clips))
        return drawn

    def _picture(self, values: Tensor, videos: int) -> Tensor:
        size = self.encoder.size
        pixels = values.unflatten(2, (3, size, size))  # [B N, K, 3, size, size]
        return denormalise(pixels).clamp(0, 1).unflatten(0, (videos, -1))


def best_fit(found: Tensor, target: Tensor) -> Tensor:
    """Which of K vectors points most nearly where its own target does, all seen from their means?

    Args:
        found: ``[..., K, V]``.
        target: ``[..., K, V]``.

    Returns:
        ``[..., K]`` 1 where the own target's direction from the K targets' mean has the largest cosine with the
        vector's from the K vectors' mean, else 0. K equal vectors get one right.
    """
    found, target = (F.normalize(values - values.mean(-2, keepdim=True), dim=-1) for values in (found, target))
    with torch.autocast(found.device.type, enabled=False):
        cosine = found @ target.transpose(-1, -2)  # [..., K, K]
    return (cosine.argmax(-1) == torch.arange(found.shape[-2], device=found.device)).float()
