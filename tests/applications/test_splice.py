"""Splices: planted parts are found, pictures are put together as they say, and the command from end to end."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from avssl.applications.splice.affinity import Grid, affinities, apart, cut, laplacian_energy, merged
from avssl.applications.splice.attributes import tell_attributes
from avssl.applications.splice.making import CONDITIONS, Condition, Made, Source, draw, put_together
from avssl.applications.splice.measuring import Detector, measure, measure_splices
from avssl.cli import main
from avssl.clips import Clips
from avssl.encoders import HighPassNet
from avssl.encoders.highpass import high_pass
from avssl.labels import RecordedAttributes
from avssl.methods import CameraConsistency
from avssl.methods.frame.camera_consistency import Pairs, balanced
from avssl.pixels import MEAN, STD
from avssl.synthetic import CameraPipeline


def planted(size=30, part=8, noise=0.05):
    """Affinities of patches of which the first few are of another camera."""
    rng = np.random.default_rng(0)
    odd = np.arange(size) < part
    found = np.where(odd[:, None] == odd, 0.9, 0.2) + noise * rng.standard_normal((size, size))
    return ((found + found.T) / 2).clip(0.01, 0.99), odd


@pytest.mark.parametrize("merge", ["mean_shift", "cut"])
def test_a_planted_part_is_found_and_nothing_where_all_is_the_same(merge):
    affinity, odd = planted()
    scores, members = merged(affinity, merge)
    assert (members == ~odd).all()
    assert scores[odd].min() > scores[~odd].max() + 0.4
    assert merged(np.full((9, 9), 0.8), merge).scores == pytest.approx(0.2)


def test_the_cut_is_the_planted_part_and_the_least_of_all():
    affinity, odd = planted(noise=0.1)
    part = cut(affinity)
    assert (part == odd).all() or (part == ~odd).all()
    degrees = affinity.sum(1)

    def value(chosen):
        across = affinity[chosen][:, ~chosen].sum()
        return across / degrees[chosen].sum() + across / degrees[~chosen].sum()

    rng = np.random.default_rng(1)
    others = [rng.permutation(odd) for _ in range(200)]
    assert value(part) <= min(map(value, others))


def test_patches_cover_a_picture_up_to_its_edges_and_few_pixels_are_refused():
    grid = Grid.over((100, 70), 24, 10)
    assert grid.tops[0] == grid.lefts[0] == 0
    assert (grid.tops[-1], grid.lefts[-1]) == (76, 46)
    assert max(np.diff(grid.tops)) <= 10
    assert grid.spread(np.ones(len(grid))) == pytest.approx(np.ones((100, 70)))
    assert len(Grid.over((2000, 3000), 48)) <= 400
    with pytest.raises(ValueError, match="no room for several patches"):
        Grid.over((48, 48), 48)
    with pytest.raises(ValueError, match="stride is 0"):
        Grid.over((100, 100), 48, 0)
    scores = np.zeros(len(grid))
    scores[-1] = 1
    assert grid.spread(scores).argmax() // 70 > 76  # it is where the last patch is


def network(width=8):
    torch.manual_seed(0)
    return CameraConsistency(HighPassNet(width=width), pipeline=CameraPipeline(), size=24).eval()


def test_answers_are_symmetric_and_the_whole_teaches_the_parts_nothing():
    method = network()
    vectors = torch.randn(5, method.encoder.num_features)
    answers = method.answers(vectors)
    assert torch.allclose(answers, answers.transpose(0, 1), atol=1e-6)
    answers[..., -1].sum().backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in method.pair.parameters())
    picture = torch.randint(0, 256, (3, 60, 50), dtype=torch.uint8)
    found = affinities(method, picture, Grid.over((60, 50), 24, 12))
    assert found.shape == (7, 16, 16)
    assert np.allclose(found, found.transpose(0, 2, 1), atol=1e-5)


def test_each_camera_films_two_videos_and_each_frame_has_two_cameras():
    method = network()
    rgb = torch.rand(6, 3, 32, 32)
    _, settings = method.film(rgb, 2)  # three videos of two frames
    first, second = settings.chunk(2)
    assert torch.equal(first, second.roll(-2, 0))
    alike = (first == second).all(1)
    assert alike.float().mean() < 0.5


def test_a_patch_is_not_compared_with_itself_and_shares_are_balanced():
    same = torch.eye(4, dtype=torch.bool)[:, :, None]
    video = torch.tensor([0, 0, 1, 1])
    pairs = Pairs(same, torch.ones_like(same), video[:, None] != video, video[:, None] == video, video)
    assert torch.equal(balanced(torch.ones_like(same), pairs, 2), torch.full((2, 1), 0.75))  # no same pair: half of 1/2
    assert torch.equal(balanced(torch.zeros_like(same), pairs, 2), torch.full((2, 1), 0.25))


def test_the_high_pass_copy_has_no_ramp_and_keeps_noise():
    ramp = torch.linspace(0, 1, 20).expand(1, 3, 20, 20)
    assert high_pass(ramp)[..., 1:-1].abs().max() < 1e-4
    assert high_pass(ramp + 0.01 * torch.randn(1, 3, 20, 20))[..., 1:-1].std() > 0.1


def made(count=12):
    rng = np.random.default_rng(3)
    pictures = []
    for number in range(count):
        spliced, honest = (torch.full((3, 64, 64), 90.0) for _ in range(2))
        mask = np.zeros((64, 64), bool)
        top, left = rng.integers(0, 44, 2)
        mask[top : top + 18, left : left + 18] = True
        spliced[:, torch.from_numpy(mask)] += 30 * torch.randn(
            3, mask.sum(), generator=torch.Generator().manual_seed(number)
        )
        both = [part.clamp(0, 255).to(torch.uint8) for part in (spliced, honest)]
        pictures.append(Made(both[0], both[1], mask, str(number)))
    return pictures


def test_a_detector_that_sees_the_part_is_right_and_one_that_guesses_at_chance():
    rng = np.random.default_rng(0)
    sees = Detector(lambda picture, grid: laplacian_energy(grid.cut(picture) / 255), np.std, {"sees": apart})
    guesses = Detector(lambda picture, grid: rng.random(len(grid)), np.mean, {"guesses": lambda scores: scores})
    found = measure(made(), [sees, guesses], 16, 8, "noise")
    assert found[0].detection.value == 1
    assert found[0].localisation.value > 0.9
    for score in (found[1].detection, found[1].localisation):
        assert score.ci95_bootstrap[0] < 0.5 < score.ci95_bootstrap[1]
    with pytest.raises(ValueError, match="no picture"):
        measure([], [sees], 16, 8, "none")


def test_pictures_are_put_together_of_what_two_cameras_film():
    clips = torch.randint(0, 256, (4, 2, 3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sources = [Source(part, str(number)) for number, part in enumerate(clips)]
    still = CameraPipeline(strength=0)  # whose pictures are what they film
    for number, one in enumerate(put_together(sources, still, Condition("in phase", grid=True))):
        mask = torch.from_numpy(one.mask)
        assert 0.05 < mask.float().mean() < 0.4
        assert torch.equal(one.spliced, torch.where(mask, clips[(number + 1) % 4, 0, 2], clips[number, 0, 2]))
        assert torch.equal(one.authentic, clips[number, 1, 2])
    with pytest.raises(ValueError, match="two videos"):
        next(put_together(sources[:1], still, CONDITIONS[0]))


def test_settings_between_levels_are_none_of_them():
    pipeline = CameraPipeline()
    between = draw(pipeline, 50, True, torch.Generator().manual_seed(0))
    for place in (0, 1, 3, 4, 5):
        assert not torch.isin(between[:, place], pipeline.levels[place]).any()
        assert between[:, place].min() > pipeline.levels[place].min()
        assert between[:, place].max() < pipeline.levels[place].max()


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A run of two steps."""
    runs = tmp_path_factory.mktemp("runs")
    words = ["--method.encoder.width=8", "--method.size=24", "--data.transform.size=48", "--data.workers=0"]
    words += ["--data.batch_size=4", "--trainer.max_steps=2", "--data.rounds=1", f"--data.root={world}"]
    assert main(["train", "camera_consistency", f"--runs={runs}", *words]) == 0
    return runs / "camera_consistency"


