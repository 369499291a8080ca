"""Pseudo-labels from the features of recent clips."""

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import ResNet
from avssl.methods import DeepCluster
from avssl.methods.clustering import Clusters, NestedClusters, nmi


def blobs(kinds=4, each=16, width=8):
    torch.manual_seed(0)
    kind = torch.arange(kinds).repeat_interleave(each)
    return torch.randn(kinds, width)[kind] * 4 + 0.3 * torch.randn(len(kind), width), kind


def test_mutual_information_is_scikit_learns():
    first, second = torch.randint(5, (200,)), torch.randint(5, (200,))
    for one, other in ((first, second), (first, first.roll(7)), (first, 4 - first)):
        wanted = normalized_mutual_info_score(one, other, average_method="geometric")
        assert nmi(one, other, 5).item() == pytest.approx(wanted, abs=1e-9)
    assert nmi(first, torch.zeros_like(first), 5).item() == 0


def run(clusters, features, steps):
    clusters.train()
    for _ in range(steps):
        clusters.assign(features)
        clusters.after_step()


def test_clusters_are_found_and_their_labels_stay():
    features, kind = blobs()
    clusters = Clusters(8, 4, 64, 2)
    run(clusters, features, 8)
    labels = clusters.assign(features)
    assert nmi(labels, kind, 4).item() == pytest.approx(1)
    assert clusters.agreement.value == pytest.approx(1, abs=1e-6)
    assert clusters.shuffled.value < 0.3
    assert clusters.known == 64


def test_rare_clusters_count_as_much_as_common_ones():
    clusters = Clusters(2, 2, 16, 100)
    clusters.stored.set(16)
    clusters.labels.copy_(torch.tensor([0] * 12 + [1] * 4))
    weights = clusters.weights()
    assert (weights * torch.tensor([12, 4])).tolist() == pytest.approx([8, 8])


def test_fine_clusters_lie_within_coarse_ones():
    features, _ = blobs(kinds=2, each=64)
    clusters = NestedClusters(8, 2, 3, 128, 2)
    run(clusters, features, 6)
    labels = clusters.assign(features)
    coarse = F.normalize(clusters.norm(features), dim=1) @ clusters.centres.T
    assert torch.equal(labels // 3, coarse.argmax(1))
    assert len(labels.unique()) == 6


def test_a_memory_smaller_than_the_clusters_is_refused():
    with pytest.raises(ValueError, match="memory is 3"):
        Clusters(8, 4, 3, 2)


def test_a_clip_should_have_the_cluster_of_the_next_one_of_its_video():
    torch.manual_seed(0)
    method = DeepCluster(ResNet(18, 8), clusters=4, memory=16)
    shown = torch.randn(4, 3, 1, 3, 16, 16)
    features = method.encoder(shown.flatten(0, 1))
    labels = method.clusters.assign(features).unflatten(0, (4, 3))
    wanted = labels[:, [1, 2, 0]].flatten()
    assert not torch.equal(wanted, labels.flatten())
    loss = F.cross_entropy(method.head(features), wanted, method.clusters.weights())
    assert method(Clips(shown, torch.zeros(4, 3, 1, dtype=torch.float64)))["loss"].item() == pytest.approx(loss.item())
