"""Supervised training: repeatable, learns, and leaves a frozen encoder alone."""

import pytest
import tiny
import torch

from avssl.encoders import R3D
from avssl.evaluation.features import Normalise, Views
from avssl.evaluation.finetune import AttentiveClassifier, Budget, Classifier, LabelledClips, decode_all, fit, predict
from avssl.runtime.device import Machine

VIEWS = Views(clips=2, num_frames=4, step=0.1, size=32, segments=1)
MACHINE = Machine(device="cpu", workers=0)
STATISTICS = Normalise(tiny.MEAN, tiny.STD, torch.device("cpu"))
ROWS = [0, 1, 2, 4, 5, 6]


def model_of(kind=Classifier):
    torch.manual_seed(0)
    return kind(R3D(width=8), 2)


def run(collection, kind=Classifier, steps=4, decoded=None):
    model, budget = model_of(kind), Budget(steps=steps, batch_size=4)
    data = LabelledClips(collection, VIEWS, budget, decoded, seed=0)
    return model, fit(model, data, ROWS, budget, STATISTICS, MACHINE)


def test_clips_in_memory_are_those_read_from_files(collection):
    decoded = decode_all(collection, ROWS, VIEWS, MACHINE)
    budget = Budget(steps=1, batch_size=2)
    memory, files = (LabelledClips(collection, VIEWS, budget, source, seed=3) for source in (decoded, None))
    for item in [(0, 1), (5, 4), (6, 4)]:
        assert torch.equal(memory[item][0], files[item][0])
        assert memory[item][0].shape == (4, 3, 32, 32)
    assert not torch.equal(memory[5, 4][0], memory[6, 4][0])
    assert decode_all(collection, ROWS, VIEWS, Machine(workers=0, memory=1000)) is None


def test_training_repeats_and_global_random_numbers_do_not_matter(collection):
    first, losses = run(collection)
    torch.manual_seed(77)
    second, again = run(collection)
    assert losses == again
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_and_predicts_probabilities(collection):
    decoded = decode_all(collection, range(8), VIEWS, MACHINE)
    model, losses = run(collection, steps=40, decoded=decoded)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    scores = predict(model, collection, [3, 7], VIEWS, STATISTICS, MACHINE)
    assert scores.shape == (2, 2, 2)
    assert scores.sum(2) == pytest.approx(1, abs=1e-3)
    assert scores.mean(1).argmax(1).tolist() == [0, 1]


def test_the_attentive_probe_leaves_the_encoder_as_it_was(collection):
    before = {name: tensor.clone() for name, tensor in model_of(AttentiveClassifier).encoder.state_dict().items()}
    model, losses = run(collection, AttentiveClassifier, steps=3)
    assert len(losses) == 3
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is not None for parameter in model.head.parameters())
