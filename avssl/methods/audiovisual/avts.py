"""Audio-visual temporal synchronisation (AVTS).

B. Korbar, D. Tran, L. Torresani: Cooperative Learning of Audio and Video Models from Self-Supervised Synchronization.
NeurIPS 2018. https://arxiv.org/abs/1807.00230
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import check_sampler, clip_times, on_frames, sound_of, uniform
from avssl.encoders import AudioEncoder, Encoder
from avssl.media import VideoInfo
from avssl.methods.audiovisual.streams import IN_SYNC, TwoStreamMethod, common_span, draw_two_moments, pairwise_offsets
from avssl.methods.base import measured
from avssl.methods.distributed import roll, world
from avssl.methods.losses import contrastive, nearer
from avssl.sync.network import TwoStream

OVERLAP = (0.25, 0.75)  # shift between the clips of a super-hard pair, as a fraction of a clip's duration


@dataclass(frozen=True)
class HardClips:
    """Sampler of three clips per video with their own sounds: the second far from the first, the third overlapping it.

    Their order in time is random, and each sound is in sync with one picture and out of sync with the others: neither
    stream alone reveals which pairs are in sync.

    Args:
        num_frames: frames per clip (T).
        step: seconds between two frames of a clip.
        gap: least seconds from the end of one clip to the start of its hard negative (paper: 0.5).
        reach: most seconds between the starts of two such clips.
    """

    num_frames: int = 25
    step: float = 0.04
    gap: float = 0.5
    reach: float = 10.0

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def span(self) -> float:
        """Duration of a clip and of its sound."""
        return self.num_frames * self.step

    @property
    def seconds(self) -> float:
        """Duration of two clips and the gap between them."""
        return 2 * self.span + self.gap

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[3, T]`` and the sound of the same seconds."""
        begin, end = common_span(info, self.seconds)
        last = end - self.span
        first, far = draw_two_moments(begin, last, self.span + self.gap, self.reach, rng)
        near = uniform(*OVERLAP, rng) * self.span
        sign = 1 if uniform(0, 1, rng) < 0.5 else -1
        if not begin <= first + sign * near <= last:
            sign = -sign
        starts = on_frames(torch.tensor([first, far, first + sign * near], dtype=torch.float64), info)
        times = clip_times(starts, self.num_frames, self.step)
        return ClipTimes(times, sound_of(times, self.step))


class AVTS(TwoStreamMethod):
    """Decide whether a clip and a sound belong together.

    Two streams embed pictures and sounds; a contrastive loss with a margin pulls pairs in sync together and pushes
    others apart (section 3.1, equation 1). Negatives (section 3.2) are *easy*, the sound of another video; *hard*, of
    the same video at another time; or *super-hard*, of the same video, overlapping. The curriculum (section 3.3) starts
    with easy negatives; after 50 of 90 epochs one in four is hard. Super-hard ones made the paper's results worse, so
    no stage uses them by default; the sampler always draws what every stage needs. Pairs are classed by
    ``audio_times - times`` over all pairs of a video's clips.

    Metrics: ``synchrony``, a picture is nearer to its own sound than to a hard negative; ``correspondence``, nearer
    than to the sound of another video. Chance is 0.5 each.

    Args:
        hidden: size of the heads' hidden layers.
        out: dimension of the common space (paper: 128).
        moments: time steps of picture and sound that the heads see, see `TwoStream`.
        margin: margin of the loss (paper: 0.99).
        curriculum: stages, each the progress in [0, 1) at which it starts and the shares of easy, hard and super-hard
            negatives. The first starts at 0.
    """

    sampler: HardClips
    progress: Tensor

    def __init__(
        self,
        encoder: Encoder,
        audio_encoder: AudioEncoder,
        sampler: HardClips | None = None,
        hidden: int = 512,
        out: int = 128,
        moments: tuple[int, int] = (2, 4),
        margin: float = 0.99,
        curriculum: tuple[tuple[float, float, float, float], ...] = ((0.0, 1.0, 0.0, 0.0), (0.56, 0.75, 0.25, 0.0)),
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or HardClips())
        if not curriculum or curriculum[0][0] != 0:
            raise ValueError(f"AVTS: the first stage of the curriculum must start at 0, got {curriculum}")
        frames, step = self.sampler.num_frames, self.sampler.step
        self.streams = TwoStream(encoder, audio_encoder, hidden, out, moments, frames, step)
        self.margin, self.curriculum = margin, curriculum
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over all pairs of the 3 clips of B videos, and of each with another video."""
        seen, heard = self.embed(clips)  # [B, 3, out] each
        inside = (seen[:, :, None] - heard[:, None]).norm(dim=3)  # [B, 3, 3]
        across = (seen - roll(heard, 1)).norm(dim=2)  # [B, 3]
        apart = pairwise_offsets(clips).abs()  # [B, 3, 3]
        own, overlapping = apart < IN_SYNC, (apart >= IN_SYNC) & (apart < self.sampler.span)
        hard = apart >= self.sampler.span
        easy = torch.full_like(across, len(clips) * world() > 1, dtype=torch.bool)
        loss = contrastive(inside, own, True, self.margin)
        kinds = ((across, easy), (inside, hard), (inside, overlapping))
        for share, (distance, chosen) in zip(self.stage(), kinds, strict=True):
            if share > 0:
                loss = loss + share * contrastive(distance, chosen, False, self.margin)
        mine = inside.diagonal(dim1=1, dim2=2)  # [B, 3]
        count = hard.sum((1, 2))
        wins = (nearer(mine[:, :, None], inside) * hard).sum((1, 2))  # [B]
        synchrony = torch.where(count > 0, wins / count.clamp(min=1), 0.5)
        return measured(clips, loss / 2, synchrony=(synchrony, 0.5), correspondence=(nearer(mine, across), 0.5))

    def stage(self) -> tuple[float, float, float]:
        """Return the shares of easy, hard and super-hard negatives at the current progress."""
        return [stage for stage in self.curriculum if stage[0] <= self.progress.item() + 1e-6][-1][1:]

    def after_step(self, progress: float) -> None:
        """Advance the curriculum."""
        self.progress.fill_(progress)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return the start of each clip and its sound."""
        return [[f"picture and sound from {start:.2f} s" for start in row] for row in clips.times[..., 0].tolist()]
