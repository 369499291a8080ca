"""Drifting brightness and sharpness answer questions about time (`avssl.studies.drift`); configs prevent it."""

from pathlib import Path

import pytest
import torch
import yaml

from avssl.studies import drift

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOMENTS = {"shuffle_learn": 5, "opn": 4, "vcop": 3, "tcn_single_view": 12, "slow_features": 2}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_picture_that_fades_evenly_answers_every_question(name):
    torch.manual_seed(0)
    times = torch.rand(2, MOMENTS[name], dtype=torch.float64).cumsum(1)
    if name == "tcn_single_view":
        times = times[:1] + torch.tensor([[0.0], [1e-3]])
    if name == "slow_features":
        times = torch.tensor([[0.0, 0.1], [3.0, 5.0]]).double()
    found = drift.accuracy(name, 100 - 3 * times, times).item()
    assert found == (0.5 if name == "vcop" else 1)  # whether it fades or brightens tells VCOP's two orders apart


@pytest.mark.parametrize("name", MOMENTS)
def test_a_cue_that_means_nothing_is_at_chance(name):
    generator = torch.Generator().manual_seed(0)
    times = torch.arange(MOMENTS[name]).double().expand(2, -1)
    trials = [drift.accuracy(name, torch.rand(times.shape, generator=generator), times) for _ in range(4000)]
    assert torch.stack(trials).mean().item() == pytest.approx(drift.CHANCE[name], abs=0.02)


@pytest.mark.parametrize(("name", "least"), [("shuffle_learn", 0.6), ("opn", 0.15), ("slow_features", 0.8)])
def test_shortcut_drift_of_brightness_or_sharpness_on_real_video(shared_data, name, least):
    words = yaml.safe_load((BENCHMARKS / "temporal.yaml").read_text())["methods"][name]
    plain, configured = (
        drift.cue_accuracies(name, words, [shared_data / "ut_interaction"], changes)
        for changes in drift.COLUMNS.values()
    )
    chance = drift.CHANCE[name]
    assert max(of.mean() for of in plain.values()) > least
    for of in configured.values():
        assert of.mean() < chance + (least - chance) / 2


def test_shortcut_an_odd_sub_sequence_changes_or_drifts_otherwise_on_real_video(shared_data):
    words = yaml.safe_load((BENCHMARKS / "temporal.yaml").read_text())["methods"]["odd_one_out"]
    bare, configured = drift.COLUMNS.values()
    plain, disguised, both = (
        drift.cue_accuracies("odd_one_out", words, [shared_data / "ut_interaction"], changes)
        for changes in (["--method.sampler.disguise=false", *bare], bare, configured)
    )
    assert plain["most change"].mean() > 0.6  # chance is 1/6
    assert 0.3 < disguised["least change"].mean() < 0.55
    assert disguised["most change"].mean() < 0.55
    assert disguised["brightness"].mean() > 0.3
    assert max(of.mean() for of in both.values()) < 0.25
