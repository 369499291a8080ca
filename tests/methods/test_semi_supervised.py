"""S4L, and which labels reach a method."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from avssl.catalog.index import open_manifest
from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, some_of_each
from avssl.data.samplers import RandomClips
from avssl.data.transforms import Squash
from avssl.encoders import ResNet
from avssl.methods import S4L, MultiTask, RotNet
from avssl.training.data import Data, Loaders

LABELS = torch.tensor([2, -1, 0, -1])


def batch(label=LABELS):
    torch.manual_seed(1)
    return Clips(torch.randn(4, 2, 1, 3, 32, 32), torch.zeros(4, 2, 1).double(), label=label)


def method(**options):
    torch.manual_seed(0)
    return S4L(ResNet(18, 8), 3, RandomClips(2, 1), **options)


def test_the_loss_is_the_class_of_labelled_frames_in_all_turns_beside_the_turn_of_all_frames():
    model, clips = method(weight=0.7).eval(), batch()
    turn, classes = [], []
    for video, label in zip(clips.video, LABELS.tolist(), strict=True):
        for frame in video[:, 0]:
            for turns in range(4):
                vector = model.encoder(torch.rot90(frame, turns, (1, 2))[None, None])
                turn.append(F.cross_entropy(model.classifier(vector), torch.tensor([turns])))
                if label >= 0:
                    classes.append(F.cross_entropy(model.class_of(vector), torch.tensor([label])))
    expected = torch.stack(classes).mean() + 0.7 * torch.stack(turn).mean()
    torch.testing.assert_close(model(clips)["loss"], expected)


def test_what_is_not_labelled_teaches_no_class_and_counts_as_chance():
    model, clips = method().eval(), batch()
    model(clips)["loss"].backward()
    gradient = model.class_of.weight.grad.clone()
    model.zero_grad()
    video = torch.where((LABELS < 0).view(4, 1, 1, 1, 1, 1), torch.randn_like(clips.video), clips.video)
    out = model(replace(clips, video=video))
    out["loss"].backward()
    torch.testing.assert_close(model.class_of.weight.grad, gradient)
    assert torch.equal(out["class_accuracy"][LABELS < 0], out["chance/class_accuracy"][LABELS < 0])
    model.zero_grad()
    out = model(replace(clips, label=None))
    out["loss"].backward()
    assert not model.class_of.weight.grad.any()
    torch.testing.assert_close(out["loss"], RotNet.forward(model, clips)["loss"])


def test_chance_is_the_share_of_the_commonest_class_that_was_taught():
    model = method()
    assert model(batch(torch.tensor([1, 1, 1, -1])))["chance/class_accuracy"].tolist() == pytest.approx([4 / 6] * 4)
    model.eval()
    assert model(batch(torch.tensor([2, 2, 2, 2])))["chance/class_accuracy"].tolist() == pytest.approx([4 / 6] * 4)


def test_among_several_tasks_labels_reach_those_that_use_them_alone():
    class Blind(RotNet):
        def forward(self, clips):
            assert clips.label is None
            return super().forward(clips)

    sampler = RandomClips(2, 1)
    tasks = {"few": lambda encoder: S4L(encoder, 3, sampler), "turn": lambda encoder: Blind(encoder, sampler)}
    torch.manual_seed(0)
    method = MultiTask(ResNet(18, 8), tasks).eval()
    assert method.uses_labels
    assert not MultiTask(ResNet(18, 8), {"turn": tasks["turn"]}).uses_labels
    out = method(batch())
    single = method.tasks["few"](batch())
    assert torch.equal(out["few_class_accuracy"], single["class_accuracy"])
    out["loss"].backward()
    assert method.tasks["few"].class_of.weight.grad.any()


def test_the_same_share_of_every_class_is_labelled_by_seed_and_row():
    labels = ["a"] * 40 + [None] * 7 + ["b"] * 20 + ["c"]
    chosen = some_of_each(labels, 0.25, seed=3)
    assert [sum(chosen[row] for row, label in enumerate(labels) if label == name) for name in "abc"] == [10, 5, 1]
    assert not chosen[40:47].any()
    assert (chosen == some_of_each(labels, 0.25, seed=3)).all()
    assert (chosen != some_of_each(labels, 0.25, seed=4)).any()


def test_only_a_method_that_says_so_is_given_labels_and_only_some(world, tmp_path):
    data = Data(Squash(16), str(world), workers=0, labelled=0.3)
    for taught in (S4L(ResNet(18, 8), 8, RandomClips(2, 1)), RotNet(ResNet(18, 8))):
        loaders = Loaders(data, taught, 1, 0, tmp_path)
        training, measured = loaders.datasets.training, loaders.datasets.held_out
        shown = [training[0, index].clips.label.item() for index in range(len(training))]
        assert training[1, 0].clips.label.item() == shown[0]  # the same in every epoch
        assert (sum(label >= 0 for label in shown) > 0) == taught.uses_labels
        assert sum(label < 0 for label in shown) > len(shown) / 2
        assert (measured[0, 0].clips.label.item() >= 0) == taught.uses_labels
    few = S4L(ResNet(18, 8), 2, RandomClips(2, 1))
    for method_of_few in (few, MultiTask(ResNet(18, 8), {"few": lambda encoder: few})):
        with pytest.raises(ValueError, match=r"S4L: a video is of class \d+, but method\.classes is 2"):
            Loaders(data, method_of_few, 1, 0, tmp_path)
    with pytest.raises(ValueError, match=r"labelled is 1.5: expected a number in \[0, 1\]"):
        ClipDataset(open_manifest(world), RandomClips(2, 1), Squash(16), labelled=1.5)
