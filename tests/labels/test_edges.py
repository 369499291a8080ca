import numpy as np
import torch

from avssl.labels import MotionEdges, boundary_f, image_edges
from avssl.labels.edges import jumps, smooth_flow
from avssl.pixels import lab_to_rgb, rgb_to_lab
from avssl.synthetic import Scene, World


def test_flow_spreads_up_to_an_edge_and_not_across_it():
    measured = torch.zeros(1, 3, 8, 16)
    measured[:, 2] = 0.02  # hardly trusted anywhere
    measured[0, :, 4, 2] = torch.tensor([1.0, 0.0, 1.0])  # one sure measurement on each side
    measured[0, :, 4, 13] = torch.tensor([-1.0, 0.0, 1.0])
    edges = torch.zeros(1, 8, 16)
    edges[:, :, 7] = 1  # between columns 7 and 8
    flow = smooth_flow(measured, edges, steps=400)[0, 0]
    assert (flow[:, :8] > 0).all()
    assert (flow[:, 8:] < 0).all()
    assert jumps(flow[None, None])[0, 4].argmax() == 7
    even = smooth_flow(measured, torch.zeros_like(edges), steps=400)[0, 0]
    assert (flow[4, 7] - flow[4, 8]) > 3 * (even[4, 7] - even[4, 8])


def test_boundary_f_is_the_harmonic_mean_and_forgives_one_cell():
    truth = torch.zeros(16, 16, dtype=torch.bool)
    truth[:, 8] = True
    assert boundary_f(truth.roll(1, 1), truth) == 1
    assert boundary_f(truth.roll(2, 1), truth) == 0
    half = truth.clone()
    half[8:] = False
    assert torch.isclose(boundary_f(half, truth, tolerance=0), torch.tensor(2 * 0.5 / 1.5))
    assert boundary_f(torch.zeros_like(truth), truth) == 0


def test_motion_edges_lie_on_the_borders_of_what_moves():
    world = World(videos=8, size=96)
    found, plain = [], []
    for index in range(8):
        scene = Scene(world, index)
        times = [1.0, 1.08, 1.16]
        frames = torch.from_numpy(np.stack([scene.frame(t) for t in times]).transpose(0, 3, 1, 2))[None]
        edges = MotionEdges()(frames, torch.tensor(times)[None], None)[0]
        numbers = torch.from_numpy(scene.masks(1.08)).float()
        border = jumps(numbers[None])[0] > 0
        found.append(boundary_f(edges > 0.3, border).item())
        plain.append(boundary_f(torch.ones_like(border), border).item())
    assert np.mean(found) > 3 * np.mean(plain)


def test_image_edges_do_not_depend_on_contrast():
    picture = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(image_edges(picture), image_edges(20 * picture + 3), atol=1e-4)


def test_lab_of_known_colours_and_back():
    known = {
        (1, 1, 1): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (1, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 1): (32.30, 79.19, -107.86),
    }
    for rgb, lab in known.items():
        got = rgb_to_lab(torch.tensor(rgb).float().view(3, 1, 1)).flatten()
        assert torch.allclose(got, torch.tensor(lab).float(), atol=0.3), rgb
    colours = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lab_to_rgb(rgb_to_lab(colours)), colours, atol=2e-3)
