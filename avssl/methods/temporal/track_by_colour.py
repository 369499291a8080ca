"""Tracking emerges by colourising videos.

C. Vondrick, A. Shrivastava, A. Fathi, S. Guadarrama, K. Murphy: Tracking Emerges by Colorizing Videos. ECCV 2018.
https://arxiv.org/abs/1806.09594
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet
from avssl.methods.base import Method
from avssl.methods.dense import MapHead, accuracy_and_chance, cell_means
from avssl.methods.distributed import shared_mean
from avssl.pixels import lab_to_rgb, rgb_to_lab

NEARBY = 4.0  # scale in L units of equal brightness, for the chance level


class TrackByColour(Method):
    """Colourise a grey frame by attention to coloured frames before it.

    All frames are encoded in grey. Each cell of the last one attends to the cells of those before (the references), by
    a softmax of inner products of features, and copies their colours (section 3.1, equations 1 and 2), quantised by
    k-means in the a and b of Lab; the loss is cross-entropy (equation 3). The same attention tracks: `propagate`.

    Metrics: ``accuracy`` over all cells, and ``moved``, over the cells whose colour differs from that of the same cell
    in the previous frame. Chance is the best of four baselines: the most frequent colour; the colour of the same cell
    one frame before; the colour of equally bright references; and the colours copied in another video.

    The paper's colours are 16 clusters of the whole data set; here each video's references are clustered separately,
    without state or unused clusters. The paper's ResNet keeps an eighth of the resolution and is followed by 3D
    convolutions; here a head combines all stages at a quarter of the resolution and frames are encoded one by one.

    Args:
        sampler: draws the references and, last, the target frame (the paper: 3 + 1).
        width: width of the attention's features (the paper: 64).
        clusters: number of colours (the paper: 16).
    """

    encoder: ResNet
    sampler: RandomClips

    def __init__(
        self, encoder: ResNet, sampler: RandomClips | None = None, width: int = 64, clusters: int = 16
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=4, step=0.16))
        self.clusters = clusters
        if self.sampler.num_frames < 2:
            raise ValueError(f"TrackByColour: sampler.num_frames must be at least 2, got {self.sampler.num_frames}")
        self.head = MapHead(encoder, width, width)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over the cells of B·N target frames."""
        features, light, colour = self._features(clips)
        centres = k_means(by_place(colour[:, :-1]), self.clusters)  # [M, K, 2]
        classes = torch.cdist(by_place(colour), centres).argmin(2)  # [M, T h w]
        classes = rearrange(classes, "m (t hw) -> m t hw", t=colour.shape[1])
        target, references = classes[:, -1], classes[:, :-1].flatten(1)  # [M, h w], [M, R h w]
        shown = F.one_hot(references, self.clusters).float()  # [M, R h w, K]
        closeness = similarities(features[:, -1], features[:, :-1])  # [M, h w, R h w]
        copied = closeness.softmax(2) @ shown  # [M, h w, K]
        bright = light.flatten(2)  # [M, T, h w]
        apart = bright[:, -1, :, None] - bright[:, :-1].flatten(1)[:, None]  # [M, h w, R h w]
        equally = ((-((apart / NEARBY) ** 2)).softmax(2) @ shown).argmax(2)
        common = shown.sum(1).argmax(1, keepdim=True).expand_as(target)
        there = classes[:, -2]
        out = {"loss": colour_loss(closeness, references, target)}
        answers = (copied.argmax(2), common, there, equally, target)  # [M, h w] each
        # [B, N h w] each, so that the answer to another clip of the same video is never taken for a blind one
        answer, common, there, equally, target = (part.reshape(len(clips), -1) for part in answers)
        everywhere = torch.ones_like(target, dtype=torch.bool)
        for name, counted in (("accuracy", everywhere), ("moved", target != there)):
            out |= accuracy_and_chance(name, answer, target, counted, common, there, equally)
        return out

    def _features(self, clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
        """Return features ``[M, T, width, h, w]`` of grey frames, L ``[M, T, h, w]`` and ab ``[M, T, 2, h, w]``."""
        lab = rgb_to_lab(clips.rgb.flatten(0, 1))
        grey = clips.normalise(lab[:, :, :1] / 100)  # [M, T, 3, H, W]
        features = self.head(self.encoder.stages(grey)).unflatten(0, lab.shape[:2])
        cells = cell_means(lab, features.shape[-2:])
        return features, cells[:, :, 0], cells[:, :, 1:]

    @torch.no_grad()
    def propagate(self, clips: Clips, labels: Tensor, temperature: float = 0.5) -> Tensor:
        """Propagate labels of each clip's first frame through the others by attention (section 3.4).

        Args:
            clips: normalised; any number of frames. Each frame has as many references as in training.
            labels: ``[B, N, C, H, W]`` float, weight of each class in the first frame.
            temperature: softmax temperature; below 1 it is sharper than in training (the paper: 0.5).

        Returns:
            ``[B, N, T, C, h, w]`` at a quarter of the resolution; the first frame's labels are those given.
        """
        features = self._features(clips)[0]  # [M, T, width, h, w]
        size = (features.shape[-2], features.shape[-1])
        carried = [cell_means(labels.flatten(0, 1), size)]  # [M, C, h, w] each
        for frame in range(1, features.shape[1]):
            first = max(0, frame - self.sampler.num_frames + 1)
            weight = attention(features[:, frame] / temperature, features[:, first:frame])  # [M, h w, R h w]
            known = by_place(torch.stack(carried[first:], 1))  # [M, R h w, C]
            carried.append(rearrange(weight @ known, "m (h w) c -> m c h w", h=size[0]))
        return torch.stack(carried, 1).unflatten(0, clips.video.shape[:2])

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the time of the target frame."""
        last = clips.times[:, :, -1]
        return [[f"colours of {seconds:.2f} s from the frames before" for seconds in row] for row in last.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the target frame in grey, in its true colours and in those copied from the references, per cell."""
        features, light, colour = self._features(clips)
        copied = attention(features[:, -1], features[:, :-1]) @ by_place(colour[:, :-1])
        copied = rearrange(copied, "m (h w) ab -> m ab h w", h=colour.shape[-2])

        def drawn(ab: Tensor) -> Tensor:
            rgb = lab_to_rgb(torch.cat([light[:, -1, None], ab], 1))  # [M, 3, h, w]
            return rgb[:, None].unflatten(0, clips.video.shape[:2])

        return {"shown": drawn(0 * copied), "target": drawn(colour[:, -1]), "prediction": drawn(copied)}


def by_place(maps: Tensor) -> Tensor:
    """Flatten ``[M, T, C, h, w]`` to one vector per frame and place: ``[M, T h w, C]``."""
    return rearrange(maps, "m t c h w -> m (t h w) c")


def attention(target: Tensor, references: Tensor) -> Tensor:
    """Return attention ``[M, h w, R h w]`` of ``[M, D, h, w]`` to ``[M, R, D, h, w]`` features (equation 2)."""
    return similarities(target, references).softmax(2)


def similarities(target: Tensor, references: Tensor) -> Tensor:
    """Return inner products ``[M, h w, R h w]`` of ``[M, D, h, w]`` and ``[M, R, D, h, w]`` features."""
    queries = rearrange(target, "m d h w -> m (h w) d").float()
    keys = rearrange(references, "m r d h w -> m d (r h w)").float()
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ keys


def colour_loss(closeness: Tensor, references: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of the colours that attention copies (equation 3).

    It is computed from logarithms: the worst cells, to whose colour no attention is paid, have the largest gradient.
    Cells of a colour that no reference has, which can't be copied, don't count.

    Args:
        closeness: ``[M, P, R]`` inner products of P cells and R references, whose softmax is the attention.
        references: ``[M, R]`` int64 colours.
        target: ``[M, P]`` int64 colours.
    """
    same = references[:, None] == target[:, :, None]  # [M, P, R]
    some = same.any(2)
    right = closeness.masked_fill(~(same | ~some[..., None]), -torch.inf).logsumexp(2)  # [M, P]
    return shared_mean(closeness.logsumexp(2) - right, some)


@torch.no_grad()
def k_means(points: Tensor, clusters: int, rounds: int = 8) -> Tensor:
    """Cluster points by k-means, deterministically, from mutually distant ones: ``[M, P, D]`` to ``[M, K, D]``."""
    chosen = [points.mean(1)]
    nearest = points.new_full(points.shape[:2], torch.inf)
    for _ in range(clusters):
        nearest = torch.minimum(nearest, (points - chosen[-1][:, None]).norm(dim=2))
        chosen.append(points[torch.arange(len(points), device=points.device), nearest.argmax(1)])
    centres = torch.stack(chosen[1:], 1)
    for _ in range(rounds):
        member = F.one_hot(torch.cdist(points, centres).argmin(2), clusters).to(points)  # [M, P, K]
        count = member.sum(1)[..., None]  # [M, K, 1]
        centres = torch.where(count > 0, member.transpose(1, 2) @ points / count.clamp(min=1), centres)
    return centres
