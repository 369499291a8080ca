"""What methods share that read a video block by block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import RandomClips
from avssl.media import VideoInfo


@dataclass(frozen=True)
class Blocks:
    """One stretch of evenly spaced frames that a method cuts into equal blocks (DPC: Han et al., ICCVW 2019).

    The blocks are one clip, so that whatever is cropped and mirrored is cropped and mirrored alike in all of them: a
    place in one block is the same place in the next.

    Args:
        blocks: blocks a stretch.
        num_frames: frames a block.
        step: seconds between two frames.
        motion_weighted: prefer windows in which much moves.
    """

    blocks: int = 8
    num_frames: int = 5
    step: float = 0.1
    motion_weighted: bool = False

    @property
    def seconds(self) -> float:
        """All blocks."""
        return self.blocks * self.num_frames * self.step

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[1, blocks * frames]``."""
        return RandomClips(1, self.blocks * self.num_frames, self.step, self.motion_weighted)(info, rng)


class ConvGRU(nn.Module):
    """A GRU cell over maps: the matrices are convolutions, so that all places share their weights.

    N. Ballas et al.: Delving Deeper into Convolutional Networks for Learning Video Representations, ICLR 2016. With a
    kernel of 1, as in DPC, each place is a GRU of its own and no border is padded.

    Args:
        inputs: channels of what is read.
        hidden: channels of the state.
        kernel: odd size of the convolutions.
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
        """``[B, inputs, H, W]`` and the state ``[B, hidden, H, W]`` (zeros where None) to the next state, float32."""
        if hidden is None:
            hidden = read.new_zeros(len(read), self.candidate.out_channels, *read.shape[2:], dtype=torch.float32)
        read = read.float()
        reset, update = torch.sigmoid(self.gates(torch.cat([read, hidden], 1)).float()).chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([read, reset * hidden], 1)).float())
        return (1 - update) * hidden + update * candidate


def chronological(clips: Clips) -> Tensor:
    """The frames of each clip from the earliest to the latest, whatever order they are shown in.

    Returns:
        ``[B N, T, 3, H, W]``.
    """
    video, order = clips.video.flatten(0, 1), clips.times.flatten(0, 1).argsort(1)  # [B N, T, ...]
    return video[torch.arange(len(video), device=order.device)[:, None], order]
