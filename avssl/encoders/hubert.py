"""The network of AV-HuBERT, and its two halves: what it makes of pictures alone, and of sound alone.

B. Shi, W.-N. Hsu, K. Lakhotia, A. Mohamed: Learning Audio-Visual Speech Representation by Masked Multimodal Cluster
Prediction. ICLR 2022, section 3.3 and appendix. https://arxiv.org/abs/2201.02184
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.audio import MEAN, STD
from avssl.encoders.base import AudioEncoder, Encoder
from avssl.encoders.export import build, plan
from avssl.encoders.spectrogram import LogMel
from avssl.encoders.transformer import Blocks
from avssl.runtime.checks import check_ranges

GROUPS = 16  # of the convolution that tells positions, or fewer if they don't divide the width


class Fusion(nn.Module):
    """Concatenate the vectors of picture and sound of each moment, and pass them through a transformer over time.

    The concatenation is normalised (layer normalisation) and reduced to the width. Positions are told by a convolution
    over time, whose output is added (wav2vec 2.0: Baevski et al., NeurIPS 2020, section 2). A modality that is absent
    is zero, as when it is dropped in training (section 3.3, modality dropout).

    Args:
        width: channels of either modality and of the transformer.
        depth: number of blocks.
        reach: moments that the convolution spans, an odd number.
    """

    def __init__(self, width: int, depth: int, reach: int) -> None:
        super().__init__()
        if reach % 2 == 0:
            raise ValueError(f"reach is {reach}: expected an odd number of moments, as many before as after")
        self.norm, self.join = nn.LayerNorm(2 * width), nn.Linear(2 * width, width)
        self.place = nn.Conv1d(width, width, reach, padding=reach // 2, groups=math.gcd(width, GROUPS))
        self.blocks = Blocks(width, depth)

    def tokens(self, seen: Tensor | None, heard: Tensor | None) -> Tensor:
        """Return the transformer's input ``[B, T, D]`` of vectors ``[B, T, D]`` of pictures and of sound."""
        given = seen if heard is None else heard
        assert given is not None
        zeros = torch.zeros_like(given)
        both = torch.cat([zeros if part is None else part for part in (seen, heard)], 2)
        tokens = self.join(self.norm(both))
        return tokens + F.gelu(self.place(tokens.mT)).mT

    def forward(self, seen: Tensor | None, heard: Tensor | None) -> Tensor:
        """Return the transformer's output ``[B, T, D]``; one of the two may be None."""
        return self.blocks(self.tokens(seen, heard))

    def layer(self, seen: Tensor, heard: Tensor, number: int) -> Tensor:
        """Return the output ``[B, T, D]`` of block ``number``, counted from 1."""
        tokens = self.tokens(seen, heard)
        for block in self.blocks.layers[:number]:
            tokens = block(tokens)
        return tokens


class HuBERTFrames(Encoder):
    """Vectors of frames, and a transformer over time: AV-HuBERT as it sees pictures alone; D is ``width``.

    `maps` are the transformer's outputs, one per frame (T' = T, H' = W' = 1). Clips are continued at both ends by their
    first and last frame if the network of frames sees a window of several.

    Args:
        frames: network whose maps, averaged over space, are the vectors: a frame encoder, or one whose maps see windows
            of consecutive frames, such as `EarlyFusion` (the paper's ResNet-18, whose first convolution spans five
            frames) and `FrameWindows`. An export's config names it by class and arguments.
        width: channels of the transformer, a multiple of 8 (the paper: 768, or 1024).
        depth: number of blocks (12, or 24).
        reach: frames that the convolution for positions spans (the authors': 128), an odd number.

    Raises:
        ValueError: if the network of frames gives fewer vectors than windows of frames.
    """

    def __init__(self, frames: Encoder | dict[str, Any], width: int = 768, depth: int = 12, reach: int = 127) -> None:
        net = build(frames, Encoder, "HuBERTFrames.frames") if isinstance(frames, Mapping) else frames
        super().__init__(width, {"frames": plan(net), "width": width, "depth": depth, "reach": reach})
        window = getattr(net, "window", None)
        if not net.per_frame and window is None:
            raise ValueError(
                f"HuBERTFrames: {type(net).__name__} has fewer maps than frames; give a frame encoder, an EarlyFusion "
                "or a FrameWindows"
            )
        self.window = 1 if window is None else int(window)
        self.min_clip = (1, *net.min_clip[1:])
        self.frames = net
        self.project = nn.Linear(net.num_features, width)
        self.fusion = Fusion(width, depth, reach)

    def vectors(self, clips: Tensor) -> Tensor:
        """Return a vector per frame ``[B, T, D]`` of clips ``[B, T, 3, H, W]``, before the transformer."""
        self.check_clips(clips)
        before = (self.window - 1) // 2
        ends = (
            clips[:, :1].expand(-1, before, -1, -1, -1),
            clips[:, -1:].expand(-1, self.window - 1 - before, -1, -1, -1),
        )
        maps = self.frames.maps(torch.cat([ends[0], clips, ends[1]], 1))
        return self.project(maps.mean((3, 4)).mT)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        return self.fusion(self.vectors(clips), None).mT[..., None, None]


class HuBERTSound(AudioEncoder):
    """Stacked log-mel columns, and a transformer over time: AV-HuBERT as it hears sound alone; D is ``width``.

    Consecutive columns, which begin every 10 ms, are stacked, and a linear layer makes a vector of them: with four, one
    for each frame of a video at 25 frames per second (section 4.1). One step of `maps` is as long. Columns beyond the
    last whole stack are dropped.

    Args:
        width: channels of the transformer, a multiple of 8 (the paper: 768, or 1024).
        depth: number of blocks (12, or 24).
        reach: steps that the convolution for positions spans (the authors': 128), an odd number.
        rate: sampling rate in Hz.
        bands: bands of the log-mel spectrogram (26).
        stack: columns that are stacked (4).
    """

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        reach: int = 127,
        rate: int = 16000,
        bands: int = 26,
        stack: int = 4,
    ) -> None:
        check_ranges("HuBERTSound", {"bands": bands, "stack": stack}, bands="[1, inf)", stack="[1, inf)")
        config = {"width": width, "depth": depth, "reach": reach, "rate": rate, "bands": bands, "stack": stack}
        mel = LogMel(rate, bands)
        super().__init__(width, config, rate, mel.min_samples + (stack - 1) * mel.hop)
        self.mel, self.stack = mel, stack
        self.project = nn.Linear(bands * stack, width)
        self.fusion = Fusion(width, depth, reach)

    @property
    def step(self) -> float:
        """Seconds from one vector to the next."""
        return self.stack * self.mel.hop / self.rate

    def columns(self, sound: Tensor) -> Tensor:
        """Return stacked columns ``[B, T', stack * bands]`` of sound ``[B, S]``, column by column.

        Log-mel values are scaled by constants, so that a stack depends on its own moment alone.
        """
        self.check_sound(sound)
        mel = (self.mel(sound) - MEAN) / STD  # [B, F, columns]
        whole = mel.shape[2] // self.stack * self.stack
        return rearrange(mel[:, :, :whole], "b f (t s) -> b t (s f)", s=self.stack)

    def maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        return self.fusion(None, self.project(self.columns(sound))).mT
