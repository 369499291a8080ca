"""Methods of the face world: parts move with pictures, and the decoder unwraps what the world renders."""

import numpy as np
import pytest
import torch

from avssl.encoders import ResNet
from avssl.labels import FaceCodes, read_faces
from avssl.labels.faces import CODE
from avssl.methods.frame.aet import warp
from avssl.methods.temporal import co_parts
from avssl.methods.temporal.face_adaptation import SPREAD, USUAL, FaceAdaptation, FaceDecoder
from avssl.synthetic import TRUTH, FaceScene, FaceWorld

WORLD = FaceWorld(videos=80)


def blobs(places, size=48, spread=0.08):
    """Return shares ``[1, 1 + K, size, size]`` of parts that are blobs at ``[K, 2]`` places, on a background."""
    cells = co_parts.cell_places(torch.zeros(size, size))
    heat = torch.exp(-(cells - places[:, None, None]).square().sum(3) / (2 * spread**2))
    return torch.cat([(1 - heat.sum(0)).clamp(min=0)[None], heat])[None]


def test_centres_and_spread_are_those_of_gaussian_blobs() -> None:
    places = torch.tensor([[0.2, -0.4], [-0.5, 0.1]])
    shares = blobs(places)
    assert torch.allclose(co_parts.centres(shares)[0], places, atol=0.01)
    assert torch.allclose(co_parts.spread(shares)[0], torch.full((2,), 2 * 0.08**2), rtol=0.05)
    together = torch.stack([shares[:, 0], shares[:, 1] + shares[:, 2], 0.01 * shares[:, 1]], 1)
    assert co_parts.concentration(together) > 5 * co_parts.concentration(shares)  # one part that takes all


def test_parts_that_move_with_the_picture_cost_nothing_and_others_do() -> None:
    torch.manual_seed(0)
    method = co_parts.CoParts(ResNet(depth=18, width=8), ResNet(depth=18, width=8), parts=2)
    shares = blobs(torch.tensor([[0.2, -0.3], [-0.3, 0.1]]), 96)
    matrices, *moves = co_parts.random_similarity(1, torch.device("cpu"))
    apart, away = method._equivariance(shares, warp(shares, matrices, "zeros"), matrices, moves)
    still, off = method._equivariance(shares, shares, matrices, moves)
    assert apart < 1e-3
    assert away < 1e-3
    assert still > 20 * apart
    assert off > 20 * away


def test_features_that_are_sums_of_the_parts_vectors_are_explained_and_the_frozen_network_stays() -> None:
    method = co_parts.CoParts(ResNet(depth=18, width=8), ResNet(depth=18, width=8), parts=2).train()
    shares = blobs(torch.tensor([[0.2, -0.3], [-0.3, 0.1]]), 24)
    made = torch.einsum("mkhw,kd->mdhw", shares[:, 1:], method.vectors)
    every = torch.ones(1, 24, 24, dtype=torch.bool)
    assert method._semantic(shares, made, every, every) < 1e-9
    assert method._semantic(shares, made.roll(5, 3), every, every) > 0.1
    assert not method.features.training
    assert not any(parameter.requires_grad for parameter in method.features.parameters())


