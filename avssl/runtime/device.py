"""Computing device, reader processes and cache folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    """

    device: str = "auto"
    workers: int = 2
    cache: Path | None = None
    memory: int = 2_000_000_000

    def __post_init__(self) -> None:
        check_ranges("machine", self, workers="[0, inf)", memory="[0, inf)")

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

    def loader(self, dataset: Dataset[Tensor], batch: int = 1) -> DataLoader[Tensor]:
        """Load the items of a dataset in order with worker processes."""
        pin = self.target.type == "cuda"
        return DataLoader(
            dataset, batch_size=batch, num_workers=self.workers, pin_memory=pin, worker_init_fn=start_worker
        )
