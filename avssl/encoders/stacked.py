"""Few frames stacked as channels, before the convolutions of deep Q-learning."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.pixels import LUMA, constants


class FrameStack(Encoder):
    """Convolutions over stacks of grey frames, side by side in time: T' = T / frames, H' = H / 8, W' = W / 8.

    The three convolutions (8 x 8 with stride 4, 4 x 4 with stride 2, 3 x 3) of Mnih et al. (Nature 2015), which Kahn
    et al. (ICRA 2018) use on frames of 36 x 64; here with padding and batch normalisation. D is 2 x width.

    Args:
        width: channels of the first convolution (both papers: 32); the others have twice as many.
        frames: frames of a stack; those at the end that don't fill one are left out.
    """

    def __init__(self, width: int = 32, frames: int = 4) -> None:
        if width < 1 or frames < 1:
            raise ValueError(f"FrameStack: expected width and frames of at least 1, got {width} and {frames}")
        super().__init__(2 * width, {"width": width, "frames": frames})
        self.stack = frames
        self.min_clip = (frames, 16, 16)
        shapes = ((frames, width, 8, 4, 2), (width, 2 * width, 4, 2, 1), (2 * width, 2 * width, 3, 1, 1))
        layers: list[nn.Module] = []
        for before, after, kernel, stride, padding in shapes:
            layers += [nn.Conv2d(before, after, kernel, stride, padding, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.net = nn.Sequential(*layers)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        grey = (clips * constants(LUMA, clips).view(3, 1, 1)).sum(2)  # [B, T, H, W]
        stacks = grey[:, : grey.shape[1] // self.stack * self.stack].unflatten(1, (-1, self.stack))
        maps = self.net(stacks.flatten(0, 1))  # [B T', D, H', W']
        return rearrange(maps, "(b t) d h w -> b d t h w", b=len(clips))
