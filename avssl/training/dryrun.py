"""``avssl train CONFIG --dry-run``: what a training would be, cost and need, before any of it is paid for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset
from avssl.data.loader import ClipLoader, Steps
from avssl.media import MediaError
from avssl.methods import Method
from avssl.recipe.checkpoints import Checkpointing
from avssl.recipe.groups import parameters
from avssl.recipe.lengths import run_steps
from avssl.recipe.schedules import Timetable, scale
from avssl.synthetic.writer import default_folder
from avssl.training.config import parse
from avssl.training.data import Data
from avssl.training.module import OptimizerFactory, Pretraining
from avssl.training.unallocated import pretend, repeated, stand_in, unallocated
from avssl.training.worlds import built_in

GPUS = {"A100": 312e12, "H100": 989e12}  # peak operations per second in bfloat16, dense (NVIDIA's data sheets)
REACHED = 0.3  # share of that peak that a training step is taken to reach
ATTENTION = {  # torch counts the GPU's kernels only
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4])
    ),
}
SECONDS = 10.0  # of measuring the loader
GB = 1e9


@dataclass(frozen=True)
class Cost:
    """What one training step takes on one GPU.

    Attributes:
        operations: floating-point operations of forward and backward pass (a multiplication and an addition are two).
        peak: bytes in use at the worst moment, without the driver's own.
        kinds: bytes at that moment by kind: parameters, activations, gradients, optimiser's state, ...
        state: bytes of the optimiser's state.
    """

    operations: int
    peak: int
    kinds: dict[str, int]
    state: int


def cost(module: Pretraining, item: Clips, videos: int) -> Cost:
    """Estimate a step of ``videos`` items like ``item`` (B = 1) under bfloat16 autocast, on fake tensors.

    The module's own tensors are replaced by fake ones. Kernels' workspaces and fragmentation are not in it.
    """
    mode = FakeTensorMode()
    pretend(module, mode)
    for part in module.modules():  # the tracker wants gradients of all parameters; what is frozen counts as a buffer
        for name, tensor in list(part._parameters.items()):
            if tensor is not None and not tensor.requires_grad:
                del part._parameters[name]
                part.register_buffer(name, tensor.data)
    clips = repeated(item, videos, mode)
    tracker = MemTracker()
    with mode:
        optimizer = module.optimizer(parameters(module.method, module.recipe))  # type: ignore[arg-type]

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                loss = module(clips)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            step()  # after which the optimiser has its state
        tracker.track_external(module, optimizer, *(value for value in vars(clips).values() if value is not None))
        with tracker:
            step()
        state = sum(_bytes(value) for kept in optimizer.state.values() for value in kept.values())
    (found,) = tracker.get_tracker_snapshot("peak").values()
    names = {str(getattr(kind, "value", kind)).split(".")[-1].lower(): size for kind, size in found.items() if size}
    kinds = {"optimiser" if name == "optstate" else name: size for name, size in names.items()}
    return Cost(counter.get_total_flops(), kinds.pop("total"), kinds, state)


def dry_run(arguments: Sequence[str], videos: int | None = None) -> None:
    """Print what ``avssl train`` with these arguments would do, without training or writing anything.

    Args:
        arguments: a config and overrides, as `avssl.training.config.parse` takes them.
        videos: size of the collection, if it isn't here.

    Raises:
        SystemExit: if the config is wrong.
        ValueError: if the length is given in epochs and the size of the collection isn't known, or a value doesn't fit.
    """
    made, config = parse(arguments)
    with unallocated():
        built = made.instantiate(config)
    data, method, recipe = built.data, built.method, built.recipe
    dataset, here = _dataset(data, method, built.seed)
    total = videos if dataset is None else len(dataset)
    batch = data.batch_size * recipe.accumulate
    if total is None and (built.epochs is not None or "epoch" in str(built.warmup)):
        raise ValueError(f"{here}, and lengths are given in epochs: state its size as --videos=N")
    per_epoch = (total or 0) // batch
    steps = run_steps(config.trainer.max_steps, built.epochs, per_epoch)
    gpus = _processes(config.trainer)
    share = -(-data.batch_size // gpus)
    with unallocated():
        module = Pretraining(method, built.optimizer, built.schedule, built.warmup, built.seed, recipe)
    timetable = Timetable(recipe, built.schedule, built.warmup, steps, per_epoch or 1)
    item = stand_in(method, data.transform.size, data.audio_rate) if dataset is None else dataset[0, 0].clips
    _, n, t = item.video.shape[:3]
    kept = sum(map(_bytes, [*module.parameters(), *module.buffers()]))
    described = [
        ("method", f"{type(method).__name__}: {_count(method):,} parameters, {_count(method, True):,} trained"),
        ("encoder", f"{type(method.encoder).__name__}: {_count(method.encoder):,} parameters"),
        ("item", f"{n} clip(s) of {t} frames, {_square(item)}, from {method.sampler.seconds:.2f} s of video"),
        ("sound", "none" if item.audio is None else f"{item.audio.shape[2] / data.audio_rate:.2f} s per clip"),
        ("collection", f"{total:,} videos, as stated; {here}" if dataset is None and total else here),
        ("length", f"{steps:,} steps of {batch} videos" + (f", {steps / per_epoch:.1f} epochs" if per_epoch else "")),
        ("GPUs", f"{gpus}: {share} videos each per forward pass, {recipe.accumulate} of them per step"),
        ("learning rate", _rates(timetable, scale(recipe, data.batch_size), built.optimizer)),
    ]
    needed = cost(module, item, share)
    kinds = ", ".join(f"{size / GB:.2f} {kind}" for kind, size in needed.kinds.items() if size > 0.005 * needed.peak)
    operations = needed.operations * recipe.accumulate
    described += [
        ("memory per GPU", f"about {needed.peak / GB:.2f} GB ({kinds}), and about 1 GB for the driver"),
        ("operations", f"{operations / 1e12:.2f} TFLOP per step and GPU"),
    ]
    for name, rate in GPUS.items():
        seconds = operations / (rate * REACHED)
        hours, clips = steps * seconds * gpus / 3600, batch * n / seconds
        why = f"if {REACHED:.0%} of its peak is reached; the loaders must then deliver {clips:,.0f} clips/s"
        described.append((f"on {name}", f"{seconds:.3f} s per step, {hours:,.1f} GPU-hours {why}"))
    if dataset is not None:
        described.append(("this loader", _delivery(dataset, data, share, n)))
    described.append(("disk", _disk(kept + needed.state, kept, Path(config.runs))))
    table = Table(title=f"{built.name}: nothing is trained or written", show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in described:
        table.add_row(*row)
    Console(width=110).print(table)


def _dataset(data: Data, method: Method, seed: int) -> tuple[ClipDataset | None, str]:
    """Return the training videos, and what there is to say of them."""
    roots = [data.root] if isinstance(data.root, str) else data.root
    for root in roots:
        world = built_in(root)
        place = Path(root) if world is None else default_folder(world)
        if "://" not in root and not place.exists():
            return None, f"{root} isn't here: shapes are those of a stand-in"
    try:
        found = data.datasets(method, seed)
    except MediaError as error:
        return None, f"can't be opened: {error}"
    return found.training, str(found)


def _processes(trainer: Any) -> int:
    """Return the number of training processes; one per node if the config leaves it to the machine."""
    devices = trainer.devices
    if isinstance(devices, str) and "," in devices:
        devices = [part for part in devices.split(",") if part]
    count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
    return max(1, count) * trainer.num_nodes


def _rates(timetable: Timetable, times: float, optimizer: OptimizerFactory) -> str:
    """Describe the learning rate over the run."""
    given = optimizer([nn.Parameter(torch.zeros(1))]).defaults["lr"]
    marks = {"at first": 0, f"after {timetable.rising:,} steps": timetable.rising, "at the end": timetable.steps - 1}
    rates = [f"{given * times * timetable.rate(step, given):.3g} {when}" for when, step in marks.items()]
    return ", ".join(rates) + (f" ({times:g} times the config's)" if times != 1 else "")


def _delivery(dataset: ClipDataset, data: Data, videos: int, clips: int) -> str:
    """Measure how many clips per second one process's loader delivers here."""
    videos = min(videos, len(dataset))
    loader = ClipLoader(dataset, Steps(len(dataset), videos, 10**6), data.workers, data.timeout, data.max_bad)
    begun, batches = 0.0, 0
    for batch in loader:
        if not begun:  # the first waits for the workers to start
            begun = time.perf_counter()
            continue
        batches += 1
        spent = time.perf_counter() - begun
        if spent > SECONDS:
            break
        del batch
    return f"{batches * videos * clips / spent:,.0f} clips/s here, with {data.workers} workers per process"


def _square(item: Clips) -> str:
    return " x ".join(map(str, item.video.shape[-2:]))


def _disk(checkpoint: int, weights: int, runs: Path) -> str:
    kept = Checkpointing(runs).keep
    need = (kept + 1) * checkpoint + weights  # one is written before another is deleted
    return f"{need / GB:.2f} GB at most in {runs}: {kept} checkpoints of {checkpoint / GB:.2f} GB, one in the making"


def _count(module: nn.Module, trained: bool = False) -> int:
    return sum(part.numel() for part in module.parameters() if part.requires_grad or not trained)


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
