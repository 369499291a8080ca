"""Video masked autoencoding (VideoMAE).

Z. Tong, Y. Song, J. Wang, L. Wang: VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training. NeurIPS 2022. https://arxiv.org/abs/2203.12602
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders.vit import Blocks, ViT, space_time_code
from avssl.methods.base import Method, a_video
from avssl.methods.losses import squared_distances, told_apart
from avssl.pixels import denormalise

EPSILON = 1e-6  # added to the standard deviation of a patch
COMPARED = 64  # hidden tokens of a clip that the metric looks at, or a few more; all are a sixth of a small step


class VideoMAE(Method):
    """What is behind the mask?

    Nine tenths of the places of the picture are hidden, each during the whole clip, so that what is hidden in one frame
    can't be copied from the next (section 3.2, tube masking). The encoder sees the tokens that are left; a light
    decoder, which gets their features and a learned token for each hidden place, predicts the pixels there. The error
    is the mean square over hidden tokens, each normalised by its own mean and deviation, channel by channel.

    The layer that predicts pixels begins near zero instead of with Xavier's weights: unlearning a large random guess
    silences the decoder, and the encoder is given no gradient.

    Metric: ``identified``, how often a prediction is nearer to the pixels of its own token than to those of another
    hidden token of the same clip; chance 1/2.

    Args:
        encoder: space-time transformer.
        sampler: draws the clips.
        hidden: channels of the decoder's tokens (the paper, for ViT-B: 384).
        depth: blocks of the decoder (4).
        masked: share of the places that are hidden (0.9).
    """

    encoder: ViT

    def __init__(
        self, encoder: ViT, sampler: RandomClips | None = None, hidden: int = 384, depth: int = 4, masked: float = 0.9
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or RandomClips(1, 16, 0.16)
        self.masked = masked
        self.reduce = nn.Linear(encoder.num_features, hidden)
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.decoder = Blocks(hidden, depth)
        self.pixels = nn.Linear(hidden, 3 * encoder.tubelet * encoder.patch**2)
        nn.init.normal_(self.pixels.weight, std=0.002)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metric over B·N clips."""
        video = clips.video.flatten(0, 1)  # [B N, T, 3, H, W]
        patches = self.encoder.patches(video)  # [B N, L, P]
        hidden, predicted = self._predict(video, patches)  # [B N, M], [B N, M, P]
        wanted, _, _ = normalised(_take(patches, hidden))
        with torch.no_grad():
            some = slice(None, None, max(1, wanted.shape[1] // COMPARED))  # of all times; places are in random order
            identified = told_apart(squared_distances(predicted[:, some], wanted[:, some])).mean(1)  # [B N]
        score = a_video(identified, clips)
        return {
            "loss": F.mse_loss(predicted, wanted),
            "identified": score,
            "chance/identified": torch.full_like(score, 0.5),
        }

    def _predict(self, video: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """A clip and its patches to the hidden tokens ``[B, M]`` and their normalised pixels ``[B, M, P]``, float32."""
        grid = self.encoder.grid(video)
        visible, hidden = tubes(len(video), grid, self.masked, video.device)
        seen = self.encoder.encode(_take(patches, visible), self.encoder.positions(video)[visible])
        places = space_time_code(grid, self.decoder.norm.normalized_shape[0], video.device)  # [L, hidden]
        tokens = torch.cat([self.reduce(seen) + places[visible], self.blank + places[hidden]], 1)
        return hidden, self.pixels(self.decoder(tokens)[:, visible.shape[1] :]).float()

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What the encoder sees, and what it and the decoder make of it (mean and contrast of each token are given)."""
        video = clips.video.flatten(0, 1)
        patches = self.encoder.patches(video).float()
        hidden, predicted = self._predict(video, patches)
        _, mean, deviation = normalised(_take(patches, hidden))
        shape = predicted.unflatten(2, (-1, 3))  # [B N, M, P / 3, 3]
        guess = (shape * deviation + mean).flatten(2)
        where = hidden[..., None].expand_as(guess)
        grid = self.encoder.grid(video)
        drawn = {"masked": torch.zeros_like(guess), "reconstruction": guess}
        whole = {name: self.encoder.pixels(patches.scatter(1, where, p), grid) for name, p in drawn.items()}
        return {name: denormalise(part).unflatten(0, clips.video.shape[:2]) for name, part in whole.items()}

    def describe(self, clips: Clips) -> list[list[str]]:
        """How much is hidden."""
        return [[f"{self.masked:.0%} hidden"] * clips.video.shape[1]] * len(clips)


def tubes(clips: int, grid: tuple[int, int, int], masked: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which tokens are visible and which are hidden: the same places during the whole clip (section 3.2).

    Draws from torch's global random numbers.

    Args:
        clips: B.
        grid: tokens in time, height and width.
        masked: share of the places that are hidden; one at least is visible.
        device: of the result.

    Returns:
        ``[B, V]`` and ``[B, M]`` numbers of tokens, V + M = L.
    """
    places = grid[1] * grid[2]
    order = torch.rand(clips, places, device=device).argsort(1)  # [B, H' W']
    kept = max(1, places - round(masked * places))
    times = torch.arange(grid[0], device=device)[:, None] * places  # [T', 1]
    visible, hidden = ((times + part[:, None]).flatten(1) for part in (order[:, :kept], order[:, kept:]))
    return visible, hidden


def normalised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of tokens ``[B, M, P]``, standardised in each token and channel, and by what.

    Returns:
        ``[B, M, P]``, the means and the standard deviations ``[B, M, 1, 3]``; float32.
    """
    channels = patches.float().unflatten(2, (-1, 3))  # [B, M, P / 3, 3]
    mean, deviation = channels.mean(2, keepdim=True), channels.std(2, keepdim=True) + EPSILON
    return ((channels - mean) / deviation).flatten(2), mean, deviation


def _take(tokens: Tensor, chosen: Tensor) -> Tensor:
    """``[B, L, P]`` and numbers ``[B, V]`` to ``[B, V, P]``."""
    return tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
