"""Computing device, reader processes and cache folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avssl.runtime.checks import check_ranges
from avssl.runtime.files import user_cache
from avssl.runtime.processes import local_rank, world
from avssl.runtime.workers import start_worker


@dataclass(frozen=True)
class Machine:
    """Resources to compute with. They change results by rounding at most.

    Args:
        device: ``"auto"`` for the GPU if there is one; of several processes, each takes its own.
        workers: number of processes that decode.
        cache: folder of the feature cache; None is ``avssl/`` in the user's cache. It can be deleted at any time.
        memory: bytes of decoded training clips kept in memory while fine-tuning.
        storage: type of the numbers in the feature cache. ``"auto"`` is float32 for features of up to 1 GiB, which are
            then kept in memory; larger ones stay on the disk as float16, rounded by up to 1 in 2000.
        passes: forward passes into which a step of training a classifier is divided, so that it needs less memory; more
            if the device's runs out.
    """

    device: str = "auto"
    workers: int = 2
    cache: Path | None = None
    memory: int = 2_000_000_000
    storage: Literal["auto", "float32", "float16"] = "auto"
    passes: int = 1

    def __post_init__(self) -> None:
        check_ranges("machine", self, workers="[0, inf)", memory="[0, inf)", passes="[1, inf)")

    @property
    def target(self) -> torch.device:
        """The torch device."""
        named = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return torch.device(named, local_rank()) if named == "cuda" and world() > 1 else torch.device(named)

    @property
    def half(self) -> bool:
        """True if the device computes in bfloat16 natively."""
        if self.target.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))

    @property
    def folder(self) -> Path:
        """The cache folder."""
        return self.cache or user_cache()

    def autocast(self) -> torch.autocast:
        """Return a context that computes in bfloat16 if that is native."""
        return torch.autocast(self.target.type, dtype=torch.bfloat16, enabled=self.half)

    def loader(self, dataset: Dataset[Tensor], batch: int | Sequence[Sequence[int]] = 1) -> DataLoader[Tensor]:
        """Load the items of a dataset with worker processes: in order, a number at a time, or in the batches given."""
        pin = self.target.type == "cuda"
        each: Any = {"batch_size": batch} if isinstance(batch, int) else {"batch_sampler": batch}
        return DataLoader(dataset, **each, num_workers=self.workers, pin_memory=pin, worker_init_fn=start_worker)
