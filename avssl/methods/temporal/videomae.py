"""Video masked autoencoding (VideoMAE).

Z. Tong, Y. Song, J. Wang, L. Wang: VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training. NeurIPS 2022. https://arxiv.org/abs/2203.12602
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import TokenEncoder
from avssl.encoders.vit import Blocks, space_time_code
from avssl.methods.base import Method, measured
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.pixels import denormalise

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
        hidden: channels of the decoder's tokens (the paper, for ViT-B: 384).
        depth: blocks of the decoder (4).
        masked: share of the places that are masked (0.9).
    """

    encoder: TokenEncoder

    def __init__(
        self,
        encoder: TokenEncoder,
        sampler: RandomClips | None = None,
        hidden: int = 384,
        depth: int = 4,
        masked: float = 0.9,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(1, 16, 0.16))
        self.masked, self.caption = masked, f"{masked:.0%} hidden"
        self.reduce = nn.Linear(encoder.num_features, hidden)
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.decoder = Blocks(hidden, depth)
        self.pixels = nn.Linear(hidden, 3 * encoder.tubelet * encoder.patch**2)
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
        places = space_time_code(grid, self.decoder.norm.normalized_shape[0], video.device)  # [L, hidden]
        tokens = torch.cat([self.reduce(seen) + places[visible], self.blank + places[hidden]], 1)
        return hidden, self.pixels(self.decoder(tokens)[:, visible.shape[1] :]).float()

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
        return {name: denormalise(part).unflatten(0, clips.video.shape[:2]) for name, part in whole.items()}


def tube_mask(clips: int, grid: tuple[int, int, int], masked: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw indices of visible ``[B, V]`` and masked ``[B, M]`` tokens, the same places in every frame (section 3.2).

    ``grid`` counts tokens in time, height and width. At least one place is visible. Uses torch's global generator.
    """
    places = grid[1] * grid[2]
    order = torch.rand(clips, places, device=device).argsort(1)  # [B, H' W']
    kept = max(1, places - round(masked * places))
    times = torch.arange(grid[0], device=device)[:, None] * places  # [T', 1]
    visible, hidden = ((times + part[:, None]).flatten(1) for part in (order[:, :kept], order[:, kept:]))
    return visible, hidden


def standardised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise tokens ``[B, M, P]`` per token and channel; also return means and deviations ``[B, M, 1, 3]``."""
    channels = rearrange(patches.float(), "b m (p c) -> b m p c", c=3)
    mean, deviation = channels.mean(2, keepdim=True), channels.std(2, keepdim=True) + EPSILON
    return ((channels - mean) / deviation).flatten(2), mean, deviation
