"""What a GPU does, in 6 minutes: steps against a bare loop, compiled or not, the loader, augmentation, resuming.

    python benchmarks/gpu.py                 # on one GPU; rows appear as they are measured
    python benchmarks/gpu.py --tiny          # everything once on a CPU in a minute, to see that the script works

A step is one of avssl's engine with its logs and callbacks, over a batch that lies in page-locked memory; the bare loop
trains the same network on the same batch. They take turns and the medians are compared: a ratio of 1 is no overhead.
*Loader* trains on rendered videos with colours changed by the workers or on the device; *waiting* is the share of its
time that the same steps would not take from memory. *Resumed* compares the weights of a run that was stopped and
resumed with one that wasn't. Peak memory stands beside what ``avssl train --dry-run`` estimates. What doesn't fit into
``--minutes`` any more is left out and named.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from avssl import encoders
from avssl.clips import Clips
from avssl.data import Augment, NearbyClips, RandAugment
from avssl.encoders import R3D, AudioResNet, R2Plus1D, ViT, load_encoder, weights_hash
from avssl.methods import AVID, VJEPA, Method, SimCLR, VideoMAE
from avssl.methods.audiovisual.streams import AlignedClips
from avssl.pixels import MEAN, STD
from avssl.recipe.checkpoints import Checkpointing, VerifiedCheckpoints
from avssl.recipe.logs import MetricsCSV, quiet_lightning
from avssl.runtime.device import Machine
from avssl.synthetic import World, write_world
from avssl.training import Data, pretrain
from avssl.training.data import Loaders
from avssl.training.dryrun import cost
from avssl.training.module import Pretraining
from avssl.training.run import precision
from avssl.training.unallocated import unallocated

DEVICE = Machine().target
RATE, STEP = 16000, 0.1  # of sound in Hz, and between frames in seconds
optimizer = partial(torch.optim.AdamW, lr=1e-4)


@dataclass(frozen=True)
class Case:
    """A method, and the clips of a step: videos, clips per video, frames and pixels."""

    name: str
    make: Callable[[], Method]
    shape: tuple[int, int, int, int]
    sound: bool = False

    def clips(self) -> Clips:
        """Return a batch of random pixels, page-locked for a GPU."""
        b, n, t, side = self.shape
        times = torch.arange(t).mul(STEP).double().expand(b, n, t)
        sound = torch.rand(b, n, round(t * STEP * RATE)) - 0.5 if self.sound else None
        spans = torch.tensor([0.0, t * STEP]).double().expand(b, n, 2) if self.sound else None
        video = torch.randint(0, 256, (b, n, t, 3, side, side), dtype=torch.uint8)
        made = Clips(video, times.contiguous(), sound, spans, spans)
        return made.pin_memory() if DEVICE.type == "cuda" else made


def cases(tiny: bool) -> list[Case]:
    """Return the methods to measure, at the sizes of their papers or tiny."""
    if tiny:
        wide, small, full = 8, (2, 1, 4, 32), (2, 1, 4, 32)
        masked, predicted = (lambda: VideoMAE(ViT(32, 2, 8), hidden=32)), (lambda: VJEPA(ViT(32, 2, 8), None, 32, 2))
    else:
        wide, small, full = 64, (32, 1, 16, 112), (64, 1, 16, 224)
        masked, predicted = (lambda: VideoMAE(ViT(768, 12))), (lambda: VJEPA(ViT(1024, 24)))
    pair = (small[0], 2, *small[2:])
    sampler = AlignedClips(num_frames=small[2], step=STEP)
    found = [
        Case("SimCLR, R3D-18", lambda: SimCLR(R3D(wide), NearbyClips(small[2])), pair),
        Case("VideoMAE, ViT-B", masked, full),
        Case("V-JEPA, ViT-L", predicted, (max(2, full[0] // 4), *full[1:])),
        Case("AVID, R(2+1)D-18", lambda: AVID(R2Plus1D(wide), AudioResNet(width=wide), sampler), small, sound=True),
    ]
    if hasattr(encoders, "SlowR50"):
        frames = (*pair[:2], pair[2] // 2, 2 * pair[3])
        found.insert(1, Case("SimCLR, Slow-R50", lambda: SimCLR(encoders.SlowR50(wide)), frames))
    return found


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Resident:
    """The same batch, repeated."""

    def __init__(self, clips: Clips, steps: int) -> None:
        self.clips, self.steps = clips, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Clips]:
        return iter([self.clips] * self.steps)


class Stopwatch(L.Callback):
    """Timer of the steps after the first ``skip``."""

    def __init__(self, skip: int) -> None:
        self.skip = skip

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, out: Any, clips: Any, index: int
    ) -> None:
        """Start after the first steps."""
        if index == self.skip - 1:
            wait()
            self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        wait()
        self.seconds = time.perf_counter() - self.began


def ours(method: Method, batches: Resident | Loaders, steps: int, skip: int) -> float:
    """Return the seconds per step of the training command's engine."""
    watch = Stopwatch(skip)
    with tempfile.TemporaryDirectory() as folder:
        quiet = dict.fromkeys(("enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
        logger, callbacks = MetricsCSV(Path(folder) / "metrics.csv", 0), [Checkpointing(Path(folder)), watch]
        common = {"devices": 1, "log_every_n_steps": 10, "limit_val_batches": 0, "use_distributed_sampler": False}
        common |= {"max_steps": steps, "max_epochs": 1, "plugins": [VerifiedCheckpoints()], **quiet}
        engine = L.Trainer(**common, precision=precision("auto"), logger=[logger], callbacks=callbacks)
        engine.fit(Pretraining(method, optimizer), batches)
    return watch.seconds / (steps - skip)


def bare(method: Method, clips: Clips, steps: int, skip: int) -> float:
    """Return the seconds per step of a plain loop."""
    method.to(DEVICE).train()
    stepping = optimizer([parameter for parameter in method.parameters() if parameter.requires_grad])
    mean, std = torch.tensor(MEAN, device=DEVICE), torch.tensor(STD, device=DEVICE)
    for step in range(steps):
        if step == skip:
            wait()
            began = time.perf_counter()
        stepping.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=Machine().half):
            loss = method(clips.to(DEVICE).normalised(mean, std))["loss"]
        loss.backward()
        stepping.step()
        method.after_step((step + 1) / steps)
    wait()
    return (time.perf_counter() - began) / (steps - skip)


def estimate(case: Case, clips: Clips) -> int:
    """Return the bytes that ``avssl train --dry-run`` would say that a step takes at most."""
    with unallocated():
        module = Pretraining(case.make(), optimizer)
    return cost(module, clips._map(lambda tensor: tensor[:1]), len(clips)).peak


def row(*cells: object) -> None:
    """Print a row of the table at once."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


class Bench:
    """The measurements, as long as there is time."""

    def __init__(self, minutes: float, tiny: bool) -> None:
        self.end, self.tiny = time.monotonic() + 60 * minutes, tiny
        self.steps, self.skip, self.rounds = (3, 1, 1) if tiny else (16, 6, 2)
        self.speeds: dict[str, float] = {}

    def attempt(self, name: str, needed: float, measure: Callable[[], None]) -> None:
        """Measure if so many seconds are left; a failure takes its own row and not the others'."""
        if time.monotonic() + needed > self.end:
            row(name, "no time left", "", "", "", "")
            return
        try:
            measure()
        except Exception as error:
            row(name, "failed", "", "", "", f"{type(error).__name__}: {str(error).splitlines()[0][:80]}")
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()

    def step(self, case: Case, compiled: bool) -> None:
        """Measure a method's steps in both engines, and the memory that ours takes at most."""
        torch.manual_seed(0)
        method, clips = case.make(), case.clips()
        if compiled:
            method.compile(backend="eager" if self.tiny else "inductor")
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(self.rounds):
            times["ours"].append(ours(method, Resident(clips, self.steps), self.steps, self.skip))
            times["bare"].append(bare(method, clips, self.steps, self.skip))
        count = case.shape[0] * case.shape[1]
        mine, plain = (count / statistics.median(times[name]) for name in ("ours", "bare"))
        self.speeds.setdefault(case.name, mine)
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if DEVICE.type == "cuda" else "-"
        told = "" if compiled else f"estimated {estimate(case, clips) / 2**30:.2f} GiB"
        what = f"{case.name}, {case.shape[2]} x {case.shape[3]}²{', compiled' if compiled else ''}"
        row(what, f"{mine:.1f}", f"{plain:.1f}", f"{mine / plain:.3f}", memory, told)

    def finishing(self) -> None:
        """Measure the second half of the transforms alone, on the device."""
        size, videos = (32, 2) if self.tiny else (224, 32)
        for name, transform in {
            "SimCLR's": Augment(size, jitter=0.8, grey=0.2, blur=0.5),
            "fine-tuning": Augment(size, rand_augment=RandAugment(), erase=0.25),
        }.items():
            torch.manual_seed(0)
            begun = [transform.begin([torch.zeros(16, 3, size, size, dtype=torch.uint8)]) for _ in range(videos)]
            video, drawn = (torch.stack(parts) for parts in zip(*begun, strict=True))
            video = video.to(DEVICE)
            for turn in range(self.steps):
                if turn == self.skip:
                    wait()
                    began = time.perf_counter()
                transform.finish(video, drawn)
            wait()
            speed = videos * (self.steps - self.skip) / (time.perf_counter() - began)
            row(f"augmentation on the device, {name}, 16 x {size}²", f"{speed:.1f}", "", "", "", "")

    def data(self, augment: str) -> Data:
        """Return rendered videos with SimCLR's augmentation."""
        world = World(videos=8, seconds=1.5, size=32) if self.tiny else World(videos=96, size=192)
        size, batch, workers = (32, 2, 0) if self.tiny else (112, 32, min(12, os.cpu_count() or 1))
        transform = Augment(size, scale=(0.3, 1.0), jitter=0.8, grey=0.2, blur=0.5)
        root = str(write_world(world))
        return Data(transform, root, batch_size=batch, workers=workers, held_out=0.25, rounds=1, augment=augment)

    def loader(self, case: Case, augment: str) -> None:
        """Measure the steps of a method that reads videos, and the share of time that this takes."""
        torch.manual_seed(0)
        method, steps = case.make(), self.steps + 2 * self.skip
        with tempfile.TemporaryDirectory() as folder:
            batches = Loaders(self.data(augment), method, steps, 0, Path(folder))
            seconds = ours(method, batches, steps, 2 * self.skip)
        speed = case.shape[0] * case.shape[1] / seconds
        waiting = max(0.0, 1 - speed / self.speeds.get(case.name, float("inf")))
        row(f"{case.name}, loader, colours by {augment}", f"{speed:.1f}", "", "", "", f"waiting {waiting:.0%}")

    def resumed(self, case: Case) -> None:
        """Compare a run with one that was stopped halfway and resumed, bit for bit."""
        trainer = {"max_steps": 4, "devices": 1, "deterministic": "warn"}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            for run, stops in (("whole", False), ("stopped", True), ("stopped", False)):
                torch.manual_seed(0)
                method = case.make()
                if stops:  # as a scheduler asks a process to, in the first step of four
                    method.register_forward_hook(lambda *_: signal.raise_signal(signal.SIGTERM))
                options = {"schedule": "constant", "warmup": 0.0, "runs": folder}
                with contextlib.suppress(SystemExit):
                    pretrain(run, method, self.data("device"), optimizer, trainer, **options)
            hashes = [weights_hash(load_encoder(Path(folder) / name)) for name in ("whole", "stopped")]
        torch.use_deterministic_algorithms(False)
        row(f"{case.name}, stopped and resumed", "", "", "", "", "equal" if hashes[0] == hashes[1] else "DIFFERENT")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.5, help="time after which nothing new is begun")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and clips, once, on any machine")
    options = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or matrix products needn't repeat bit for bit
    quiet_lightning()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    bench, every = Bench(options.minutes, options.tiny), cases(options.tiny)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {precision('auto')}, {'tiny' if options.tiny else 'full size'}\n")
    row("what", "clips/s", "bare loop", "ratio", "peak GiB", "")
    row(*["---"] * 6)
    needed = 1.0 if options.tiny else 25.0
    for case in every:
        bench.attempt(case.name, needed, partial(bench.step, case, False))
    bench.attempt("augmentation on the device", needed, bench.finishing)
    for augment in ("workers", "device"):
        bench.attempt(f"loader, {augment}", needed, partial(bench.loader, every[0], augment))
    bench.attempt("resumed", needed, partial(bench.resumed, every[0]))
    for case in every[:1] if options.tiny else every:
        bench.attempt(f"{case.name}, compiled", 2 * needed, partial(bench.step, case, True))


if __name__ == "__main__":
    main()
