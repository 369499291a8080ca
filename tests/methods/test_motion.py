import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import R3D, ResNet
from avssl.labels import AtomicFlow
from avssl.media import VideoInfo
from avssl.methods import (
    DepthOrder,
    EdgesFromMotion,
    EgoMotion,
    FlowPrediction,
    MovingObjects,
    SlowFeatures,
    TrackByColour,
)
from avssl.methods.dense import chance_level, masked_accuracy
from avssl.methods.temporal.common import EitherWay
from avssl.methods.temporal.ego_motion import NearAndFar, cost_volume
from avssl.methods.temporal.moving_objects import cell_targets
from avssl.methods.temporal.track_by_colour import attention, colour_loss, k_means


def test_chance_knows_what_is_the_same_in_every_video():
    target = torch.zeros(4, 3, 3, dtype=torch.long)
    target[:, 1] = 1  # the same row in every video

    def score(guess):
        return masked_accuracy(guess == target, torch.ones_like(target, dtype=torch.bool))

    assert chance_level(score, target, torch.zeros_like(target)).tolist() == [1.0] * 4  # a memorised map earns nothing
    own = torch.eye(4).long()[:, :, None].expand(-1, -1, 2)
    assert chance_level(lambda g: masked_accuracy(g == own, own == 1), own, torch.zeros_like(own)).tolist() == [0.0] * 4


def test_what_is_not_counted_does_not_count():
    right = torch.tensor([[True, False, True], [True, True, True]])
    counted = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_accuracy(right, counted).tolist() == [0.5, 0.0]


def test_flow_prediction_looks_at_no_frame_of_the_future():
    torch.manual_seed(0)
    method = FlowPrediction(R3D(8), RandomClips(num_frames=6), AtomicFlow(grid=8), seen=4, width=8).eval()
    video = torch.randn(2, 1, 6, 3, 32, 32)
    times = torch.arange(6).double().expand(2, 1, 6)
    other = video.clone()
    other[:, :, 4:] = torch.randn(2, 1, 2, 3, 32, 32)
    scores = method.scores(Clips(video, times))
    assert scores.shape == (2, 3, 17, 8, 8)  # from frame 3 to 4 (of 1 to 6), and two more steps
    assert torch.equal(scores, method.scores(Clips(other, times)))


def test_flow_prediction_weighs_still_cells_less_and_takes_the_weight_out_again():
    method = FlowPrediction(
        ResNet(18, 8), RandomClips(num_frames=3), AtomicFlow(grid=4), seen=2, width=8, still=0.2
    ).eval()
    clips = Clips(torch.randn(1, 1, 3, 3, 32, 32), torch.arange(3).double().view(1, 1, 3))
    clips.target = torch.zeros(1, 1, 2, 4, 4, dtype=torch.long)
    clips.target[..., :2] = 3  # half of the cells move
    torch.nn.init.zeros_(method.classifier.weight)
    torch.nn.init.constant_(method.classifier.bias, -20.0)
    with torch.no_grad():  # the probabilities, with the weight, for true ones of 40 % and 60 %
        method.classifier.bias[3], method.classifier.bias[0] = math.log(0.4), math.log(0.6 * 0.2)
    out = method(clips)
    total = 0.4 + 0.12
    expected = -(math.log(0.4 / total) + 0.2 * math.log(0.12 / total)) / 1.2
    assert out["loss"].item() == pytest.approx(expected, abs=1e-4)
    assert out["accuracy"].item() == 0.5  # "still" is more probable
    assert out["moving"].item() == 1.0
    with pytest.raises(ValueError, match="seen=5"):
        FlowPrediction(ResNet(18, 8), RandomClips(num_frames=5), seen=5)


