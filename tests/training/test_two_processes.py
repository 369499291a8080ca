"""Training on two processes is training on one: negatives, normalisation, measuring, sharded weights, resuming."""

import csv
import sys
from functools import partial

import forked
import pytest
import torch
import two_processes
from two_processes import Tiny, TinyFrames, TinySound, outcome, run

from avssl.catalog.index import open_manifest
from avssl.clips import Clips
from avssl.data.samplers import NearbyClips, RandomClips
from avssl.encoders import AudioViT, FrameViT, ViT, load_encoder
from avssl.methods import (
    AVID,
    AVTS,
    BYOL,
    CAVMAE,
    CPC,
    DPC,
    IIC,
    TCN,
    XDC,
    Counting,
    ImageCPC,
    LeVJEPA,
    MemDPC,
    MoCo,
    Pace,
    RSPNet,
    SimCLR,
)
from avssl.methods.audiovisual.avts import HardClips
from avssl.methods.audiovisual.cav_mae import FrameAndSound
from avssl.methods.audiovisual.streams import AlignedClips
from avssl.methods.recurrent import Blocks
from avssl.methods.temporal.levjepa import SameClip
from avssl.methods.temporal.pace import PacedClips
from avssl.methods.temporal.rspnet import RelativePaces
from avssl.methods.temporal.tcn import Moments
from avssl.recipe.checkpoints import latest
from avssl.recipe.syncnorm import SyncNorms
from avssl.training.sharding import check_optimizers

BATCH = 6
BLOCKS = Blocks(blocks=5, num_frames=2, step=0.1)
NARROW = {"hidden": 16, "out": 8}
PAIR = RandomClips(clips=2, num_frames=3, step=0.1)
MOMENTS = Moments(num_frames=6, step=0.2, window=0.1, margin=0.2)
METHODS = {
    "simclr": partial(SimCLR, sampler=NearbyClips(num_frames=3, step=0.1), **NARROW),
    "moco": partial(MoCo, sampler=PAIR, queue=4, **NARROW),
    "moco v3": partial(MoCo, sampler=PAIR, queue=0, **NARROW),
    "byol": partial(BYOL, sampler=PAIR, **NARROW),
    "pace": partial(Pace, sampler=PacedClips(num_frames=3), flicker=0, **NARROW),
    "cpc": partial(CPC, sampler=BLOCKS, predict=2, width=8),
    "dpc": partial(DPC, sampler=BLOCKS, predict=2),
    "memdpc": partial(MemDPC, sampler=BLOCKS, predict=2, slots=8),
    "image_cpc": partial(ImageCPC, grid=4, predict=1, width=8, depth=2, overlap=1.0),
    "counting": partial(Counting, counts=8, grey=0, hidden=16),
    **{f"tcn {loss}": partial(TCN, sampler=MOMENTS, loss=loss, **NARROW) for loss in ("triplet", "n-pairs", "lifted")},
    "rspnet": partial(RSPNet, sampler=RelativePaces(num_frames=3), out=8, queue=4),
    "iic": partial(IIC, sampler=PAIR),
    "iic shuffled": partial(IIC, sampler=RandomClips(2, num_frames=4, step=0.1), broken="shuffle"),
    "levjepa": partial(LeVJEPA, sampler=SameClip(3, 4, 0.1), dropped=0.5, local_size=8, directions=8, **NARROW),
    "avid": partial(AVID, sampler=AlignedClips(num_frames=3, step=0.1), **NARROW),
    "avid bank": partial(AVID, sampler=AlignedClips(num_frames=3, step=0.1), bank=12, negatives=5, **NARROW),
    "cav_mae": partial(CAVMAE, sampler=FrameAndSound(0.5), joint=1, hidden=16, depth=1),
    "avts": partial(AVTS, sampler=HardClips(4, 0.1), curriculum=((0, 0.4, 0.3, 0.3),), **NARROW),
    "xdc": partial(XDC, sampler=AlignedClips(num_frames=3, step=0.1), clusters=4, memory=16),
}


