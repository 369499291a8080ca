"""Encoders that see a clip as tokens, of which some may be hidden: what masked prediction asks of a network."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from avssl.encoders.base import Encoder


class TokenEncoder(Encoder):
    """An encoder over tubelets of a clip that can be given some of them, in any order.

    Attributes:
        tubelet: frames per token.
        patch: height and width of a token in pixels.
        partial: False if `encode` needs all tokens of a clip, which rules out methods that hide some.
    """

    tubelet: int
    patch: int
    partial: bool = True

    def grid(self, clips: Tensor) -> tuple[int, int, int]:
        """Return the number of tokens of a clip ``[B, T, 3, H, W]`` in time, height and width: (T', H', W')."""
        return clips.shape[1] // self.tubelet, clips.shape[3] // self.patch, clips.shape[4] // self.patch

    def patches(self, clips: Tensor) -> Tensor:
        """Split clips ``[B, T, 3, H, W]`` (float, normalised) into ``[B, L, P]``; `pixels` is the inverse.

        There are L = T' H' W' tokens, time first, of P = tubelet * patch * patch * 3 values, channel last. Frames and
        pixels beyond the last whole token are dropped.
        """
        self.check_clips(clips)
        t, h, w = self.grid(clips)
        whole = self.seen(clips)[:, : t * self.tubelet, :, : h * self.patch, : w * self.patch]
        sizes = {"f": self.tubelet, "p": self.patch, "q": self.patch}
        return rearrange(whole, "b (t f) c (h p) (w q) -> b (t h w) (f p q c)", **sizes)

    def pixels(self, patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Reassemble `patches` ``[B, L, P]`` into clips ``[B, T' tubelet, 3, H' patch, W' patch]``."""
        sizes = {"t": grid[0], "h": grid[1], "w": grid[2], "f": self.tubelet, "p": self.patch, "q": self.patch}
        return rearrange(patches, "b (t h w) (f p q c) -> b (t f) c (h p) (w q)", **sizes)

    def seen(self, clips: Tensor) -> Tensor:
        """Return what is split into tokens: the clips ``[B, T, 3, H, W]`` themselves, or what is made of them."""
        return clips

    def positions(self, clips: Tensor) -> Tensor:
        """Return what `encode` needs to know of each token's place, ``[L, ...]``: a code, or coordinates."""
        raise NotImplementedError

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Map visible tokens ``[B, V, P]``, in any order, to ``[B, V, D]``; the others cost nothing.

        Positions are rows of `positions`, ``[V, ...]``, or ``[B, V, ...]`` if clips show different tokens.
        """
        raise NotImplementedError

    def vectors(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Summarise visible tokens, given as to `encode`, in one vector as `forward` does all: ``[B, D]`` float32."""
        return self.encode(patches, positions).mean(1, dtype=torch.float32)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        t, h, w = self.grid(clips)
        tokens = self.encode(self.patches(clips), self.positions(clips))
        return rearrange(tokens, "b (t h w) d -> b d t h w", t=t, h=h, w=w)
