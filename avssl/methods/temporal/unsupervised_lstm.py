"""Unsupervised LSTMs: autoencoder, future predictor and composite model.

N. Srivastava, E. Mansimov, R. Salakhutdinov: Unsupervised Learning of Video Representations using LSTMs. ICML 2015.
https://arxiv.org/abs/1502.04681
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import FrameLSTM
from avssl.encoders.lstm import PeepholeLSTM, State
from avssl.methods.base import Method, measured
from avssl.methods.recurrent import chronological

Kind = Literal["none", "unconditional", "conditional"]


class Decoder(nn.Module):
    """LSTM that unrolls a sequence of outputs, ``values`` wide, from the encoder's state (section 2).

    It has the encoder's layers and units per layer. If conditional, a step reads the previous output, else nothing.
    """

    def __init__(self, values: int, width: int, layers: int, conditional: bool) -> None:
        super().__init__()
        self.lstm = PeepholeLSTM(values if conditional else 0, width, layers)
        self.out = nn.Linear(width, values)

    def forward(self, state: State, steps: int, truth: Tensor | None = None) -> Tensor:
        """Unroll ``[B, steps, V]`` float32; a conditional decoder reads ``truth`` of that shape or its own outputs."""
        found: list[Tensor] = []
        for step in range(steps):
            read = None
            if self.lstm.weight is not None and step > 0:
                read = self.lstm.read(found[-1] if truth is None else truth[:, step - 1])
            state = self.lstm.step(read, state)
            found.append(self.out(state[-1][0]).float())
        return torch.stack(found, 1)


class UnsupervisedLSTM(Method):
    """Reconstruct the frames seen, in reverse, and predict the next ones, from one state.

    The encoder LSTM's state after the first frames is copied into one or two decoders: one reconstructs the frames in
    reverse order, as recent ones are easier; the other predicts the next ones. Together they are the composite model
    (section 2): a state that stores the input can't predict, and one that holds the last frames can't reconstruct. A
    conditional decoder reads its previous output, in training the true frame (the authors' code). The loss is the
    squared error.

    Metrics, of the prediction if there is one, else of the reconstruction: ``temporal``, whether a decoded frame
    matches its own target better than the other K - 1 of its clip, chance 1 / K, the exact score of a static image; and
    ``video``, whether it matches its own target better than those of the same step in the other clips of the batch,
    chance one over the number of clips. Only directions count (`matches_target`): squared errors shrink predictions.

    Args:
        encoder: reads frames or percepts.
        sampler: draws the frames to read and to predict together (the paper: 16 and 13).
        future: frames to predict, the last of the clip, at least 2; without a predictor all frames are read.
        reconstruct: the decoder of the input.
        predict: the decoder of the future. The paper's best is the composite with a conditional one (section 3).
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
        super().__init__(encoder, sampler or RandomClips(num_frames=29, step=1 / 30))
        if reconstruct == predict == "none":
            raise ValueError("UnsupervisedLSTM: reconstruct and predict are both none; at least one decoder is needed")
        self.future = 0 if predict == "none" else future
        self.seen = self.sampler.num_frames - self.future
        if min(self.seen, self.future or self.seen) < 2:
            counts = f"sampler.num_frames={self.sampler.num_frames}, future={future}"
            raise ValueError(f"UnsupervisedLSTM needs at least 2 frames to read and 2 to predict, got {counts}")
        then = f", the next {self.future} predicted" if self.future else " and given back"
        self.caption = f"{self.seen} frames are read{then}"
        kinds: dict[str, Kind] = {"reconstruction": reconstruct, "prediction": predict}
        shape = (encoder.values, encoder.lstm.width, len(encoder.lstm.before))
        self.decoders = nn.ModuleDict(
            {name: Decoder(*shape, kind == "conditional") for name, kind in kinds.items() if kind != "none"}
        )

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss, the sum of both decoders' mean squared errors, and metrics over B videos."""
        targets, decoded = self.decoded(clips)
        name = "prediction" if "prediction" in decoded else "reconstruction"
        found, target = decoded[name].detach(), targets[name]  # [B N, K, V]
        temporal = matches_target(found, target).mean(1)  # [B N]
        video = matches_target(found.transpose(0, 1), target.transpose(0, 1)).mean(0)  # [B N]
        loss = torch.stack([F.mse_loss(decoded[name], targets[name]) for name in decoded]).sum()
        return measured(clips, loss, temporal=(temporal, 1 / target.shape[1]), video=(video, 1 / len(target)))

    def decoded(self, clips: Clips) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return targets and decoded values, ``[B N, K, V]`` each; the reconstruction in reverse order."""
        values = self.encoder.read(chronological(clips))  # [B N, T, V]
        seen, future = values.split([self.seen, self.future], 1)
        targets = {"reconstruction": seen.flip(1), "prediction": future}
        _, state = self.encoder.lstm(seen)
        found = {}
        for name, decoder in self.decoders.items():
            target = targets[name]
            found[name] = decoder(state, target.shape[1], target if self.training else None)
        return targets, found

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return input and future frames and their decoded versions, earliest first; nothing for percepts."""
        if self.encoder.percepts is not None:
            return {}
        targets, decoded = self.decoded(clips)
        titles, drawn = {"reconstruction": "input", "prediction": "future"}, {}
        for name, found in decoded.items():
            for title, values in ((titles[name], targets[name]), (name, found)):
                pixels = rearrange(values, "(b n) k (c h w) -> b n k c h w", b=len(clips), c=3, h=self.encoder.size)
                drawn[title] = clips.denormalise(pixels.flip(2) if name == "reconstruction" else pixels).clamp(0, 1)
        return drawn


def matches_target(found: Tensor, target: Tensor) -> Tensor:
    """Return which of K vectors ``[..., K, V]`` match their own target best of the K targets: 0 or 1, ``[..., K]``.

    Vectors match by the cosine of their directions from the mean vector and target. K equal vectors get one right.
    """
    found, target = (F.normalize(values - values.mean(-2, keepdim=True), dim=-1) for values in (found, target))
    with torch.autocast(found.device.type, enabled=False):
        cosine = found @ target.transpose(-1, -2)  # [..., K, K]
    return (cosine.argmax(-1) == torch.arange(found.shape[-2], device=found.device)).float()
