"""The classifiers of one fold, trained: from scratch, fine-tuned, with turns, and a hand-made baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from avssl.applications.robustness.heads import TurnClassifier
from avssl.applications.robustness.results import SCRATCH, TURNS
from avssl.encoders import Encoder, begin_with
from avssl.evaluation.budget import Budget
from avssl.evaluation.finetune import Classifier, prepare, some_clips
from avssl.evaluation.handmade import MotionEnergy
from avssl.evaluation.record import random_init
from avssl.evaluation.training_clips import Pixels
from avssl.evaluation.tuning import fit
from avssl.pixels import normalise_rgb

GRID = 8
STRENGTH = 0.01  # C of the hand-made baseline's logistic regression


@dataclass(frozen=True)
class Trainer:
    """Trains classifiers that begin from one encoder, or from its network's first weights.

    Attributes:
        encoder: the run's.
        budget: the schedule, the same for all.
        turn_weight: of the turn task.
    """

    encoder: Encoder
    budget: Budget
    turn_weight: float

    def train(self, kind: str, pixels: Pixels, rows: NDArray[np.int64], seed: int) -> Classifier:
        """Train on some videos with the labels in ``pixels``; return the classifier on the CPU, in eval mode.

        Args:
            kind: ``scratch``, ``fine_tuned`` or ``turns``.
            pixels: the videos with their labels, right or wrong.
            rows: positions of those to train on.
            seed: of head, order and augmentation.
        """
        network = random_init(self.encoder, seed)
        if kind == SCRATCH:
            begin_with(network, self.budget.initial, lambda: some_clips(pixels, network, rows.tolist()), seed)
        else:
            network.load_state_dict(self.encoder.state_dict())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if kind == TURNS:
                model: Classifier = TurnClassifier(network, pixels.classes, self.turn_weight)
            else:
                model = Classifier(network, pixels.classes)
            prepare(model, self.budget.recipe)
        fit(model.to(pixels.machine.target), pixels, rows.tolist(), self.budget, seed)
        return model.cpu().eval()


def handmade(clips: Tensor) -> NDArray[np.float32]:
    """Describe the clips of a video, uint8 ``[M, T, 3, S, S]``: what can be had without learning.

    These are the colours of an 8 x 8 grid and, unless clips are single frames, `MotionEnergy` on the same grid: 192 and
    64 numbers.
    """
    rgb = clips.float() / 255
    colours = functional.adaptive_avg_pool2d(rgb.mean((0, 1)), GRID).flatten()
    if clips.shape[1] == 1:
        return colours.numpy()
    motion = MotionEnergy(GRID)(normalise_rgb(rgb)).mean(0)
    return torch.cat([colours, motion]).numpy()


def fit_handmade(features: NDArray[np.float32], labels: NDArray[np.signedinteger]) -> Pipeline:
    """Fit a linear classifier to hand-made features ``[N, D]``."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300)).fit(features, labels)


def probabilities(classifier: Pipeline, features: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
    """Return class probabilities ``[N, K]`` of a `fit_handmade`; 0 for a class that it has not seen."""
    found = np.zeros((len(features), classes))
    found[:, classifier[-1].classes_] = classifier.predict_proba(features)
    return found
