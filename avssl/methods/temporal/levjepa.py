"""Joint-embedding prediction without heuristics (LeVJEPA): views of a clip agree, their vectors are Gaussian.

L. Kuhn, L. Maes, G. Serra, Q. Le Lidec, Y. LeCun, R. Balestriero, F. Buettner: LeVJEPA: Efficient & Scalable Video
Pretraining without the Heuristics. 2026. The regulariser is LeJEPA's, see `avssl.methods.sigreg`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import clip_times, random_start
from avssl.encoders import Encoder, TokenEncoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, measured
from avssl.methods.distributed import drawn
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.methods.sigreg import sigreg
from avssl.runtime.checks import check_ranges

ASPECT = (3 / 4, 4 / 3)  # width over height of a local view's crop


@dataclass(frozen=True)
class SameClip:
    """Sampler of one clip, shown several times; each time the transform draws anew.

    Args:
        clips: how often the clip is shown (N): once as a whole and N - 1 times in part (the paper: 11).
        num_frames: frames per clip (T; the paper: 16).
        step: seconds between two frames of a clip (the paper: 2/15).
        motion_weighted: prefer windows with much motion.
    """

    clips: int = 11
    num_frames: int = 16
    step: float = 2 / 15
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        check_ranges("SameClip", self, clips="[2, inf)", num_frames="[1, inf)", step="(0, inf)")

    @property
    def seconds(self) -> float:
        """Duration of the clip."""
        return self.num_frames * self.step

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``, all rows equal."""
        start = random_start(info, self.seconds, rng, self.motion_weighted)
        times = clip_times(torch.tensor([start], dtype=torch.float64), self.num_frames, self.step)
        return ClipTimes(times.repeat(self.clips, 1))


