"""``avssl advise``: plain answers, no leak, stages made once, time kept."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imsave

from avssl.applications.advise import judging, leaving, run, trials
from avssl.applications.advise.findings import can_and_cannot
from avssl.applications.advise.judging import judge, labels_of, nested
from avssl.applications.advise.plan import make_plan
from avssl.applications.advise.run import advise
from avssl.applications.advise.session import Advice
from avssl.applications.advise.store import Clock, Store
from avssl.applications.advise.survey import Collection, likeness
from avssl.applications.advise.tasks import candidates
from avssl.applications.advise.trials import Speed, steps_done
from avssl.applications.advise.verdict import BEST, LEARNT, in_words, worth_of
from avssl.catalog import copies, index
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.cli import main
from avssl.encoders import load_encoder
from avssl.evaluation.classifier.model import load_classifier
from avssl.evaluation.layout import Layouts
from avssl.evaluation.readout import Bank
from avssl.runtime.device import Machine
from avssl.training import parse, train


def in_this_process(function, items, *_):
    return ((place, function(item)) for place, item in enumerate(items))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(index, "run_parallel", in_this_process)
    monkeypatch.setattr(copies, "run_parallel", in_this_process)


def rows(count, classes):
    """Rows of a manifest of labelled videos, each a group of its own, and as many without a label."""
    own = [f"class{number % classes}" for number in range(count)]
    return [
        {
            "root": "/",
            "path": f"{n}.mp4",
            "status": "ok",
            "duration": 2.0,
            "fps": 25.0,
            "height": 8,
            "width": 8,
            "label": label,
        }
        for n, label in enumerate([*own, *[None] * count])
    ]


def drawn(labels, encoders, seed, monkeypatch):
    """Judge encoders whose features are noise, `TASK, trial` and what they become."""
    rng = np.random.default_rng(seed)
    judged = {}
    monkeypatch.setattr(judging, "clip_features", lambda *_: np.eye(4, dtype=np.float32)[:, None])
    for name in encoders:
        noise = rng.normal(size=(len(labels.videos), 1, 6)).astype(np.float32)
        bank = Bank(noise, labels.marks, labels.units, len(labels.videos.classes))
        monkeypatch.setattr(judging, "layouts", lambda *_, bank=bank: Layouts({"whole": bank}))
        judged[name] = json.loads(json.dumps(judge(None, labels.videos, labels, Machine(), 8)))
    return judged


def test_shuffled_labels_are_at_chance_within_the_interval(monkeypatch):
    """Whatever is chosen, among tasks and encoders, among shapes and strengths, is chosen without the tested videos."""
    monkeypatch.setattr(judging, "PROBE", replace(judging.PROBE, strengths=(0.01,), inner_folds=2))
    names = ["a, trial", "b, trial", "b, continued", "untrained x", "hand"]
    found = []
    for seed in range(2):
        known = rows(24, 2)
        for row, place in zip(known, np.random.default_rng(seed).permutation(24), strict=False):
            row["label"] = f"class{place % 2}"
        labels = labels_of(Manifest.from_rows(known))
        assert len(labels.videos) == 24
        assert labels.chance == 0.5
        worth = worth_of(drawn(labels, names, seed, monkeypatch), labels, ["a", "b"], 1, "hand")
        assert set(worth.gains) == {"hand", "untrained, chosen"}
        for choice in (LEARNT, BEST):
            low, high = worth.summaries[choice].top1.ci95_bootstrap
            assert low <= 0.5 <= high
            found.append(worth.summaries[choice].top1.value)
    assert abs(np.mean(found) - 0.5) < 0.12


def test_features_that_know_the_labels_are_chosen_and_found_worth_it(monkeypatch):
    monkeypatch.setattr(judging, "PROBE", replace(judging.PROBE, strengths=(0.01,), inner_folds=2))
    labels = labels_of(Manifest.from_rows(rows(24, 2)))
    judged = drawn(labels, ["a, trial", "b, trial", "hand"], 0, monkeypatch)
    noise = np.random.default_rng(1).normal(size=(24, 1, 6)).astype(np.float32) + 3 * labels.marks[:, None, None]
    bank = Bank(noise.astype(np.float32), labels.marks, labels.units, 2)
    monkeypatch.setattr(judging, "layouts", lambda *_: Layouts({"whole": bank}))
    judged["b, continued"] = judged["b, trial"] = judge(None, labels.videos, labels, Machine(), 8)
    worth = worth_of(judged, labels, ["a", "b"], 1, "hand")
    assert set(worth.chosen[LEARNT]) == {"b, continued"}
    assert worth.summaries[LEARNT].top1.value > 0.9
    assert worth.gains["hand"].ci95_bootstrap[0] > 0
    assert in_words(worth, labels, "hand")[0].startswith("It is worth it")


def test_a_fold_that_chose_another_task_gets_its_trial(monkeypatch):
    monkeypatch.setattr(judging, "PROBE", replace(judging.PROBE, strengths=(0.01,), inner_folds=2))
    labels = labels_of(Manifest.from_rows(rows(20, 2)))
    judged = drawn(labels, ["a, trial", "b, trial", "a, continued", "hand"], 0, monkeypatch)
    folds = len(labels.folds.folds)
    judged["a, trial"]["inner"] = [0.9] * (folds - 1) + [0.1]
    judged["b, trial"]["inner"] = [0.2] * folds
    chosen = worth_of(judged, labels, ["a", "b"], 1, "hand").chosen[LEARNT]
    assert chosen == ["a, continued"] * (folds - 1) + ["b, trial"]
    single, names = nested(judged, [["hand"]] * folds, labels)
    assert names == ["hand"] * folds
    assert len(single.hits[0]) == 20


def test_labels_that_can_not_be_judged_by_are_left_out_with_a_word():
    known = rows(12, 3)
    lonely = [{**known[0], "path": "x.mp4", "label": "lonely"}]
    labels = labels_of(Manifest.from_rows([*known, *lonely]))
    assert labels.videos.classes == ["class0", "class1", "class2"]
    assert "'lonely': 1 labelled video" in labels.left_out[0]
    assert "in three groups" in labels_of(Manifest.from_rows(rows(4, 2)))
    assert "at least two are needed" in labels_of(Manifest.from_rows([*rows(4, 1), *lonely]))
    assert labels_of(Manifest.from_rows(rows(4, 1)[4:])) == "no video has a label"
    with pytest.raises(ValueError, match="several classes"):
        labels_of(Manifest.from_rows([{**known[0], "label": None, "labels": ["a", "b"]}, *known[1:]]))


COLLECTION = Collection(
    **{"videos": 40, "refused": 0, "hours": 0.1, "seconds": (1.0, 2.0, 3.0, 4.0), "stills": 0.0, "static": 0.0},
    **{"motion": 0.01, "sound": 1.0, "silent": 0.0, "grades": {"exact": 40}, "black": 0.0, "alike": 0.1, "twins": 0},
    **{"identical": 0, "groups": 0},
)


def test_tasks_get_what_they_need_or_say_what_is_lacking():
    fitting, unfit = candidates(COLLECTION)
    assert not unfit
    for task in fitting:
        method = build(parse([task.config, *task.changes(COLLECTION), "--trainer.max_steps=1"]))
        assert method.sampler.seconds < COLLECTION.seconds[2], task.config
    silent, unfit = candidates(replace(COLLECTION, sound=0.0, static=0.9))
    lacking = {task.config: why for task, why in unfit}
    assert "needs sound" in lacking["avid"]
    assert "needs motion" in lacking["pace"]
    assert "simclr_motion" in {task.config for task in silent}
    short = {task.config for task, why in candidates(replace(COLLECTION, seconds=(0.2, 0.3, 0.5, 1.0)))[1]}
    assert {"pace", "vcop"} <= short
    can, cannot = can_and_cannot(replace(COLLECTION, sound=0.0, camera=0.9, twins=3))
    assert any("How things move" in words for words in can)
    assert sum("sound" in words or "camera" in words or "near duplicates" in words for words in cannot) == 3


def build(parsed):
    made, config = parsed
    return made.instantiate(config).method


def test_the_parts_of_a_plan_fit_the_time():
    for left, minutes, tasks, judging_seconds in ((3400, 60, 6, 10), (250, 6, 3, 20), (150, 3, 3, 10), (20, 1, 3, 10)):
        plan = make_plan(left, minutes, tasks, judging_seconds, labelled=True)
        assert plan.trials <= tasks
        assert plan.finalists == (2 if minutes >= 30 else 1)
        used = (
            plan.trials * plan.each + plan.finalists * plan.continued(left - plan.trials * plan.each, 0) + plan.reserve
        )
        assert plan.trials == 0 or used == pytest.approx(left)
    assert plan.trials == 0
    assert Speed(5.0, 0.5).steps(15) == 20


def test_speed_is_measured_over_two_steps_however_slow_they_are(tmp_path, monkeypatch):
    now, each = 0.0, 0.0

    def train_for(words, run, seconds, look):
        nonlocal now
        now = 0.0
        run.mkdir(exist_ok=True)
        while now < seconds and look(max(0, int((now - 10) / each))):
            now += 0.5
        return False

    monkeypatch.setattr(trials.time, "monotonic", lambda: now)
    monkeypatch.setattr(trials, "train_for", train_for)
    for each in (0.5, 2.5, 10.0):
        now = 0.0
        assert trials.speed_of(["simclr"], tmp_path / "run", 60.0) == pytest.approx((10, each))
    now = 0.0
    with pytest.raises(trials.Failed, match="in 35 s: too slow for this budget"):
        trials.speed_of(["simclr"], tmp_path / "run", 35.0)


def test_stages_are_made_once_and_time_counts_on(tmp_path):
    made = []
    for _ in range(2):
        store = Store(tmp_path / "advice", {"minutes": 1})
        assert store.stage("judged/x", lambda: made.append(1) or {"a": [1.5]}) == {"a": [1.5]}
        with Clock(store.folder, 1) as clock:
            clock.begun -= 10
        assert clock.spent >= 10
    assert made == [1]
    assert Clock(store.folder, 1).left == pytest.approx(40, abs=1)
    with pytest.raises(ValueError, match="minutes: 1 before, 2 now"):
        Store(tmp_path / "advice", {"minutes": 2})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("")
    with pytest.raises(ValueError, match="other files"):
        Store(tmp_path / "mine", {})


def test_near_duplicates_share_pictures_and_changes():
    rng = np.random.default_rng(0)
    first, second = rng.normal(128, 40, (2, 5, 8, 8))
    still = rng.normal(128, 40, (1, 8, 8)) + rng.normal(0, 2, (2, 5, 8, 8))  # one scene, other events
    alike, twins = likeness(np.stack([first, second, first + rng.normal(0, 1, first.shape), *still]))
    assert twins == 1
    assert abs(alike) < 0.5
    assert likeness(first[None]) == (0.0, 0)


def advised(videos, folder, *more):
    status = main(["advise", str(videos), "--minutes=0.01", "--machine.workers=0", "-o", str(folder), *more])
    return (folder / "report.md").read_text() if status == 0 else ""


def test_stills_one_video_and_black_get_a_plain_answer(tmp_path, world, capsys):
    stills = tmp_path / "stills"
    stills.mkdir()
    for number in range(3):
        imsave(stills / f"{number}.png", np.random.default_rng(number).random((32, 32, 3)))
    assert "not worth it here: these are still pictures" in advised(stills, tmp_path / "a")

    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(open_manifest(world).paths()[0], one / "one.mp4")
    text = advised(one, tmp_path / "b")
    assert "this is one video" in text
    assert "Cut it into parts" in text
    few = tmp_path / "few.csv"
    few.write_text("path,label\none.mp4,x\nmissing.mp4,y\n")
    assert not advised(one, tmp_path / "c", f"--labels={few}")
    assert "1 name(s) without a file" in capsys.readouterr().err
    few.write_text("path,label\none.mp4,x\n")
    assert "this is one video" in advised(one, tmp_path / "d", f"--labels={few}")


@pytest.mark.parametrize(("shade", "why"), [(0, "black"), (90, "3 videos are too few")])
def test_black_and_too_few_videos_get_a_plain_answer(tmp_path, shade, why):
    import av

    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        with av.open(str(folder / f"{number}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=10, width=32, height=32, pix_fmt="yuv420p")
            for _ in range(30):
                picture = np.full((32, 32, 3), shade + number, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            file.mux(stream.encode())
    text = advised(folder, tmp_path / "advice")
    assert why in text
    assert "0% of the videos have sound" in text


def test_an_advice_from_end_to_end(tmp_path, world, monkeypatch, capsys):
    """With short trainings in this process: the run goes on where its trial stopped, and nothing is made twice."""
    trained = []

    def train_for(words, folder, seconds, look):
        trained.append(seconds)
        look(1)
        with pytest.MonkeyPatch.context() as patch:
            if len(trained) == 1:  # stop after the first step, as a signal does
                from avssl.recipe.checkpoints import Checkpointing

                patch.setattr(Checkpointing, "on_train_start", lambda self, *_: setattr(self, "stopping", 75))
                with pytest.raises(SystemExit):
                    train(words)
                return False
            train(words)
            return True

    monkeypatch.setattr(run, "train_for", train_for)
    monkeypatch.setattr(run, "speed_of", lambda *_: Speed(0.0, 200.0))
    monkeypatch.setattr(run, "FEWEST", 0)
    monkeypatch.setattr(leaving, "CURVE", float("inf"))
    monkeypatch.setattr(judging, "PROBE", replace(judging.PROBE, strengths=(0.01,), inner_folds=2))
    monkeypatch.setattr(judging, "WATCHED", 4)
    videos, few = tmp_path / "videos", tmp_path / "few.csv"
    videos.mkdir()
    for number, path in enumerate(open_manifest(world).paths()[:10]):
        shutil.copy(path, videos / f"{number}.mp4")
    few.write_text("path,label\n" + "".join(f"{number}.mp4,{'ab'[number % 2]}\n" for number in range(8)))
    asked = Advice(
        videos, tmp_path / "advice", (str(few),), {}, "[0-9]", 20.0, tasks=("simclr_motion",), machine=Machine("cpu", 0)
    )
    report = advise(asked)
    folder = tmp_path / "advice"
    text = (folder / "report.md").read_text()
    assert len(trained) == 2
    assert steps_done(folder / "runs" / "simclr_motion") > 1
    tried, whole = (
        json.loads((folder / f"stages/{stage}/simclr_motion.json").read_text()) for stage in ("tried", "continued")
    )
    assert tried["steps"] == 1
    assert not tried["complete"]
    assert whole["complete"]
    assert whole["steps"] == whole["of"]
    assert load_encoder(folder / "tried" / "simclr_motion").card["steps"] == 1
    assert load_encoder(folder / "encoder").card["steps"] == whole["of"]
    assert load_classifier(folder / "classifier").classes == ("a", "b")
    assert "self-supervised, chosen" in text
    assert "hand-made motion energy" in text
    assert report.stat().st_size > 50_000
    assert "data:image/png" in report.read_text()
    assert "| groups | 10 |" in text
    (line,) = (line.split() for line in text.splitlines() if "avssl features" in line)
    assert line[-1] == "features/"
    main([*line[1:-1], f"{tmp_path / 'features'}/", "--machine.workers=0"])
    assert (tmp_path / "features" / "features.npy").exists()
    before = (folder / "stages/judged/simclr_motion, continued.json").stat().st_mtime_ns
    assert advise(asked) == report
    assert len(trained) == 2
    assert (folder / "stages/judged/simclr_motion, continued.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other settings"):
        advise(replace(asked, minutes=5.0))
