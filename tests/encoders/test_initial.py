"""First weights: k-means of what a layer sees, statistics or first blocks of a run; published networks' parameters."""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from avssl.encoders import CBR, ResNet, begin_with, save_encoder
from avssl.encoders.initial import _convolutions, _patches, change_rates, kmeans
from avssl.pixels import MEAN, STD

HEAD = 5  # classes, in the paper's counts
PUBLISHED = {"large_tall": 8_532_480, "large_wide": 8_432_128, "small": 2_108_672, "tiny": 1_076_480}


@pytest.mark.parametrize(("size", "count"), PUBLISHED.items())
def test_published_counts_are_the_kernels_above_the_first_layer_and_a_head(size, count):
    with torch.device("meta"):
        network = CBR(size)
    kernels = [layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert sum(kernels[1:]) + HEAD * network.num_features == count


def test_cbr_gives_maps_of_four_scales():
    network = CBR("tiny", width=8).eval()
    maps = network.stages(torch.randn(2, 3, 3, 32, 32))
    assert [tuple(found.shape[1:]) for found in maps] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert network(torch.randn(2, 3, 3, 32, 32)).shape == (2, 64)


def test_kmeans_gives_outputs_of_equal_variance_and_layers_that_change_alike():
    torch.manual_seed(0)
    network = ResNet(18, 8)
    clips = 2 * avg_pool2d(torch.randn(24, 3, 64, 64), 2)[:, None]  # smoother than noise, no two alike
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    convolutions = _convolutions(network, clips)

    def unequal():
        network.train()
        rates = change_rates(network, convolutions, clips, torch.Generator().manual_seed(1)).log()
        return (rates - rates.mean()).abs().mean()

    before = unequal()
    for name, value in network.named_buffers():
        value.copy_(buffers[name])
    begin_with(network, "kmeans", lambda: clips)
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())
    with torch.no_grad():
        seen = []
        convolutions[0].register_forward_hook(lambda _, __, output: seen.append(output))
        network.maps(clips)
    spread = seen[0].transpose(0, 1).flatten(1).std(1)
    assert (spread / spread.mean()).std() < 0.1
    assert unequal() < 0.6 * before


@pytest.mark.parametrize("seed", [0, 1])
def test_kmeans_where_a_layer_sees_one_place_and_the_padding_around_it(seed):
    """Most of what it sees is then constantly 0: its covariance has hundreds of eigenvalues of 0."""
    torch.manual_seed(seed)
    network = ResNet(18, 16)
    clips = 2 * interpolate(torch.randn(64, 3, 4, 4), size=(32, 32), mode="bilinear")[:, None]
    begin_with(network, "kmeans", lambda: clips)
    with torch.no_grad():
        maps = network.train().maps(clips)  # [64, 128, 1, 1, 1]
    assert maps.shape[3:] == (1, 1)
    assert maps.isfinite().all()
    assert maps.std(0).min() > 0


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d])
def test_patches_are_what_a_convolution_sees(kind):
    rng = torch.Generator().manual_seed(0)
    layer = kind(2, 3, 3, stride=2, padding=1, bias=False)
    inputs = torch.randn(2, 2, *(4, 6, 5)[: len(layer.kernel_size)], generator=rng)
    with torch.no_grad():
        answers = _patches(layer, inputs, 50, rng) @ layer.weight.flatten(1).T  # [50, 3]
        every = layer(inputs).movedim(1, -1).flatten(0, -2)
    assert (answers[:, None] - every).norm(dim=2).min(1).values.max() < 1e-4


def test_centres_are_directions_of_clusters():
    rng = torch.Generator().manual_seed(0)
    true = torch.eye(4)[:3]
    vectors = 5 * true.repeat(40, 1) + 0.3 * torch.randn(120, 4, generator=rng)
    found = kmeans(vectors, 16, rng)
    assert (found @ true.T).max(0).values.min() > 0.98


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(1)
    network = ResNet(18, 16)
    with torch.no_grad():
        network.net.layer1[0].conv1.weight.mul_(3).add_(0.2)
        network.net.bn1.running_mean.fill_(0.5)
    folder = tmp_path_factory.mktemp("run")
    save_encoder(network, folder / "encoder", {"mean": MEAN, "std": STD, "size": (32, 32)})
    return folder, network


def test_mean_var_knows_the_scale_of_each_layer_and_nothing_else(run):
    folder, theirs = run
    ours = ResNet(18, 8)  # of another width
    begin_with(ours, f"mean_var:{folder}", pytest.fail)
    mine, given = ours.net.layer1[0].conv1.weight, theirs.net.layer1[0].conv1.weight
    assert abs(mine.mean() - given.mean()) < 0.1 * given.std()
    assert 0.9 < mine.std() / given.std() < 1.1
    same = ResNet(18, 16)
    begin_with(same, f"mean_var:{folder}", pytest.fail)
    pair = torch.stack([same.net.layer1[0].conv1.weight.flatten(), given.flatten()])
    assert abs(torch.corrcoef(pair)[0, 1]) < 0.1


def test_first_blocks_are_the_runs_and_the_others_are_not(run):
    folder, theirs = run
    ours = ResNet(18, 16)
    last = ours.net.layer4[1].conv2.weight.clone()
    begin_with(ours, f"first_2:{folder}", pytest.fail)
    assert torch.equal(ours.net.layer1[1].conv2.weight, theirs.net.layer1[1].conv2.weight)  # the second block
    assert torch.equal(ours.net.bn1.running_mean, theirs.net.bn1.running_mean)
    assert not torch.equal(ours.net.layer2[0].conv1.weight, theirs.net.layer2[0].conv1.weight)
    assert torch.equal(ours.net.layer4[1].conv2.weight, last)


@pytest.mark.parametrize(
    ("initial", "message"),
    [("means", "expected random, kmeans"), ("first_9:{}", "8 blocks, not 9"), ("mean_var:/nowhere", "/nowhere")],
)
def test_wrong_starts_are_named(run, initial, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        begin_with(ResNet(18, 16), initial.format(run[0]), pytest.fail)
