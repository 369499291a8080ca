"""A trained encoder is trained further: as it was meant to be shown pixels, in training mode, whatever wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision

from avssl.data import Augment
from avssl.data.samplers import RandomClips
from avssl.encoders import R3D, Avssl, Encoder, HuggingFace, Timm, Torchvision, load_encoder, save_encoder
from avssl.methods import VJEPA, Method, SimCLR, VideoMAE
from avssl.training import Data, pretrain
from avssl.training.config import train

MEAN, STD = [0.5, 0.4, 0.3], [0.3, 0.2, 0.1]
FEW = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 24, "patch_size": 8}


def contrasted(encoder: Encoder) -> Method:
    return SimCLR(encoder, RandomClips(2, 4, 0.1), hidden=16)


def of_a_run(folder: Path) -> Method:
    save_encoder(R3D(width=8), folder / "before", {"mean": MEAN, "std": STD, "size": [32, 32]})
    return contrasted(Avssl(str(folder / "before")))


def of_torchvision(folder: Path) -> Method:
    torch.save(torchvision.models.video.r3d_18().state_dict(), folder / "r3d_18.pth")
    return contrasted(Torchvision("r3d_18", str(folder / "r3d_18.pth")))


def of_timm(folder: Path) -> Method:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "resnet.pth")
    return contrasted(Timm("test_resnet", str(folder / "resnet.pth")))


def written(folder: Path, name: str, **settings: object) -> str:
    """Write a folder in the Hugging Face format, with statistics of its own."""
    transformers = pytest.importorskip("transformers")
    model = getattr(transformers, name)
    model(model.config_class(**FEW, **settings)).save_pretrained(folder / "before")
    prepared = json.dumps({"image_mean": MEAN, "image_std": STD})
    (folder / "before/preprocessor_config.json").write_text(prepared)
    return str(folder / "before")


def videomae(folder: Path) -> str:
    small = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    sizes = {"image_size": 32, "num_frames": 4, "intermediate_size": 48, "decoder_intermediate_size": 32}
    return written(folder, "VideoMAEForPreTraining", use_mean_pooling=False, **small, **sizes)


def of_v_jepa(folder: Path) -> Method:
    small = {"pred_hidden_size": 24, "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2}
    path = written(folder, "VJEPA2Model", crop_size=32, frames_per_clip=4, pred_num_mask_tokens=2, **small)
    return VJEPA(HuggingFace(path), RandomClips(1, 4, 0.1), predictor=path)


@pytest.mark.parametrize("made", [of_a_run, of_torchvision, of_timm, of_v_jepa])
def test_an_encoder_is_trained_in_training_mode_on_its_own_statistics(
    made: Callable[[Path], Method], world: Path, tmp_path: Path
) -> None:
    method = made(tmp_path)
    encoder, card = method.encoder, method.encoder.card
    assert card["mean"] == MEAN or made in (of_torchvision, of_timm)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = []
    encoder.register_forward_pre_hook(lambda layer, _: modes.append(all(part.training for part in layer.modules())))
    data = Data(Augment(size=32), root=str(world), batch_size=4, workers=0, rounds=1)
    trainer = {"max_steps": 2, "accelerator": "cpu", "precision": "32-true"}
    pretrain("run", method, data, partial(torch.optim.SGD, lr=1e-2), trainer, runs=str(tmp_path))
    assert made is of_v_jepa or any(modes)  # which calls encode instead
    after = load_encoder(tmp_path / "run")
    assert (list(after.card["mean"]), list(after.card["std"])) == (card["mean"], card["std"])
    moved = [name for name, value in after.state_dict().items() if not torch.equal(value, before[name])]
    assert any(name.endswith("weight") for name in moved)
    norms = [name for name in before if name.endswith("running_mean")]
    assert {name for name in norms if name in moved} == set(norms)
    assert bool(norms) == (made is not of_v_jepa)


def test_a_config_continues_a_published_checkpoint(world: Path, tmp_path: Path) -> None:
    path = videomae(tmp_path)
    train(
        [
            "videomae",
            "--method.encoder=avssl.encoders.HuggingFace",
            f"--method.encoder.init_args.path={path}",
            f"--method.decoder={path}",
            "--method.sampler.num_frames=4",
            *(f"--data.root={world}", "--data.batch_size=4", "--data.workers=0", "--data.rounds=1"),
            *("--data.transform.init_args.size=32", "--trainer.max_steps=2", "--trainer.accelerator=cpu"),
            f"--runs={tmp_path / 'runs'}",
        ]
    )
    before, after = HuggingFace(path), load_encoder(tmp_path / "runs/videomae")
    assert isinstance(after, HuggingFace)
    assert (after.card["mean"], after.card["std"]) == (MEAN, STD)
    pairs = zip(before.original_state_dict().values(), after.original_state_dict().values(), strict=True)
    assert all(one.shape == other.shape and not torch.equal(one, other) for one, other in pairs)
    saved = torch.load(next((tmp_path / "runs/videomae/checkpoints").glob("*.ckpt")), weights_only=True)["state_dict"]
    whole = VideoMAE(before, decoder=path).state_dict()  # the decoder has moved on from that of the checkpoint
    assert 0 < (saved["method.pixels.weight"] - whole["pixels.weight"]).abs().max() < 0.1
