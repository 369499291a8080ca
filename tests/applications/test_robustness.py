"""Wrong labels, damage, attacks and strange classes: what each changes, and that nothing is found where nothing is."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from avssl.applications.robustness.attack import attacked
from avssl.applications.robustness.corruptions import CORRUPTIONS, corrupted
from avssl.applications.robustness.heads import TurnClassifier, with_noise
from avssl.applications.robustness.measuring import calibration_error, measure_robustness
from avssl.applications.robustness.odd import OURS
from avssl.applications.robustness.results import HEADS
from avssl.encoders import ResNet, save_encoder
from avssl.evaluation.budget import Budget
from avssl.evaluation.features import Normalise, Views
from avssl.evaluation.tuning import SideTask
from avssl.pixels import MEAN, STD
from avssl.runtime.device import Machine

MACHINE = Machine(device="cpu", workers=0)


def test_labels_are_wrong_among_the_given_rows_alone_and_the_same_at_a_larger_share():
    labels = np.arange(100) % 5
    rows = np.arange(0, 100, 2)
    some, more = (with_noise(labels, rows, share, 5, seed=3) for share in (0.2, 0.6))
    changed = [np.flatnonzero(each != labels) for each in (some, more)]
    assert [len(each) for each in changed] == [10, 30]
    assert set(changed[0]) <= set(changed[1]) <= set(rows)
    assert (some[changed[0]] == more[changed[0]]).all()
    assert (with_noise(labels, rows, 0.0, 5, 3) == labels).all()


def moving_clip(frames=8, size=32):
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(60, 200, (3, 8, 8)), np.ones((4, 4)))
    return torch.from_numpy(np.stack([np.roll(ground, 2 * frame, 2) for frame in range(frames)])).byte()[None]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_grows_with_severity_and_depends_on_the_seed_alone(kind):
    clips = moving_clip()
    each = [corrupted(clips, kind, severity, seed=5) for severity in (1, 3, 5)]
    assert all(found.shape == clips.shape and found.dtype == torch.uint8 for found in each)
    changed = [(found.float() - clips.float()).square().mean().item() for found in each]
    assert 0 < changed[0] < changed[1] < changed[2]
    assert torch.equal(each[2], corrupted(clips, kind, 5, seed=5))


@pytest.mark.parametrize("kind", ["dropped", "frozen"])
def test_lost_and_still_frames_are_earlier_frames(kind):
    clips = moving_clip()
    shown = corrupted(clips, kind, 4, seed=1)[0]
    places = [[torch.equal(frame, other) for other in clips[0]].index(True) for frame in shown]
    assert all(place <= now for now, place in enumerate(places))
    if kind == "frozen":
        assert sorted(np.bincount(places))[-1] == 1 + round(0.7 * 7)  # once, for the share of severity 4


@pytest.fixture(scope="module")
def turner():
    torch.manual_seed(0)
    encoder = ResNet(18, 8)
    encoder.card = {"mean": MEAN, "std": STD}
    return TurnClassifier(encoder, 4, weight=0.5).eval()


def test_the_turn_task_stands_beside_the_class_of_the_upright_clip(turner):
    clips = torch.randn(3, 2, 3, 32, 32)
    assert isinstance(turner, SideTask)
    logits, cost = turner.beside(clips)
    assert torch.allclose(logits, turner(clips), atol=1e-5)
    assert torch.allclose(cost, 0.5 * turner.turn_costs(clips).mean(), atol=1e-5)
    assert turner.turn_costs(clips).shape == (3,)


def test_an_attack_lowers_the_true_class_and_none_changes_nothing(turner):
    clips = torch.randint(0, 256, (4, 1, 3, 32, 32), dtype=torch.uint8)
    statistics = Normalise.of(turner.encoder, MACHINE)
    turner.requires_grad_(False)
    with torch.no_grad():
        clean = turner(statistics(clips))
    labels = clean.argmax(1)
    assert torch.allclose(attacked(turner, clips, labels, 0.0, statistics), clean, atol=1e-3)
    costs = [
        torch.nn.functional.cross_entropy(logits, labels)
        for logits in (clean, attacked(turner, clips, labels, 8 / 255, statistics))
    ]
    assert costs[1] > 1.5 * costs[0]


def test_calibration_is_perfect_where_probabilities_come_true_and_not_where_they_don_t():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1, 4000)
    labels = (rng.random(4000) > stated).astype(int)
    sure = np.stack([stated, 1 - stated], 1)[None]
    groups = np.arange(4000) // 4
    assert calibration_error(sure, labels, groups).value < 0.03
    boasting = np.stack([np.full(4000, 0.99), np.full(4000, 0.01)], 1)[None]
    found = calibration_error(boasting, labels, groups)
    assert found.value == pytest.approx(0.24, abs=0.03)
    assert found.ci95_bootstrap[0] < found.value < found.ci95_bootstrap[1]


def images(root, per_class, rng):
    """Images of noise in class folders: labels say nothing of them."""
    for label in "abcd":
        for number in range(per_class):
            path = root / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return root


def test_shuffled_labels_leave_every_classifier_at_chance(tmp_path, monkeypatch):
    for module in ("avssl.evaluation.metrics", "avssl.applications.detection"):
        monkeypatch.setattr(f"{module}.RESAMPLES", 100)
    monkeypatch.setattr("avssl.applications.robustness.measuring.DRAWS", 50)
    some = {kind: CORRUPTIONS[kind] for kind in ("noise", "frozen")}
    monkeypatch.setattr("avssl.applications.robustness.testing.CORRUPTIONS", some)
    rng = np.random.default_rng(0)
    train, test = images(tmp_path / "data/train", 6, rng), images(tmp_path / "data/test", 10, rng)
    torch.manual_seed(0)
    save_encoder(ResNet(18, 8), tmp_path / "run/encoder", {"mean": MEAN, "std": STD, "size": (16, 16)})
    still = Views(clips=1, num_frames=1, size=16, segments=1)
    found = measure_robustness(
        train, tmp_path / "run", test, views=still, budget=Budget(steps=2, batch_size=8), label_noise=(0.4,),
        attacks=(8.0,), attacked=2, divisions=1, machine=MACHINE,
    )  # fmt: skip
    folder = tmp_path / "run/robustness/data"
    assert (folder / "robustness.png").stat().st_size > 5000
    kept = json.loads((folder / "robustness.json").read_text())
    assert kept["chance"] == found.chance == 0.25
    assert set(kept["heads"]) == set(HEADS)
    for name in HEADS:
        one = found.heads[name]["0.4"]
        assert abs(one.clean.value - 0.25) < 0.2  # three standard deviations of 40 guesses
        assert set(one.corrupted) == {"noise"}  # a still has no frames to lose
        assert abs(one.damaged.value - 0.25) < 0.2
    assert set(found.heads["turns"]["0.4"].attacked) == {"8/255"}
    assert "8/255" not in found.heads["handmade"]["0.4"].attacked
    assert found.heads["scratch"]["0.4"].gain == {}
    assert abs(found.odd.areas[OURS].value - 0.5) < 0.3


def test_two_classes_are_too_few_to_leave_some_out_and_wrong_numbers_are_named(tmp_path):
    with pytest.raises(ValueError, match="label_noise"):
        measure_robustness(tmp_path, tmp_path, label_noise=(1.0,))
    with pytest.raises(ValueError, match="label_noise is empty"):
        measure_robustness(tmp_path, tmp_path, label_noise=())
