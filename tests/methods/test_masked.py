"""Masked prediction on clips: VideoMAE, V-JEPA."""

import pytest
import torch
from made import clips_of
from torch import nn

from avssl.data.samplers import RandomClips
from avssl.encoders import ViT
from avssl.methods import VJEPA, VideoMAE
from avssl.methods.temporal.masks import block_mask, tube_mask, visible_places
from avssl.methods.temporal.videomae import standardised
from avssl.methods.temporal.vjepa import MASKS


def test_tubes_hide_the_same_places_all_the_time():
    visible, hidden = tube_mask(3, (4, 10, 10), 0.9, torch.device("cpu"))
    assert visible.shape == (3, 4 * 10)
    assert hidden.shape == (3, 4 * 90)
    together = torch.cat([visible, hidden], 1).sort(1).values
    assert torch.equal(together, torch.arange(400).expand(3, -1))
    places = hidden.unflatten(1, (4, 90)) - 100 * torch.arange(4)[:, None]
    assert torch.equal(places[:, :1].expand(-1, 4, -1).sort(2).values, places.sort(2).values)
    assert not torch.equal(hidden[0].sort().values, hidden[1].sort().values)


def mae():
    torch.manual_seed(0)
    return VideoMAE(ViT(16, 1, patch=8), RandomClips(1, 4, 0.1), hidden=24, depth=1).eval()


def test_videomae_can_not_see_what_is_hidden():
    method = mae()
    video = clips_of(2, 1, 4).video[:, 0]
    patches = method.encoder.patches(video)
    torch.manual_seed(1)
    hidden, predicted = method._predict(video, patches)
    noise = patches.scatter(1, hidden[..., None].expand(-1, -1, patches.shape[2]), 7.0)
    torch.manual_seed(1)
    again = method._predict(method.encoder.pixels(noise, method.encoder.grid(video)), noise)
    assert torch.equal(again[0], hidden)
    assert torch.equal(again[1], predicted)


def test_videomae_is_the_error_on_hidden_tokens_normalised_by_channel():
    method = mae()
    clips = clips_of(2, 1, 4)
    torch.manual_seed(1)
    out = method(clips)
    torch.manual_seed(1)
    hidden, predicted = method._predict(clips.video[:, 0], method.encoder.patches(clips.video[:, 0]))
    total, count = 0.0, 0
    for b in range(2):
        for place, token in enumerate(hidden[b].tolist()):
            t, h, w = token // 16, token // 4 % 4, token % 4
            block = clips.video[b, 0, 2 * t : 2 * t + 2, :, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8]
            block = (block - block.mean((0, 2, 3), keepdim=True)) / block.std((0, 2, 3), keepdim=True)
            total += (predicted[b, place] - block.permute(0, 2, 3, 1).flatten()).square().sum().item()
            count += block.numel()
    assert out["loss"].item() == pytest.approx(total / count, rel=1e-3)


def test_videomae_begins_with_the_same_guess_for_all_tokens():
    method = mae()
    _, predicted = method._predict(clips_of(2, 1, 4).video[:, 0], torch.rand(2, 32, 384))
    assert 0 < (predicted - method.pixels.bias).square().mean() < 1e-3  # the target has variance 1


def test_videomae_that_is_right_is_identified_among_64_tokens_or_a_few_more(monkeypatch):
    method = mae()
    clips = clips_of(2, 1, 8, size=64)  # 4 x 58 masked tokens, of which every third is compared
    patches = method.encoder.patches(clips.video[:, 0])
    _, hidden = tube_mask(2, (4, 8, 8), 0.9, torch.device("cpu"))
    truth, _, _ = standardised(patches.gather(1, hidden[..., None].expand(-1, -1, patches.shape[2])))
    monkeypatch.setattr(method, "_predict", lambda video, patches: (hidden, truth))
    assert method(clips)["identified"].tolist() == pytest.approx([1 - 0.5 / 78] * 2)
    monkeypatch.setattr(method, "_predict", lambda video, patches: (hidden, truth.roll(1, 0)))  # of another clip
    assert method(clips)["identified"].tolist() == pytest.approx([0.5] * 2, abs=0.1)


def test_a_flat_token_has_nothing_to_say():
    flat, _, _ = standardised(torch.full((1, 2, 12), 0.3))
    assert flat.abs().max() < 1e-3


