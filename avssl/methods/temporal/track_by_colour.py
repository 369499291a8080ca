"""Tracking emerges by colourising videos.

C. Vondrick, A. Shrivastava, A. Fathi, S. Guadarrama, K. Murphy: Tracking Emerges by Colorizing Videos. ECCV 2018.
https://arxiv.org/abs/1806.09594
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet
from avssl.methods.base import Method
from avssl.methods.maps import MapHead, by_cells, chance, share
from avssl.pixels import denormalise, lab_to_rgb, normalise_rgb, rgb_to_lab

NEARBY = 4.0  # L units within which two cells count as equally bright, for the chance level


class TrackByColour(Method):
    """Which colour has each part of a grey frame, if it may only point to coloured frames before it?

    All frames are seen in grey. Each cell of the last one points to the cells of those before (the references), in
    proportion to the exponential of the inner product of their features, and copies their colours (section 3.1,
    equations 1 and 2). Colours are quantised by k-means in the a and b of Lab; the loss is cross-entropy (equation 3).
    What points also tracks: `propagate`.

    Metrics: ``accuracy`` over all cells, and ``moved``, over the cells whose colour is another than that of the same
    cell in the frame before. Chance is the best of four blind answers: the most frequent colour; the colour of the same
    place one frame before; the colour of references that are equally bright, brightness being all a grey picture gives
    away; and the colour that the method copies in another video.

    The paper's colours are 16 clusters of the whole data set; here each video's references are clustered by themselves,
    which needs no state and spends no cluster on colours that are not there. The paper's ResNet keeps an eighth of the
    resolution and is followed by 3D convolutions over time; here a head gathers all stages at a quarter of the
    resolution and frames are encoded one by one, so that the encoder that is kept does all the work.

    Args:
        encoder: frame encoder.
        sampler: the references and, last, the frame to colour (the paper: 3 + 1).
        width: of the features that point (the paper: 64).
        clusters: colours (the paper: 16).
    """

    encoder: ResNet
    sampler: RandomClips

    def __init__(
        self, encoder: ResNet, sampler: RandomClips | None = None, width: int = 64, clusters: int = 16
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or RandomClips(num_frames=4, step=0.16)
        if self.sampler.num_frames < 2:
            raise ValueError(
                "TrackByColour: sampler.num_frames counts the references and the frame to colour: at least 2"
            )
        self.clusters = clusters
        self.head = MapHead(encoder, width, width)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over the cells of B·N target frames."""
        features, light, colour = self._seen(clips)
        _, frames, _, h, w = features.shape
        references = colour[:, :-1].permute(0, 1, 3, 4, 2).flatten(1, 3)  # [M, R h w, 2]
        centres = clustered(references, self.clusters)  # [M, K, 2]
        every = colour.permute(0, 1, 3, 4, 2).flatten(1, 3)  # [M, T h w, 2]
        classes = torch.cdist(every, centres).argmin(2).unflatten(1, (frames, h * w))  # [M, T, h w]
        target, before = classes[:, -1], classes[:, :-1].flatten(1)  # [M, h w], [M, R h w]
        shown = F.one_hot(before, self.clusters).float()  # [M, R h w, K]
        copied = pointed(features[:, -1], features[:, :-1]) @ shown  # [M, h w, K]
        answer = copied.argmax(2)

        bright = light.flatten(2)  # [M, T, h w]
        apart = bright[:, -1, :, None] - bright[:, :-1].flatten(1)[:, None]  # [M, h w, R h w]
        equally = ((-((apart / NEARBY) ** 2)).softmax(2) @ shown).argmax(2)
        common = shown.sum(1).argmax(1, keepdim=True).expand_as(target)
        there = classes[:, -2]
        out = {"loss": F.nll_loss(copied.clamp(min=1e-6).log().transpose(1, 2), target)}
        answer, common, there, equally, target = (
            part.reshape(len(clips), -1) for part in (answer, common, there, equally, target)
        )  # [B, N h w] each, lest the answer to another clip of the same video be taken for a blind one
        for name, counted in (("accuracy", torch.ones_like(target, dtype=torch.bool)), ("moved", target != there)):

            def score(guess: Tensor, counted: Tensor = counted) -> Tensor:
                return share(guess == target, counted)

            out[name] = score(answer)
            out[f"chance/{name}"] = chance(score, answer, common, there, equally)
        return out

    def _seen(self, clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[M, T, width, h, w]`` of grey frames; L ``[M, T, h, w]`` and a, b ``[M, T, 2, h, w]`` by cells."""
        video = clips.video.flatten(0, 1)  # [M, T, 3, H, W]
        lab = rgb_to_lab(denormalise(video))
        grey = normalise_rgb(lab[:, :, :1] / 100)  # [M, T, 3, H, W]
        features = self.head(self.encoder.stages(grey)).unflatten(0, video.shape[:2])
        cells = by_cells(lab, features.shape[-2:])
        return features, cells[:, :, 0], cells[:, :, 1:]

    @torch.no_grad()
    def propagate(self, clips: Clips, labels: Tensor, temperature: float = 0.5) -> Tensor:
        """Carry labels of the first frame of each clip through the others, with what points (section 3.4).

        Args:
            clips: normalised; any number of frames. As many frames as in training are the references of each next one.
            labels: ``[B, N, C, H, W]`` float: how much of each class is where in the first frame.
            temperature: of the softmax that points; below 1 it is sharper than in training (the paper: 0.5).

        Returns:
            ``[B, N, T, C, h, w]`` at a quarter of the picture's sides; the first is as given.
        """
        features = self._seen(clips)[0]  # [M, T, width, h, w]
        size = (features.shape[-2], features.shape[-1])
        carried = [by_cells(labels.flatten(0, 1), size)]  # [M, C, h, w] each
        for frame in range(1, features.shape[1]):
            first = max(0, frame - self.sampler.num_frames + 1)
            weight = pointed(features[:, frame] / temperature, features[:, first:frame])  # [M, h w, R h w]
            known = torch.stack(carried[first:], 1).permute(0, 1, 3, 4, 2).flatten(1, 3)  # [M, R h w, C]
            carried.append((weight @ known).transpose(1, 2).unflatten(2, size))
        return torch.stack(carried, 1).unflatten(0, clips.video.shape[:2])

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which frame is coloured from which."""
        last = clips.times[:, :, -1]
        return [[f"colours of {seconds:.2f} s from the frames before" for seconds in row] for row in last.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The last frame in grey, in its true colours, and in those copied from the references, by cells."""
        features, light, colour = self._seen(clips)
        known = colour[:, :-1].permute(0, 1, 3, 4, 2).flatten(1, 3)  # [M, R h w, 2]
        copied = (pointed(features[:, -1], features[:, :-1]) @ known).transpose(1, 2).unflatten(2, colour.shape[-2:])

        def drawn(ab: Tensor) -> Tensor:
            rgb = lab_to_rgb(torch.cat([light[:, -1, None], ab], 1))  # [M, 3, h, w]
            return rgb[:, None].unflatten(0, clips.video.shape[:2])

        return {"shown": drawn(0 * copied), "target": drawn(colour[:, -1]), "prediction": drawn(copied)}


def pointed(target: Tensor, references: Tensor) -> Tensor:
    """Where each cell points: ``[M, D, h, w]`` and ``[M, R, D, h, w]`` features to ``[M, h w, R h w]`` (equation 2)."""
    queries = target.flatten(2).transpose(1, 2).float()  # [M, h w, D]
    keys = references.transpose(1, 2).flatten(2).float()  # [M, D, R h w]
    with torch.autocast(queries.device.type, enabled=False):
        return (queries @ keys).softmax(2)


@torch.no_grad()
def clustered(points: Tensor, clusters: int, rounds: int = 8) -> Tensor:
    """k-means of each row's points, begun at points far from one another; draws nothing.

    Args:
        points: ``[M, P, D]``.
        clusters: K.
        rounds: of assigning and averaging.

    Returns:
        ``[M, K, D]`` centres.
    """
    chosen = [points.mean(1)]
    nearest = points.new_full(points.shape[:2], torch.inf)
    for _ in range(clusters):
        nearest = torch.minimum(nearest, (points - chosen[-1][:, None]).norm(dim=2))
        chosen.append(points[torch.arange(len(points)), nearest.argmax(1)])
    centres = torch.stack(chosen[1:], 1)
    for _ in range(rounds):
        member = F.one_hot(torch.cdist(points, centres).argmin(2), clusters).to(points)  # [M, P, K]
        count = member.sum(1)[..., None]  # [M, K, 1]
        centres = torch.where(count > 0, member.transpose(1, 2) @ points / count.clamp(min=1), centres)
    return centres
