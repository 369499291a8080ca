"""Frame ordering: targets that follow from the times, and trivial cues that do not give them away."""

import io
import math
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import R3D, ResNet
from avssl.media import VideoInfo
from avssl.methods import OPN, ArrowOfTime, CubicPuzzles, OddOneOut, Pace
from avssl.methods.disguise import flicker, moving_crop, random_crops, replicate_channel
from avssl.methods.temporal.arrow import ForwardsOrBackwards, backwards
from avssl.methods.temporal.common import pair_features
from avssl.methods.temporal.cubic_puzzles import grid
from avssl.methods.temporal.odd_one_out import OddOneOutClips, odd, sum_of_differences
from avssl.methods.temporal.opn import ShuffledFrames
from avssl.methods.temporal.pace import PacedClips
from avssl.methods.temporal.rotation import turned
from avssl.training.config import parse

CONFIGS = Path(__file__).parents[2] / "configs"
SAMPLERS = [
    OddOneOutClips(),
    OddOneOutClips(sampling="consecutive", step=0.16, disguise=True),
    OddOneOutClips(step=0.16, disguise=True, motion_weighted=True),
    OddOneOutClips(4, 5, sampling="random"),
    ShuffledFrames(3),
    ForwardsOrBackwards(2, 16, 0.08),
    PacedClips(8, 0.04),
    PacedClips(8, 0.04, (1, 2), 0.2, motion_weighted=True),
]


def info(duration):
    return VideoInfo(Path("a.mp4"), duration, 25.0, (64, 64), motion=torch.ones(math.ceil(duration * 8)))


def draw(sampler, count, extra=2.0):
    """Draw the times of ``count`` items: ``[count, N, T]``."""
    video = info(sampler.seconds + extra)
    return torch.stack([sampler(video, torch.Generator().manual_seed(seed)).times for seed in range(count)])


def method_of(name):
    made, config = parse([str(CONFIGS / f"{name}.yaml")])
    return made.instantiate(config)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("extra", [0.0, 0.3, 20.0])
def test_times_lie_in_the_video_and_depend_on_the_arguments_alone(sampler, extra):
    times = draw(sampler, 40, extra)
    assert times.dtype == torch.float64
    assert times.min() >= 0
    assert times.max() < sampler.seconds + extra
    assert torch.equal(times, draw(sampler, 40, extra))
    assert not torch.equal(times, times[:1].expand_as(times))


# Odd-one-out


@pytest.mark.parametrize("sampler", SAMPLERS[:4], ids=repr)
def test_one_sub_sequence_is_odd_each_as_often(sampler):
    times = draw(sampler, 600)
    wrong = (times.diff(dim=-1) <= 0).any(-1)  # [600, N + 1]
    assert (wrong.sum(1) == 1).all()
    assert torch.equal(wrong.long().argmax(1), odd(times))
    counts = odd(times).bincount(minlength=sampler.questions)
    assert counts.min() > 0.65 * 600 / sampler.questions


def test_fusion_is_the_sum_of_all_pairwise_differences():
    vectors = torch.randn(3, 6, 5)
    expected = sum(vectors[:, i] - vectors[:, j] for j in range(6) for i in range(j))
    torch.testing.assert_close(sum_of_differences(vectors), expected)


@pytest.mark.parametrize(("fusion", "differences"), [("difference", True), ("concatenation", False)])
def test_odd_one_out_runs_in_both_of_the_papers_ways(fusion, differences):
    method = OddOneOut(R3D(8), OddOneOutClips(3, 4), fusion, differences, hidden=8)
    out = method(Clips(torch.rand(2, 3, 4, 3, 32, 32), draw(OddOneOutClips(3, 4), 2)))
    assert out["chance/accuracy"].tolist() == [pytest.approx(1 / 3)] * 2


def test_shortcut_how_much_an_odd_sub_sequence_moves():
    """For steady motion, the sub-sequence whose frames are furthest apart in time moves most."""

    def found(sampler):
        times = draw(sampler, 600)
        moved = times.diff(dim=-1).abs().mean(-1)  # [600, N + 1]
        return max((guess == odd(times)).double().mean().item() for guess in (moved.argmax(1), moved.argmin(1)))

    assert found(OddOneOutClips(step=0.16)) > 0.85
    assert found(method_of("odd_one_out").method.sampler) < 0.4  # chance is 1/6


def test_shortcut_no_frame_is_seen_twice_in_a_row_for_the_sake_of_the_disguise():
    times = draw(method_of("odd_one_out").method.sampler, 300)
    gaps = times.sort(dim=-1).values.diff(dim=-1)
    assert gaps.min() > 1 / 25  # the synthetic world's frames


