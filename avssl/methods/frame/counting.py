"""Learning to count.

M. Noroozi, H. Pirsiavash, P. Favaro: Representation Learning by Learning to Count. ICCV 2017.
https://arxiv.org/abs/1708.06734
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.distributed import roll
from avssl.methods.heads import fully_connected
from avssl.methods.losses import identification_accuracy, squared_distances

TILES = 4
_OFFSETS = torch.arange(8) - 3.5  # pixels from the centre of a pair, in the larger picture
STYLES = torch.stack(
    [
        torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),  # area; bilinear is the same at half size
        torch.tensor([0.0, 0.0, 1.0, 3.0, 3.0, 1.0, 0.0, 0.0]),  # bilinear with antialiasing
        torch.tensor([0.0, 0.0, -3.0, 19.0, 19.0, -3.0, 0.0, 0.0]),  # bicubic, a = -0.75
        torch.sinc(_OFFSETS) * torch.sinc(_OFFSETS / 4),  # Lanczos over eight pixels
    ]
)
STYLES = STYLES / STYLES.sum(1, keepdim=True)  # [styles, 8]


class Counting(Method):
    """Make the counts of a picture equal the summed counts of its four quarters.

    Whatever a network counts, its counts of the four tiles of a picture must add up to those of the whole, scaled to
    the size of a tile (equation 2), and differ from those of another picture, scaled alike, by at least a margin
    (equation 4): ``|f(Dx) - sum f(Tx)|^2 + max(0, M - |f(Dy) - sum f(Tx)|^2)``. Counts are not negative.

    Against trivial solutions (section 3.3), each picture is scaled in one of four ways, drawn at random, and two steps
    of three are grey.

    Metric: ``identified``, how often the counts of a frame's tiles are nearer to those of *another moment* of the same
    video, whole, than to those of another video; chance 1/2. (For the same frame, pixels alone would suffice.)

    Args:
        sampler: draws clips of two frames or more; each frame is a picture.
        counts: number of counts (k).
        margin: M.
        grey: probability of a step without colour.
        hidden: size of the layer over the maps of a tile.
        grid: height and width to which the maps are pooled.
    """

    styles: Tensor
    sampler: RandomClips
    caption = "four tiles count as much as the whole"

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
        super().__init__(encoder, sampler or RandomClips(num_frames=2, step=0.4))
        self.margin, self.grey = margin, grey
        if self.sampler.num_frames < 2:
            raise ValueError("Counting: sampler.num_frames must be at least 2: a frame is compared with another moment")
        self.register_buffer("styles", STYLES, persistent=False)
        last = nn.Linear(hidden, counts)
        nn.init.normal_(last.weight, std=0.01)  # as AlexNet's: beyond the margin, all counts would be pulled to zero
        nn.init.zeros_(last.bias)
        self.count = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), last, nn.ReLU())

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss over B·N·T pictures, and the metric over two frames of each clip."""
        whole, tiles = self.count_whole_and_tiles(clips.video.flatten(0, 2))  # [M, k] each
        other_video = roll(whole.unflatten(0, (len(clips), -1)), -1).flatten(0, 1)  # [M, k]
        same, other = ((counts - tiles).square().sum(1) for counts in (whole, other_video))  # [M]
        with torch.no_grad():
            first, last = (
                part.unflatten(0, clips.video.shape[:3])[:, :, frame].flatten(0, 1)  # [B N, k]
                for part, frame in ((tiles, 0), (whole, -1))
            )
            identified = identification_accuracy(squared_distances(first, last))
        return measured(clips, (same + (self.margin - other).clamp(min=0)).mean(), identified=(identified, 0.5))

    def count_whole_and_tiles(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Count each scaled picture of ``[M, 3, H, W]``, and its tiles in total: ``[M, k]`` float32 each."""
        if torch.rand(()) < self.grey:
            pictures = pictures.mean(1, keepdim=True).expand_as(pictures)
        style = self.styles[torch.randint(len(self.styles), (len(pictures),), device=pictures.device)]
        seen = torch.cat([halve(pictures, style)[:, None], quarters(pictures)], 1)  # [M, 5, 3, h, w]
        maps = self.encoder.maps(seen.flatten(0, 1)[:, None]).squeeze(2)  # [M 5, D, h', w']
        counts = self.count(maps).float().unflatten(0, (-1, 1 + TILES))  # [M, 5, k]
        return counts[:, 0], counts[:, 1:].sum(1)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each clip, scaled in each of the ways, and its tiles."""
        first = clips.rgb[:, :, 0].flatten(0, 1)  # [B N, 3, H, W]
        scaled = torch.stack([halve(first, style.expand(len(first), -1)) for style in self.styles], 1)
        images = {"scaled": scaled, "tiles": quarters(first)}
        return {name: part.unflatten(0, clips.video.shape[:2]) for name, part in images.items()}


def crop_to_even(pictures: Tensor) -> Tensor:
    """Drop the last row or column of ``[M, C, H, W]`` if their number is odd."""
    return pictures[..., : pictures.shape[-2] // 2 * 2, : pictures.shape[-1] // 2 * 2]


def quarters(pictures: Tensor) -> Tensor:
    """Cut ``[M, C, H, W]`` into quarters ``[M, 4, C, H / 2, W / 2]``, row by row."""
    return rearrange(crop_to_even(pictures), "m c (i h) (j w) -> m (i j) c h w", i=2, j=2)


def halve(pictures: Tensor, style: Tensor) -> Tensor:
    """Scale each of ``[M, C, H, W]`` to half size in its own way, ``[M, C, H / 2, W / 2]``.

    ``style`` ``[M, 8]`` weights the eight pixels around the centre of each pair, along both sides.
    """
    padded = F.pad(crop_to_even(pictures), (3, 3, 3, 3), mode="replicate")
    height, width = (side - 6 for side in padded.shape[-2:])
    weights = style.T[:, :, None, None, None]  # [8, M, 1, 1, 1]
    rows = sum(weight * padded[:, :, tap : tap + height : 2] for tap, weight in enumerate(weights))
    assert isinstance(rows, Tensor)
    columns = sum(weight * rows[..., tap : tap + width : 2] for tap, weight in enumerate(weights))
    assert isinstance(columns, Tensor)
    return columns
