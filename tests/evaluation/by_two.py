"""What test_extraction.py does in two processes: started once, as `python by_two.py VIDEOS FOLDER`.

The first run ends when process 1, which has written one of its two shards, is killed; the second one completes it.
"""

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import numpy as np
import torch

from avssl.catalog.index import open_manifest
from avssl.encoders import R3D
from avssl.evaluation import extraction, features
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import Views
from avssl.evaluation.store import Shards
from avssl.runtime.device import Machine
from avssl.runtime.processes import joined

VIEWS = Views(clips=2, num_frames=8, step=0.1, size=32, segments=2)
CARD = {"mean": [0.4, 0.4, 0.4], "std": [0.25, 0.25, 0.25], "size": [32, 32]}


def made(kind=lambda: R3D(width=8, depth=10)):
    torch.manual_seed(0)
    encoder = kind().eval()
    encoder.card = CARD
    return encoder


def small_shards(assign=setattr):
    """Let a shard hold two videos, encoded together."""
    for module, name in ((features, "VIEWS_AT_ONCE"), (features, "VIEWS_PER_WORKER"), (extraction, "SHARD")):
        assign(module, name, 4)


def forked(work, port):
    """Run a function of the rank in two processes, with the variables that torchrun sets; return their exit codes."""
    children = []
    for rank in range(2):
        child = os.fork()  # before anything is computed: importing torch twice would take longer than all that follows
        if not child:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            try:
                work(rank)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def main(videos, folder):
    small_shards()
    folder.mkdir()
    read, write = Views.read, Shards.write

    def extract(rank):
        opened = []
        Views.read = lambda *given: opened.append(given) or read(*given)
        with joined():
            rows = range(len(open_manifest(videos)))
            found = extract_features(made(), open_manifest(videos), rows, VIEWS, Machine(workers=0, cache=folder))
        np.save(folder / f"{rank}.npy", found)
        (folder / f"{rank}.json").write_text(str(len(opened)))

    def until_killed(rank):
        def one_shard(store, shard, values):
            write(store, shard, values)
            if rank:
                os.kill(os.getpid(), signal.SIGKILL)

        Shards.write = one_shard
        extract(rank)

    killed = forked(until_killed, free_port())
    kept = sorted(path.name for path in folder.rglob("*.npy"))
    completed = forked(extract, free_port())
    opened = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    print(json.dumps({"killed": killed, "kept": kept, "completed": completed, "read": opened}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
