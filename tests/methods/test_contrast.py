"""Contrast between clips and over time: momentum copies, MoCo, BYOL, TCN."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made import clips_of
from scipy.stats import kendalltau
from torch import nn
from torch.nn import functional as F

from avssl.data.samplers import RandomClips
from avssl.encoders import R3D, ResNet
from avssl.media import VideoInfo
from avssl.methods import BYOL, TCN, MoCo
from avssl.methods.losses import (
    identification_accuracy,
    lifted,
    n_pairs,
    retrieval_accuracy,
    squared_distances,
    triplet,
)
from avssl.methods.momentum import MomentumCopy, momentum_schedule, unbiased_statistics
from avssl.methods.temporal.tcn import Moments, kendall, relations
from avssl.synthetic import Scene, World


def test_a_copy_is_first_the_mean_of_all_weights_and_then_their_moving_average():
    network = nn.Linear(1, 1, bias=False)
    weights = [1.0, 3.0, 5.0, 2.0, 0.0, 7.0, 4.0]
    network.weight.data.fill_(weights[0])
    copy = MomentumCopy(network, momentum=0.7)
    expected = weights[0]
    for step, weight in enumerate(weights[1:], start=1):
        network.weight.data.fill_(weight)
        copy.follow(network, progress=1e-9)
        kept = min(0.7, step / (step + 1))
        expected = kept * expected + (1 - kept) * weight
        assert copy.network.weight.item() == pytest.approx(expected)
        if step <= 2:
            assert expected == pytest.approx(sum(weights[: step + 1]) / (step + 1))
    copy.follow(network, progress=1.0)  # at the end of the run the copy no longer changes
    assert copy.network.weight.item() == pytest.approx(expected)
    assert [momentum_schedule(0.9, p) for p in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1.0])


def test_a_copy_is_not_trained_and_looks_at_one_clip_at_a_time():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    copy = MomentumCopy(network, 0.9).train()
    network(torch.randn(16, 4))
    copy.follow(network, 0.1)
    assert copy.network[1].running_mean.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    rows = torch.randn(6, 4)
    assert not copy(rows).requires_grad
    torch.testing.assert_close(copy(rows)[:1], copy(rows[:1]))


def test_a_copy_knows_the_statistics_of_what_was_seen_from_the_first_step():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    network[0].weight.data.mul_(1e-2)  # far from the initial running variance 1
    copy = MomentumCopy(network, 0.9)
    means, variances = [], []
    for batch in torch.randn(3, 64, 4):
        network(batch)
        hidden = network[0](batch)
        means.append(hidden.mean(0))
        variances.append(hidden.var(0))
        copy.follow(network, 1e-9)
        seen = unbiased_statistics(network)
        weights = [0.9**age for age in reversed(range(len(means)))]
        for name, part in (("1.running_mean", means), ("1.running_var", variances)):
            expected = sum(weight * value for weight, value in zip(weights, part, strict=True)) / sum(weights)
            torch.testing.assert_close(seen[name], expected, rtol=1e-3, atol=1e-6)
        if len(means) == 1:
            torch.testing.assert_close(copy.network[1].running_mean, means[0], rtol=1e-3, atol=1e-6)
            torch.testing.assert_close(copy.network[1].running_var, variances[0], rtol=1e-3, atol=1e-6)


def test_a_copy_of_a_network_that_has_seen_nothing_and_of_any_other_buffer():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    network.register_buffer("scale", torch.zeros(2))
    copy = MomentumCopy(network, 0.9)
    network.scale.fill_(2.0)
    copy.follow(network, 1e-9)
    assert copy.network.scale.tolist() == pytest.approx([1.0, 1.0])
    assert copy.network[0].running_mean.tolist() == pytest.approx([0.0] * 3)
    assert copy.network[0].running_var.tolist() == pytest.approx([1.0] * 3)


def test_what_byol_has_to_predict_differs_between_clips_from_the_first_step():
    torch.manual_seed(0)
    method = BYOL(R3D(8, differences=True), RandomClips(2, 8, 0.1), hidden=64, out=32, momentum=0.97)
    clips = clips_of(8, 2)
    method(clips)
    method.after_step(1 / 500)
    said = nn.functional.normalize(method.copy(clips.video[:, 0]), dim=1)
    other = ~torch.eye(8, dtype=torch.bool)
    assert (said @ said.T)[other].mean() < 0.9  # 0.98 with the initial statistics


def test_the_nearest_key_counts_whatever_the_lengths_and_collapse_is_at_chance():
    keys = torch.eye(4)[:, :3] + 0.1
    correct, chance = retrieval_accuracy(keys * torch.tensor([[1.0], [9.0], [2.0], [3.0]]), keys)
    assert correct.tolist() == [1.0] * 4
    assert chance.tolist() == [0.25] * 4
    assert retrieval_accuracy(keys, torch.ones(4, 3))[0].mean() == 0.25


def moco(queue):
    torch.manual_seed(0)
    return MoCo(R3D(8), RandomClips(2, 8, 0.1), hidden=16, out=6, queue=queue, temperature=0.2, momentum=0.5)


def test_moco_is_the_cross_entropy_of_the_papers_equation_1():
    method = moco(queue=10)
    clips = clips_of(3, 2)
    method(clips)
    method.after_step(0.5)  # three keys in the queue
    method.eval()
    loss = method(clips)["loss"]
    query = F.normalize(method.head(method.encoder(clips.video[:, 0])), dim=1)
    keys = F.normalize(method.copy(clips.video[:, 1]), dim=1)
    total = 0.0
    for i in range(3):
        weights = [math.exp(float(query[i] @ key) / 0.2) for key in [*keys, *method.queue.keys[:3]]]
        total -= math.log(weights[i] / sum(weights)) / 3
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_the_queue_holds_the_latest_keys_and_is_left_alone_by_measuring():
    method = moco(queue=5)
    seen = []
    for step in range(4):
        batch = clips_of(2, 2)
        batch = replace(batch, video=batch.video + step)
        seen += list(F.normalize(method.copy(batch.video[:, 1]), dim=1))
        method(batch)
        method.after_step((step + 1) / 4)
    kept = {tuple(row.tolist()) for row in method.queue.keys}
    assert kept == {tuple(row.tolist()) for row in seen[-5:]}
    before = method.queue.keys.clone()
    method.eval()(batch)
    method.after_step(1.0)
    assert torch.equal(method.queue.keys, before)
    names = {"queue.keys": "queue", "queue.seen": "seen"}
    earlier = {names.get(name, name): value for name, value in method.state_dict().items()}
    assert {"queue", "seen"} <= earlier.keys()
    again = torch.nn.ModuleDict({"method": moco(queue=5)})  # as in a run's checkpoint
    again.load_state_dict({f"method.{name}": value for name, value in earlier.items()})
    assert torch.equal(again["method"].queue.keys, before)
    assert again["method"].queue.seen == method.queue.seen == 8


def test_moco_without_a_queue_does_not_care_which_clip_comes_first():
    method = moco(queue=0).eval()
    clips = clips_of(3, 2)
    swapped = replace(clips, video=clips.video.flip(1))
    torch.testing.assert_close(method(clips)["loss"], method(swapped)["loss"])
    assert sum(p.numel() for p in method.predictor.parameters()) > 0
    assert moco(queue=4).eval()(clips)["loss"] != moco(queue=4).eval()(swapped)["loss"]


def test_with_more_clips_every_one_is_matched_with_every_other_and_all_keys_are_enqueued():
    torch.manual_seed(0)
    method = MoCo(R3D(8), RandomClips(3, 8, 0.1), hidden=16, out=6, queue=12, temperature=0.2)
    clips = clips_of(2, 3)
    method(clips)
    method.after_step(0.5)
    assert method.queue.seen == 6
    for _ in range(2):  # a step of two forward passes
        method(clips)
    method.after_step(0.6)
    assert method.queue.seen == 18
    method.eval()
    queries = [F.normalize(method.head(method.encoder(clips.video[:, n])), dim=1) for n in range(3)]
    keys = [F.normalize(method.copy(clips.video[:, n]), dim=1) for n in range(3)]
    total = 0.0
    for one in range(3):
        for other in set(range(3)) - {one}:
            for video in range(2):
                products = [queries[one][video] @ key / 0.2 for key in [*keys[other], *method.queue.keys]]
                total += (torch.stack(products).logsumexp(0) - products[video]).item() / 12
    assert method(clips)["loss"].item() == pytest.approx(total, rel=1e-4)
    with pytest.raises(ValueError, match=r"at least 2, a query and its key; got 1"):
        MoCo(R3D(8), RandomClips(1, 8, 0.1))


def test_byol_predicts_every_clip_from_every_other():
    torch.manual_seed(0)
    method = BYOL(R3D(8), RandomClips(3, 8, 0.1), hidden=16, out=6).eval()
    clips = clips_of(2, 3)
    predicted = method.predictor(method.head(method.encoder(clips.video.flatten(0, 1)))).unflatten(0, (2, 3))
    wanted = method.copy(clips.video.flatten(0, 1)).unflatten(0, (2, 3))
    total = 0.0
    for one in range(3):
        for other in set(range(3)) - {one}:
            unit = [row / row.norm(dim=1, keepdim=True) for row in (predicted[:, one], wanted[:, other])]
            total += (unit[0] - unit[1]).square().sum(1).mean().item() / 6  # equation 2 of Grill et al.
    out = method(clips)
    assert out["loss"].item() == pytest.approx(total, rel=1e-4)
    order = torch.tensor([2, 0, 1])
    again = method(replace(clips, video=clips.video[:, order]))
    torch.testing.assert_close(again["loss"], out["loss"])
    with pytest.raises(ValueError, match=r"at least 2, got 1"):
        BYOL(R3D(8), RandomClips(1, 8, 0.1))


def test_a_guess_that_is_always_the_same_is_told_apart_by_chance():
    assert identification_accuracy(torch.ones(5, 7, 7)).unique().tolist() == [0.5]
    same_targets = squared_distances(torch.randn(7, 3), torch.ones(7, 3))
    assert identification_accuracy(same_targets).mean().item() == pytest.approx(0.5, abs=0.15)
    perfect = torch.randn(7, 3)
    assert identification_accuracy(squared_distances(perfect, perfect)).mean() == pytest.approx(1 - 0.5 / 7)


def naive_relations(times, window, margin):
    count = len(times)
    near = [[i != j and abs(times[i] - times[j]) <= window + 1e-6 for j in range(count)] for i in range(count)]
    far = [[abs(times[i] - times[j]) > margin + 1e-6 for j in range(count)] for i in range(count)]
    return near, far


def example():
    torch.manual_seed(0)
    times = torch.tensor([0.0, 0.3, 0.6, 0.9, 0.1, 0.35, 0.5, 0.85]).double()
    frames = F.normalize(torch.randn(1, 8, 5), dim=2)
    return times, frames


@pytest.mark.parametrize("choice", ["semi-hard", "hard"])
def test_triplets_are_those_of_the_paper(choice):
    times, frames = example()
    near, far = naive_relations(times.tolist(), 0.1, 0.25)
    total, count = 0.0, 0
    for i in range(8):
        for j in range(8):
            if not near[i][j]:
                continue
            apart = [(frames[0, i] - frames[0, k]).square().sum().item() for k in range(8)]
            negatives = [apart[k] for k in range(8) if far[i][k]]
            if choice == "hard":
                chosen = min(negatives)
            else:
                beyond = [value for value in negatives if value > apart[j]]
                chosen = min(beyond) if beyond else max(negatives)
            total, count = total + max(0.0, apart[j] - chosen + 0.2), count + 1
    positive, negative = relations(times[None], 0.1, 0.25)
    assert positive[0].tolist() == near
    assert negative[0].tolist() == far
    assert count == 8
    assert triplet(frames, positive, negative, 0.2, choice).item() == pytest.approx(total / count, rel=1e-4)


def test_n_pairs_is_equation_7_of_sohn():
    times, frames = example()
    first, second = frames[:, :4], frames[:, 4:]
    far = (times[:4, None] - times[None, 4:]).abs() > 0.25
    total = 0.0
    for one, other, allowed in ((first[0], second[0], far), (second[0], first[0], far.T)):
        for i in range(4):
            gaps = [math.exp(float(one[i] @ other[j] - one[i] @ other[i])) for j in range(4) if allowed[i, j]]
            total += math.log(1 + sum(gaps)) / 8
    assert n_pairs(first, second, far[None], shrink=0.0).item() == pytest.approx(total, rel=1e-4)
    more = n_pairs(2 * first, 2 * second, far[None], shrink=0.5) - n_pairs(2 * first, 2 * second, far[None], shrink=0.0)
    assert more.item() == pytest.approx(0.5 * 4)


def test_lifted_is_equation_4_of_oh_song():
    times, frames = example()
    near, far = naive_relations(times.tolist(), 0.1, 0.25)
    apart = torch.cdist(frames[0], frames[0])
    costs = []
    for i in range(8):
        for j in range(8):
            if near[i][j]:
                pull = sum(math.exp(1 - apart[i, k]) for k in range(8) if far[i][k])
                pull += sum(math.exp(1 - apart[j, k]) for k in range(8) if far[j][k])
                costs.append(max(0.0, math.log(pull) + apart[i, j].item()) ** 2)
    positive, negative = relations(times[None], 0.1, 0.25)
    assert lifted(frames, positive, negative).item() == pytest.approx(sum(costs) / len(costs) / 2, rel=1e-4)


@pytest.mark.parametrize("loss", [triplet, lifted])
def test_frames_that_coincide_or_have_no_negative_give_finite_gradients(loss):
    times = torch.tensor([[0.0, 0.0, 0.3, 0.3, 0.6]]).double()
    frames = torch.ones(1, 5, 3, requires_grad=True)
    loss(frames, *relations(times, 0.1, 0.4)).backward()
    assert frames.grad.isfinite().all()


@pytest.mark.parametrize("views", [1, 2])
def test_every_moment_has_a_positive_and_a_negative(views):
    sampler = Moments(8, 0.2, 0.15, 0.3, views)
    info = VideoInfo("x.mp4", duration=sampler.seconds, fps=25.0, size=(8, 8))
    for seed in range(30):
        drawn = sampler(replace(info, duration=info.duration * (1 + seed / 10)), torch.Generator().manual_seed(seed))
        assert drawn.view.tolist() == [0, views - 1]
        assert drawn.times.min() >= 0
        assert drawn.times.max() < info.duration * (1 + seed / 10)
        positive, negative = relations(drawn.times.flatten()[None], 0.15, 0.3)
        assert positive.any(2).all()
        assert negative.any(2).all()
    with pytest.raises(ValueError, match="no negative"):
        Moments(4, 0.1, 0.1, 0.3)


def test_kendalls_tau_is_scipys():
    rng = torch.Generator().manual_seed(0)
    times, found = torch.rand(5, 9, generator=rng), torch.rand(5, 9, generator=rng)
    expected = [kendalltau(one.numpy(), other.numpy()).statistic for one, other in zip(times, found, strict=True)]
    assert kendall(times, found).tolist() == pytest.approx(expected, abs=1e-6)


def test_alignment_and_order_are_one_for_a_clock_and_a_half_for_a_stopped_one():
    method = TCN(ResNet(18, 8), Moments(6, 0.2, 0.0, 0.2, views=2), loss="n-pairs", hidden=8).eval()
    times = (torch.arange(6) * 0.2).double().expand(2, 2, 6)
    clips = clips_of(2, 2, 6, times=times)
    shown = {}
    method.encoder.maps = lambda video: torch.zeros(len(video), 64, 6, 1, 1)
    method.head = nn.Module()
    method.head.forward = lambda maps: shown["frames"]
    shown["frames"] = times.flatten()[:, None].float()
    out = method(clips)
    assert (out["aligned"].tolist(), out["ordered"].tolist()) == ([1.0, 1.0], [1.0, 1.0])
    shown["frames"] = torch.ones(24, 3)
    out = method(clips)
    assert out["ordered"].tolist() == [0.5, 0.5]
    pairs = [abs(i - j) / 5 for i in range(6) for j in range(6)]
    assert out["chance/aligned"].tolist() == pytest.approx([1 - sum(pairs) / 36] * 2)
    assert (out["aligned"] < out["chance/aligned"]).all()  # always the first frame is worse than a random one


def test_two_cameras_are_not_aligned_by_their_pixels():
    """Shortcut: if nearest pixels were aligned, there would be nothing to learn."""
    world = World(videos=64, seconds=3.0, size=64, views=2)  # a few scenes differ too much
    begins = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.8
    times = begins[:, None] + 0.2 * torch.arange(12)  # [64, 12]
    frames = torch.stack(
        [
            torch.stack([pixels(Scene(world, scene, view=view), times[scene]) for view in range(2)])
            for scene in range(64)
        ]
    )  # [64, 2, 12, 768]
    nearest = squared_distances(frames[:, 0], frames[:, 1]).argmin(2)
    order = kendall(times, times.gather(1, nearest))
    same = squared_distances(frames[:, 0], frames[:, 0] + torch.randn_like(frames[:, 0])).argmin(2)
    assert kendall(times, times.gather(1, same)).mean() > 0.9  # as with a single camera
    assert order.mean() < 0.3


def pixels(scene, times):
    """``[T, 768]`` 16 x 16 pixels of a scene at some times."""
    small = [cv2.resize(scene.frame(time), (16, 16), interpolation=cv2.INTER_AREA) for time in times.tolist()]
    return torch.from_numpy(np.stack(small)).float().flatten(1)
