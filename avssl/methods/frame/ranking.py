"""Learning to rank.

X. Liu, J. van de Weijer, A. D. Bagdanov: Exploiting Unlabeled Data in CNNs by Self-Supervised Learning to Rank. TPAMI
2019. https://arxiv.org/abs/1902.06285
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.pixels import denormalise, normalise_rgb

ANCHORS = 8  # nested crops are centred within one over this of the picture's sides (section 5.2)
Ranked = Literal["crops", "distortions"]


class Ranking(Method):
    """Which of two crops has more in it, or which of two versions of a picture is the better one?

    Some orders are known without labels. ``"crops"``: of crops that lie within one another, none has less in it than
    those inside of it (section 5.2, for counting a crowd). ``"distortions"``: the more a picture is blurred, covered by
    noise, flattened or coarsened, the worse it is (section 4.2, for image quality). One network scores each; every pair
    of one picture costs what its scores lack to the right order and a margin (equation 3). All versions pass through
    the network once, and all pairs are made from their scores (efficient siamese backpropagation, section 3.3).

    Against resampling as a cue, crops are brought to one size by leaving pixels out, at random, never by interpolation,
    which would smooth the smaller crops more than the larger ones: in noise, all crops look alike.

    Metric: ``ordered``, the share of pairs in the right order; chance 1/2.

    The paper adds ranking to a supervised loss; alone it needs a margin above 0, or equal scores would do. The paper
    resizes crops by interpolation, and distorts by 17 kinds of a benchmark, JPEG among them; here four, on the device.

    Args:
        encoder: frame encoder.
        sampler: draws the frames.
        ranked: what is put in order.
        levels: versions of a picture (the paper: 5).
        scale: side of a crop as a share of the next larger one's.
        margin: between the scores of two levels (the authors' code for image quality: 6).

    Raises:
        ValueError: for fewer than two levels.
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
        super().__init__()
        if levels < 2:
            raise ValueError(f"Ranking: two levels are the least that can be put in order, got {levels}")
        self.encoder, self.ranked, self.levels, self.scale, self.margin = encoder, ranked, levels, scale, margin
        self.sampler = sampler or RandomClips(num_frames=1)
        self.score = nn.Linear(encoder.num_features, 1, bias=False)  # differences have none

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metric over the pairs of B·N·T pictures."""
        scores = self._scores(self.versions(clips.video.flatten(0, 2)))  # [M, K]
        above = margins(scores)  # [M, pairs]
        ordered = (above > 0).float() + 0.5 * (above == 0).float()
        ordered = per_video_mean(ordered.mean(1), clips)
        return {
            "loss": (self.margin - above).clamp(min=0).mean(),
            "ordered": ordered,
            "chance/ordered": torch.full_like(ordered, 0.5),
        }

    def versions(self, pictures: Tensor) -> Tensor:
        """``[M, 3, H, W]`` to ``[M, K, 3, h, w]``, the one with the highest score first."""
        if self.ranked == "crops":
            return nested(pictures, self.levels, self.scale)
        return distorted(pictures, self.levels)

    def _scores(self, versions: Tensor) -> Tensor:
        """``[M, K, 3, h, w]`` to ``[M, K]`` float32."""
        vectors = self.encoder(versions.flatten(0, 1)[:, None])  # [M K, D]
        return self.score(vectors).float().view(versions.shape[:2])

    def describe(self, clips: Clips) -> list[list[str]]:
        """What is ranked."""
        words = {"crops": "more in larger crops", "distortions": "better where less distorted"}[self.ranked]
        return [[words] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The versions of the first frame of each clip, as they should be ranked and as they are."""
        versions = self.versions(clips.video[:, :, 0].flatten(0, 1))
        order = self._scores(versions).argsort(1, descending=True)
        ranked = versions.gather(1, order[..., None, None, None].expand_as(versions))
        drawn = {"target": versions, "prediction": ranked}
        return {name: denormalise(part).unflatten(0, clips.video.shape[:2]) for name, part in drawn.items()}


def margins(scores: Tensor) -> Tensor:
    """``[M, K]`` scores, the highest rank first, to ``[M, K (K - 1) / 2]``: how far each is above each lower one."""
    higher, lower = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    return scores[:, higher] - scores[:, lower]


def nested(pictures: Tensor, levels: int, scale: float) -> Tensor:
    """Square crops around an anchor near the middle, each within the one before; draws from torch's random numbers.

    Args:
        pictures: ``[M, C, H, W]``.
        levels: K.
        scale: side of a crop as a share of that of the one before; the first is as large as the picture has room for.

    Returns:
        ``[M, K, C, s, s]``, the largest crop first. Every pixel is one of the picture's, and none comes twice in a
        crop: s is the side of the smallest crop that can be.
    """
    device = pictures.device
    sides = torch.tensor(pictures.shape[-2:], device=device)
    offset = (torch.rand(len(pictures), 2, device=device) - 0.5) * sides / ANCHORS
    anchor = sides / 2 + offset  # [M, 2] down, across
    largest = 2 * torch.minimum(anchor, sides - anchor).amin(1, keepdim=True)  # [M, 1]
    side = largest * scale ** torch.arange(levels, device=device)  # [M, K]
    size = math.floor(min(pictures.shape[-2:]) * (1 - 1 / ANCHORS) * scale ** (levels - 1))
    if size < 1:
        raise ValueError(f"Ranking: pictures of {list(pictures.shape[-2:])} have no room for {levels} crops")
    phase = torch.rand(2, *side.shape, 1, device=device)
    steps = (torch.arange(size, device=device) + phase) / size - 0.5  # [2, M, K, s] within [-1/2, 1/2)
    places = anchor.T[:, :, None, None] + steps * side[..., None]  # [2, M, K, s] pixels
    down, across = (place.long().clamp(0, int(end) - 1) for place, end in zip(places, sides, strict=True))
    row = torch.arange(len(pictures), device=device)[:, None, None, None]
    return pictures[row, :, down[..., :, None], across[..., None, :]].permute(0, 1, 4, 2, 3)


def distorted(pictures: Tensor, levels: int) -> Tensor:
    """Versions of a picture that get worse: blurred, noisy, of low contrast or of few shades, by a kind drawn for each.

    Args:
        pictures: ``[M, 3, H, W]`` standardised.
        levels: K, the first of which is the picture itself.

    Returns:
        ``[M, K, 3, H, W]``.
    """
    rgb = denormalise(pictures)
    middle = rgb.mean((1, 2, 3), keepdim=True)
    noise = torch.randn_like(rgb)
    made = [rgb[:, None].expand(-1, 4, -1, -1, -1)]
    for level in range(1, levels):
        share = level / (levels - 1)
        sigma = 3 * share
        shades = 2.0 ** (6 - 5 * share)  # 2 at the worst
        reach = min(2 * math.ceil(2 * sigma) + 1, 2 * ((min(rgb.shape[-2:]) - 1) // 2) - 1)
        made.append(
            torch.stack(
                [
                    gaussian_blur(rgb, [reach, reach], [sigma, sigma]),
                    rgb + 0.3 * share * noise,
                    middle + (1 - 0.9 * share) * (rgb - middle),
                    (rgb * (shades - 1)).round() / (shades - 1),
                ],
                1,
            )
        )
    every = torch.stack(made, 1)  # [M, K, 4, 3, H, W]
    kind = torch.randint(every.shape[2], (len(rgb),), device=rgb.device)
    return normalise_rgb(every[torch.arange(len(rgb), device=rgb.device), :, kind].clamp(0, 1))
