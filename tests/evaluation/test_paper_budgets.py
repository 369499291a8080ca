"""The recipes of papers: each trains a small network of its kind for a step."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from avssl.encoders import R3D, ResNet, ViT
from avssl.evaluation import config
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import AttentiveClassifier, Classifier, FrozenClassifier, Supervised
from avssl.evaluation.training_clips import Pixels
from avssl.runtime.configs import packaged
from avssl.runtime.device import Machine

KINDS = {"fine_tune": Classifier, "linear_augmented": FrozenClassifier, "attentive": AttentiveClassifier}
NETWORKS = {"vitb": ViT, "vjepa": ViT, "frames": ResNet}
VIEWS = Views(clips=1, num_frames=4, step=0.1, size=32, fit="crop")


def test_every_recipe_of_a_paper_trains_a_small_network(collection):
    made, trained = config.parser(None), []
    labels = np.array([info.label for info in collection])
    for name in (name for name in packaged("evaluation") if name.startswith("paper/")):
        protocol, _ = config.parse(made, [name, "--run=runs/none"])
        network = NETWORKS.get(name.rpartition("_")[2], R3D)
        for key, kind in KINDS.items():
            if (budget := getattr(protocol, key)) is None:
                continue
            torch.manual_seed(0)
            encoder = network(**({"width": 64, "depth": 2} if network is ViT else {"width": 8}))
            encoder.card = {"mean": tiny.MEAN, "std": tiny.STD}
            short = replace(budget, steps=1, epochs=None, batch_size=2)
            if budget.augment is not None and budget.augment.size is not None:
                short = replace(short, augment=replace(budget.augment, size=32))
            pixels = Pixels(collection, labels, 2, VIEWS, Machine(device="cpu", workers=0))
            model = Supervised(lambda seed, made=encoder: made, short, classifier=kind).train(pixels, encoder, [0, 4])
            assert model.head.weight.grad.abs().sum() > 0, name
            trained.append((name, key, budget.timetable(240_000).steps))
    found = {name: (key, steps) for name, key, steps in trained}
    assert found["paper/kinetics_vitb"] == ("fine_tune", pytest.approx(46_875))  # 100 epochs of 512 videos
    assert found["paper/kinetics_slow50"] == ("linear_augmented", 225_000)  # 60 epochs of 64
    assert len(trained) == len([name for name in packaged("evaluation") if name.startswith("paper/")])
