"""Shared parts of the methods that read a video block by block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import RandomClips, check_sampler
from avssl.media import VideoInfo


@dataclass(frozen=True)
class Blocks:
    """Sampler of evenly spaced frames that a method cuts into equal blocks (DPC: Han et al., ICCVW 2019).

    The blocks form one clip and so share the crop and the flip: a location in one block is the same in the next.

    Args:
        blocks: number of blocks.
        num_frames: frames per block.
        step: seconds between two frames.
        motion_weighted: prefer windows with much motion.
    """

    blocks: int = 8
    num_frames: int = 5
    step: float = 0.1
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Duration of all blocks."""
        return self.blocks * self.num_frames * self.step

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[1, blocks * frames]``."""
        return RandomClips(1, self.blocks * self.num_frames, self.step, self.motion_weighted)(info, rng)

    def cut(self, clips: Clips) -> Tensor:
        """Cut clips into blocks in time order, ``[B N blocks, T, 3, H, W]``."""
        return rearrange(chronological(clips), "m (block t) c h w -> (m block) t c h w", block=self.blocks)

    def checked(self, predict: int) -> int:
        """Return a number of blocks to predict that leaves at least one to predict from, else raise a ValueError."""
        if not 0 < predict < self.blocks:
            raise ValueError(f"of {self.blocks} blocks, predict must be 1 to {self.blocks - 1}, got {predict}")
        return predict


class ConvGRU(nn.Module):
    """Convolutional GRU cell, with weights shared by all locations.

    N. Ballas et al.: Delving Deeper into Convolutional Networks for Learning Video Representations, ICLR 2016. With
    kernel size 1, as in DPC, each location is a GRU of its own and no border is padded. Kernel sizes are odd.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 1) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 2 * hidden, kernel, padding=kernel // 2)
        self.candidate = nn.Conv2d(inputs + hidden, hidden, kernel, padding=kernel // 2)
        for layer in (self.gates, self.candidate):
            nn.init.orthogonal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, read: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the next state, float32, given ``[B, inputs, H, W]`` and a state ``[B, hidden, H, W]`` (or zeros)."""
        if hidden is None:
            hidden = read.new_zeros(len(read), self.candidate.out_channels, *read.shape[2:], dtype=torch.float32)
        read = read.float()
        reset, update = torch.sigmoid(self.gates(torch.cat([read, hidden], 1)).float()).chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([read, reset * hidden], 1)).float())
        return (1 - update) * hidden + update * candidate


def chronological(clips: Clips) -> Tensor:
    """Return the frames of each clip sorted by time, ``[B N, T, 3, H, W]``, whatever order they were shown in."""
    video, order = clips.video.flatten(0, 1), clips.times.flatten(0, 1).argsort(1)  # [B N, T, ...]
    return video[torch.arange(len(video), device=order.device)[:, None], order]