@pytest.mark.parametrize("kind", [MovingObjects, DepthOrder, EdgesFromMotion])
def test_a_map_is_predicted_from_the_middle_frame_alone(kind):
    torch.manual_seed(0)
    method = kind(ResNet(18, 8), width=8).eval()
    frames = method.sampler.num_frames
    video = torch.randn(2, 1, frames, 3, 32, 32)
    other = torch.randn_like(video)
    other[:, :, frames // 2] = video[:, :, frames // 2]
    predict = method.predicted if kind is DepthOrder else method.scores
    times = torch.zeros(2, 1, frames).double()
    assert torch.equal(predict(Clips(video, times)), predict(Clips(other, times)))


def test_the_trimap_is_taken_over_by_majority_and_ignored_where_not_known():
    trimap = torch.tensor([[1, 1, -1, -1], [1, 0, -1, 0], [0, 0, 1, -1], [0, 0, -1, 1]]).char()
    clips = Clips(torch.rand(1, 1, 1, 3, 4, 4), torch.zeros(1, 1, 1).double(), target=trimap[None, None])
    moves, known = cell_targets(clips, (2, 2))
    assert moves[0, 0].tolist() == [[True, False], [False, True]]
    assert known[0, 0].tolist() == [[True, False], [True, True]]


def test_iou_of_calling_everything_moving_is_the_share_that_moves():
    method = MovingObjects(ResNet(18, 8), width=8)
    torch.nn.init.zeros_(method.head.out.weight)
    torch.nn.init.constant_(method.head.out.bias, 5.0)
    target = torch.zeros(2, 1, 32, 32, dtype=torch.int8)
    target[:, :, :8] = 1
    out = method(Clips(torch.randn(2, 1, 5, 3, 32, 32), torch.zeros(2, 1, 5).double(), target=target))
    assert out["iou"].tolist() == out["chance/iou"].tolist() == [0.25, 0.25]


def test_copied_colours_are_equations_1_to_3_of_the_paper():
    torch.manual_seed(0)
    target, references = torch.randn(1, 5, 2, 2), torch.randn(1, 3, 5, 2, 2)
    weights = attention(target, references)
    assert weights.shape == (1, 4, 12)
    for j in range(4):
        f_j = target[0].flatten(1)[:, j]
        products = [float(f_j @ references[0, r].flatten(1)[:, i]) for r in range(3) for i in range(4)]
        total = sum(math.exp(p) for p in products)
        assert weights[0, j].tolist() == pytest.approx([math.exp(p) / total for p in products], abs=1e-5)


def test_clusters_are_where_the_points_are():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [-40.0, -40.0]])
    points = (centres[:, None] + torch.randn(4, 30, 2)).flatten(0, 1)[torch.randperm(120)]
    found = k_means(points[None], 4)[0]
    assert torch.cdist(centres, found).min(1).values.max() < 1
    assert torch.isfinite(k_means(torch.zeros(1, 10, 2), 4)).all()  # a grey video


def test_colour_is_not_seen_and_a_shifted_frame_is_not_coloured_by_place():
    torch.manual_seed(0)
    method = TrackByColour(ResNet(18, 8), RandomClips(num_frames=2), width=8).eval()
    rgb = torch.rand(1, 1, 2, 3, 32, 32)

    def normal(rgb):
        times = torch.arange(2).double().view(1, 1, 2)
        return Clips(255 * rgb, times).normalised(torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.3, 0.2, 0.25]))

    clips = normal(rgb)
    seen = method._features(clips)[0]
    grey = method._features(clips)[1]
    from avssl.pixels import lab_to_rgb, rgb_to_lab

    lab = rgb_to_lab(rgb)
    lab[..., 1:, :, :] *= 0.5  # other colours of equal brightness
    dull = normal(lab_to_rgb(lab))
    assert torch.allclose(method._features(dull)[0], seen, atol=0.05)
    assert torch.allclose(method._features(dull)[1], grey, atol=0.1)
    rolled = rgb.clone()
    rolled[:, :, 1] = rgb[:, :, 0].roll(8, -1)  # two cells to the right
    out = method(normal(rolled))
    assert out["chance/accuracy"] < 0.7


def test_the_worst_cells_have_the_largest_gradient_and_what_cannot_be_copied_counts_for_nothing():
    closeness = torch.tensor([[[0.0, 1.0, 2.0], [40.0, 0.0, 1.0], [3.0, 1.0, 0.0]]], requires_grad=True)  # [1, P, R]
    references, target = torch.tensor([[4, 7, 4]]), torch.tensor([[7, 7, 2]])  # no reference has colour 2
    loss = colour_loss(closeness, references, target)
    attention = closeness.detach().double().softmax(2)[0]
    assert loss.item() == pytest.approx(-(attention[0, 1].log() + attention[1, 1].log()).item() / 2, rel=1e-5)
    loss.backward()
    fair, worst, none = closeness.grad[0]
    assert worst[1] == pytest.approx(-0.5, abs=1e-3)  # its probability is below 1e-17
    assert 0 > fair[1] > worst[1]
    assert not none.any()


def test_labels_are_carried_to_where_the_features_went():
    method = TrackByColour(ResNet(18, 8), RandomClips(num_frames=2), width=8).eval()
    torch.manual_seed(0)
    features = 20 * F.normalize(torch.randn(1, 1, 8, 8, 8), dim=2)  # all cells differ
    moved = features.roll(2, -1)
    method._features = lambda clips: (torch.cat([features, moved, moved.roll(1, -2)], 1), None, None)
    mask = torch.zeros(1, 1, 1, 32, 32)
    mask[..., 8:16, 4:12] = 1
    clips = Clips(torch.zeros(1, 1, 3, 3, 32, 32), torch.zeros(1, 1, 3).double())
    carried = method.propagate(clips, mask)[0, 0, :, 0]
    first = carried[0]
    assert torch.allclose(carried[1], first.roll(2, -1), atol=1e-3)
    assert torch.allclose(carried[2], first.roll(2, -1).roll(1, -2), atol=1e-3)


