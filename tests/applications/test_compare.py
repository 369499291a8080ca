"""Rank correlations, fine-tuning against scratch, and slopes, from kept results and from made-up ones."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from avssl.applications.compare.measuring import advantages, compare_runs, slopes
from avssl.applications.compare.reading import Run, by_method, find_runs
from avssl.evaluation.report import gains

KEPT = Path(__file__).parents[2] / "benchmarks/results"


@pytest.fixture
def quick(monkeypatch):
    for module in ("avssl.studies.correlation", "avssl.evaluation.metrics", "avssl.applications.compare.measuring"):
        monkeypatch.setattr(f"{module}.RESAMPLES", 60)


def test_kept_results_say_that_the_pretext_task_does_not_rank_image_methods(quick, tmp_path):
    found = compare_runs([KEPT / "images"], tmp_path)
    images = found.methods["images"]
    stage2 = "stages_cifar10_subset: linear_stage2 top1"
    assert images["rotnet"]["pretext"] > 0.98 > images["deep_perm_net"]["pretext"]
    assert images["rotnet"][stage2] < images["deep_perm_net"][stage2]
    (one,) = [each for each in found.correlations if (each.predictor, each.target) == ("pretext", stage2)]
    assert one.methods == 12
    assert one.score.ci95_bootstrap[0] < 0 < one.score.ci95_bootstrap[1]
    assert not [each for each in found.correlations if each.predictor == each.target]
    assert (tmp_path / "compare.json").is_file()
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_fine_tuning_is_compared_with_scratch_as_the_table_compares_them(quick):
    methods = by_method(find_runs([KEPT / "images/rotnet-0", KEPT / "images/rotnet-1"]))
    (found,) = advantages(methods)
    runs = methods["images", "rotnet"]
    same = gains([run.results["ut_interaction"] for run in runs])["fine_tune top1"]
    assert found.gain == same
    assert (found.steps, found.scratch_steps, found.labels) == (60, 60, None)


def made(value, seed=0):
    """Runs of a plan of 27, whose numbers follow a law."""
    rng = np.random.default_rng(seed)
    return [
        Run("plan", f"{width}", {"score": value(width, hard, rng)}, {}, {"width": width, "data": share, "hard": hard})
        for width, share, hard in product((8, 16, 32), (0.125, 0.5, 1), (10, 100, 1000))
    ]


def test_a_law_is_found_by_its_slopes_and_a_shuffled_one_is_not(quick):
    law = made(lambda width, hard, rng: 0.1 * np.log2(width) - 0.02 * np.log2(hard) + 0.001 * rng.normal())
    found = {one.factor: one.score for one in slopes("plan", law)}
    assert found["width"].value == pytest.approx(0.1, abs=0.002)
    assert found["hard"].value == pytest.approx(-0.02, abs=0.001)
    assert abs(found["data"].value) < 0.002
    assert set(found) == {"width", "data", "hard", "width x data", "width x hard", "data x hard"}
    nothing = {one.factor: one.score for one in slopes("plan", made(lambda *_: _[2].normal()))}
    inside = [score.ci95_bootstrap[0] < 0 < score.ci95_bootstrap[1] for score in nothing.values()]
    assert sum(inside) >= 5


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="avssl evaluate"):
        find_runs([tmp_path])
