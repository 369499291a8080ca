"""What a training would take, found without memory, weights or a collection."""

import re

import pytest
import torch
from torch import nn

from avssl.cli.train import run
from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ViT
from avssl.methods import VideoMAE
from avssl.training import dryrun
from avssl.training.module import Pretraining
from avssl.training.unallocated import stand_in, unallocated

WIDE = ["--method.encoder.init_args.width=1024", "--method.encoder.init_args.depth=2", "--data.workers=0"]


def test_no_weight_is_allocated_and_a_step_is_counted_as_by_hand():
    class Product(VideoMAE):
        def forward(self, clips: Clips) -> dict[str, torch.Tensor]:
            video = clips.video.flatten(1)[:, :4096]  # [B, 4096]
            return {"loss": self.product(video).float().square().mean()}

    with unallocated():
        method = Product(ViT(8, 1, 8), RandomClips(1, 4, 0.1))
        method.product = nn.Linear(4096, 65536, bias=False)  # a gigabyte
        module = Pretraining(method, lambda given: torch.optim.SGD(given, 0.1, momentum=0.9))
    assert method.product.weight.is_meta
    found = dryrun.cost(module, stand_in(method, 32, 16000), 16)
    assert found.operations == 2 * 2 * 16 * 4096 * 65536  # forward pass, and the gradient of the weights
    weights = 4 * sum(part.numel() for part in module.parameters())
    assert found.state == 4 * 4096 * 65536  # others have no gradient
    assert found.peak > weights + 2 * found.state  # its gradient and its momentum
    assert found.peak < weights + 2 * found.state + 2 * 4096 * 65536 * 2  # and copies in bfloat16


def test_attention_is_counted():
    class Attention(VideoMAE):
        def forward(self, clips: Clips) -> dict[str, torch.Tensor]:
            tokens = (clips.video.flatten(1)[:, :4096] * self.blank[0]).view(-1, 2, 64, 32)  # [B, heads, L, D]
            return {"loss": nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).float().sum()}

    with unallocated():
        method = Attention(ViT(8, 1, 8), RandomClips(1, 4, 0.1))
        module = Pretraining(method, lambda given: torch.optim.SGD(given, 0.1))
    found = dryrun.cost(module, stand_in(method, 32, 16000), 3)
    assert found.operations == (2 + 5) * 2 * 3 * 2 * 64 * 64 * 32  # products of the forward and the backward pass


def test_a_collection_that_is_not_here_is_stated(tmp_path, capsys):
    absent = f"--data.root={tmp_path / 'kinetics'}"
    run(["videomae", "--dry-run", absent, *WIDE, "--videos=240000"])
    printed = capsys.readouterr().out
    assert "240,000 videos, as stated" in printed
    assert re.search(r"ViT: 25,\d{3},\d{3} parameters", printed)
    epochs = ["--epochs=2", "--trainer.max_steps=-1", absent]
    with pytest.raises(ValueError, match=r"kinetics isn't here.*--videos=N"):
        run(["videomae", "--dry-run", *epochs])
    with pytest.raises(ValueError, match="--videos states the size"):
        run(["videomae", "--videos=240000", *epochs])


def test_the_loader_of_a_collection_that_is_here_is_measured(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(dryrun, "SECONDS", 0.0)
    words = [f"--data.root={world}", f"--runs={tmp_path}", "--data.batch_size=8", "--data.workers=0"]
    words.append("--method.encoder.init_args.depth=2")
    run(["videomae", "--dry-run", *words])
    found = re.search(r"this loader\W+([\d,]+) clips/s here", capsys.readouterr().out)
    assert found
    assert int(found[1].replace(",", "")) > 0
    assert list(tmp_path.iterdir()) == []
