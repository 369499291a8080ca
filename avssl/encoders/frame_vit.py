"""A vision transformer over single frames."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.tokens import TokenEncoder
from avssl.encoders.vit import Blocks, space_time_code


class FrameViT(TokenEncoder):
    """Transformer over the patches of each frame by itself (Dosovitskiy et al., ICLR 2021); D is ``width``, T' = T.

    Positions are sines and cosines of a patch's place in the frame at hand (`space_time_code`), so that one network
    takes frames of any size. Pixels beyond the last whole patch are dropped. There is no class token: `frames` averages
    over the patches of a frame.

    Args:
        width: channels per token, a multiple of 8; ViT-S has 384, ViT-B 768. There is one attention head per 64.
        depth: number of blocks.
        patch: height and width of a token in pixels.

    Raises:
        ValueError: if the width is not a multiple of 8, or not divisible by its number of heads.
    """

    per_frame = True
    tubelet = 1

    def __init__(self, width: int = 384, depth: int = 12, patch: int = 16) -> None:
        super().__init__(num_features=width, config={"width": width, "depth": depth, "patch": patch})
        self.patch, self.min_clip = patch, (1, patch, patch)
        self.embed = nn.Linear(3 * patch**2, width)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.blocks = Blocks(width, depth)

    def positions(self, clips: Tensor) -> Tensor:
        """Return each token's position code ``[L, D]``, the same in every frame."""
        return space_time_code((1, *self.grid(clips)[1:]), self.num_features, clips.device).repeat(clips.shape[1], 1)

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Map visible tokens ``[B, V, P]`` of one frame each, in any order, to ``[B, V, D]``.

        Position codes are ``[V, D]``, or ``[B, V, D]`` if frames show different tokens.
        """
        return self.blocks(self.embed(patches) + positions)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        maps = super().maps(rearrange(clips, "b t c h w -> (b t) 1 c h w"))  # [B T, D, 1, H', W']
        return rearrange(maps, "(b t) d 1 h w -> b d t h w", b=len(clips))

    def frames(self, clips: Tensor) -> Tensor:
        """Return one vector per frame, ``[B, T, D]`` float32, of clips ``[B, T, 3, H, W]``."""
        return self.maps(clips).mean(dim=(3, 4), dtype=torch.float32).mT
