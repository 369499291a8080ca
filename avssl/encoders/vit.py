"""A vision transformer over space and time.

A. Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021; over tubelets as in A. Arnab et al.: ViViT: A Video
Vision Transformer. ICCV 2021, section 3.2; attention over all tokens at once, as VideoMAE and V-JEPA use it.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.tokens import TokenEncoder
from avssl.encoders.transformer import Blocks, initialise

GAIN = 4  # scale of frame differences, which are smaller than frames, relative to the position code
SCALE = 0.02  # deviation of learnt positions and of the class token, when new

Positions = Literal["sine", "sequence", "learnt", "rotary"]


class ViT(TokenEncoder):
    """Transformer over tubelets of the clip; D is ``width``, T' = T / tubelet, H' = H / patch.

    Positions are computed for the clip at hand, so that one network takes clips of any length and size. Frames and
    pixels beyond the last whole token are dropped. Published sizes (width, depth, heads): S 384, 12, 6; B 768, 12, 12;
    L 1024, 24, 16; H 1280, 32, 16; g 1408, 40, 16 (VideoMAE v2, with patch 14) or 22 (V-JEPA 2), with mlp 6144.
    VideoMAE has ``positions: sequence, key_bias: false``, V-JEPA 2 ``positions: rotary``, LeVJEPA ``tubelet: 1,
    positions: rotary, class_token: true, causal: true``.

    Args:
        width: channels per token, a multiple of 8.
        depth: number of blocks.
        patch: height and width of a token in pixels.
        tubelet: frames (or differences) per token.
        differences: take the T - 1 differences between consecutive frames, times `GAIN`, as input (as `VideoResNet`
            does); a static background is then zero.
        heads: attention heads; one per 64 channels if not given.
        mlp: channels inside the MLP of a block; four times the width if not given.
        positions: ``"sine"`` adds sines and cosines of a token's place in time, height and width (`space_time_code`);
            ``"sequence"`` adds those of its number in the clip (`sequence_code`, as VideoMAE); ``"learnt"`` adds a
            learnt table, interpolated where a clip has another grid; ``"rotary"`` adds nothing, but turns queries and
            keys by the place in each block (`transformer.rotation`, as V-JEPA 2).
        table: tokens of the learnt table in time, height and width; that of 16 frames of 224 pixels by default.
        drop_path: probability of skipping the last block in training, see `Blocks`.
        key_bias: whether attention keys have a bias, see `Blocks`.
        class_token: prepend a learnt token without a place; `forward` then returns its output instead of the mean of
            all tokens.
        causal: block-causal attention: a token sees those of its own and of earlier times, the class token sees all and
            is seen by none. Takes rotary positions, from which the time of a token is read.

    Raises:
        ValueError: if the width is not a multiple of 8, or not divisible by its number of heads; if the positions
            aren't known, or rotary with fewer than 6 channels per head; if attention is to be causal without rotary
            positions.
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        patch: int = 16,
        tubelet: int = 2,
        differences: bool = False,
        heads: int | None = None,
        mlp: int | None = None,
        positions: Positions = "sine",
        table: tuple[int, int, int] = (8, 14, 14),
        drop_path: float = 0.0,
        key_bias: bool = True,
        class_token: bool = False,
        causal: bool = False,
    ) -> None:
        config: dict[str, Any] = {"width": width, "depth": depth, "patch": patch, "tubelet": tubelet}
        config["differences"] = differences
        later: dict[str, tuple[Any, Any]] = {
            "heads": (heads, None),
            "mlp": (mlp, None),
            "positions": (positions, "sine"),
        }
        later |= {"table": (list(table), [8, 14, 14]), "drop_path": (drop_path, 0.0), "key_bias": (key_bias, True)}
        later |= {"class_token": (class_token, False), "causal": (causal, False)}
        # what is at its default is left out, so that exports from before these options keep their hash
        config |= {name: value for name, (value, default) in later.items() if value != default}
        super().__init__(num_features=width, config=config)
        self.patch, self.tubelet, self.differences = patch, tubelet, differences
        self.places, self.causal = positions, causal
        self.min_clip = (tubelet + differences, patch, patch)
        self.embed = nn.Linear(3 * tubelet * patch**2, width)
        self.embed.apply(initialise)
        self.blocks = Blocks(width, depth, heads, mlp, drop_path, key_bias)
        if positions not in get_args(Positions):
            raise ValueError(f"ViT: positions must be one of {', '.join(get_args(Positions))}; got {positions}")
        if positions == "rotary" and self.blocks.head_width < 6:
            raise ValueError(
                f"ViT: rotary positions need 6 channels per head, two for each axis; width {width} leaves "
                f"{self.blocks.head_width}: take fewer heads"
            )
        if causal and positions != "rotary":
            raise ValueError(f"ViT: causal attention reads times off rotary positions, but positions is {positions}")
        self.table = nn.Parameter(torch.randn(*table, width) * SCALE) if positions == "learnt" else None
        self.class_token = nn.Parameter(torch.randn(width) * SCALE) if class_token else None

    def grid(self, clips: Tensor) -> tuple[int, int, int]:  # noqa: D102
        return super().grid(clips[:, self.differences :])

    def seen(self, clips: Tensor) -> Tensor:  # noqa: D102
        return GAIN * clips.diff(dim=1) if self.differences else clips

    def positions(self, clips: Tensor) -> Tensor:
        """Return each token's code ``[L, D]``, or, if positions are rotary, its coordinates ``[L, 3]``."""
        grid = self.grid(clips)
        if self.places == "rotary":
            return coordinates(grid, clips.device)
        if self.table is not None:
            table = self.table.movedim(3, 0)[None]  # [1, D, T', H', W']
            if table.shape[2:] != grid:
                table = F.interpolate(table, grid, mode="trilinear")
            return table[0].flatten(1).T
        if self.places == "sequence":
            return sequence_code(math.prod(grid), self.num_features, clips.device)
        return space_time_code(grid, self.num_features, clips.device)

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Map visible tokens ``[B, V, P]``, in any order, to ``[B, V, D]``; the others cost nothing.

        Rows of `positions` are ``[V, ...]``, or ``[B, V, ...]`` if clips show different tokens.
        """
        tokens = self.tokens(patches, positions)
        return tokens if self.class_token is None else tokens[:, 1:]

    def tokens(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Return what `encode` returns, and before it the output of the class token if there is one: [B, 1 + V, D]."""
        tokens = self.embed(patches)
        if self.places != "rotary":
            tokens = tokens + positions
        if self.class_token is not None:
            first = self.class_token.expand(len(tokens), 1, -1)
            tokens = torch.cat([first.to(tokens.dtype), tokens], 1)
        if self.places != "rotary":
            return self.blocks(tokens)
        mask = None
        if self.causal:
            times = positions[..., 0]
            if self.class_token is not None:
                times = F.pad(times, (1, 0), value=math.inf)
            mask = times[..., None, :] <= times[..., None]  # [V, V]; [B, V, V]
            mask = mask[:, None] if mask.ndim == 3 else mask
        if self.class_token is not None:
            positions = F.pad(positions, (0, 0, 1, 0))  # at the origin, where nothing is turned
        return self.blocks(tokens, positions, mask)

    def vectors(self, patches: Tensor, positions: Tensor) -> Tensor:  # noqa: D102
        if self.class_token is None:
            return super().vectors(patches, positions)
        return self.tokens(patches, positions)[:, 0].float()

    def forward(self, clips: Tensor) -> Tensor:
        """Return one vector per clip, ``[B, D]`` float32: the class token's output, or the mean of `maps`."""
        if self.class_token is None:
            return super().forward(clips)
        return self.vectors(self.patches(clips), self.positions(clips))


def coordinates(grid: tuple[int, int, int], device: torch.device | str = "cpu") -> Tensor:
    """Return each token's place in time, height and width, ``[L, 3]`` float32, time first."""
    return torch.cartesian_prod(*(torch.arange(size, device=device, dtype=torch.float32) for size in grid))


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
    angles = coordinates(grid, device)[:, :, None] * wave  # [L, 3, D / 6]
    code = torch.cat([angles.sin(), angles.cos()], 2).flatten(1)  # [L, 6 * (D / 6)]
    return F.pad(code, (0, width - code.shape[1]))


def sequence_code(length: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sines (even channels) and cosines (odd) of a token's number in the clip, ``[L, D]`` float32.

    Wavelengths rise geometrically from 2 pi to 20000 pi (Vaswani et al., NeurIPS 2017, section 3.5), as in VideoMAE.
    """
    wave = 10000.0 ** (-2 * torch.arange(width // 2, device=device) / width)  # [D / 2]
    angles = torch.arange(length, device=device)[:, None] * wave  # [L, D / 2]
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
