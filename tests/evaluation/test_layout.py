"""Read-outs that see where and when: what differs in order or place only is read by them, and by them alone."""

import json

import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional as F

from avssl.encoders import R3D, save_encoder
from avssl.evaluation.attentive import AttentiveHead, AttentiveProbe, Tokens
from avssl.evaluation.config import parse, parser
from avssl.evaluation.features import Views
from avssl.evaluation.layout import LayoutMean, LayoutProbe, Layouts
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol
from avssl.evaluation.readout import Bank
from avssl.evaluation.results import Results
from avssl.evaluation.run import evaluate
from avssl.evaluation.splits import Fold, GroupFolds
from avssl.evaluation.trial import Trial
from avssl.runtime.device import Machine

GRID = (4, 2, 2)
VIDEOS, TRAIN = 320, 240
FOLD = Fold("f", tuple(range(TRAIN)), tuple(range(TRAIN, VIDEOS)))
SMALL = AttentiveProbe(heads=2, lrs=(1e-2,), weight_decays=(0.01,), epochs=40, batch_size=60)


def marked(by):
    """Maps with a mark in one of their cells: early or late, or left or right, and anywhere along the other axes."""
    rng = np.random.default_rng(0)
    labels, any_time = np.arange(VIDEOS) % 2, rng.integers(0, 4, VIDEOS)
    time = any_time if by == "place" else 2 * labels + rng.integers(0, 2, VIDEOS)
    column = labels if by == "place" else rng.integers(0, 2, VIDEOS)
    maps = 0.3 * rng.normal(size=(VIDEOS, 1, *GRID, 24)).astype(np.float32)
    maps[np.arange(VIDEOS), 0, time, rng.integers(0, 2, VIDEOS), column] += 2 * rng.normal(size=24)
    return maps, labels


