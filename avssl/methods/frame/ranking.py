"""Learning to rank.

X. Liu, J. van de Weijer, A. D. Bagdanov: Exploiting Unlabeled Data in CNNs by Self-Supervised Learning to Rank. TPAMI
2019. https://arxiv.org/abs/1902.06285
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.frame.patches import draw_patches
from avssl.methods.losses import nearer
from avssl.pixels import constants

ANCHORS = 8  # nested crops are centred within one over this of the picture's sides (section 5.2)
Ranked = Literal["crops", "distortions"]


class Ranking(Method):
    """Rank nested crops of a picture by content, or versions of a picture by quality.

    Some orders are known without labels. ``"crops"``: of nested crops, none contains less than those inside it (section
    5.2, for crowd counting). ``"distortions"``: the more a picture is blurred, noisy, low in contrast or posterised,
    the worse it is (section 4.2, for image quality). One network scores each version; every pair of one picture has a
    hinge loss on the difference of scores (equation 3). All versions pass through the network once, and all pairs are
    formed from their scores (efficient siamese backpropagation, section 3.3).

    Crops are brought to one size by skipping pixels, as interpolation would smooth small crops more than large ones.

    Metric: ``ordered``, the fraction of pairs in the right order; chance 1/2.

    Args:
        ranked: what is ranked.
        levels: versions per picture, at least two (paper: 5).
        scale: side of a crop as a fraction of the next larger one's.
        margin: margin between the scores of two levels (the authors' code for image quality: 6); above 0, as without a
            supervised loss equal scores would do.
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        ranked: Ranked = "crops",
        levels: int = 5,
        scale: float = 0.75,
        margin: float = 1.0,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        if levels < 2:
            raise ValueError(f"Ranking: ranking needs at least two levels, got {levels}")
        self.ranked, self.levels, self.scale, self.margin = ranked, levels, scale, margin
        self.score = nn.Linear(encoder.num_features, 1, bias=False)  # a bias cancels in differences
        self.caption = {"crops": "more in larger crops", "distortions": "better where less distorted"}[ranked]

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over the pairs of B·N·T pictures."""
        margins = score_margins(self._scores(self.versions(clips)))  # [M, pairs]
        ordered = nearer(torch.zeros_like(margins), margins).mean(1)  # [M]
        return measured(clips, (self.margin - margins).clamp(min=0).mean(), ordered=(ordered, 0.5))

    def versions(self, clips: Clips) -> Tensor:
        """Return K versions of each of B·N·T frames, the highest-ranked first, normalised: ``[B N T, K, 3, h, w]``."""
        if self.ranked == "crops":
            return nested_crops(clips.video.flatten(0, 2), self.levels, self.scale)
        return clips.normalise(distort(clips.rgb.flatten(0, 2), self.levels))

    def _scores(self, versions: Tensor) -> Tensor:
        """Score ``[M, K, 3, h, w]`` versions: ``[M, K]`` float32."""
        vectors = self.encoder(versions.flatten(0, 1)[:, None])  # [M K, D]
        return self.score(vectors).float().view(versions.shape[:2])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the versions of each frame in true and in predicted order."""
        versions = self.versions(clips)
        order = self._scores(versions).argsort(1, descending=True)
        ranked = versions.gather(1, order[..., None, None, None].expand_as(versions))
        return {"target": draw_patches(versions, clips), "prediction": draw_patches(ranked, clips)}


def score_margins(scores: Tensor) -> Tensor:
    """Return the differences of ``[M, K]`` scores, highest rank first, of all pairs: ``[M, K (K - 1) / 2]``."""
    higher, lower = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    return scores[:, higher] - scores[:, lower]


def nested_crops(pictures: Tensor, levels: int, scale: float) -> Tensor:
    """Draw K nested square crops ``[M, K, C, s, s]``, largest first, around a point near the centre of each.

    The first is as large as ``[M, C, H, W]`` allows, each next one smaller by ``scale``. Every pixel is an original
    one, and none occurs twice in a crop: s is the side of the smallest possible crop.
    """
    device, height, width = pictures.device, pictures.shape[-2], pictures.shape[-1]
    offset = torch.rand(len(pictures), 2, device=device) - 0.5
    sides = constants([height, width], offset)
    offset = offset * sides / ANCHORS
    anchor = sides / 2 + offset  # [M, 2] down, across
    largest = 2 * torch.minimum(anchor, sides - anchor).amin(1, keepdim=True)  # [M, 1]
    side = largest * scale ** torch.arange(levels, device=device)  # [M, K]
    size = math.floor(min(height, width) * (1 - 1 / ANCHORS) * scale ** (levels - 1))
    if size < 1:
        raise ValueError(f"Ranking: pictures of {[height, width]} have no room for {levels} crops")
    phase = torch.rand(2, *side.shape, 1, device=device)
    steps = (torch.arange(size, device=device) + phase) / size - 0.5  # [2, M, K, s] within [-1/2, 1/2)
    places = anchor.T[:, :, None, None] + steps * side[..., None]  # [2, M, K, s] pixels
    down, across = (place.long().clamp(0, end - 1) for place, end in zip(places, (height, width), strict=True))
    row = torch.arange(len(pictures), device=device)[:, None, None, None]
    return rearrange(pictures[row, :, down[..., :, None], across[..., None, :]], "m k h w c -> m k c h w")


def distort(rgb: Tensor, levels: int) -> Tensor:
    """Degrade ``[M, 3, H, W]`` RGB in [0, 1] in K levels, ``[M, K, 3, H, W]``, the first the picture itself.

    The kind is drawn per picture: blur, noise, low contrast or posterisation.
    """
    middle = rgb.mean((1, 2, 3), keepdim=True)
    noise = torch.randn_like(rgb)
    versions = [rgb[:, None].expand(-1, 4, -1, -1, -1)]
    for level in range(1, levels):
        share = level / (levels - 1)
        sigma = 3 * share
        shades = 2.0 ** (6 - 5 * share)  # 2 at the worst
        reach = min(2 * math.ceil(2 * sigma) + 1, 2 * ((min(rgb.shape[-2:]) - 1) // 2) - 1)
        kinds = [
            gaussian_blur(rgb, [reach, reach], [sigma, sigma]),
            rgb + 0.3 * share * noise,
            middle + (1 - 0.9 * share) * (rgb - middle),
            (rgb * (shades - 1)).round() / (shades - 1),
        ]
        versions.append(torch.stack(kinds, 1))
    every = torch.stack(versions, 1)  # [M, K, 4, 3, H, W]
    kind = torch.randint(every.shape[2], (len(rgb),), device=rgb.device)
    return every[torch.arange(len(rgb), device=rgb.device), :, kind].clamp(0, 1)
