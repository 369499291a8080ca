"""A study over sets: gains are those of the runs, rankings that agree correlate, and one command makes it all."""

import json

import numpy as np
import pytest

from avssl.cli import main
from avssl.evaluation.metrics import gain
from avssl.evaluation.results import Accuracy, Results, Summary
from avssl.studies.sets import SetsPlan, correlations, tables
from avssl.studies.sets_results import Found

VIDEOS = 60


def summary(rate, seed):
    right = np.random.default_rng(seed).permutation(VIDEOS) < rate * VIDEOS
    top1 = Accuracy(float(right.mean()), (0.0, 1.0), float(right.mean()), [float(right.mean())], {})
    hits = ["".join("01"[int(one)] for one in right)]
    return Summary({"top1": top1}, {}, float(right.mean()), [[1]], hits, list(range(VIDEOS)))


def result(rate, untrained=None, read_outs=("linear", "layout")):
    outcomes = {"pretrained": {name: summary(rate, place) for place, name in enumerate(read_outs)}}
    if untrained is not None:
        outcomes["random_init"] = {name: summary(untrained, 9 + place) for place, name in enumerate(read_outs)}
    return Results("run", {}, {"hash": "h"}, {}, {"top1": 0.25}, outcomes, {})


def test_gains_and_rankings_of_two_sets():
    rates = {"hand": 0.5, "a": 0.4, "b": 0.6, "c": 0.8}
    other = {name: rate / 2 for name, rate in rates.items()}
    results = {
        on: {name: [result(rate, None if name == "hand" else 0.3)] for name, rate in values.items()}
        for on, values in {"first": rates, "second": other}.items()
    }
    found = Found(results, over="hand")
    assert found.read_outs == ["linear top1", "layout top1"]
    ours, base = found.runs("first", "b", "linear top1"), found.runs("first", "b", "linear top1", "random_init")[0]
    assert found.gain("first", "b", "linear top1") == gain(ours, base)
    assert found.gain("first", "hand", "linear top1") is None
    assert found.above("first", "b", "linear top1").value == pytest.approx(0.1)
    told = correlations(found)
    assert told["sets"]["linear top1: first, second"].value == pytest.approx(1)
    assert told["read-outs"]["linear top1, layout top1"].value == pytest.approx(1)
    shown = tables(found, told)
    assert "over untrained" in shown
    assert "+0.100 [" in shown.split("| b |")[1].split("\n")[0]


def test_a_plan_over_sets_is_one_command(labelled, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = labelled.column("root").to_pylist()[0]
    machine = f"--machine.workers=0 --machine.device=cpu --machine.cache={tmp_path / 'cache'}"
    judge = (
        "avssl evaluate folder --data.root={labelled} --run={run} --linear.strengths=[0.01] --layout=null "
        "--layout_mean=null --views.clips=2 --views.num_frames=4 --views.size=32 --neighbours=null --retrieval=[] "
        f"--low_shot=null --split.init_args.folds=2 {machine} --name="
    )
    sets = "".join(
        f"  {name}: {{videos: [{root}], labelled: {{root: {root}}}, judge: ['{judge}{name}']}}\n"
        for name in ("first", "second")
    )
    hand = "  hand: {encoder: avssl.evaluation.MotionEnergy}\n"
    more = "  ways: {encoder: avssl.evaluation.MotionEnergy, changes: [--encoder.directions=true]}\n"
    (tmp_path / "plan.yaml").write_text(f"sets:\n{sets}methods:\n{hand}{more}seeds: [0]\nover: hand\n")
    # One process for each judge would cost more than the test is worth: the command runs in this one.
    monkeypatch.setattr("avssl.studies.transfer.run_measured", lambda words, log: main(list(words)))
    monkeypatch.chdir(tmp_path)
    words = ["study", str(tmp_path / "plan.yaml")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "over hand" in shown
    kept = tmp_path / "results" / "plan"
    numbers = json.loads((kept / "study.json").read_text())
    assert numbers["gains"]["first"]["hand"]["linear top1"]["top1"][0] > 0.6
    assert (kept / "study.png").stat().st_size > 5000
    files = sorted(kept.glob("*/*/eval/*/results.json"))
    assert len(files) == 4
    before = [file.stat().st_mtime_ns for file in files]
    assert main([*words, "--only"]) == 0  # tables alone
    assert main(words) == 0  # nothing is made twice
    assert [file.stat().st_mtime_ns for file in files] == before
    (tmp_path / "wrong.yaml").write_text(f"sets:\n{sets}methods:\n{hand}seeds: [0]\nover: hands\n")
    with pytest.raises(ValueError, match="over is 'hands', none of the methods"):
        SetsPlan.read(tmp_path / "wrong.yaml")
