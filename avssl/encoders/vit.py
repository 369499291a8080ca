"""A vision transformer over space and time.

A. Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021; over tubelets as in A. Arnab et al.: ViViT: A Video
Vision Transformer. ICCV 2021, section 3.2; attention over all tokens at once, as VideoMAE and V-JEPA use it.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.tokens import TokenEncoder

HEAD = 64  # channels per attention head, if the width allows it
GAIN = 4  # scale of frame differences, which are smaller than frames, relative to the position code


class ViT(TokenEncoder):
    """Transformer over tubelets of the clip; D is ``width``, T' = T / tubelet, H' = H / patch.

    Position codes are sines and cosines of a token's position in time, height and width, computed for the clip at
    hand, so that one network takes clips of any length and size (`positions`). Frames and pixels beyond the last whole
    token are dropped. There is no class token: `forward` averages over the tokens.

    Args:
        width: channels per token, a multiple of 8; ViT-S has 384, ViT-B 768. There is one attention head per 64.
        depth: number of blocks.
        patch: height and width of a token in pixels.
        tubelet: frames (or differences) per token.
        differences: take the T - 1 differences between consecutive frames, times `GAIN`, as input (as `VideoResNet`
            does); a static background is then zero.

    Raises:
        ValueError: if the width is not a multiple of 8, or not divisible by its number of heads.
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

    def grid(self, clips: Tensor) -> tuple[int, int, int]:  # noqa: D102
        return super().grid(clips[:, self.differences :])

    def seen(self, clips: Tensor) -> Tensor:  # noqa: D102
        return GAIN * clips.diff(dim=1) if self.differences else clips

    def positions(self, clips: Tensor) -> Tensor:
        """Return each token's position code ``[L, D]``, see `space_time_code`."""
        return space_time_code(self.grid(clips), self.num_features, clips.device)

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Map visible tokens ``[B, V, P]``, in any order, to ``[B, V, D]``; the others cost nothing.

        Position codes are ``[V, D]``, or ``[B, V, D]`` if clips show different tokens.
        """
        return self.blocks(self.embed(patches) + positions)


class Blocks(nn.Module):
    """Pre-norm transformer blocks and a final layer normalisation, for encoders, decoders and predictors.

    Raises:
        ValueError: if the width is not a multiple of 8, or not divisible by its number of heads.
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
        """Map ``[B, L, D]`` to ``[B, L, D]``."""
        for block in self.layers:
            tokens = block(tokens)
        return self.norm(tokens)


class Block(nn.Module):
    """Attention over all tokens, then an MLP of four times the width, each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[B, L, D]`` to ``[B, L, D]``."""
        parts = self.qkv(self.norm1(tokens))
        query, key, value = rearrange(parts, "b l (qkv heads d) -> qkv b heads l d", qkv=3, heads=self.heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(rearrange(mixed, "b heads l d -> b l (heads d)"))
        return tokens + self.mlp(self.norm2(tokens))


def space_time_code(grid: tuple[int, int, int], width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sines and cosines of each token's position: a third of the channels each for time, height and width.

    Within a third, wavelengths run geometrically from 2 pi to nearly 20 pi tokens. Those of Vaswani et al. (NeurIPS
    2017, section 3.5) run to 20000 pi; over the few tokens of a clip along an axis, most of them would hardly change.
    Channels left over when the width D is divided by six are zero.

    Returns:
        ``[L, D]`` float32, time first, for a ``grid`` of tokens in time, height and width.
    """
    half = width // 6
    wave = torch.exp(torch.arange(half, device=device) * (-math.log(10.0) / max(1, half)))  # [D / 6]
    places = torch.cartesian_prod(*(torch.arange(size, device=device, dtype=torch.float32) for size in grid))  # [L, 3]
    angles = places[:, :, None] * wave  # [L, 3, D / 6]
    code = torch.cat([angles.sin(), angles.cos()], 2).flatten(1)  # [L, 6 * (D / 6)]
    return F.pad(code, (0, width - code.shape[1]))


def _initialise(layer: nn.Module) -> None:
    """Initialise as in MAE (He et al., CVPR 2022, appendix A.1) and VideoMAE: Xavier uniform weights, zero bias."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
