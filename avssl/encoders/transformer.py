"""Transformer blocks, for encoders, decoders and predictors over tokens of a clip."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import stochastic_depth

HEAD = 64  # channels per attention head, if the width allows it and no number of heads is given
BASE = 10000.0  # ratio of the longest to the shortest wavelength of a rotation

Rotation = tuple[Tensor, Tensor]


class Blocks(nn.Module):
    """Pre-norm transformer blocks and a final layer normalisation, for encoders, decoders and predictors.

    Args:
        width: channels per token, a multiple of 8.
        depth: number of blocks.
        heads: attention heads; one per 64 channels if not given.
        mlp: channels inside the MLP of a block; four times the width if not given.
        drop_path: probability that a clip skips the last block's attention, and likewise its MLP, in training; it rises
            linearly from 0 in the first block (stochastic depth: Huang et al., ECCV 2016, section 3).
        key_bias: give keys a bias, as queries and values have. It changes no attention weight (every score of a query
            gets the same summand), but it is a parameter: V-JEPA's blocks have it, VideoMAE's don't.

    Raises:
        ValueError: if the width is not a multiple of 8, or not divisible by its number of heads.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int | None = None,
        mlp: int | None = None,
        drop_path: float = 0.0,
        key_bias: bool = True,
    ) -> None:
        super().__init__()
        split = max(1, width // HEAD) if heads is None else heads
        if width <= 0 or width % 8 or (heads is None and width % split):
            raise ValueError(f"a transformer's width must be a multiple of 8, above {2 * HEAD} of {HEAD}; got {width}")
        if split <= 0 or width % split:
            raise ValueError(f"a transformer of width {width} can't have {heads} heads: give a divisor of the width")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be at least 0 and below 1, got {drop_path}")
        rates = [drop_path * place / max(1, depth - 1) for place in range(depth)]
        self.layers = nn.ModuleList(Block(width, split, mlp or 4 * width, rate, key_bias) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.head_width = width // split
        self.apply(initialise)

    def forward(self, tokens: Tensor, coordinates: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, L, D]`` to ``[B, L, D]``.

        Args:
            tokens: ``[B, L, D]``.
            coordinates: ``[L, 3]`` or ``[B, L, 3]``; queries and keys are rotated by them (see `rotation`).
            mask: ``[L, L]`` or ``[B, 1, L, L]`` bool, true where a token (row) sees another (column).
        """
        turn = None if coordinates is None else rotation(coordinates, self.head_width)
        for block in self.layers:
            tokens = block(tokens, turn, mask)
        return self.norm(tokens)


class Block(nn.Module):
    """Attention over all tokens, then an MLP, each with a residual connection; see `Blocks`."""

    def __init__(self, width: int, heads: int, mlp: int, drop_path: float = 0.0, key_bias: bool = True) -> None:
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=key_bias)
        self.qv_bias = None if key_bias else nn.Parameter(torch.zeros(2, width))
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Linear(mlp, width))

    def forward(self, tokens: Tensor, turn: Rotation | None = None, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, L, D]`` to ``[B, L, D]``; ``turn`` is a `rotation`, ``mask`` as in `Blocks.forward`."""
        parts = F.linear(self.norm1(tokens), self.qkv.weight, self._bias())
        query, key, value = rearrange(parts, "b l (qkv heads d) -> qkv b heads l d", qkv=3, heads=self.heads)
        if turn is not None:
            query, key = rotated(query, turn), rotated(key, turn)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self._kept(self.out(rearrange(mixed, "b heads l d -> b l (heads d)")))
        return tokens + self._kept(self.mlp(self.norm2(tokens)))

    def _bias(self) -> Tensor:
        if self.qv_bias is None:
            return self.qkv.bias
        query, value = self.qv_bias
        return torch.cat([query, torch.zeros_like(query), value])

    def _kept(self, change: Tensor) -> Tensor:
        return stochastic_depth(change, self.drop_path, "row", self.training)


def rotation(coordinates: Tensor, head_width: int) -> Rotation:
    """Return cosines and sines by which `rotated` turns the channels of a head, for tokens at coordinates ``[..., 3]``.

    These are V-JEPA 2's three-dimensional rotary positions (Assran et al., 2025, section 2.1; after RoFormer: Su et
    al., 2021, section 3.2), as its published weights expect them: time, height and width have a third of the channels
    each, rounded down to an even number 2 m; channels left over are not turned. Wavelengths rise geometrically from
    2 pi to nearly 20000 pi. Channel c of an axis has the frequency of number c modulo m, although channels 2 k and
    2 k + 1 are turned together: the frequencies of a pair differ.

    Returns:
        Two float32 tensors ``[L, head_width]``, or ``[B, 1, L, head_width]`` for coordinates of each clip.
    """
    half = head_width // 3 // 2
    wave = BASE ** (-torch.arange(half, device=coordinates.device) / max(1, half))  # [m]
    angles = (coordinates[..., None].float() * wave.repeat(2)).flatten(-2)  # [..., 6 m]
    angles = F.pad(angles, (0, head_width - angles.shape[-1]))
    if angles.ndim == 3:
        angles = angles[:, None]
    return angles.cos(), angles.sin()


def rotated(channels: Tensor, turn: Rotation) -> Tensor:
    """Turn pairs of neighbouring channels of ``[B, heads, L, d]`` by a `rotation`."""
    even, odd = channels.unflatten(-1, (-1, 2)).unbind(-1)
    across = torch.stack([-odd, even], -1).flatten(-2)
    return (channels * turn[0] + across * turn[1]).type_as(channels)


def initialise(layer: nn.Module) -> None:
    """Initialise as in MAE (He et al., CVPR 2022, appendix A.1) and VideoMAE: Xavier uniform weights, zero bias."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
