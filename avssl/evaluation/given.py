"""An encoder that is handed in to be evaluated instead of a run's: another library's weights, or a new network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from avssl.encoders import AudioEncoder, Encoder, read_card, save_encoder, weights_hash
from avssl.encoders.export import Kind, load
from avssl.pixels import MEAN, STD
from avssl.runtime.processes import on_first

ELSEWHERE = "pretrained elsewhere"
UNTRAINED = "untrained"
SEED = 0  # of the weights of a new network, so that evaluating it twice is evaluating the same network


def begin() -> None:
    """Seed the weights of networks that are built from here on, as an encoder named on the command line is."""
    torch.manual_seed(SEED)


def place(encoder: Kind, run: str | Path, size: int) -> Kind:
    """Export an encoder to ``<run>/encoder`` (or ``audio_encoder``), and return it as it is loaded from there.

    The folder can then be named wherever a run is expected. Statistics and size of the pixels are those on the
    encoder's card. Without a card, as of a new network, they are Kinetics-400's and ``size``.

    Args:
        encoder: any encoder; it is not modified.
        run: folder of the results, whose name is that of the encoder in tables.
        size: height and width of the frames that a network without a card is shown.

    Raises:
        ValueError: if another encoder is there already.
    """
    name = "encoder" if isinstance(encoder, Encoder) else "audio_encoder"
    kind = Encoder if isinstance(encoder, Encoder) else AudioEncoder
    on_first(partial(_export, encoder, Path(run), name, size), "the encoder's files")
    return load(run, kind, name)  # type: ignore[return-value]


def _export(encoder: Kind, run: Path, name: str, size: int) -> None:
    """Write an encoder unless the same one is there, see `place`."""
    who = f"{ELSEWHERE} ({run.resolve().name})" if encoder.card else UNTRAINED
    card = {"method": who, "mean": MEAN, "std": STD, "size": (size, size), **encoder.card}
    try:
        found = read_card(run, name)
    except FileNotFoundError:
        save_encoder(encoder, run / name, card)
    else:
        same = ("mean", "std") if isinstance(encoder, Encoder) else ()
        differing = [key for key in same if list(found[key]) != list(card[key])]
        if found["weights_hash"] != weights_hash(encoder) or differing:
            what = "statistics of pixels" if found["weights_hash"] == weights_hash(encoder) else "weights"
            raise ValueError(
                f"{run}: holds an encoder of other {what} ({found['class']}, {found.get('method', 'no method')}) than "
                "the given one: name another folder with --run, or leave the encoder out to evaluate the one there"
            )