def test_a_picture_and_a_video_get_scores_for_every_patch_and_a_drawing(run, world, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (60, 84, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    video = sorted(world.glob("*/*.mp4"))[0]
    for path, frames, shape in ((tmp_path / "photo.png", 1, [60, 84]), (video, 3, [64, 64])):
        out = tmp_path / path.stem
        assert main(["splice", str(path), f"--run={run}", "-o", str(out), "--every=1", "--merge=cut"]) == 0
        assert "score 0." in capsys.readouterr().out
        found = json.loads((out / "splice.json").read_text())
        assert (len(found["frames"]), found["shape"]) == (frames, shape)
        patches = found["frames"][0]["patches"]
        assert max(patch["top"] for patch in patches) == shape[0] - 24
        assert all(0 <= value <= 1 for patch in patches for value in (patch["score"], *patch["attributes"].values()))
        assert found["score"] == max(frame["score"] for frame in found["frames"])
        assert (out / "splice.png").stat().st_size > 10_000


def test_small_pictures_and_other_runs_are_refused(run, tmp_path, capsys):
    Image.new("RGB", (20, 30)).save(tmp_path / "small.png")
    assert main(["splice", str(tmp_path / "small.png"), f"--run={run}", "-o", str(tmp_path)]) == 2
    assert "no room for several patches of 24" in capsys.readouterr().err


def test_held_out_videos_give_splices_and_figures(run):
    conditions = [CONDITIONS[0], Condition("coded", crf=20)]
    found = measure_splices(run, videos=3, size=64, stride=20, conditions=conditions)
    assert {one.condition for one in found} == {"pictures", "coded"}
    assert len(found) == 5 + 4
    assert all(0 <= one.localisation.value <= 1 for one in found)
    told = tell_attributes(run, batch=4, fitted=2)
    assert [one.attribute for one in told][-1] == "camera"
    low, high = told[1].energy.ci95_bootstrap  # noise
    assert 0.3 < low <= told[1].energy.value <= high <= 1


def test_recorded_attributes_are_compared_without_a_pipeline_and_unknown_ones_do_not_count():
    torch.manual_seed(0)
    method = CameraConsistency(HighPassNet(width=8), labeller=RecordedAttributes(["Make", "Flash"]), size=24)
    frames = torch.randint(0, 256, (4, 1, 1, 3, 40, 40), dtype=torch.uint8)
    codes = torch.tensor([[7, -1], [7, 1], [9, 2], [8, -1]])[:, None]
    clips = Clips(frames, torch.zeros(4, 1, 1).double(), target=codes).normalised(torch.tensor(MEAN), torch.tensor(STD))
    _, pairs = method.patches_of(clips)
    first, second, third = 0, 2, 4  # rows: two patches each
    assert pairs.same[first, second].tolist() == [True, False, True]  # nothing known is different
    assert pairs.known[first, second].tolist() == [True, False, True]
    assert pairs.same[second, third].tolist() == [False, False, False]
    out = method(clips)
    assert out["Flash"].tolist()[0] == 0.5  # of this photograph it is unknown
    out["loss"].backward()
    assert method.pair[2].weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="needs attributes"):
        CameraConsistency(HighPassNet(width=8))
