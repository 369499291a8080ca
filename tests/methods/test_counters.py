"""Numbers that a step reads on the host, and checkpoints keep."""

import copy
import pickle

import torch
from torch import nn

from avssl.methods.counters import HostNumber


def counting():
    network = nn.Linear(1, 1)
    network.number = HostNumber(network, "steps")
    network.share = HostNumber(network, "progress", 0.0)
    return network


def test_a_number_is_in_the_checkpoint_and_comes_back_from_it_as_it_was():
    network, again = counting(), counting()
    network.number.set(7)
    network.share.set(0.1)
    state = network.state_dict()
    assert (state["steps"], state["progress"]) == (torch.tensor(7), torch.tensor(0.1))
    nn.Sequential(again).load_state_dict({f"0.{name}": value for name, value in state.items()})
    assert (again.number.value, again.share.value) == (network.number.value, network.share.value)
    assert network.share.value != 0.1  # float32, as in the checkpoint: a resumed run compares the same number


def test_copies_count_by_themselves():
    network = counting()
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        other.number.set(3)
        other.load_state_dict(other.state_dict() | {"steps": torch.tensor(9)})
        assert (other.number.value, other.steps, network.number.value, network.steps) == (9, 9, 0, 0)
