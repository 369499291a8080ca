"""Supervised training: repeatable, learns, and leaves a frozen encoder alone."""

import numpy as np
import pytest
import tiny
import torch

from avssl.encoders import R3D
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import AttentiveClassifier, Budget, Classifier, LabelledClips, Pixels, fit, predict
from avssl.runtime.device import Machine

VIEWS = Views(clips=2, num_frames=4, step=0.1, size=32, segments=1)
MACHINE = Machine(device="cpu", workers=0)
ROWS = [0, 1, 2, 4, 5, 6]


def pixels_of(collection, machine=MACHINE):
    labels = np.array([info.label for info in collection])
    return Pixels(collection, labels, 2, VIEWS, machine)


def model_of(kind=Classifier):
    torch.manual_seed(0)
    encoder = R3D(width=8)
    encoder.card = {"mean": tiny.MEAN, "std": tiny.STD}
    return kind(encoder, 2)


def run(pixels, kind=Classifier, steps=4):
    model = model_of(kind)
    return model, fit(model, pixels, ROWS, Budget(steps=steps, batch_size=4), seed=0)


def test_clips_in_memory_are_those_read_from_files(collection):
    pixels = pixels_of(collection)
    memory, files = (LabelledClips(source, 0.0, seed=3) for source in (pixels.decode_all(ROWS), pixels))
    assert memory.pixels.decoded.shape == (8, 10, 4, 3, 32, 32)
    for item in [(0, 1), (5, 4), (6, 4)]:
        assert torch.equal(memory[item][0], files[item][0])
        assert memory[item][0].shape == (4, 3, 32, 32)
    assert not torch.equal(memory[5, 4][0], memory[6, 4][0])
    assert pixels_of(collection, Machine(workers=0, memory=1000)).decode_all(ROWS).decoded is None


def test_training_repeats_and_global_random_numbers_do_not_matter(collection):
    first, losses = run(pixels_of(collection))
    torch.manual_seed(77)
    second, again = run(pixels_of(collection))
    assert losses == again
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_and_predicts_probabilities(collection):
    pixels = pixels_of(collection).decode_all(range(8))
    model, losses = run(pixels, steps=40)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    scores = predict(model, pixels, [3, 7])
    assert scores.shape == (2, 2, 2)
    assert scores.sum(2) == pytest.approx(1, abs=1e-3)
    assert scores.mean(1).argmax(1).tolist() == [0, 1]


def test_the_attentive_probe_leaves_the_encoder_as_it_was(collection):
    before = {name: tensor.clone() for name, tensor in model_of(AttentiveClassifier).encoder.state_dict().items()}
    model, losses = run(pixels_of(collection), AttentiveClassifier, steps=3)
    assert len(losses) == 3
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is not None for parameter in model.head.parameters())
