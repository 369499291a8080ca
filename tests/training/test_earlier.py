"""Configs and runs of earlier versions, in which counts of frames were called ``frames``."""

import pytest
import yaml

from avssl.evaluation import config as evaluation
from avssl.runtime import moved
from avssl.runtime.moved import current_config
from avssl.training.config import parse, train


@pytest.fixture(autouse=True)
def _announce_again():
    moved._announce.cache_clear()


def test_a_config_of_before_loads_with_one_line(tmp_path, capsys):
    old = tmp_path / "old.yaml"
    text = parse(["vcop"])[0].dump(parse(["vcop"])[1])
    old.write_text(text.replace("num_frames: 8", "frames: 8"))
    assert "\n      frames: 8" in old.read_text()
    assert parse([str(old), "--method.init_args.sampler.frames=6"])[1].method.init_args.sampler.num_frames == 6
    assert parse([str(old)])[1] == parse(["vcop"])[1]
    assert capsys.readouterr().err.splitlines() == [
        "note: 'frames' in this config is now called 'num_frames'; please rename it"
    ]


def test_views_of_before_load(tmp_path, capsys):
    old = tmp_path / "old.yaml"
    split = {"class_path": "avssl.evaluation.splits.GroupFolds", "init_args": {"folds": 3}}
    views = {"clips": 2, "frames": 8, "step": 0.2, "size": 32}
    old.write_text(yaml.safe_dump({"name": "old", "data": {"root": "x"}, "split": split, "views": views}))
    protocol, _ = evaluation.parse(evaluation.parser(None), [str(old), "--run=x"])
    assert protocol.views.num_frames == 8
    assert parse(["vcop", f"--probe={old}"])[1].probe.views.num_frames == 8
    assert capsys.readouterr().err.count("num_frames") == 1


def test_a_run_of_before_resumes(world, tmp_path):
    words = [
        *("vcop", f"--data.root={world}", f"--runs={tmp_path}", "--data.workers=0", "--data.rounds=1"),
        *("--data.batch_size=4", "--data.transform.init_args.size=16", "--method.init_args.sampler.num_frames=2"),
        *("--method.init_args.encoder.init_args.width=8", "--trainer.max_steps=1"),
    ]
    train(words)
    kept = tmp_path / "vcop/config.yaml"
    before = yaml.safe_load(kept.read_text().replace("num_frames", "frames"))
    del before["recipe"]  # which did not exist
    kept.write_text(yaml.safe_dump(before))
    train(words)
    with pytest.raises(SystemExit, match=r"recipe.average: None before, 0.9 now"):
        train([*words, "--recipe.average=0.9"])
    with pytest.raises(SystemExit, match="num_frames: 2 before, 4 now"):
        train([*words, "--method.init_args.sampler.num_frames=4"])


def test_arguments_of_other_packages_keep_their_names():
    for theirs in (
        {"sampler": {"class_path": "theirs.Sampler", "init_args": {"frames": 8}}},
        {"method": {"class_path": "theirs.Method", "init_args": {"sampler": {"frames": 8}}}},
        {"data": {"frames": 8}},
    ):
        assert current_config(theirs) == theirs