def example(name, world):
    """Return a method with small networks, and a batch of noise at the times that its sampler draws."""
    torch.manual_seed(0)
    sounds = (TinySound(),) if name.startswith(("avid", "avts", "xdc")) else ()
    frames = name.startswith(("image", "counting", "tcn"))
    networks = (TinyFrames() if frames else Tiny(), *sounds)
    if name == "levjepa":
        networks = (ViT(16, 1, 8),)
    if name == "cav_mae":
        networks = FrameViT(16, 2, 4), AudioViT(16, 2, 4, rate=1000, bands=8)
    method = METHODS[name](*networks)
    if name == "counting":
        method.styles = method.styles[:1]  # or processes scale their pictures differently
        torch.nn.init.normal_(method.count[1].weight)  # or all counts are nearly zero
    info, rng = open_manifest(world)[0], torch.Generator().manual_seed(1)
    drawn = [method.sampler(info, rng) for _ in range(BATCH)]
    times = torch.stack([one.times for one in drawn])
    video = torch.randn(*times.shape, 3, 16, 16, generator=rng, dtype=torch.float64)
    if len(networks) == 1:
        return method, Clips(video, times)
    spans = torch.stack([one.audio for one in drawn])
    samples = round((spans[0, 0, 1] - spans[0, 0, 0]).item() * 1000)
    sound = torch.randn(*spans.shape[:2], samples, generator=rng, dtype=torch.float64)
    return method, Clips(video, times, sound, spans, spans, index=torch.arange(BATCH))


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    """What two processes leave, after all that they are to do."""
    folder = tmp_path_factory.mktemp("two")
    torch.save({name: example(name, world) for name in METHODS}, folder / "methods.pt")
    command = [sys.executable, two_processes.__file__, str(folder), str(world)]
    done = forked.run(command, check=True)
    assert "FutureWarning" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def single(folder, world):
    """The same run in one process, and one that goes on where two processes stopped."""
    for name in ("single", "moved"):
        run(folder, name, world, devices=1)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_loss_gradients_and_statistics_are_those_of_one_process_with_the_whole_batch(name, folder, world):
    alone, together = outcome(*example(name, world)), torch.load(folder / "found.pt")[name]
    assert alone.keys() == together.keys()
    for what, value in alone.items():
        torch.testing.assert_close(
            together[what], value, rtol=1e-6, atol=1e-9, msg=lambda said, what=what: f"{what}: {said}"
        )


def test_the_layer_that_synchronises_is_torchs_on_a_gpu():
    """The part of it that needs no GPU: that torch's layer finds all that it uses, and no change for one process."""
    plain, layer = torch.nn.BatchNorm3d(3), SyncNorms().apply(torch.nn.BatchNorm3d(3))
    for batch in torch.randn(2, 4, 3, 2, 2, 2):
        found = torch.nn.SyncBatchNorm.forward(layer, batch)
        assert torch.equal(found, plain(batch))
    assert torch.equal(layer.running_var, plain.running_var)


def test_an_optimiser_that_needs_whole_weights_is_not_sharded():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    check_optimizers([torch.optim.AdamW([weight])])
    with pytest.raises(ValueError, match="fsdp2: Adafactor averages over whole rows"):
        check_optimizers([torch.optim.Adafactor([weight])])


def weights(folder):
    state = torch.load(latest(folder / "checkpoints"), weights_only=True)
    assert state["global_step"] == two_processes.STEPS
    return state["state_dict"], state["optimizer_states"][0]


def test_two_processes_train_what_one_trains_whole_or_sharded(single):
    """The checkpoints have one format, so that optimisers can be compared too."""
    model, optimizer = weights(single / "single")
    rows = sorted(model.pop("method.queue.keys").tolist())  # which processes fill in different orders
    for name in ("ddp", "fsdp", "moved"):
        other, state = weights(single / name)
        keys = sorted(other.pop("method.queue.keys").tolist())
        torch.testing.assert_close(torch.tensor(keys), torch.tensor(rows), rtol=0, atol=1e-5)
        assert list(other) == list(model)
        torch.testing.assert_close(other, model, rtol=0, atol=1e-5)
        torch.testing.assert_close(state["state"], optimizer["state"], rtol=0, atol=1e-4)
        exports = [load_encoder(single / run).state_dict() for run in ("single", name)]
        torch.testing.assert_close(*exports, rtol=0, atol=1e-5)
    state, _ = weights(single / "fsdp")
    for part, name in (("encoder", "average.networks"), ("encoder_raw", "method")):
        encoder = load_encoder(single / "fsdp" / part)
        assert encoder.card["method"] == "MoCo"
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, state[f"{name}.encoder.{key}"])


def test_a_sharded_run_that_was_stopped_and_resumed_equals_one_that_was_not(folder):
    torch.testing.assert_close(weights(folder / "stopped"), weights(folder / "fsdp"), rtol=0, atol=0)


def test_held_out_videos_are_measured_alike_by_one_process_and_two(single):
    """In one batch each, so that most of the processes' shares are padding."""
    rows = {}
    for name in ("single", "ddp", "fsdp"):
        with (single / name / "metrics.csv").open(newline="") as file:
            row = {int(row["step"]): row for row in csv.DictReader(file)}[2]
        rows[name] = {key: float(value) for key, value in row.items() if key.startswith("val/")}
    assert {"val/loss", "val/accuracy", "val/collapse/rankme", "val/collapse/alignment"} <= rows["single"].keys()
    for name in ("ddp", "fsdp"):
        assert rows[name] == pytest.approx(rows["single"], abs=1e-5)
