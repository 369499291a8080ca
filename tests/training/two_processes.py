"""What test_two_processes.py does in each of two processes: started once, as `python two_processes.py FOLDER WORLD`."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed, nn

from avssl.data.samplers import RandomClips
from avssl.data.transforms import Augment
from avssl.encoders import AudioEncoder, Encoder, FrameEncoder, ViT
from avssl.methods import MoCo
from avssl.recipe.checkpoints import latest
from avssl.recipe.syncnorm import SyncNorms
from avssl.training import Data, Recipe, pretrain

STEPS, STOP = 3, 1


class Tiny(Encoder):
    """Two layers with batch normalisation."""

    def __init__(self, width=8):
        super().__init__(width, {"width": width})
        self.net = nn.Sequential(
            nn.Conv3d(3, width, 3, (1, 2, 2), 1), nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, width, 1)
        )

    def maps(self, clips):
        return self.net(clips.transpose(1, 2))


class TinyFrames(FrameEncoder):
    """The same for single frames."""

    def __init__(self, width=8):
        super().__init__(width, {"width": width})
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1)
        )

    def stages(self, clips):
        return [self.net(clips.flatten(0, 1))] * 4


class TinySound(AudioEncoder):
    """The same for sound."""

    def __init__(self, width=8):
        super().__init__(width, {"width": width}, rate=1000, min_samples=16)
        self.net = nn.Sequential(
            nn.Conv1d(1, width, 9, 4), nn.BatchNorm1d(width), nn.ReLU(), nn.Conv1d(width, width, 1)
        )

    def maps(self, sound):
        return self.net(sound[:, None])


def outcome(method, clips):
    """Return loss and gradients, averaged over processes as DDP averages, and running statistics, in float64.

    Each process has its own random numbers, as in a run.
    """
    torch.manual_seed(rank_zero_only.rank)
    doubles = patch.object(torch.Tensor, "float", torch.Tensor.double), patch.object(torch, "float32", torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        with doubles[0], doubles[1]:
            loss = method.double()(clips)["loss"]
            loss.backward()
    finally:
        torch.set_default_dtype(torch.float)
    found = {"loss": loss.detach()}
    found |= {f"grad {name}": p.grad for name, p in method.named_parameters() if p.grad is not None}
    if distributed.is_initialized():
        for value in found.values():
            distributed.all_reduce(value)
            value /= 2
    return found | {f"buffer {name}": b for name, b in method.named_buffers() if "running" in name}


def run(folder, name, world, devices=2, stop=None, **trainer):
    """Train MoCo with a transformer for three steps; with ``stop``, be asked to stop after that many."""
    torch.manual_seed(0)
    encoder = ViT(width=16, depth=2, patch=16)
    method = MoCo(encoder, RandomClips(clips=2, num_frames=4, step=0.1), hidden=16, out=8, queue=16)
    after_step = method.after_step

    def then_stop(progress):
        after_step(progress)
        if round(progress * STEPS) == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    method.after_step = then_stop
    data = Data(Augment(32), str(world), batch_size=4, workers=0, rounds=1)

    def optimizer(parameters):  # with a large epsilon, or Adam makes steps of rounding errors
        return torch.optim.AdamW(parameters, 1e-2, eps=1e-2)

    plain = {"accelerator": "cpu", "precision": "32-true", "log_every_n_steps": 1, "max_steps": STEPS}
    with contextlib.suppress(SystemExit):
        pretrain(
            *(name, method, data, optimizer, {**plain, "devices": devices, "sync_batchnorm": True, **trainer}),
            **{"measure_every": 2, "runs": str(folder), "checkpoint_minutes": 0.0},
            recipe=Recipe(accumulate=2, average=0.9),
        )


def main(folder, world):
    torch.set_num_threads(1)
    other = os.fork()  # before anything is computed: importing torch twice would take longer than all that follows
    rank = rank_zero_only.rank = 0 if other else 1
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    for name, (method, clips) in torch.load(folder / "methods.pt", weights_only=False).items():
        part = type(clips)(**{k: v if v is None else v[rank::2] for k, v in vars(clips).items()})
        found[name] = outcome(SyncNorms().apply(method), part)
    if rank == 0:
        torch.save(found, folder / "found.pt")
    for name, options in {
        "ddp": {"strategy": "ddp"},
        "fsdp": {"strategy": "fsdp2"},
        "stopped": {"strategy": "fsdp2", "stop": STOP},
    }.items():
        run(folder, name, world, **options)
        distributed.barrier()
    if rank == 0:
        assert latest(folder / "stopped/checkpoints").name == f"step-{STOP:08d}.ckpt"
        (folder / "moved/checkpoints").mkdir(parents=True)
        for file in ("split.parquet", *(f"checkpoints/step-{STOP:08d}.ckpt{end}" for end in ("", ".sha256"))):
            (folder / "moved" / file).write_bytes((folder / "stopped" / file).read_bytes())
    distributed.barrier()
    run(folder, "stopped", world, strategy="fsdp2")
    distributed.barrier()
    distributed.destroy_process_group()
    if other:
        assert os.waitpid(other, 0)[1] == 0


if __name__ == "__main__":
    sys.modules["two_processes"] = sys.modules["__main__"]  # where the methods' classes come from
    main(*map(Path, sys.argv[1:]))
