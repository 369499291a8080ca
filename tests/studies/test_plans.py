"""A plan's budget of CPU minutes becomes steps; its runs resume; its kept results print the same tables."""

import json
import shutil
from pathlib import Path

import pytest

from avssl.catalog.index import open_manifest
from avssl.studies import budget, pretraining
from avssl.studies.plans import Plan
from avssl.studies.transfer import run_plan

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def kept(folder: Path, encoder: str, **cost) -> Path:
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder/encoder.json").write_text(json.dumps({"class": f"avssl.encoders.video.{encoder}"}))
    (folder / "cost.json").write_text(json.dumps({"settings": {"method": {}}, **cost}))
    return folder


def test_a_result_of_the_same_network_tells_how_much_dearer_a_step_is_here(tmp_path):
    frames = kept(tmp_path / "opn-0", "ResNet", bfloat16=True)
    kept(tmp_path / "pace-0", "R3D", bfloat16=True)
    here = kept(tmp_path / "vcop-0", "R3D", bfloat16=False, like="pace-0", dearer=4.0)  # found out by trials of pace
    (here / "encoder/encoder.json").write_text(json.dumps({"class": "R3D", "steps": 30}))
    kept(tmp_path / "old-0", "R3D")
    results = sorted(path for path in tmp_path.iterdir())
    assert budget.comparable_result({"config": "simclr"}, results, bfloat16=False) == here
    assert budget.cost_ratio(here, trials=None) == 4.0
    assert budget.comparable_result({"config": "configs/edges.yaml"}, results, bfloat16=False) == frames
    assert budget.comparable_result({"config": "configs/simclr.yaml"}, results, bfloat16=True) is None
    assert (
        budget.comparable_result({"config": "configs/simclr.yaml"}, [here], bfloat16=False) == here
    )  # pace is made anew


def test_minutes_of_a_network_that_was_trained_on_neither_are_refused(tmp_path):
    results = [kept(tmp_path / "pace-0", "R3D", bfloat16=True)]
    with pytest.raises(ValueError, match=r"with bfloat16.*none of them has a avssl.encoders.ViT"):
        budget.comparable_result({"config": "configs/videomae.yaml"}, results, bfloat16=False)


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        (None, 50),  # 0.5 minutes of starting up, 0.15 a step
        ({"name": "arrow-0", "cpu_minutes": 2.5, "bfloat16": False}, 103),  # its 30 steps take twice as long here
        ({"cpu_minutes": 8.0, "bfloat16": True}, 30),  # as many steps as the first seed
        # of which each step was four times as dear
        ({"cpu_minutes": 32.0, "bfloat16": False, "like": "arrow-0", "dearer": 4.0}, 30),
        ({"cpu_minutes": 32.0, "bfloat16": False, "like": "pace-2"}, 30),  # had another seed's steps, as this one will
    ],
)
def test_steps_of_a_budget(tmp_path, monkeypatch, first, asked):
    steps = []

    def measured(command, log, note=None):
        given = next(int(word.partition("=")[2]) for word in command if word.startswith("--trainer.max_steps"))
        steps.append(given)
        (tmp_path / "runs" / log.parent.name).mkdir(parents=True, exist_ok=True)
        return 0.5 + 0.15 * given

    monkeypatch.setattr(pretraining, "run_measured", measured)
    monkeypatch.setattr(pretraining.Machine, "half", True)
    settings = {"method": {"config": "configs/pace.yaml"}, "cpu_budget": 8}
    results = []
    if first is not None:
        name = first.get("name", "pace-0")
        results.append(kept(tmp_path / "kept" / name, "R3D", **{**first, "settings": settings}))
        (results[0] / "encoder/encoder.json").write_text(json.dumps({"class": "R3D", "steps": 30}))
    run = tmp_path / "runs/pace-1"
    pretraining.pretrain(run, settings, 1, ["videos"], results)
    assert steps[-1] == asked
    assert json.loads((run / "cost.json").read_text())["settings"] == settings


def test_a_run_that_was_broken_off_goes_on_and_all_it_cost_counts(tmp_path, monkeypatch):
    settings = {"method": {"config": "configs/pace.yaml"}, "cpu_budget": 8}
    first = kept(tmp_path / "kept/pace-0", "R3D", cpu_minutes=4.0, bfloat16=True, settings=settings)
    (first / "encoder/encoder.json").write_text(json.dumps({"class": "R3D", "steps": 30}))
    run, asked = tmp_path / "runs/pace-1", []

    def broken_off(command, log, note):
        asked.append(command)
        (run / "checkpoint").touch()
        note(3.0)
        raise KeyboardInterrupt

    def whole(command, log, note):
        asked.append(command)
        assert (run / "checkpoint").exists()
        return 5.5

    monkeypatch.setattr(pretraining.Machine, "half", True)
    monkeypatch.setattr(pretraining, "run_measured", broken_off)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(run, settings, 1, ["videos"], [first])
    monkeypatch.setattr(pretraining.Machine, "half", False)
    with pytest.raises(ValueError, match="with bfloat16: continue there"):
        pretraining.pretrain(run, settings, 1, ["videos"], [first])
    monkeypatch.setattr(pretraining.Machine, "half", True)
    monkeypatch.setattr(pretraining, "run_measured", whole)
    pretraining.pretrain(run, settings, 1, ["videos"], [])
    assert asked[0] == asked[1]
    assert "--trainer.max_steps=60" in asked[0]
    assert json.loads((run / "cost.json").read_text())["cpu_minutes"] == 8.5


def test_clips_of_one_recording_are_one_group_of_a_plans_copies(world, tmp_path):
    (tmp_path / "clips").mkdir()
    videos = sorted(world.rglob("*.mp4"))[:3]
    for video, name in zip(videos, ("seq01_kick", "seq01_hug", "seq02_hug"), strict=True):
        shutil.copy(video, tmp_path / f"clips/{name}.mp4")
    plan = Plan("plan", [str(tmp_path / "clips")], {}, [0], [], group=r"seq0?(\d+)", prepare={"short_side": 32})
    (copies,) = plan.prepare_videos(tmp_path / "run")
    manifest = open_manifest(Path(copies))
    groups = dict(zip(*(manifest.column(name).to_pylist() for name in ("path", "group")), strict=True))
    assert groups == {"seq01_kick.mp4": "1", "seq01_hug.mp4": "1", "seq02_hug.mp4": "2"}


def test_kept_results_print_the_tables_of_the_results_page_without_training(capsys):
    run_plan(BENCHMARKS / "ut_interaction.yaml")
    page = (BENCHMARKS.parent / "docs/results.md").read_text()
    assert f"<!-- ut_interaction -->\n{capsys.readouterr().out[:-1]}<!-- end -->" in page


def test_a_plan_that_is_wrong_is_refused(tmp_path):
    text = (BENCHMARKS / "longer.yaml").read_text()
    for changed, message in [
        (text.replace("seeds:", "seed:"), "seed.*keys of a plan are videos"),
        (text.replace("avssl evaluate", "rm -r"), "expected a command such as 'avssl evaluate"),
    ]:
        (tmp_path / "plan.yaml").write_text(changed)
        with pytest.raises(ValueError, match=message):
            Plan.read(tmp_path / "plan.yaml")
    (tmp_path / "longer.yaml").write_text(text.replace("3000", "300"))
    with pytest.raises(ValueError, match="delete it to make it again"):
        run_plan(tmp_path / "longer.yaml", results=BENCHMARKS / "results")
    with pytest.raises(ValueError, match=r"has no \['byol'\]"):
        run_plan(BENCHMARKS / "longer.yaml", only=["byol"])
