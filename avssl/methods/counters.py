"""Numbers that a method counts by."""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import nn


class HostNumber:
    """A number that checkpoints keep as a buffer of a module, and that a step reads without waiting for the device.

    Args:
        module: whose buffer it is.
        name: of the buffer.
        value: the number at first; a float has the precision of the buffer, float32.

    Attributes:
        value: the number now.
    """

    def __init__(self, module: nn.Module, name: str, value: float = 0) -> None:
        self.module, self.name, self.value = module, name, value
        module.register_buffer(name, torch.tensor(value))
        module.register_load_state_dict_post_hook(self._loaded)

    def set(self, value: float) -> None:
        """Change the number, on the host and in the buffer."""
        self.value = struct.unpack("f", struct.pack("f", value))[0] if isinstance(value, float) else value
        self.module.get_buffer(self.name).fill_(value)

    def _loaded(self, module: nn.Module, keys: Any) -> None:
        self.value = module.get_buffer(self.name).item()
