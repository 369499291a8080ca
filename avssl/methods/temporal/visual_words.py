"""Words of video: clips are quantised, and words that occur near each other get similar vectors.

T. Mikolov, K. Chen, G. Corrado, J. Dean: Efficient Estimation of Word Representations in Vector Space. 2013
(https://arxiv.org/abs/1301.3781: CBOW and skip-gram); T. Mikolov, I. Sutskever, K. Chen, G. Corrado, J. Dean:
Distributed Representations of Words and Phrases and their Compositionality. NIPS 2013 (negative sampling).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from avssl.clips import Clips
from avssl.data.samplers import ConsecutiveClips
from avssl.encoders.words import Words
from avssl.methods.base import Method, measured
from avssl.methods.clustering import lloyd
from avssl.methods.counters import HostNumber
from avssl.methods.dense import class_counts
from avssl.methods.distributed import gather
from avssl.methods.losses import nearer

ROUNDS = 5  # of k-means, from the centres so far
POWER = 0.75  # of a word's count: how often it is drawn as a negative (2013b, section 2.2)
LEAST = 1e-4  # smallest standard deviation of a description


class VisualWords(Method):
    """Predict a clip's word from the words around it (CBOW), or those from it (skip-gram).

    A video is a sentence: each of N consecutive clips is a word, the nearest of k-means centres of its hand-made
    description (`Words`). What is learnt is a vector v per word, which is kept, and a vector u, which is not. The loss
    of a word w and another c within a window, drawn from 1 to ``window`` for each word, is -log s(v_w u_c) and, for
    some words n that are drawn in proportion to count^0.75, -log s(-v_w u_n) (2013b, equation 4); with CBOW, v is the
    mean over the window and c the word in its middle. Words more frequent than ``thin`` are left out by chance (2013b,
    equation 5). Nothing of a word depends on the order of its frames, and no gradient reaches a pixel.

    Centres are found anew every ``every`` steps, from where they were, in descriptions of the last ``memory`` clips.

    Metrics: ``accuracy``, whether v u is larger for the next clip's word than for the word in its place in another
    video of the batch (half if they are equal); ``bigram``, the same by a table of how often the one word has followed
    the other in training. Chance is 1/2 for both.

    Args:
        encoder: the words.
        model: ``skip_gram`` or ``cbow``.
        window: largest distance of two words, in clips (paper: 5).
        negatives: drawn for each word (paper: 5 to 20 on small data).
        thin: share of all words above which a word is thinned out (paper: 1e-5, of a vocabulary of a million words).
        every: steps between two searches for centres.
        memory: number of descriptions that they are found in.
    """

    encoder: Words
    counts: Tensor
    followed: Tensor
    descriptions: Tensor
    caption = "the words of the clips around it"

    def __init__(
        self,
        encoder: Words,
        sampler: ConsecutiveClips | None = None,
        model: Literal["skip_gram", "cbow"] = "skip_gram",
        window: int = 5,
        negatives: int = 5,
        thin: float = 0.02,
        every: int = 50,
        memory: int = 2048,
    ) -> None:
        super().__init__(encoder, sampler or ConsecutiveClips(clips=6, num_frames=4, step=0.08, gap=0.0))
        if not isinstance(encoder, Words):
            raise ValueError(f"VisualWords needs an encoder of class Words, got {type(encoder).__name__}")
        words, width = encoder.table.weight.shape
        self.model, self.window, self.negatives, self.thin, self.every = model, window, negatives, thin, every
        self.outer = nn.Embedding(words, width)
        nn.init.normal_(self.outer.weight, std=width**-0.5)
        self.register_buffer("counts", torch.ones(words))
        self.register_buffer("followed", torch.zeros(words, words))
        self.register_buffer("descriptions", torch.zeros(memory, encoder.centres.shape[1]))
        self.stored, self.taken = HostNumber(self, "written"), HostNumber(self, "steps")
        self.fresh: list[Tensor] = []  # descriptions of all forward passes of this step

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B videos of N clips."""
        words = self.encoder.words_of(clips.video.flatten(0, 1)).unflatten(0, clips.video.shape[:2])  # [B, N]
        if self.training:
            self._count(words, clips)
        inner, outer = self.encoder.table(words).float(), self.outer(words).float()  # [B, N, D]
        near = self._near(words)  # [B, N, N]
        strangers = self.outer(self._drawn(words)).float()  # [B, N, n, D]
        pairs = near.sum(2)  # [B, N]
        if self.model == "cbow":
            inner_mean = near @ inner / pairs[..., None].clamp(min=1)
            right = logsigmoid((inner_mean * outer).sum(2))
            wrong = logsigmoid(-torch.einsum("bnd,bnkd->bnk", inner_mean, strangers)).sum(2)
            weights = (pairs > 0).float()
            loss = -((right + wrong) * weights).sum() / weights.sum().clamp(min=1)
        else:
            right = (logsigmoid(inner @ outer.transpose(1, 2)) * near).sum(2)
            wrong = logsigmoid(-torch.einsum("bnd,bnkd->bnk", inner, strangers)).sum(2) * pairs
            loss = -(right + wrong).sum() / pairs.sum().clamp(min=1)
        with torch.no_grad():
            following = words[:, 1:]
            other = following.roll(1, 0)
            scores = [(inner[:, :-1] * self.outer(these).float()).sum(2) for these in (following, other)]
            table = [self.followed[words[:, :-1], these] for these in (following, other)]
        return measured(
            clips,
            loss,
            accuracy=(nearer(-scores[0], -scores[1]), 0.5),
            bigram=(nearer(-table[0], -table[1]), 0.5),
        )

    def after_step(self, progress: float) -> None:
        """Store this step's descriptions, and find centres every ``every`` steps, which alone waits for the device."""
        fresh, size = torch.cat(self.fresh), len(self.descriptions)
        place = torch.arange(self.stored.value, self.stored.value + len(fresh), device=fresh.device) % size
        self.descriptions[place] = fresh
        self.stored.set(self.stored.value + len(fresh))
        self.taken.set(self.taken.value + 1)
        self.fresh = []
        known = min(self.stored.value, size)
        if self.taken.value % self.every == 0 and known >= len(self.encoder.centres):
            found = self.descriptions[:known]
            self.encoder.mean.copy_(found.mean(0))
            self.encoder.scale.copy_(found.std(0).clamp(min=LEAST))
            standard = (found - self.encoder.mean) / self.encoder.scale
            self.encoder.centres.copy_(lloyd(standard, self.encoder.centres, ROUNDS))

    def _count(self, words: Tensor, clips: Clips) -> None:
        """Count words, and which word follows which; keep descriptions for the next search."""
        kinds = len(self.counts)
        self.counts += class_counts(words.flatten(), kinds)
        bigrams = class_counts((words[:, :-1] * kinds + words[:, 1:]).flatten(), kinds**2)
        self.followed += bigrams.view(kinds, kinds)
        described = self.encoder.described(clips.video.flatten(0, 1)).requires_grad_()  # `gather` needs a gradient
        self.fresh.append(gather(described)[0].detach())

    def _near(self, words: Tensor) -> Tensor:
        """Return 1 where another word (columns) is in the window of a word (rows) and neither is left out."""
        videos, number = words.shape
        place = torch.arange(number, device=words.device)
        apart = (place[:, None] - place).abs()
        reach = torch.randint(1, self.window + 1, (videos, number, 1), device=words.device)
        share = (self.counts / self.counts.sum())[words]
        kept = torch.rand(videos, number, device=words.device) < (self.thin / share).sqrt()
        return ((apart > 0) & (apart <= reach) & kept[:, :, None] & kept[:, None]).float()

    def _drawn(self, words: Tensor) -> Tensor:
        """Draw negatives ``[B, N, n]``."""
        limits = self.counts.pow(POWER).cumsum(0)
        draws = torch.rand(*words.shape, self.negatives, device=words.device) * limits[-1]
        return torch.searchsorted(limits, draws).clamp(max=len(limits) - 1)