@pytest.mark.parametrize("grid", [(2, 14, 14), (3, 4, 6), (1, 2, 2)])
@pytest.mark.parametrize("kind", MASKS)
def test_blocks_are_tubes_and_always_leave_something_to_see_and_to_hide(grid, kind):
    torch.manual_seed(0)
    t, places = grid[0], grid[1] * grid[2]
    visible, hidden = block_mask(40, grid, *kind, torch.device("cpu"))
    together = torch.cat([visible, hidden], 1).sort(1).values
    assert torch.equal(together, torch.arange(t * places).expand(40, -1))
    left = visible_places(*grid[1:], *kind)
    assert 0 < left < places
    assert visible.shape == (40, t * left)
    frames = visible.unflatten(1, (t, left)) - places * torch.arange(t)[:, None]
    assert torch.equal(frames, frames[:, :1].expand_as(frames))
    if places > 4:
        assert not torch.equal(visible[0].sort().values, visible[1].sort().values)


def blocks_of_the_paper(grid, count, share):
    """Which places blocks of exactly the paper's size hide, [H', W'] bool."""
    _, h, w = grid
    aspect = 0.75 + 0.75 * torch.rand(()).item()
    height, width = (min(n, max(1, round((share * h * w * a) ** 0.5))) for n, a in ((h, aspect), (w, 1 / aspect)))
    hidden = torch.zeros(h, w, dtype=torch.bool)
    for _ in range(count):
        top, left = (int(torch.randint(room + 1, ())) for room in (h - height, w - width))
        hidden[top : top + height, left : left + width] = True
    return hidden


@pytest.mark.parametrize("kind", MASKS)
def test_blocks_hide_as_much_as_the_papers_and_are_as_compact(kind):
    torch.manual_seed(0)
    grid, borders = (1, 14, 14), []
    papers = torch.stack([blocks_of_the_paper(grid, *kind) for _ in range(200)])
    assert visible_places(14, 14, *kind) == pytest.approx((~papers).float().sum((1, 2)).mean().item(), abs=3)
    _, hidden = block_mask(200, grid, *kind, torch.device("cpu"))
    ours = torch.zeros(200, 196, dtype=torch.bool).scatter(1, hidden, True).unflatten(1, (14, 14))
    for masks in (ours, papers, ours.flatten(1)[:, torch.randperm(196)].unflatten(1, (14, 14))):
        borders.append((masks.int().diff(dim=1).abs().sum() + masks.int().diff(dim=2).abs().sum()) / 200)
    assert borders[0] < 1.3 * borders[1]  # the length of the border between what is seen and what is hidden
    assert borders[2] > 1.5 * borders[1]  # of the same number of scattered places
    places = ours.float().mean(0)
    assert places[5:9, 5:9].mean() > places[[0, 0, -1, -1], [0, -1, 0, -1]].mean()  # blocks lie within the image


def test_vjepa_predicts_normalised_features_from_the_visible_part_alone():
    torch.manual_seed(0)
    method = VJEPA(ViT(16, 1, patch=8), RandomClips(1, 4, 0.1), hidden=24, depth=1).eval()
    wanted = method._targets(clips_of(3, 1, 4).video[:, 0])
    torch.testing.assert_close(wanted.mean(2), torch.zeros(3, 32), atol=1e-4, rtol=0)
    torch.testing.assert_close(wanted.var(2, unbiased=False), torch.ones(3, 32), atol=1e-2, rtol=0)
    seen = []
    method.encoder.blocks.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    method(clips_of(3, 1, 4))["loss"].backward()
    assert len(seen) == 2  # once per mask; the copy has its own blocks
    assert max(seen) < 32
    assert all(parameter.grad is None for parameter in method.copy.parameters())


def test_vjepa_that_has_collapsed_has_a_small_loss_and_is_at_chance():
    method = VJEPA(ViT(16, 1, patch=8), RandomClips(1, 4, 0.1), hidden=24, depth=1)
    for embed in (method.encoder.embed, method.copy.network.embed):
        nn.init.zeros_(embed.weight)
    nn.init.zeros_(method.reduce.weight)
    clips = clips_of(4, 1, 4)
    optimizer = torch.optim.Adam([*method.predictor.parameters(), *method.expand.parameters()], 1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        out = method(clips)
        out["loss"].backward()
        optimizer.step()
        losses.append(out["loss"].item())
    assert losses[-1] < 0.3 * losses[0]
    assert out["identified"].mean().item() == pytest.approx(0.5, abs=0.02)
