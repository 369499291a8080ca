"""A vision transformer over space and time.

A. Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021; over tubelets as in A. Arnab et al.: ViViT: A Video
Vision Transformer. ICCV 2021, section 3.2; attention over all tokens at once, as VideoMAE and V-JEPA use it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.base import Encoder

HEAD = 64  # channels of an attention head, where the width allows it
GAIN = 4  # of differences between frames, which are smaller than frames, so that they count beside the code of places


class ViT(Encoder):
    """A transformer whose tokens are tubelets of the clip; D is ``width``, T' = T / tubelet, H' = H / patch.

    Positions are sines and cosines of a token's place in time, height and width, computed for whatever size comes, so
    that one network takes clips of any length and size (`positions`). Frames and pixels beyond the last whole token
    are left out. There is no class token: `forward` averages over the tokens.

    With ``differences`` it sees what changes from each frame to the next, times `GAIN`, and of T frames T - 1 of these
    (as `VideoResNet` does); a background at rest is then zero.

    Args:
        width: channels of a token, a multiple of 8; ViT-S has 384, ViT-B 768. There is an attention head for every 64.
        depth: blocks.
        patch: height and width of a token in pixels.
        tubelet: frames of a token, or differences.
        differences: see above.

    Raises:
        ValueError: where the width is not a multiple of 8, or not one of its number of heads.
    """

    def __init__(
        self, width: int = 384, depth: int = 12, patch: int = 16, tubelet: int = 2, differences: bool = False
    ) -> None:
        config = {"width": width, "depth": depth, "patch": patch, "tubelet": tubelet, "differences": differences}
        super().__init__(num_features=width, config=config)
        self.patch, self.tubelet, self.differences = patch, tubelet, differences
        self.min_clip = (tubelet + differences, patch, patch)
        self.embed = nn.Linear(3 * tubelet * patch**2, width)
        self.embed.apply(_initialise)
        self.blocks = Blocks(width, depth)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        tokens = self.encode(self.patches(clips), self.positions(clips))  # [B, L, D]
        return tokens.transpose(1, 2).unflatten(2, self.grid(clips))  # [B, D, T', H', W']

    def grid(self, clips: Tensor) -> tuple[int, int, int]:
        """How many tokens a clip ``[B, T, 3, H, W]`` has in time, height and width: (T', H', W')."""
        frames = clips.shape[1] - self.differences
        return frames // self.tubelet, clips.shape[3] // self.patch, clips.shape[4] // self.patch

    def patches(self, clips: Tensor) -> Tensor:
        """The pixels of each token.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.

        Returns:
            ``[B, L, P]`` with L = T' H' W' tokens, time first, of P = tubelet * patch * patch * 3 values, the channel
            last (`pixels` is the way back).

        Raises:
            ValueError: see `Encoder.maps`.
        """
        self.check_clips(clips)
        t, h, w = self.grid(clips)
        seen = GAIN * clips.diff(dim=1) if self.differences else clips
        whole = seen[:, : t * self.tubelet, :, : h * self.patch, : w * self.patch]
        parts = whole.unflatten(4, (w, self.patch)).unflatten(3, (h, self.patch)).unflatten(1, (t, self.tubelet))
        # [B, T', tubelet, 3, H', patch, W', patch] -> [B, T', H', W', tubelet, patch, patch, 3]
        return parts.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4).flatten(1, 3)

    def pixels(self, patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """``[B, L, P]`` as `patches` gives them to clips ``[B, T' tubelet, 3, H' patch, W' patch]``."""
        parts = patches.unflatten(2, (self.tubelet, self.patch, self.patch, 3)).unflatten(1, grid)
        return parts.permute(0, 1, 4, 7, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(1, 2)

    def positions(self, clips: Tensor) -> Tensor:
        """``[L, D]`` the code of each token's place in the clip, see `space_time_code`."""
        return space_time_code(self.grid(clips), self.num_features, clips.device)

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Features of some tokens; those that are not given are not looked at and cost nothing.

        Args:
            patches: ``[B, V, P]`` the pixels of the tokens that are visible, in any order.
            positions: ``[V, D]`` or ``[B, V, D]`` the codes of their places.

        Returns:
            ``[B, V, D]``.
        """
        return self.blocks(self.embed(patches) + positions)


class Blocks(nn.Module):
    """Pre-norm transformer blocks and a last layer normalisation; the same for encoders, decoders and predictors.

    Args:
        width: channels of a token, a multiple of 8.
        depth: blocks.

    Raises:
        ValueError: where the width is not a multiple of 8, or not one of its number of heads.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        heads = max(1, width // HEAD)
        if width <= 0 or width % 8 or width % heads:
            raise ValueError(f"a transformer's width must be a multiple of 8, above {2 * HEAD} of {HEAD}; got {width}")
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.apply(_initialise)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, L, D]`` to ``[B, L, D]``."""
        for block in self.layers:
            tokens = block(tokens)
        return self.norm(tokens)


class Block(nn.Module):
    """Attention over all tokens, then an MLP of four times the width, each added to what came in.

    Args:
        width: channels of a token.
        heads: of the attention; divides the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, L, D]`` to ``[B, L, D]``."""
        parts = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1))  # [B, L, 3, heads, D / heads]
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [B, heads, L, D / heads] each
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens))


def space_time_code(grid: tuple[int, int, int], width: int, device: torch.device | str = "cpu") -> Tensor:
    """Sines and cosines of each token's place: a third of the channels each for time, height and width.

    Within a third, the wavelengths run geometrically from 2 pi to nearly 20 pi tokens. Those of Vaswani et al. (NeurIPS
    2017, section 3.5) run to 20000 pi; over the few tokens that a clip has along an axis, most of them would hardly
    change. Channels that don't divide by six are left at zero.

    Args:
        grid: tokens in time, height and width.
        width: D.
        device: of the result.

    Returns:
        ``[L, D]`` float32, time first.
    """
    half = width // 6
    wave = torch.exp(torch.arange(half, device=device) * (-math.log(10.0) / max(1, half)))  # [D / 6]
    places = torch.cartesian_prod(*(torch.arange(size, device=device, dtype=torch.float32) for size in grid))  # [L, 3]
    angles = places[:, :, None] * wave  # [L, 3, D / 6]
    code = torch.cat([angles.sin(), angles.cos()], 2).flatten(1)  # [L, 6 * (D / 6)]
    return F.pad(code, (0, width - code.shape[1]))


def _initialise(layer: nn.Module) -> None:
    """As in MAE (He et al., CVPR 2022, appendix A.1) and VideoMAE: Xavier's uniform weights, no bias."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
