"""What is watched while an encoder is being trained, and that watching changes nothing."""

import csv

import pytest
import yaml

from avssl.encoders import load_encoder, weights_hash
from avssl.training.config import train as run

SMALL = ("--method.init_args.encoder.init_args.width=8", "--data.transform.init_args.size=32", "--data.batch_size=8")


@pytest.fixture(scope="module")
def protocol(world, tmp_path_factory):
    """The world's own actions, as labelled videos."""
    path = tmp_path_factory.mktemp("protocol") / "world.yaml"
    split = {"class_path": "avssl.evaluation.splits.GroupFolds", "init_args": {"folds": 3}}
    views = {"clips": 2, "num_frames": 8, "step": 0.2, "size": 32}
    path.write_text(yaml.safe_dump({"name": "world", "data": {"root": str(world)}, "split": split, "views": views}))
    return path


def train(runs, world, *more):
    steps = ("--trainer.max_steps=4", "--measure_every=2", "--data.workers=0", "--data.rounds=1")
    run(["configs/simclr.yaml", f"--data.root={world}", f"--runs={runs}", *SMALL, *steps, *more])
    with (runs / "simclr/metrics.csv").open(newline="") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    return weights_hash(load_encoder(runs / "simclr")), rows[2]


def test_the_online_probe_is_logged_and_leaves_the_run_as_it_is(world, protocol, tmp_path):
    plain, without = train(tmp_path / "plain", world)
    probed, logged = train(tmp_path / "probed", world, f"--probe={protocol}")
    assert probed == plain
    assert "probe/top1" not in without
    assert 0 <= float(logged["probe/top1"]) <= 1
    for name in ("feature_std", "rankme", "uniformity", "alignment"):
        assert float(logged[f"val/collapse/{name}"]) == float(without[f"val/collapse/{name}"])
    assert float(logged["val/collapse/rankme"]) > 1


def test_a_probe_that_makes_no_sense_is_refused_before_training(world, protocol, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path, world, f"--probe={protocol}", "--probe.views.num_frames=0")
    assert "views.num_frames is 0" in capsys.readouterr().err
    s3d = "--method.init_args.encoder=avssl.encoders.S3D"
    with pytest.raises(SystemExit, match=r"S3D.* does not fit the protocol's views of 4 frames"):
        train(tmp_path / "s3d", world, s3d, f"--probe={protocol}", "--probe.views.num_frames=4")
