"""A vision transformer over log-mel spectrograms."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.audio import SpectrogramEncoder
from avssl.encoders.vit import Blocks, space_time_code
from avssl.runtime.checks import check_ranges


class AudioViT(SpectrogramEncoder):
    """Transformer over square patches of a log-mel spectrogram (AST: Gong et al., Interspeech 2021, section 2.1).

    Patches don't overlap, and positions are sines and cosines (`space_time_code`) of a patch's place in time and
    frequency, so that one network takes sounds of any length; AST's overlap, and have learnt positions. There is no
    class token: maps are averaged over bands. One step of the maps is ``patch`` times 10 ms. D is ``width``. Bands and
    time beyond the last whole patch are dropped.

    Args:
        width: channels per token, a multiple of 8 (AST: 768). There is one attention head per 64.
        depth: number of blocks.
        patch: height and width of a token in bands and steps of 10 ms.
        rate: sampling rate in Hz.
        bands: bands of the log-mel spectrogram.
        mask: largest share of bands and of time masked in training, see `avssl.encoders.spectrogram.Masks`.

    Raises:
        ValueError: if the width is not a multiple of 8, or not divisible by its number of heads, or a patch is higher
            than the spectrogram.
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        patch: int = 16,
        rate: int = 16000,
        bands: int = 128,
        mask: float = 0.0,
    ) -> None:
        check_ranges("AudioViT", {"patch": patch}, patch=f"[1, {bands}]")
        super().__init__(width, width, rate, bands, mask, depth=depth, patch=patch)
        self.patch = patch
        self.min_samples += (patch - 1) * self.mel.hop
        self.embed = nn.Linear(patch**2, width)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.blocks = Blocks(width, depth)

    def grid(self, spectrograms: Tensor) -> tuple[int, int, int]:
        """Return the number of tokens of spectrograms ``[B, F, T]`` in time and frequency: (T', F', 1)."""
        return spectrograms.shape[2] // self.patch, spectrograms.shape[1] // self.patch, 1

    def patches(self, spectrograms: Tensor) -> Tensor:
        """Split spectrograms ``[B, F, T]`` into ``[B, L, P]``, time first: L = T' F' tokens of P = patch * patch."""
        steps, bands, _ = self.grid(spectrograms)
        whole = spectrograms[:, : bands * self.patch, : steps * self.patch]
        return rearrange(whole, "b (f p) (t q) -> b (t f) (p q)", p=self.patch, q=self.patch)

    def positions(self, spectrograms: Tensor) -> Tensor:
        """Return each token's position code ``[L, D]``."""
        return space_time_code(self.grid(spectrograms), self.num_features, spectrograms.device)

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Map visible tokens ``[B, V, P]``, in any order, to ``[B, V, D]``.

        Position codes are ``[V, D]``, or ``[B, V, D]`` if sounds show different tokens.
        """
        return self.blocks(self.embed(patches) + positions)

    def spectral_maps(self, sound: Tensor) -> Tensor:
        """Return features over frequency and time ``[B, D, F', T']``; `maps` is their mean over F'."""
        shown = self.spectrogram(sound)
        tokens = self.encode(self.patches(shown), self.positions(shown))
        return rearrange(tokens, "b (t f) d -> b d f t", f=self.grid(shown)[1])

    def maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        return self.spectral_maps(sound).mean(2)