def bank(values, labels):
    return Bank(values.reshape(len(values), 1, -1), labels, np.arange(len(values)) // 2, 2)


def accuracy(probe, source):
    scores = probe.scores(source, FOLD)
    np.testing.assert_allclose(scores.values.sum(2), 1, atol=1e-5)
    return (scores.values.mean(1).argmax(1) == source.labels[TRAIN:]).mean(), scores.chosen


@pytest.mark.parametrize("by", ["order", "place"])
def test_order_and_place_are_read_from_a_grid(by):
    maps, labels = marked(by)
    shapes = {
        "1x1x1": bank(maps.mean((2, 3, 4)), labels),
        "4x1x1": bank(maps.mean((3, 4)), labels),
        "4x2x2": bank(maps, labels),
    }
    reached, chosen = accuracy(LayoutProbe(), Layouts(shapes))
    assert reached > 0.9
    assert chosen[0] in {"order": ("4x1x1", "4x2x2"), "place": ("4x2x2",)}[by]
    assert accuracy(LinearProbe(), shapes["1x1x1"])[0] < 0.75


def test_the_mean_of_shapes_is_right_where_each_of_them_guesses():
    """Two shapes, each of which knows the classes of every other video: the mean knows those of all."""
    rng, labels = np.random.default_rng(0), np.arange(VIDEOS) // 2 % 2
    signs = np.where(labels, 1.0, -1.0)[:, None] * rng.uniform(1, 2, (VIDEOS, 1))
    known = np.arange(VIDEOS) % 2 == 0
    shapes = {
        name: bank(np.where(told[:, None], signs, 0.1 * rng.normal(size=(VIDEOS, 1))).astype(np.float32), labels)
        for name, told in (("even", known), ("odd", ~known))
    }
    alone, _ = accuracy(LayoutProbe(), Layouts(shapes))
    reached, chosen = accuracy(LayoutMean(), Layouts(shapes))
    assert alone < 0.85
    assert reached > 0.97
    assert chosen.keys() == shapes.keys()
    probe = LinearProbe(strengths=LayoutMean().strengths)
    each = [probe.scores(one, FOLD).values for one in shapes.values()]
    np.testing.assert_allclose(LayoutMean().scores(Layouts(shapes), FOLD).values, np.mean(each, 0), atol=1e-3)


def test_attention_reads_order_where_positions_are_added_and_only_there():
    """It has far more weights than the linear probe, and needs more videos."""
    rng, labels, train = np.random.default_rng(0), np.arange(1000) % 2, 800
    maps = 0.3 * rng.normal(size=(len(labels), 4, 24)).astype(np.float32)
    maps[np.arange(len(labels)), 2 * labels + rng.integers(0, 2, len(labels))] += 2 * rng.normal(size=24)
    probe = AttentiveProbe(heads=4, epochs=20, batch_size=64)

    def reached(placed):
        tokens = Tokens(bank(maps, labels), (4, 1, 1), placed)
        scores = next(probe.candidates(tokens, range(train), range(train, len(labels)), [(3e-3, 0.01)]))
        return (scores.mean(1).argmax(1) == labels[train:]).mean()

    assert reached(placed=False) > 0.9
    assert reached(placed=True) < 0.65  # maps that were said to carry positions, and carry none


def test_heads_that_divide_no_width_are_refused_with_a_number_that_does():
    tokens = Tokens(bank(np.zeros((VIDEOS, 1, 84), np.float32), np.arange(VIDEOS) % 2), (1, 1, 1), placed=False)
    with pytest.raises(ValueError, match=r"heads is 8, .* width of 84: take 7"):
        AttentiveProbe().scores(tokens, FOLD)


def test_the_head_is_attention_of_a_query_to_keys_and_values_of_all_tokens():
    torch.manual_seed(0)
    head, tokens = AttentiveHead(12, 3, heads=4, depth=2), torch.randn(5, 7, 12)
    torch.nn.init.normal_(head.head.weight)
    seen = head.norm1(head.blocks[0](tokens))
    split = lambda values: values.unflatten(-1, (4, 3)).transpose(-3, -2)  # noqa: E731  [..., heads, L, 3]
    query = split(head.query.expand(5, 1, 12))
    read = F.scaled_dot_product_attention(query, split(head.key(seen)), split(head.value(seen)))
    found = head.query + head.out(read.transpose(1, 2).flatten(1))
    expected = head.head(head.norm3(found + head.mlp(head.norm2(found))))
    torch.testing.assert_close(head(tokens), expected)


def test_schedules_that_are_trained_together_do_not_touch_each_other():
    maps, labels = marked("order")
    tokens, args = Tokens(bank(maps, labels), GRID, placed=False), (list(range(60)), list(FOLD.test))
    together = list(SMALL.candidates(tokens, *args, [(1e-2, 0.1), (1e-4, 0.01)]))
    for schedule, found in zip([(1e-2, 0.1), (1e-4, 0.01)], together, strict=True):
        np.testing.assert_allclose(next(SMALL.candidates(tokens, *args, [schedule])), found, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_weights_among_the_combinations_of_samples_are_those_among_all():
    maps, labels = marked("order")
    args = (bank(maps, labels), FOLD.train[:60], FOLD.test, (1e-4, 1e-2))
    for few, all_ in zip(LinearProbe().candidates(*args, combine=True), LinearProbe().candidates(*args), strict=True):
        np.testing.assert_allclose(few, all_, atol=1e-3)


class OfFourFrames(R3D):
    """A network that takes clips of one length only, as transformers with learned positions do."""

    def maps(self, clips):
        if clips.shape[1] != 4:
            raise ValueError("four frames only")
        return super().maps(clips)


def test_the_whole_video_in_as_many_frames_as_a_network_takes(collection):
    protocol = Protocol(
        "tiny", LabelledVideos(""), GroupFolds(2), Views(2, 4, 0.1, 32), layout=LayoutProbe(((1, 1, 1),), ("whole",))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avssl.evaluation.protocol.open_manifest", lambda _: collection)
        task = DownstreamTask(protocol)
    frames = [
        views.num_frames
        for network in (R3D(width=8), OfFourFrames(width=8))
        for views, _ in Trial(task, [network], Machine("cpu")).shapes(protocol.layout).values()
    ]
    assert frames == [32, 4]


def test_the_keys_of_a_protocol(collection, tmp_path):
    torch.manual_seed(0)
    save_encoder(R3D(width=8), tmp_path / "run" / "encoder", {"mean": tiny.MEAN, "std": tiny.STD, "size": [32, 32]})
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nneighbours: null\nretrieval: []\nlinear: null\nseeds: [0]\n"
        "views: {clips: 2, num_frames: 4, step: 0.1, size: 32}\n"
        "split: {class_path: avssl.evaluation.LeaveOneGroupOut, init_args: {pattern: '_(?P<group>seq[0-9]+)_'}}\n"
        "layout: {grids: [[1, 1, 1], [9, 2, 2]], frames: 8, strengths: [0.01], inner_folds: 2}\n"
        "layout_mean: {grids: [[1, 1, 1]], frames: 8, strengths: [0.01], inner_folds: 2}\n"
        "attentive_probe: {frames: 8, lrs: [0.003], weight_decays: [0.01, 0.1], epochs: 1, inner_folds: 2}\n"
    )
    collection.write(tmp_path / "videos.parquet")
    machine = ["--machine.device=cpu", "--machine.workers=0", f"--machine.cache={tmp_path / 'cache'}"]
    words = [str(tmp_path / "tiny.yaml"), f"--data.root={tmp_path / 'videos.parquet'}", f"--run={tmp_path / 'run'}"]
    protocol, args = parse(parser(None), [*words, *machine])
    results = evaluate(protocol, args.run, args.machine)
    trial = Trial(DownstreamTask(protocol), [R3D(width=8)], args.machine)
    shapes = list(trial.shapes(protocol.layout))
    assert shapes == ["clips 1x1x1", "clips 1x2x2", "whole 1x1x1", "whole 1x2x2"]  # never more cells than the maps have
    for who in ("pretrained", "random_init"):
        found = results.outcomes[who]
        assert found.keys() == {"layout", "layout_mean", "attentive_probe"}
        assert found["layout_mean"].chosen[0][0] == {"clips 1x1x1": 0.01, "whole 1x1x1": 0.01}
        assert all(name in shapes for name, _ in found["layout"].chosen[0])
        assert all(lr == 0.003 for lr, _ in found["attentive_probe"].chosen[0])
    assert results.settings["layout"]["frames"] == 8
    kept = Results.read(tmp_path / "run" / "eval" / "tiny" / "results.json")
    assert kept.to_json() == json.loads(json.dumps(results.to_json()))
    less = parse(parser(None), [*words, *machine, "--layout.numbers=3"])[0]
    with pytest.raises(ValueError, match=r"^layout\.numbers is 3, and every shape has more"):
        trial.shapes(less.layout)
    with pytest.raises(ValueError, match=r"^layout_mean\.strengths"):
        LayoutMean(strengths=(0.0,))
    plain = parse(parser(None), [*words, *machine, "--layout=null", "--layout_mean=null", "--attentive_probe=null"])[0]
    assert (
        DownstreamTask(plain).settings.keys() & {"layout", "layout_mean", "attentive_probe", "layers", "ordered"}
        == set()
    )