class LeVJEPA(Method):
    """Make the parts of a clip agree with the whole, while vectors are distributed as a Gaussian.

    One encoder and one projector see a global view of a clip and V local views, small crops of the same seconds. The
    loss is the mean over all V + 1 views of (z_global - z_view)^2, plus ``weight`` times `sigreg` of each view's
    vectors, which excludes collapse: there is no momentum encoder, stopped gradient, predictor or decoder. In training
    the encoder sees a random share of the tokens of each view, an augmentation that also makes steps cheap; it has no
    effect on encoders without tokens. With a class token the vector of a view is that token, otherwise the mean.

    Metric: ``identified``, how often a local view is nearer to the global view of its own clip than to that of another
    clip of the batch; chance 1/2, which is also that of collapsed vectors.

    Differences from the paper: the local views are cropped and resized on the device out of the transform's result,
    whose crops should therefore be large (``scale`` of 0.8 to 1, as the paper's global views), and which draws flips
    and colours for each view. A crop's ``local_scale`` is relative to that result.

    Args:
        sampler: draws a clip and says how many views of it there are.
        weight: weight λ of the regulariser (the paper: 0.02).
        hidden: width of the projector's hidden layer (2048).
        out: width of the projection (256).
        dropped: share of a view's tokens that is left out in training (0.95).
        local_size: height and width of a local view in pixels (96).
        local_scale: smallest and largest fraction of the picture's area that a local view covers (0.02 to 0.4).
        directions: random directions of the regulariser (1024).
    """

    sampler: SameClip

    def __init__(
        self,
        encoder: Encoder,
        sampler: SameClip | None = None,
        weight: float = 0.02,
        hidden: int = 2048,
        out: int = 256,
        dropped: float = 0.95,
        local_size: int = 96,
        local_scale: tuple[float, float] = (0.02, 0.4),
        directions: int = 1024,
    ) -> None:
        super().__init__(encoder, sampler or SameClip())
        given = {"dropped": dropped, "local_size": local_size, "local_scale": local_scale}
        check_ranges("LeVJEPA", given, dropped="[0, 1)", local_size="[1, inf)", local_scale="(0, 1]")
        self.weight, self.dropped, self.directions = weight, dropped, directions
        self.local_size, self.local_scale = local_size, local_scale
        self.head = nn.Sequential(
            nn.Linear(encoder.num_features, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, out)
        )

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B clips."""
        whole, parts = self._views(clips.video)  # [B, T, 3, H, W], [B V, T, 3, h, w]
        seen = self._vectors(whole, 1), self._vectors(parts, len(parts) // len(whole))
        vectors = self.head(torch.cat(seen)).float()
        first, others = vectors.split([len(whole), len(parts)])
        views = torch.cat([first[None], rearrange(others, "(b v) d -> v b d", b=len(whole))])  # [1 + V, B, out]
        agreement = (views - first).square().mean()
        with torch.no_grad():
            identified = identification_accuracy(squared_distances(views[1:], first)).mean(0)  # [B]
        return measured(clips, agreement + self.weight * sigreg(views, self.directions), identified=(identified, 0.5))

    def _views(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Return of ``[B, 1 + V, T, 3, H, W]`` the global views, the first, and ``[B V, T, 3, h, w]`` local ones."""
        return video[:, 0], resized_crops(video[:, 1:], self.local_size, self.local_scale).flatten(0, 1)

    def _vectors(self, video: Tensor, views: int) -> Tensor:
        """Encode ``[B views, T, 3, h, w]``, from some of the tokens in training: ``[B views, D]`` float32."""
        if not (self.training and self.dropped and isinstance(self.encoder, TokenEncoder)):
            return self.encoder(video)
        patches = self.encoder.patches(video)  # [M, L, P]
        count, places = patches.shape[:2]
        kept = max(1, round((1 - self.dropped) * places))
        order = drawn(lambda videos: torch.rand(videos, views, places, device=video.device), count // views)
        shown = order.flatten(0, 1).argsort(1)[:, :kept]  # [M, kept]
        return self.encoder.vectors(patches.take_along_dim(shown[..., None], 1), self.encoder.positions(video)[shown])

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the kind of each view."""
        return [["global"] + ["local"] * (clips.video.shape[1] - 1)] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each view as the encoder sees it, all as small as the local ones."""
        whole, parts = self._views(clips.rgb)
        small = F.interpolate(whole[:, 0], size=parts.shape[-2:], mode="bilinear", antialias=True)  # [B, 3, h, w]
        views = torch.cat([small[:, None], parts[:, 0].unflatten(0, (len(clips), -1))], 1)
        return {"view": views[:, :, None].clamp(0, 1)}


def resized_crops(video: Tensor, size: int, scale: tuple[float, float]) -> Tensor:
    """Crop clips ``[B, V, T, 3, H, W]`` at random, all frames of one alike, to ``[B, V, T, 3, size, size]``.

    The crop's area is drawn uniformly from ``scale``, as a fraction of the picture's, the logarithm of its aspect ratio
    from that of ``ASPECT``, and its place uniformly; sides end at the picture's. Bilinear, without smoothing.
    """
    views = video.shape[1]
    numbers = drawn(lambda videos: torch.rand(4, videos, views, device=video.device).movedim(0, -1), len(video))
    shape, aspect, *places = numbers.flatten(0, 1).T  # [B V] each
    area = scale[0] + (scale[1] - scale[0]) * shape
    low, high = map(math.log, ASPECT)
    root = ((low + (high - low) * aspect) / 2).exp()
    sides = torch.stack([area.sqrt() * root, area.sqrt() / root], 1).clamp(max=1)  # [B V, 2] width, height of 1
    centre = (1 - sides) * (2 * torch.stack(places, 1) - 1)  # [B V, 2] within [-1, 1]
    theta = torch.cat([torch.diag_embed(sides), centre[..., None]], 2)  # [B V, 2, 3]
    frames = video.flatten(0, 1).flatten(1, 2)  # [B V, T 3, H, W]
    grid = F.affine_grid(theta.to(video.dtype), [*frames.shape[:2], size, size], align_corners=False)
    crops = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    return crops.unflatten(1, video.shape[2:4]).unflatten(0, video.shape[:2])
