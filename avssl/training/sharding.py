"""Fully sharded data parallelism (FSDP2): every process keeps a part of the weights and of the optimiser's state.

Y. Zhao et al.: PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel. VLDB 2023.
https://arxiv.org/abs/2304.11277 (here its second version, ``torch.distributed.fsdp.fully_shard``)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.layer_sync import LayerSync
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.strategies.strategy import Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adafactor, Optimizer

from avssl.encoders.base import Exportable
from avssl.encoders.export import build, plan
from avssl.recipe.syncnorm import SyncBatchNorm

NAME = "fsdp2"
LISTS = (nn.ModuleList, nn.Sequential)


class FullySharded(ModelParallelStrategy):
    """FSDP2 as a strategy of Lightning's Trainer, ``--trainer.strategy=fsdp2``.

    Each block of every network (`sharded_blocks`) is gathered when it computes and freed afterwards; the other weights
    are gathered for the whole step. The computation is that of DDP, in the Trainer's precision, and the checkpoint too:
    whole tensors under the same names, so that a run can go on with another strategy or number of processes.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)
        self._layer_sync: LayerSync | None = None  # set by the Trainer

    def setup_environment(self) -> None:
        """Make all processes one group, over which everything is sharded."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Give every process the first one's weights, shard them, then build the optimiser.

        Raises:
            ValueError: if the precision is float16, whose scaling of the loss would differ between processes, or the
                optimiser is Adafactor.
        """
        if self.precision_plugin.precision == "16-mixed":
            raise ValueError(f"trainer.strategy={NAME}: trainer.precision is 16-mixed: use bf16-mixed or 32-true")
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        model: nn.Module = self.lightning_module
        if self._layer_sync is not None:
            model = self._layer_sync.apply(model)
        model.to(self.root_device)
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.contiguous()  # a layout like channels_last can't be sharded
            distributed.broadcast(tensor.detach(), 0)
        mesh = self.device_mesh["data_parallel"]
        for part in model.children():
            if any(True for _ in part.parameters()):
                for block in sharded_blocks(part):
                    fully_shard(block, mesh=mesh)
                fully_shard(part, mesh=mesh)
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
            check_optimizers(self.optimizers)
        self.setup_precision_plugin()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Give every process the first one's running statistics, as DDP does."""
        for layer in self.lightning_module.modules():
            if isinstance(layer, _BatchNorm) and not isinstance(layer, SyncBatchNorm):
                for buffer in layer.buffers():
                    distributed.broadcast(buffer, 0)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Return True: a checkpoint's optimiser state is that of `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the whole weights on the first process, and nothing on the others; all must call it."""
        return gathered(self.lightning_module.state_dict(), self.global_rank == 0)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state on the first process, by the optimiser's own numbers; all must call it."""
        return gathered(getattr(optimizer, "_optimizer", optimizer).state_dict(), self.global_rank == 0)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint of any strategy, on every process."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Keep this process's part of whole weights."""
        places = self.lightning_module.state_dict()
        state = {name: part_of(value, places.get(name)) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep this process's part of the whole state of each parameter.

        Raises:
            ValueError: if an optimiser keeps tensors of another shape than their parameter.
        """
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            kept: dict[int, dict[str, Any]] = {}
            for number, values in state["state"].items():
                kept[number] = {name: part_of(value, parameters[number]) for name, value in values.items()}
            optimizer.load_state_dict({**state, "state": kept})


def check_optimizers(optimizers: Iterable[Optimizer]) -> None:
    """Raise `ValueError` for an optimiser that needs whole rows and columns of a weight."""
    if any(isinstance(optimizer, Adafactor) for optimizer in optimizers):
        raise ValueError(
            f"trainer.strategy={NAME}: Adafactor averages over whole rows and columns, of which a process has a part: "
            "use AdamW, SGD, LARS or Muon, or trainer.strategy=ddp"
        )


def sharded_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """Find what is gathered at once: the members of module lists and sequences that have children and weights.

    Those within another are left to it, exported networks are looked into, and each is found once.
    """
    return iter(dict.fromkeys(_blocks(network)))


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        whole = type(network) in LISTS and type(child) not in LISTS and not isinstance(child, Exportable)
        if whole and any(True for _ in child.children()) and any(True for _ in child.parameters()):
            yield child
        else:
            yield from _blocks(child)


def gathered(state: Any, keep: bool) -> Any:
    """Return a state with whole tensors on the CPU where the weights are sharded; empty unless ``keep``.

    All processes must call it, in the same order. Other tensors and values stay as they are.
    """
    if isinstance(state, DTensor):
        value = state.full_tensor()
        return value.cpu() if keep else None
    if isinstance(state, Mapping):
        found = {name: gathered(value, keep) for name, value in state.items()}
        return found if keep else {}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value, keep) for value in state)
    return state


def part_of(value: Any, place: Tensor | None) -> Any:
    """Return this process's part of a whole tensor, sharded as ``place``; numbers and scalars as they are.

    Raises:
        ValueError: if ``place`` is sharded and has another shape.
    """
    if not (isinstance(value, Tensor) and value.ndim and isinstance(place, DTensor)):
        return value
    if value.shape != place.shape:
        raise ValueError(
            f"trainer.strategy={NAME}: a state of shape {list(value.shape)} of a parameter of shape "
            f"{list(place.shape)} can't be sharded: use an optimiser whose state has its parameters' shapes"
        )
    whole = value.to(device=place.device, dtype=value.dtype)
    return distribute_tensor(whole, place.device_mesh, place.placements, src_data_rank=None)


def class_of(network: nn.Module) -> type[nn.Module]:
    """Return a network's class; while it is sharded, ``type`` returns a class made from it."""
    return type(network).__mro__[2] if isinstance(network, FSDPModule) else type(network)


def is_sharded(network: nn.Module) -> bool:
    """Return whether any of a network's weights is in several processes' hands."""
    return any(isinstance(tensor, DTensor) for tensor in network.state_dict().values())


def whole(network: Exportable) -> Exportable | None:
    """Return a network with whole weights on the first process, and None on the others; all must call it.

    It is the network itself unless its weights are sharded, else another one, on the CPU, without effect on the global
    random numbers.
    """
    first = not distributed.is_initialized() or distributed.get_rank() == 0
    if not is_sharded(network):
        return network if first else None
    state = gathered(network.state_dict(), first)
    if not first:
        return None
    with torch.random.fork_rng(devices=[]):
        made = build(plan(network), Exportable)
    made.load_state_dict(state)
    made.card = network.card
    return made.train(network.training)


if NAME not in StrategyRegistry:
    StrategyRegistry.register(NAME, FullySharded, description="Fully sharded data parallelism (FSDP2)")
