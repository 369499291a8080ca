"""Few-shot recognition of runs beside their untrained networks and motion energy."""

import json

import numpy as np
import pytest
import torch

from avssl.applications.fewshot import few_shots
from avssl.applications.subjects import open_task, subjects
from avssl.evaluation.episodes import Episodes
from avssl.evaluation.features import Views
from avssl.evaluation.protocol import LabelledVideos, Protocol
from avssl.evaluation.readout import Bank
from avssl.evaluation.splits import Fold, Folds, GroupFolds
from avssl.runtime.device import Machine


@pytest.fixture(scope="module")
def protocol(world):
    few = Episodes(ways=(3,), shots=(1,), queries=1, episodes=20, heads=("prototypes", "neighbour"))
    split, views = GroupFolds(folds=3), Views(clips=1, num_frames=4, step=0.1, size=16, segments=1)
    return Protocol("tiny", LabelledVideos(world), split, views, seeds=(0, 1), episodes=few)


def test_all_features_are_measured_on_the_same_episodes_and_kept(protocol, run, tmp_path):
    found = few_shots(protocol, [run], tmp_path, Machine(workers=0, cache=tmp_path / "cache"))
    names = ["mine", "untrained R3D", "motion energy, mean", "motion energy"]
    assert list(found.accuracy) == names
    assert list(found.gain) == [f"mine over {name}" for name in names[1:]]
    kept = json.loads((tmp_path / "fewshot.json").read_text())
    key = "prototypes 1-shot 3-way"
    for name in names[1:]:
        difference = found.accuracy["mine"][key].value - found.accuracy[name][key].value
        assert found.gain[f"mine over {name}"][key].value == pytest.approx(difference)
    assert len(found.accuracy["untrained R3D"][key].per_seed) == 2
    assert kept["chance"] == {"3-way": pytest.approx(1 / 3)}
    assert (tmp_path / "fewshot.png").stat().st_size > 5000


def test_shuffled_labels_land_on_chance():
    rng = np.random.default_rng(0)
    labels, groups = np.repeat(np.arange(6), 40), np.tile(np.arange(40), 6)
    features = (np.eye(6)[labels] + 0.1 * rng.normal(size=(240, 6)))[:, None].astype(np.float32)
    few, rows = Episodes(shots=(1,), queries=5, episodes=200), tuple(range(240))
    folds = Folds((Fold("a", rows[:120], rows[120:]), Fold("b", rows[120:], rows[:120])), tuple(map(str, groups)))
    right = few.measure([Bank(features, labels, groups, 6)], folds, torch.device("cpu"))
    wrong = few.measure([Bank(features, rng.permutation(labels), groups, 6)], folds, torch.device("cpu"))
    for name, score in wrong.items():
        assert right[name].value > 0.9
        assert score.value == pytest.approx(0.2, abs=0.03)


def test_two_runs_of_one_name_are_refused(protocol, run):
    with pytest.raises(ValueError, match="two of the runs are called mine"):
        open_task(protocol, [run, run])
    task, encoders = open_task(protocol, [run])
    assert [each.baseline for each in subjects(task, encoders, Machine(workers=0))] == [False, True, True, True]
