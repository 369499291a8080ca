"""Layer-wise training: its gradient is contrastive divergence, and reaches one layer. Words: windows and negatives."""

import pytest
import torch

from avssl.clips import Clips
from avssl.encoders import R3D, VolumeStack, Words
from avssl.methods import LayerWise, VisualWords
from avssl.methods.clustering import lloyd


def clips_of(frames=4, clips=2, videos=6, label=None):
    rng = torch.Generator().manual_seed(0)
    video = torch.randn(videos, clips, frames, 3, 32, 32, generator=rng)
    times = torch.arange(frames).double().expand(videos, clips, frames)
    return Clips(video, times, label=label)


def test_the_gradient_is_that_of_contrastive_divergence():
    """<v h> of the data less <v h> of what is made of it (Hinton, Neural Computation 2002, equation 5)."""
    torch.manual_seed(0)
    method = LayerWise(VolumeStack(8, depth=3), kind="rbm").eval()  # nothing is drawn: means stand for samples
    layer = method.encoder.layers[1]
    torch.nn.init.normal_(layer.weight, std=0.3)
    seen = torch.rand(20, layer.in_features).round()
    method._greedy(seen, 1, None, 1).backward()
    with torch.no_grad():
        hidden = layer(seen).sigmoid()
        made = (hidden @ layer.weight + method.below[1]).sigmoid()
        again = layer(made).sigmoid()
        wanted = -(hidden.T @ seen - again.T @ made) / seen.numel()
    assert torch.allclose(layer.weight.grad, wanted, atol=1e-6)
    assert torch.allclose(method.below[1].grad, -(seen - made).sum(0) / seen.numel(), atol=1e-6)


@pytest.mark.parametrize("kind", ["rbm", "autoencoder", "supervised"])
def test_a_turn_leaves_the_layers_below_alone_and_all_learn_in_the_end(kind):
    torch.manual_seed(0)
    method = LayerWise(VolumeStack(8, depth=3), kind=kind, classes=2 if kind == "supervised" else None)
    clips = clips_of(label=torch.arange(6) % 2)
    layers = method.encoder.layers
    for progress, trained in ((0.0, [0, 1, 2]), (0.2, [1, 2]), (0.4, [2]), (0.5, [0, 1, 2])):
        method.after_step(progress)
        method.zero_grad(set_to_none=True)
        method(clips)["loss"].backward()
        found = [
            place for place, layer in enumerate(layers) if layer.weight.grad is not None and layer.weight.grad.any()
        ]
        assert found == trained, progress


def test_without_a_greedy_part_the_whole_learns_at_once_and_wrong_kinds_are_named():
    method = LayerWise(VolumeStack(8, depth=2), kind="none")
    assert method.stage.value == 2
    with pytest.raises(ValueError, match="supervised"):
        LayerWise(VolumeStack(8), kind="supervised")
    with pytest.raises(ValueError, match="VolumeStack"):
        LayerWise(R3D(8))


def words(**options):
    torch.manual_seed(0)
    return VisualWords(Words(8, words=6), **options)


def test_windows_reach_as_far_as_they_may_and_frequent_words_are_thinned():
    method = words(window=2, thin=10.0)
    near = torch.stack([method._near(torch.zeros(1, 5, dtype=torch.long))[0] for _ in range(200)]).mean(0)
    assert near[0, 0] == near[0, 3] == 0
    assert near[0, 1] == 1
    assert near[0, 2] == pytest.approx(0.5, abs=0.12)  # windows of 1 and 2 are equally likely
    method.thin = 0.01
    method.counts.copy_(torch.tensor([1e4, 1.0, 1.0, 1.0, 1.0, 1.0]))
    often, seldom = (method._near(torch.full((200, 2), word)).mean() for word in (0, 1))
    assert often < 0.02 < 0.4 < seldom


def test_negatives_are_drawn_by_the_count_to_three_quarters():
    method = words(negatives=20)
    method.counts.copy_(torch.tensor([1.0, 16.0, 0.0, 0.0, 0.0, 81.0]))
    drawn = torch.bincount(method._drawn(torch.zeros(60, 10, dtype=torch.long)).flatten(), minlength=6)
    assert torch.allclose(drawn / drawn.sum(), torch.tensor([1.0, 8.0, 0, 0, 0, 27.0]) / 36, atol=0.02)


@pytest.mark.parametrize("model", ["skip_gram", "cbow"])
def test_words_that_follow_each_other_are_learnt(model):
    """Sentences 0 1 0 1 ... and 2 3 2 3 ...: the next word is told from another video's."""
    method = words(model=model, window=1, thin=10.0)
    pairs = torch.tensor([[0, 1, 0, 1, 0, 1], [2, 3, 2, 3, 2, 3]]).repeat(4, 1)
    clips = clips_of(clips=6, videos=8)
    method.encoder.words_of = lambda _: pairs.flatten()
    optimizer = torch.optim.Adam(method.parameters(), 0.05)
    for _ in range(40):
        optimizer.zero_grad()
        out = method(clips)
        out["loss"].backward()
        optimizer.step()
    assert out["accuracy"].mean() > 0.95
    assert out["bigram"].mean() == 1


def test_centres_are_the_means_of_their_own_and_none_is_empty():
    rng = torch.Generator().manual_seed(0)
    true = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    vectors = true.repeat(30, 1) + torch.randn(90, 2, generator=rng)
    centres = lloyd(vectors, torch.tensor([[0.0, 0], [0.1, 0], [50.0, 50]]))
    assert torch.cdist(true, centres).min(1).values.max() < 1
