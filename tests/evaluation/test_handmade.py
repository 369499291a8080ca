"""Motion energy is where something moves, and when; with directions, also whither."""

import pytest
import tiny
import torch

from avssl.cli import main
from avssl.encoders import load_encoder, save_encoder
from avssl.evaluation import MotionEnergy
from avssl.evaluation.results import Results
from avssl.pixels import normalise_rgb

SIZE, NOTHING = 64, 10 * torch.tensor(0.5).log10()


def moving(dx, dy, still_from=None):
    """A soft spot that moves from the middle of a grey picture: normalised ``[1, 9, 3, 64, 64]``."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    steps = [min(t, still_from or 9) for t in range(9)]
    spots = [(-((rows - 30 - t * dy) ** 2 + (columns - 30 - t * dx) ** 2) / 18).exp() for t in steps]
    return normalise_rgb((0.2 + 0.6 * torch.stack(spots))[:, None].expand(-1, 3, -1, -1))[None]


def test_energy_is_where_and_when_something_moves():
    found = MotionEnergy().maps(moving(1, 0, still_from=4))[0, :, :, 0, 0].unflatten(0, (8, 8))  # [row, column, step]
    torch.testing.assert_close(found[:, :, 4:], NOTHING.expand(8, 8, 4), atol=1e-3, rtol=0)  # it has stopped
    assert found[3:5, 3:5, :4].min() > NOTHING + 3
    torch.testing.assert_close(found[0, :, :4], NOTHING.expand(8, 4), atol=1e-3, rtol=0)  # nothing at the top
    square = torch.zeros(1, 2, 3, 8, 8)
    square[0, 1, :, :4] = 100 / 255
    expected = 10 * torch.tensor([100.5, 0.5]).log10()  # decibels of the mean absolute difference, and the noise
    torch.testing.assert_close(MotionEnergy(2)(normalise_rgb(square))[0, [0, 2]], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("number", "step"), enumerate([(1, 0), (-1, 0), (0, 1), (0, -1)]))
def test_directions_tell_whither(number, step):
    encoder = MotionEnergy(grid=4, directions=True)
    total, *ways = encoder(moving(*step)).unflatten(1, (5, 16)).max(2).values[0]
    assert int(torch.stack(ways).argmax()) == number
    opposite = ways[number ^ 1]
    assert ways[number] > opposite + 3
    assert total >= ways[number]
    torch.testing.assert_close(encoder.maps(moving(*step))[:, :16], MotionEnergy(grid=4).maps(moving(*step)))


def test_it_is_evaluated_like_any_encoder_and_without_an_untrained_one(collection, tmp_path):
    encoder = MotionEnergy(grid=4)
    save_encoder(encoder, tmp_path / "kept", encoder.card)
    clips = torch.randn(1, 3, 3, 16, 16)
    torch.testing.assert_close(load_encoder(tmp_path / "kept").maps(clips), encoder.maps(clips))
    collection.write(tmp_path / "videos.parquet")
    words = ["evaluate", "ut_interaction", f"--data.root={tmp_path / 'videos.parquet'}", "--name=tiny"]
    words += ["--split.init_args.pattern=(?P<part>set[12])_(?P<group>seq[0-9]+)_", "--low_shot=null"]
    words += [
        "--views={clips: 2, num_frames: 4, step: 0.1, size: 32}",
        "--fine_tune=null",
        "--machine.workers=0",
        "--layout=null",
        "--layout_mean=null",
    ]
    words += ["--linear.strengths=[0.01]", "--machine.device=cpu", f"--machine.cache={tmp_path / 'cache'}"]
    words += [f"--run={tmp_path / 'run'}", "--encoder=avssl.evaluation.MotionEnergy", "--encoder.directions=true"]
    assert main(words) == 0
    found = Results.read(tmp_path / "run" / "eval" / "tiny" / "results.json")
    assert found.outcomes.keys() == {"pretrained"}
    assert found.summary("linear").top1.value > 0.8, tiny.CLASSES  # squares that move down or right
