"""Video masked autoencoding (VideoMAE).

Z. Tong, Y. Song, J. Wang, L. Wang: VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training. NeurIPS 2022. https://arxiv.org/abs/2203.12602
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder, TokenEncoder
from avssl.encoders.huggingface import resized
from avssl.encoders.transformer import Blocks, initialise
from avssl.encoders.vit import sequence_code, space_time_code
from avssl.methods.base import Method, measured
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.methods.temporal.masks import token_encoder, tube_mask
from avssl.methods.temporal.published import videomae_decoder

EPSILON = 1e-6  # added to the standard deviation of a patch
COMPARED = 64  # masked tokens per clip in the metric, or a few more; all would take a sixth of a small step


class VideoMAE(Method):
    """Reconstruct the pixels of masked tubes.

    Nine tenths of the places in the image are masked, each during the whole clip, so that masked content can't be
    copied from the next frame (section 3.2, tube masking). The encoder sees the remaining tokens; a light decoder,
    given their features and a learned token for each masked place, predicts the pixels there. The loss is the mean
    squared error over masked tokens, each normalised by its own mean and standard deviation per channel.

    The layer that predicts pixels is initialised near zero instead of with Xavier's weights: unlearning a large random
    guess silences the decoder, and no gradient reaches the encoder.

    Metric: ``identified``, how often a prediction is nearer to its own token than to another of the clip; chance 1/2.

    Args:
        encoder: an encoder over tokens that can be given some of them, a `ViT` or a `HuggingFace`.
        hidden: channels of the decoder's tokens (the paper, for ViT-B: 384).
        depth: blocks of the decoder (4).
        masked: share of the places that are masked (0.9).
        heads: attention heads of the decoder; one per 64 channels if not given.
        paper: make the decoder the authors' to the last parameter: no bias of attention keys and of the layer before
            the decoder, Xavier's weights for all layers, positions by a token's number in the clip (`sequence_code`).
        decoder: folder of a VideoMAE checkpoint for pretraining in the Hugging Face format, whose decoder is continued;
            its size and parametrisation, the authors', replace ``hidden``, ``depth``, ``heads`` and ``paper``.

    Raises:
        ValueError: if the encoder needs all tokens, or the decoder belongs to another encoder.
    """

    encoder: TokenEncoder

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        hidden: int = 384,
        depth: int = 4,
        masked: float = 0.9,
        heads: int | None = None,
        paper: bool = False,
        decoder: str | None = None,
    ) -> None:
        tokens = token_encoder("VideoMAE", encoder)
        super().__init__(encoder, sampler or RandomClips(1, 16, 0.16))
        self.masked, self.caption = masked, f"{masked:.0%} hidden"
        self.numbered, self.trained = paper or decoder is not None, None
        values = 3 * tokens.tubelet * tokens.patch**2
        if decoder is not None:
            parts = videomae_decoder(decoder)
            needed, got = (encoder.num_features, values), (parts.reduce.in_features, parts.out.out_features)
            if needed != got:
                raise ValueError(f"{decoder}: its decoder is for (features, values per token) {got}, not {needed}")
            self.reduce, self.blank, self.decoder = parts.reduce, nn.Parameter(parts.blank.clone()), parts.blocks
            self.pixels, self.trained = parts.out, parts.trained
            return
        self.reduce = nn.Linear(encoder.num_features, hidden, bias=not paper)
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.decoder = Blocks(hidden, depth, heads, key_bias=not paper)
        self.pixels = nn.Linear(hidden, values)
        if paper:
            for layer in (self.reduce, self.pixels):
                initialise(layer)
        else:
            nn.init.normal_(self.pixels.weight, std=0.002)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N clips."""
        video = clips.video.flatten(0, 1)  # [B N, T, 3, H, W]
        patches = self.encoder.patches(video)  # [B N, L, P]
        hidden, predicted = self._predict(video, patches)  # [B N, M], [B N, M, P]
        target, _, _ = standardised(patches.take_along_dim(hidden[..., None], 1))
        with torch.no_grad():
            some = slice(None, None, max(1, target.shape[1] // COMPARED))  # of all times, at random places
            distance = squared_distances(predicted[:, some], target[:, some])
            identified = identification_accuracy(distance).mean(1)  # [B N]
        return measured(clips, F.mse_loss(predicted, target), identified=(identified, 0.5))

    def _predict(self, video: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masked tokens' indices ``[B, M]`` and predicted standardised pixels ``[B, M, P]``, float32."""
        grid = self.encoder.grid(video)
        visible, hidden = tube_mask(len(video), grid, self.masked, video.device)
        shown = patches.take_along_dim(visible[..., None], 1)  # [B, V, P]
        seen = self.encoder.encode(shown, self.encoder.positions(video)[visible])
        places = self._places(grid, video.device)  # [L, hidden]
        tokens = torch.cat([self.reduce(seen) + places[visible], self.blank + places[hidden]], 1)
        return hidden, self.pixels(self.decoder(tokens)[:, visible.shape[1] :]).float()

    def _places(self, grid: tuple[int, int, int], device: torch.device) -> Tensor:
        """Return the code of each token's position in the decoder, ``[L, hidden]``."""
        width = self.decoder.norm.normalized_shape[0]
        if not self.numbered:
            return space_time_code(grid, width, device)
        trained = self.trained or grid
        return resized(sequence_code(math.prod(trained), width, device), trained, grid)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the masked clip and its reconstruction (with the true mean and contrast of each token)."""
        video = clips.video.flatten(0, 1)
        patches = self.encoder.patches(video).float()
        hidden, predicted = self._predict(video, patches)
        _, mean, deviation = standardised(patches.take_along_dim(hidden[..., None], 1))
        guess = (rearrange(predicted, "b m (p c) -> b m p c", c=3) * deviation + mean).flatten(2)  # [B N, M, P]
        where = hidden[..., None].expand_as(guess)
        grid = self.encoder.grid(video)
        drawn = {"masked": torch.zeros_like(guess), "reconstruction": guess}
        whole = {name: self.encoder.pixels(patches.scatter(1, where, p), grid) for name, p in drawn.items()}
        return {name: clips.denormalise(part).unflatten(0, clips.video.shape[:2]) for name, part in whole.items()}


def standardised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise tokens ``[B, M, P]`` per token and channel; also return means and deviations ``[B, M, 1, 3]``."""
    channels = rearrange(patches.float(), "b m (p c) -> b m p c", c=3)
    mean, deviation = channels.mean(2, keepdim=True), channels.std(2, keepdim=True) + EPSILON
    return ((channels - mean) / deviation).flatten(2), mean, deviation
