"""Mouths are framed, lit, held, coarsened, compressed and made grainy, and decoded ones are kept unchanged."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from avssl.catalog.encode import Movie, pieces, write_movie
from avssl.data.framing import Coarse, Compressed, Framing, Grain, Held
from avssl.data.kept import Kept
from avssl.media import open_video, probe
from avssl.media.regions import Part, within


def clip(frames: int = 12, side: int = 60) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.randint(256, (frames, 3, 6, 6), generator=rng).float()
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").to(torch.uint8)


def plain(**settings: float) -> Framing:
    quiet = dict.fromkeys(("displaced", "drift", "flip", "light", "held", "coarse", "compressed", "grain"), 0.0)
    return Framing(**{"size": 24, "zoom": 1.0, "stretch": 1.0, **quiet, **settings})


def test_a_batch_is_finished_as_its_clips_are():
    transform, clips = Framing(24, held=0.6, coarse=0.6, compressed=0.6, grain=0.6), [clip(), clip().flip(0)]
    torch.manual_seed(0)
    begun = [transform.begin([one, one.flip(3)]) for one in clips]
    assert all(len(drawn) == transform.numbers(2, 12) for _, drawn in begun)
    batch = transform.finish(torch.stack([video for video, _ in begun]), torch.stack([drawn for _, drawn in begun]))
    assert batch.shape == (2, 2, 12, 3, 24, 24)
    assert batch.dtype == torch.uint8
    for own, (video, drawn) in zip(batch, begun, strict=True):
        assert torch.equal(own, transform.finish(video[None], drawn[None])[0])
    torch.manual_seed(0)
    again = [part[None] for part in transform.begin([clips[0], clips[0].flip(3)])]
    assert torch.equal(batch[0], transform.finish(*again)[0])


def test_without_anything_drawn_the_middle_is_shown():
    transform = plain(middle=0.5)
    assert transform.seen == (0.25, 0.25, 0.75, 0.75)
    assert within(Part("mouth", 0.75), transform.seen) == Part("mouth", 0.125)
    middle = clip()[..., 15:45, 15:45].float().mean(1, keepdim=True)
    expected = torch.nn.functional.interpolate(middle, (24, 24), mode="bilinear", antialias=True)
    assert (transform(clip()).float() - expected).abs().max() <= 1
    moved = plain(middle=0.5, displaced=0.2)
    torch.manual_seed(3)
    assert (moved(clip()).float() - expected).abs().mean() > 5


def test_frames_are_held_at_the_rate_that_is_drawn_and_neither_late_nor_early_on_average():
    shown = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(50, 1, 2, 2)
    late = []
    for phase in np.linspace(0, 0.95, 20):
        held = Held().apply(shown[None], torch.tensor([[1.0, 12.5, phase]]))[0, :, 0, 0, 0].long()
        assert 24 <= len(held.unique()) <= 27
        assert (held.diff() >= 0).all()
        late.append((torch.arange(50) - held).double().mean().item())
    assert abs(np.mean(late)) < 0.3  # of a frame


def test_losses_grow_with_what_is_drawn():
    shown = clip()[None, :, :1]
    for change, rows in (
        (Compressed(), [[1.0, step, 3.0, 5.0] for step in (4, 16, 48)]),
        (Coarse(), [[1.0, kept] for kept in (0.8, 0.4, 0.2)]),
        (Grain(), [[1.0, spread, 7.0] for spread in (0.01, 0.03, 0.06)]),
    ):
        losses = [(change.apply(shown, torch.tensor([row])).float() - shown).square().mean().item() for row in rows]
        assert 0 < losses[0] < losses[1] < losses[2]
    assert torch.equal(Compressed().apply(shown, torch.tensor([[0.0, 9, 0, 0]])), shown)


def test_kept_recordings_read_as_their_files(tmp_path):
    from av.video.frame import VideoFrame

    rng, path = np.random.default_rng(0), tmp_path / "a.mp4"

    def pictures():
        for number in range(30):
            frame = VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            yield frame

    sound = pieces(torch.from_numpy(rng.uniform(-0.5, 0.5, 18000)).float(), 16000)
    write_movie(path, pictures(), sound, Movie(Fraction(25), (64, 64), 12, 16000), {})
    info, kept = probe(path), Kept(1e9)
    reader = kept.open(0, info, "pyav", (32, 32), (16000, 1))
    assert kept.open(0, info, "pyav", (32, 32), (16000, 1)) is reader
    times = torch.tensor([0.0, 0.36, 0.4, 1.16, 0.04], dtype=torch.float64)
    with open_video(path, "pyav", info) as file:
        assert torch.equal(reader.frames(times, (32, 32)), file.frames(times, (32, 32)))
        assert torch.equal(reader.frames(times, (16, 16)), file.frames(times, (16, 16)))
        for span in ((0.2, 0.6), (-0.2, 0.4), (0.9, 1.3), (0.12345, 0.5), (5.0, 5.2)):
            ours, theirs = reader.audio(*span, 16000), file.audio(*span, 16000)
            assert torch.equal(ours.samples, theirs.samples)
            assert ours.valid == pytest.approx(theirs.valid)
    assert Kept(0.0).open(0, info, "pyav", (32, 32), (16000, 1)) is not reader
    assert kept.open(1, info, "pyav", (32, 32), (8000, 1)) is not kept.open(1, info, "pyav", (32, 32), (8000, 1))