# OPN


def test_an_order_and_its_reversal_are_one_of_twelve_classes_drawn_alike():
    method = OPN(ResNet(18, 8), hidden=8, pair=8)
    orders = torch.tensor(list(permutations([0.3, 0.5, 0.9, 2.0])))  # [24, 4]
    classes = method.order_shown(orders)
    assert torch.equal(classes, method.order_shown(orders.flip(1)))
    assert torch.equal(classes, method.order_shown(5 + 3 * orders))
    assert classes.bincount().tolist() == [2] * 12
    assert method.order_shown(draw(method.sampler, 1200)).flatten().bincount().min() > 65


def test_pairs_of_frames_are_normalised_by_the_batch():
    torch.manual_seed(0)
    method = OPN(ResNet(18, 8), hidden=8, pair=8, dropout=0.0, batch_norm=True)
    found = pair_features(method.pair[:2], torch.randn(50, 4, 16)[..., :8]).unflatten(1, (6, 8))  # before ReLU
    torch.testing.assert_close(found.mean(0), torch.zeros(6, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var(0, correction=0), torch.ones(6, 8), atol=1e-3, rtol=0)


def concordant(values):
    """Return the share of pairs of frames whose values ``[M, T]`` rise with time."""
    first, second = torch.combinations(torch.arange(values.shape[1])).unbind(1)
    return (values[:, first] < values[:, second]).double().mean().item()


def test_shortcut_colours_that_drift():
    time = torch.linspace(-1, 1, 4).view(1, 4, 1, 1, 1).expand(300, 4, 1, 8, 8)
    video = torch.cat([time, -time, torch.zeros_like(time)], 2)  # redder and less green
    assert concordant((video[:, :, 0] - video[:, :, 1]).mean((2, 3))) == 1
    split = replicate_channel(video.flatten(0, 1)).unflatten(0, (300, 4))
    assert torch.equal(split, split[:, :, :1].expand_as(split))
    assert abs(concordant(split.mean((2, 3, 4))) - 0.35) < 0.1  # some pairs are equal, the others balance


def test_shortcut_a_camera_that_pans():
    ramp = torch.arange(64.0).expand(3, 64, 64)
    video = torch.stack(
        [torch.stack([ramp + shift for shift in range(4)])] * 300
    )  # [300, 4, 3, 64, 64], one pixel per frame
    assert concordant(video.mean((2, 3, 4))) == 1
    cut = random_crops(video.flatten(0, 1), 54, 54).unflatten(0, (300, 4))  # five pixels either way
    assert concordant(cut.mean((2, 3, 4))) < 0.7
    offsets = cut[:, :, 0, 0, 0] - torch.arange(4)
    assert set(offsets.flatten().tolist()) == set(range(11))
    assert torch.equal(cut[..., 1:] - cut[..., :-1], torch.ones(300, 4, 3, 54, 53))  # whole pixels, in order


# Arrow of time


def test_half_of_the_clips_run_backwards_and_the_times_say_so():
    times = draw(ForwardsOrBackwards(2, 16, 0.08), 500)
    step = times.diff(dim=-1)
    torch.testing.assert_close(step.abs(), torch.full_like(step, 0.08))
    assert torch.equal(backwards(times), step[..., 0] < 0)
    assert abs(backwards(times).double().mean() - 0.5) < 0.05


@pytest.mark.parametrize("differences", [False, True])
def test_the_score_is_the_mean_of_the_class_activation_map(differences):
    method = ArrowOfTime(R3D(8), ForwardsOrBackwards(1, 8, 0.1), differences=differences, hidden=8).eval()
    video = torch.rand(2, 8, 3, 32, 32)
    chunks = [half.diff(dim=1) if differences else half for half in video.chunk(2, 1)]
    maps = method.fuse(torch.cat([method.encoder.maps(chunk).mean(2) for chunk in chunks], 1))
    torch.testing.assert_close(method.evidence(video).mean((1, 2)), method.classifier(maps.mean((2, 3))).squeeze(1))


def test_shortcut_a_camera_that_zooms_in():
    """A disc that grows by 0.5 % per frame reveals the direction, unless seen through a window that moves by itself."""
    rows = torch.linspace(-1, 1, 32)
    distance = (rows[:, None] ** 2 + rows**2).sqrt()
    discs = torch.stack([(20 * (0.4 * 1.005**frame - distance)).sigmoid() for frame in range(16)])  # [16, 32, 32]
    video = discs.expand(3, -1, -1, -1).transpose(0, 1).expand(200, -1, -1, -1, -1)  # [200, 16, 3, 32, 32]
    torch.manual_seed(0)
    torch.testing.assert_close(moving_crop(video[:1], 0.0), video[:1])

    def grows(drift):
        area = moving_crop(video, drift)[:, [0, -1], 0].mean((2, 3))
        return (area[:, 1] > area[:, 0]).double().mean().item()

    still = discs[:1].expand(16, -1, -1).expand(3, -1, -1, -1).transpose(0, 1).expand(200, -1, -1, -1, -1)
    drift = method_of("arrow").method.drift
    assert grows(0.0) == 1
    assert grows(drift) < 0.85
    first, last = moving_crop(still, drift)[:, [0, -1], 0].mean((2, 3)).unbind(1)
    assert abs((last > first).double().mean() - 0.5) < 0.1  # the added motion is symmetric in time


def coded(pictures, gop=12):
    """Compress ``[T, H, W]`` uint8 grey images by H.264 and decode them."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        x264 = {"crf": "20", "preset": "veryfast", "tune": "fastdecode", "sc_threshold": "0", "threads": "1"}
        video = out.add_stream("libx264", rate=Fraction(25), options=x264)
        video.height, video.width, video.pix_fmt = *pictures.shape[1:], "yuv420p"
        video.gop_size, video.max_b_frames = gop, 0
        for picture in pictures.numpy():
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, -1), format="rgb24")))
        out.mux(video.encode(None))
    file.seek(0)
    with av.open(file) as shown:
        return torch.stack([torch.from_numpy(frame.to_ndarray(format="gray")) for frame in shown.decode(video=0)])


def test_shortcut_the_codec_runs_forwards():
    """A noisy still image looks the same both ways, but not after compression: sharpness falls after keyframes.

    A ridge regression on the sharpness and the change of each frame (and their products) guesses the direction.
    """
    torch.manual_seed(0)
    clips, turns = [], []
    for _ in range(8):
        still = F.interpolate(torch.rand(1, 1, 16, 16), size=64, mode="bilinear")[0, 0]
        noisy = (50 + 150 * still + 6 * torch.randn(100, 64, 64)).clamp(0, 255).to(torch.uint8)
        standard = (coded(noisy).float() / 255 - 0.4) / 0.22
        for start in range(0, 84, 4):
            turns.append(torch.rand(()) < 0.5)
            clips.append(standard[start : start + 16].flip(0) if turns[-1] else standard[start : start + 16])
    video = torch.stack(clips)[:, :, None].expand(-1, -1, 3, -1, -1)
    target = 2 * torch.stack(turns).float() - 1

    def guessed(video):
        grey = video[:, :, 0]
        sharpness = (grey[..., 1:] - grey[..., :-1]).abs().mean((2, 3))
        seen = torch.cat([sharpness, grey.diff(dim=1).abs().mean((2, 3))], 1)
        seen = (seen - seen.mean(0)) / seen.std(0)
        seen = torch.cat([seen, (seen[:, None] * seen[:, :, None]).flatten(1)], 1)
        train = torch.arange(len(seen)) < 126  # 6 of 8 recordings
        kernel = seen[train] @ seen[train].T + 100 * torch.eye(126)
        score = seen[~train] @ (seen[train].T @ torch.linalg.solve(kernel, target[train]))
        return (score.sign() == target[~train]).double().mean().item()

    assert guessed(video) > 0.9
    assert guessed(flicker(video, method_of("arrow").method.flicker)) < 0.7


# Pace


@pytest.mark.parametrize("sampler", SAMPLERS[6:], ids=repr)
def test_a_video_is_shown_at_two_paces_drawn_alike(sampler):
    times = draw(sampler, 600)
    numbers = sampler.number(times)  # [600, 2]
    assert (numbers[:, 0] != numbers[:, 1]).all()
    assert numbers.flatten().bincount().min() > 0.85 * 1200 / len(sampler.paces)
    ratio = times.diff(dim=-1).mean(-1) / sampler.step / torch.tensor(sampler.paces)[numbers]
    assert ratio.min() > 1 - 1e-6
    assert ratio.max() < 1 + sampler.wobble + 1e-6
    assert sampler.wobble == 0 or ratio.std() > 0.04


def test_paces_must_not_reach_each_other():
    with pytest.raises(ValueError, match="pace 4 reaches the next one, 5"):
        PacedClips(paces=(1, 4, 5), wobble=0.25)
    with pytest.raises(ValueError, match="at least two"):
        PacedClips(paces=(1,))


def test_speednet_is_pace_prediction_without_the_contrast():
    sampler = PacedClips(8, 0.04, (1, 2), 0.2)
    method = Pace(R3D(8), sampler, contrast=0, flicker=0)
    out = method(Clips(torch.rand(3, 2, 8, 3, 32, 32), draw(sampler, 3)))
    assert sorted(out) == ["accuracy", "chance/accuracy", "loss"]
    assert out["chance/accuracy"].tolist() == [0.5] * 3


@pytest.mark.parametrize("fps", [25, 30])
def test_shortcut_frames_that_repeat_in_slow_clips(fps):
    times = draw(method_of("pace").method.sampler, 300)
    shown = (times * fps + 0.015).floor()  # as the readers round, by 0.6 ms
    assert shown.diff(dim=-1).min() >= 1


# Rotation


def test_turned_clips_hold_the_same_pixels_and_four_turns_are_none():
    video = torch.rand(2, 1, 3, 3, 8, 8)
    all_four = turned(video)  # [2, 1, 4, 3, 3, 8, 8]
    assert torch.equal(all_four[:, :, 0], video)
    for number in range(4):
        assert torch.equal(turned(all_four[:, :, number])[:, :, (4 - number) % 4], video)
        assert torch.equal(all_four[:, :, number].flatten(4).sort().values, video.flatten(4).sort().values)


def test_shortcut_a_picture_squashed_in_one_direction():
    """In a squashed image everything is narrow when upright and flat when rotated: the config does not squash."""
    height, width = method_of("rotation").data.transform.decode_size((240, 426))
    assert abs(height / 240 - width / 426) < 0.01


# Cubic puzzles


def test_cells_lie_where_they_should():
    video = torch.arange(8 * 4 * 6).view(1, 8, 1, 4, 6).expand(1, 8, 3, 4, 6)
    cells = grid(video)
    assert cells.shape == (1, 4, 4, 2, 3, 2, 3)
    assert torch.equal(cells[:, 1, 2], video[:, 2:4, :, 2:, :3])  # second moment, lower left
    assert torch.equal(cells[:, 3, 1], video[:, 6:, :, :2, 3:])  # last moment, upper right


def test_pieces_of_one_slice_are_shown_in_the_order_that_is_asked_for():
    method = CubicPuzzles(R3D(8), RandomClips(num_frames=16), puzzles=3, hidden=8)
    number = torch.arange(16.0).view(1, 4, 4, 1, 1, 1, 1).expand(1, 4, 4, 4, 3, 8, 8)  # 4 moment + quarter
    rows = torch.cat([torch.cat([number[:, :, q], number[:, :, q + 1]], -1) for q in (0, 2)], -2).flatten(1, 2)[:, :, 0]
    video = rows[:, :, None].expand(5, 16, 3, 16, 16)
    puzzles = method.puzzles(video)
    assert puzzles.pieces.shape == (5, 2, 3, 4, 2, 3, 6, 6)
    cell = puzzles.pieces[:, :, :, :, 0, 0, 0, 0].long()  # [5, 2, 3, 4]
    assert torch.equal(puzzles.pieces, cell[..., None, None, None, None].expand_as(puzzles.pieces).float())
    shown = method.orders[puzzles.order]
    assert torch.equal(cell[:, 0] % 4, shown[:, 0])  # in space, the quarters ...
    assert (cell[:, 0] // 4 == cell[:, 0, :, :1] // 4).all()  # ... of one moment
    assert torch.equal(cell[:, 1] // 4, shown[:, 1])
    assert (cell[:, 1] % 4 == cell[:, 1, :, :1] % 4).all()
    for kind in (cell[:, 0, :, 0] // 4, cell[:, 1, :, 0] % 4):
        assert all(len(set(row)) == 3 for row in kind.tolist())  # all from different moments or quarters


def test_shortcut_edges_that_continue_from_one_piece_to_the_next():
    """Each pixel holds its column: where pieces touch, the last column of one is next to the first of the other."""
    column = torch.arange(64.0).expand(40, 16, 3, 64, 64)

    def touching(crop):
        method = CubicPuzzles(R3D(8), RandomClips(num_frames=16), crop, replicate=True, rotate=False, hidden=8)
        puzzles = method.puzzles(column)
        places = method.orders[puzzles.order].argsort(-1)[:, 0, 0]  # [40, 4] where each quarter is
        pieces = puzzles.pieces[torch.arange(40)[:, None], 0, 0, places][:, :, 0, 0]  # [40, 4, h, w] solved
        return (pieces[:, 0, 0, -1] + 1 == pieces[:, 1, 0, 0]).double().mean().item()

    assert touching(1.0) == 1
    assert touching(80 / 112) < 0.15