def test_the_vectors_start_as_the_means_of_clusters_and_still_cells_weigh_less() -> None:
    torch.manual_seed(0)
    method = co_parts.CoParts(ResNet(depth=18, width=8), ResNet(depth=18, width=8), parts=2, still=0.3)
    kinds = torch.eye(2).repeat_interleave(16, 1).repeat(co_parts.CELLS // 2, 1)  # [CELLS, 32]
    for _ in range(co_parts.BEGIN):
        assert method.vectors.max() < 1
        method.fresh = [3 * kinds]
        method.after_step(0.5)
    assert torch.allclose(method.vectors @ method.vectors.T, 9 * 16 * torch.eye(2), atol=1e-3)
    shares, sure = torch.rand(1, 3, 4, 4).softmax(1), torch.ones(1, 4, 4, dtype=torch.bool)
    moving = torch.arange(16).view(1, 4, 4) < 8
    target, errors = torch.ones(1, 32, 4, 4), []
    for weight in (1.0, 0.0, 0.3):
        method.still = weight
        errors.append(method._semantic(shares, target, moving, sure))
    assert torch.isclose(errors[2], 0.3 * errors[0] + 0.7 * errors[1])


def test_the_decoder_is_the_worlds_mesh_and_the_numbers_are_standardised_by_the_studio() -> None:
    decoder, rows = FaceDecoder(), []
    for index in range(WORLD.videos):
        scene, times = FaceScene(WORLD, index), np.array([0.3, 1.2, 2.1])
        rows.append(np.concatenate([scene.code(times), scene.pose(times)], 1))
        points = decoder(torch.tensor(rows[-1], dtype=torch.float32))
        pixels = (points[..., :2] + 1) * WORLD.size / 2 - 0.5
        assert np.abs(pixels.numpy() - scene.points(times)[..., :2]).max() < 1e-3
    known = np.concatenate(rows)
    assert np.abs((known.mean(0) - USUAL) / SPREAD).max() < 0.5
    assert (np.abs(np.log(known.std(0) / SPREAD)) < 0.45).all()


def test_textures_agree_where_the_geometry_is_right_and_not_where_it_lags() -> None:
    method, right, lag = FaceAdaptation(ResNet(depth=18, width=8)), [], []
    for index in range(4):
        scene, times = FaceScene(WORLD, index), np.array([0.3, 0.6, 0.9])
        frames = np.stack([scene.frame(t) for t in times])
        video = torch.tensor(frames).permute(0, 3, 1, 2)[None].float() / 255
        rows = np.concatenate([scene.code(times), scene.pose(times)], 1)
        points = method.decoder(torch.tensor(rows, dtype=torch.float32))[None]
        right.append(method.change(video, points).mean())
        lag.append(method.change(video, points[:, [0, 0, 1]]).mean())
        _, seen = method.decoder.unwrap(video[0], points[0])
        assert 0.5 < seen.mean() <= 1
    assert sum(lag) > 2 * sum(right)


def test_details_correlate_with_the_studios_where_the_geometry_is_right() -> None:
    method, times = FaceAdaptation(ResNet(depth=18, width=8)), np.array([0.3, 1.2])
    known = []
    for index in range(10):
        scene = FaceScene(WORLD, index)
        frames = np.stack([scene.frame(t) for t in times])
        rows = np.concatenate([scene.code(times), scene.pose(times)], 1)
        video = torch.tensor(frames).permute(0, 3, 1, 2)[None].float() / 255
        known.append((video, method.decoder(torch.tensor(rows, dtype=torch.float32))[None]))
    video, points = (torch.cat(parts) for parts in zip(*known[:8], strict=True))
    labelled = torch.ones(8)
    labelled[0] = 0
    video[0] = 99  # is not read
    method._learn_texture(video, points, labelled)
    right, beside = (
        sum(method.strangeness(video, points + shift).mean() for video, points in known[8:])
        for shift in (torch.zeros(3), torch.tensor([0.15, 0.1, 0]))
    )
    assert right < 0.95 * beside


def test_only_videos_of_the_given_domains_have_codes(faces) -> None:
    from avssl.media import probe

    paths = [faces / "studio" / "00000.mp4", faces / "phone" / "00001.mp4"]
    frames, times = torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), torch.tensor([[0.2, 0.4]], dtype=torch.float64)
    studio, phone = (FaceCodes()(frames, times, probe(path)) for path in paths)
    assert studio.isfinite().all()
    assert phone.isnan().all()
    assert FaceCodes(("studio", "phone"))(frames, times, probe(paths[1])).isfinite().all()
    rows = read_faces(paths[0].with_suffix(TRUTH))
    assert np.allclose(studio[0], rows[[5, 10]], atol=1e-5)
    assert rows.shape[1] == CODE + 6
    with pytest.raises(ValueError, match="expected some of studio, phone"):
        FaceCodes(("street",))
