"""transformers loads an exported folder with nothing missing or left over, and computes the same."""

import pytest
import torch
import transformers

from avssl.cli import main
from avssl.encoders import HuggingFace, ViT, load_encoder, save_encoder
from avssl.encoders.exchange import export_as

CARD = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "size": [16, 16], "clip": {"num_frames": 4, "step": 0.1}}
BLOCKS = {"num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {**BLOCKS, "hidden_size": 24, "intermediate_size": 48, "image_size": 16, "num_frames": 4, "patch_size": 4}
JEPA = {**BLOCKS, "hidden_size": 28, "patch_size": 4, "crop_size": 16, "frames_per_clip": 4}
CONFIGS = {
    "videomae": SMALL,
    "vivit": {**SMALL, "tubelet_size": [2, 4, 4]},
    "timesformer": SMALL,
    "vjepa2": {**JEPA, "pred_hidden_size": 28, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
}
OURS = [
    {"positions": "sequence", "key_bias": False},
    {"positions": "sequence", "mlp": 40},
    {"positions": "rotary", "heads": 2, "mlp": 40},
]


def unlike_new(encoder):
    """Give an encoder weights of which none is zero, so that none can be forgotten, and a card."""
    torch.manual_seed(0)
    for weights in encoder.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    encoder.card = dict(CARD)
    return encoder.eval()


@torch.no_grad()
def check(encoder, folder):
    """Compare an encoder with what transformers makes of its folder, and with what avssl makes of it again."""
    clips = torch.randn(2, 4, 3, 16, 16)
    model, told = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values()), told
    kind = model.config.model_type
    found = model.eval()(clips, **({"skip_predictor": True} if kind == "vjepa2" else {})).last_hidden_state
    theirs = found[:, kind in ("vivit", "timesformer") :].mean(1)  # without the class token
    torch.testing.assert_close(theirs, encoder(clips), rtol=0, atol=1e-5)
    again = HuggingFace(str(folder)).eval()
    torch.testing.assert_close(again(clips), encoder(clips), rtol=0, atol=1e-5)
    for name in ("mean", "std", "size"):
        assert again.card[name] == pytest.approx(CARD[name])


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_network_of_transformers_goes_back(kind, tmp_path):
    encoder = unlike_new(HuggingFace(config=transformers.AutoConfig.for_model(kind, **CONFIGS[kind]).to_dict()))
    save_encoder(encoder, tmp_path / "run" / "encoder", CARD)  # as a run leaves it, without the first folder
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--to=huggingface"]) == 0
    check(load_encoder(tmp_path / "run"), tmp_path / "out")


@pytest.mark.parametrize("options", OURS, ids=lambda options: "-".join(map(str, options.values())))
def test_our_transformer_is_theirs(options, tmp_path):
    encoder = unlike_new(ViT(width=24, depth=2, patch=4, **options))
    export_as(encoder, "huggingface", tmp_path)
    check(encoder, tmp_path)