def test_unknown_axes_of_ego_motion_teach_nothing():
    torch.manual_seed(0)
    method = EgoMotion(ResNet(18, 8), width=8).eval()
    video, times = torch.randn(3, 1, 2, 3, 32, 32), torch.zeros(3, 1, 2).double()
    target = torch.randint(20, (3, 1, 6))
    turn, shift = target.clone(), target.clone()
    turn[..., 3:], shift[..., :3] = -1, -1
    both, one, other = (method(Clips(video, times, target=known))["loss"].item() for known in (target, turn, shift))
    assert both == pytest.approx((one + other) / 2)
    assert one != other
    with pytest.raises(ValueError, match="R3D mixes frames"):
        EgoMotion(R3D(8))


def test_a_cost_volume_tells_where_cells_are_found_again():
    torch.manual_seed(0)
    first = torch.randn(1, 16, 9, 9)
    alike = cost_volume(first, first.roll((1, -2), (2, 3)), reach=2)  # one cell down, two to the left
    assert alike.shape == (1, 25, 9, 9)
    assert (alike[:, :, 3:-3, 3:-3].argmax(1) == 3 * 5 + 0).all()
    assert torch.allclose(alike[0, 15, 3:-3, 3:-3], torch.ones(3, 3))
    assert (alike[0, 0, 0, 0], alike[0, 24, -1, -1]) == (0, 0)  # outside the image


def test_pairs_of_ego_motion_are_played_backwards_half_of_the_time():
    draw = EitherWay(clips=200, num_frames=3, step=0.2)
    times = draw(VideoInfo("x.mp4", duration=10.0, fps=25.0, size=(8, 8)), torch.Generator().manual_seed(0)).times
    steps = times.diff(dim=1)
    backwards = steps[:, 0] < 0
    assert 70 < backwards.sum() < 130
    torch.testing.assert_close(steps, torch.where(backwards, -0.2, 0.2)[:, None].double().expand(-1, 2))


def test_slow_features_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    method = SlowFeatures(ResNet(18, 8), NearAndFar(2, 0.2, 1.0), margin=1.0).eval()
    video = torch.randn(1, 2, 2, 3, 32, 32)
    times = torch.tensor([[[0.0, 0.1], [0.0, 1.5]]]).double()
    vectors = [F.normalize(method.encoder.frames(video[0, n][None])[0], dim=1) for n in range(2)]
    near, far = ((pair[0] - pair[1]).norm().item() for pair in vectors)
    out = method(Clips(video, times))
    assert out["loss"].item() == pytest.approx((near + max(0.0, 1.0 - far)) / 2, abs=1e-3)
    assert out["order"].item() == float(near < far)
    swapped = method(Clips(video, times.flip(1)))
    assert swapped["order"].item() == float(far < near)  # the timestamps decide which pair is near


def test_pairs_are_near_and_far_in_turn_and_within_the_recording():
    sampler = NearAndFar(6, near=0.2, far=1.0)
    rng = torch.Generator().manual_seed(0)
    for duration in (sampler.seconds, 1.5, 4.0):
        info = VideoInfo("none.mp4", duration, 25.0, (64, 64))
        for _ in range(50):
            times = sampler(info, rng).times
            assert times.min() >= 0 and times.max() < duration  # noqa: PT018
            gaps = times.diff(dim=1)[:, 0]
            assert (gaps[0::2] <= 0.2).all() and (gaps[1::2] >= 1.0 - 1e-5).all()  # noqa: PT018


def test_edges_take_over_the_detector_at_the_end_of_each_round():
    torch.manual_seed(0)
    method = EdgesFromMotion(ResNet(18, 8), width=8, rounds=2)
    torch.nn.init.constant_(method.head.out.bias, 0.5)
    video, times = torch.randn(2, 1, 3, 3, 32, 32), torch.zeros(2, 1, 3).double()
    clips = Clips(video, times, target=torch.rand(2, 1, 3, 32, 32))
    first = method.strength(clips, (8, 8))
    method.after_step(0.4)
    assert torch.equal(method.strength(clips, (8, 8)), first) and int(method.round) == 0  # noqa: PT018
    method.after_step(0.5)
    assert int(method.round) == 1
    assert method.teacher["head"].out.bias.item() == 0.5
    later = method.strength(clips, (8, 8))
    assert not torch.allclose(later, first)
    torch.nn.init.constant_(method.head.out.bias, -3.0)  # the copy is constant within a round
    method.after_step(0.9)
    assert torch.equal(method.strength(clips, (8, 8)), later)
    assert np.isfinite(later.numpy()).all()
