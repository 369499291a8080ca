"""Learning to count.

M. Noroozi, H. Pirsiavash, P. Favaro: Representation Learning by Learning to Count. ICCV 2017.
https://arxiv.org/abs/1708.06734
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.methods.heads import fully_connected
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.pixels import denormalise

TILES = 4


def _lanczos(distance: Tensor) -> Tensor:
    return torch.sinc(distance) * torch.sinc(distance / 4)


_OFFSETS = torch.arange(8) - 3.5  # pixels from the middle of a pair, in the larger picture
STYLES = torch.stack(
    [
        torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),  # area; bilinear gives the same at half size
        torch.tensor([0.0, 0.0, 1.0, 3.0, 3.0, 1.0, 0.0, 0.0]),  # bilinear with antialiasing
        torch.tensor([0.0, 0.0, -3.0, 19.0, 19.0, -3.0, 0.0, 0.0]),  # bicubic, a = -0.75
        _lanczos(_OFFSETS),  # over eight pixels
    ]
)
STYLES = STYLES / STYLES.sum(1, keepdim=True)  # [styles, 8]


class Counting(Method):
    """As many things are in a picture as in its four quarters together.

    Whatever a network counts, its counts of the four tiles of a picture must add up to those of the whole, scaled to
    the size of a tile (equation 2), and differ from those of another picture, scaled alike, by at least a margin
    (equation 4): ``|f(Dx) - sum f(Tx)|^2 + max(0, M - |f(Dy) - sum f(Tx)|^2)``. Counts are not negative.

    Against trivial solutions (section 3.3): a histogram of colours would add up if the network could tell tiles from
    scaled pictures and divide by four, so each picture is scaled in one of four ways, drawn anew; and two steps of
    three are made in grey, since the colour fringes of a lens point away from the middle of the whole picture only.

    Metric: ``identified``, how often the counts of the tiles of a frame are nearer to those of *another moment* of the
    same video, whole, than to those of another video; chance 1/2. (Of the same frame, pixels alone would tell.)

    The paper's network is an AlexNet on tiles of 114 pixels with three fully connected layers of 4096, 4096 and 1000;
    here any frame encoder, one layer over its maps, and the counts. At half size OpenCV's bilinear and area scaling
    are one and the same; bilinear with antialiasing takes its place.

    Args:
        encoder: frame encoder.
        sampler: draws clips of two frames or more; each frame is a picture.
        counts: things that are counted (k).
        margin: M.
        grey: probability of a step without colour.
        hidden: width of the layer over the maps of a tile.
        grid: height and width to which the maps are pooled before it.

    Raises:
        ValueError: where a clip has one frame only.
    """

    styles: Tensor
    sampler: RandomClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        counts: int = 1000,
        margin: float = 10.0,
        grey: float = 0.67,
        hidden: int = 4096,
        grid: int = 3,
    ) -> None:
        super().__init__()
        self.encoder, self.margin, self.grey = encoder, margin, grey
        self.sampler = sampler or RandomClips(num_frames=2, step=0.4)
        if self.sampler.num_frames < 2:
            raise ValueError("Counting: sampler.num_frames must be at least 2: a frame is compared with another moment")
        self.register_buffer("styles", STYLES, persistent=False)
        last = nn.Linear(hidden, counts)
        nn.init.normal_(last.weight, std=0.01)  # as AlexNet's: beyond the margin, all counts would be pulled to zero
        nn.init.zeros_(last.bias)
        self.count = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), last, nn.ReLU())

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss over B·N·T pictures, and the metric over two frames of each clip."""
        whole, tiles = self.counted(clips.video.flatten(0, 2))  # [M, k] each
        same, other = (distances(whole, tiles, shift) for shift in (0, len(whole) // len(clips)))  # [M]
        with torch.no_grad():
            first, last = (
                part.unflatten(0, clips.video.shape[:3])[:, :, frame].flatten(0, 1)  # [B N, k]
                for part, frame in ((tiles, 0), (whole, -1))
            )
            identified = per_video_mean(identification_accuracy(squared_distances(first, last)), clips)
        return {
            "loss": (same + (self.margin - other).clamp(min=0)).mean(),
            "identified": identified,
            "chance/identified": torch.full_like(identified, 0.5),
        }

    def counted(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """``[M, 3, H, W]`` to the counts of each picture, scaled, and of its tiles, summed: ``[M, k]`` float32 each."""
        if torch.rand(()) < self.grey:
            pictures = pictures.mean(1, keepdim=True).expand_as(pictures)
        style = self.styles[torch.randint(len(self.styles), (len(pictures),), device=pictures.device)]
        seen = torch.cat([halved(pictures, style)[:, None], tiled(pictures)], 1)  # [M, 5, 3, h, w]
        maps = self.encoder.maps(seen.flatten(0, 1)[:, None]).squeeze(2)  # [M 5, D, h', w']
        counts = self.count(maps).float().unflatten(0, (-1, 1 + TILES))  # [M, 5, k]
        return counts[:, 0], counts[:, 1:].sum(1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """The same for every frame."""
        return [["four tiles count as much as the whole"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The first frame of each clip, scaled in each of the ways, and its tiles."""
        first = clips.video[:, :, 0].flatten(0, 1)  # [B N, 3, H, W]
        scaled = torch.stack([halved(first, style.expand(len(first), -1)) for style in self.styles], 1)
        drawn = {"scaled": scaled, "tiles": tiled(first)}
        return {name: denormalise(part).unflatten(0, clips.video.shape[:2]) for name, part in drawn.items()}


def distances(whole: Tensor, tiles: Tensor, shift: int) -> Tensor:
    """``[M, k]`` counts to ``[M]``: the squared distance of each picture's tiles to the picture ``shift`` places on."""
    return (whole.roll(-shift, 0) - tiles).square().sum(1)


def even(pictures: Tensor) -> Tensor:
    """``[M, C, H, W]`` without the last row or column where their number is odd."""
    return pictures[..., : pictures.shape[-2] // 2 * 2, : pictures.shape[-1] // 2 * 2]


def tiled(pictures: Tensor) -> Tensor:
    """``[M, C, H, W]`` to its quarters ``[M, 4, C, H / 2, W / 2]``, row by row."""
    parts = even(pictures).unflatten(3, (2, -1)).unflatten(2, (2, -1))  # [M, C, 2, h, 2, w]
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def halved(pictures: Tensor, style: Tensor) -> Tensor:
    """Pictures at half their size, each scaled in a way of its own.

    Args:
        pictures: ``[M, C, H, W]``.
        style: ``[M, 8]`` weights of the eight pixels around the middle of each pair, along both sides.

    Returns:
        ``[M, C, H / 2, W / 2]``.
    """
    padded = F.pad(even(pictures), (3, 3, 3, 3), mode="replicate")
    height, width = (side - 6 for side in padded.shape[-2:])
    weights = style.T[:, :, None, None, None]  # [8, M, 1, 1, 1]
    rows = sum(weight * padded[:, :, tap : tap + height : 2] for tap, weight in enumerate(weights))
    assert isinstance(rows, Tensor)
    columns = sum(weight * rows[..., tap : tap + width : 2] for tap, weight in enumerate(weights))
    assert isinstance(columns, Tensor)
    return columns
