"""Published pretraining checkpoints continue: decoders and predictors give what transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made import clips_of
from torch import nn

from avssl.data.samplers import RandomClips
from avssl.encoders import R3D, Encoder, HuggingFace, ViT
from avssl.methods import VJEPA, VideoMAE
from avssl.methods.temporal.vjepa import MASKS

transformers = pytest.importorskip("transformers")

SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 2}
VIDEOMAE = {
    **SHAPE,
    **{"hidden_size": 24, "intermediate_size": 48, "image_size": 32, "patch_size": 8, "num_frames": 4},
    **{"use_mean_pooling": False, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 2},
    **{"decoder_num_attention_heads": 4, "decoder_intermediate_size": 40},
}
VJEPA2 = {
    **SHAPE,
    **{"hidden_size": 32, "crop_size": 32, "patch_size": 8, "frames_per_clip": 4, "pred_hidden_size": 24},
    **{"pred_num_attention_heads": 2, "pred_num_hidden_layers": 2, "pred_num_mask_tokens": 3, "pred_mlp_ratio": 2.0},
}


def saved(model: nn.Module, folder: Path) -> str:
    """Write a folder of random weights, none of them zero."""
    torch.manual_seed(0)
    for weights in model.parameters():
        nn.init.normal_(weights, std=0.1)
    model.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def test_videomae_goes_on_where_transformers_is(tmp_path: Path) -> None:
    model = transformers.VideoMAEForPreTraining(transformers.VideoMAEConfig(**VIDEOMAE)).eval()
    path = saved(model, tmp_path)
    method = VideoMAE(HuggingFace(path), RandomClips(1, 4, 0.1), masked=0.5, decoder=path).eval()
    video = clips_of(2, 1, 4).video[:, 0]
    torch.manual_seed(1)
    hidden, predicted = method._predict(video, method.encoder.patches(video))
    order = hidden.argsort(1)  # transformers orders tokens by their place
    mask = torch.zeros(2, 32, dtype=torch.bool).scatter(1, hidden, True)
    expected = model(video, bool_masked_pos=mask).logits
    torch.testing.assert_close(predicted.take_along_dim(order[..., None], 1), expected, atol=1e-5, rtol=1e-5)

    ours, theirs = (sum(weights.numel() for weights in part.parameters()) for part in (method, model))
    assert ours == theirs
    assert method._places((2, 6, 4), video.device).shape == (48, 16)  # clips of another size
    with pytest.raises(
        ValueError, match=r"its decoder is for \(features, values per token\) \(24, 384\), not \(16, 384\)"
    ):
        VideoMAE(ViT(16, 1, patch=8), decoder=path)
    with pytest.raises(ValueError, match="a videomae, and a vjepa2 is needed"):
        VJEPA(HuggingFace(path), predictor=path)


@torch.no_grad()
def test_v_jepa_goes_on_where_transformers_is(tmp_path: Path) -> None:
    model = transformers.VJEPA2Model(transformers.VJEPA2Config(**VJEPA2)).eval()
    path = saved(model, tmp_path)
    method = VJEPA(HuggingFace(path), RandomClips(1, 4, 0.1), predictor=path).eval()
    video = clips_of(2, 1, 4).video[:, 0]
    order = torch.stack([torch.randperm(32) for _ in range(2)])
    visible, hidden = order[:, :14], order[:, 14:]
    whole = method.encoder.encode(method.encoder.patches(video), method.encoder.positions(video))
    expected = model(video, context_mask=[visible], target_mask=[hidden]).predictor_output.last_hidden_state
    seen = whole.take_along_dim(visible[..., None], 1)
    predicted = method.predict(seen, visible, hidden, (2, 4, 4), kind=1)  # transformers takes the second mask token
    torch.testing.assert_close(predicted, expected, atol=1e-5, rtol=1e-5)
    assert (method.predict(seen, visible, hidden, (2, 4, 4), kind=0) - expected).abs().max() > 1e-3
    with pytest.raises(ValueError, match="its predictor is for 32 features, and the encoder has 16"):
        VJEPA(ViT(16, 1, patch=8), predictor=path)


def test_a_checkpoint_without_a_decoder_is_refused(tmp_path: Path) -> None:
    path = saved(transformers.VideoMAEModel(transformers.VideoMAEConfig(**VIDEOMAE)), tmp_path)
    with pytest.raises(ValueError, match=r"missing +decoder.decoder_layers.0.attention.attention.key.weight"):
        VideoMAE(HuggingFace(path), decoder=path)


def test_the_papers_decoder_to_the_last_parameter() -> None:
    with torch.device("meta"):
        encoder = ViT(768, 12, positions="sequence", key_bias=False)
        method = VideoMAE(encoder, hidden=384, depth=4, paper=True)
    assert sum(weights.numel() for weights in encoder.parameters()) == 86_227_200
    assert sum(weights.numel() for weights in method.parameters()) == 94_210_944
    assert [block.heads for block in method.decoder.layers] == [6] * 4
    assert method.pixels.out_features == 1536


@pytest.mark.parametrize("method", [VideoMAE, VJEPA])
def test_an_encoder_that_can_not_be_shown_some_tokens_is_refused(method: type[VideoMAE | VJEPA]) -> None:
    with pytest.raises(ValueError, match="hides tokens, and R3D has none"):
        method(R3D(8))
    whole = ViT(16, 1, patch=8)
    whole.partial = False
    with pytest.raises(ValueError, match="this ViT needs all of a clip"):
        method(whole)


ENCODERS = {
    "videomae": lambda: HuggingFace(config=transformers.VideoMAEConfig(**VIDEOMAE).to_dict()),
    "vjepa2": lambda: HuggingFace(config=transformers.VJEPA2Config(**VJEPA2).to_dict()),
    "rotary": lambda: ViT(16, 1, patch=8, positions="rotary", heads=1),
    "learnt": lambda: ViT(16, 1, patch=8, positions="learnt", table=(2, 4, 4)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_any_encoder_over_tokens(name: str) -> None:
    encoder: Encoder = ENCODERS[name]()
    for method in (
        VideoMAE(encoder, RandomClips(1, 4, 0.1), 24, 1, paper=name == "videomae"),
        VJEPA(encoder, RandomClips(1, 4, 0.1), 24, 1, heads=2, rotary=name in ("vjepa2", "rotary")),
    ):
        method.zero_grad()
        out = method(clips_of(2, 1, 4))
        out["loss"].backward()
        assert all(w.grad is not None for part, w in method.named_parameters() if not part.startswith("copy."))
        assert out["identified"].shape == (2,)
        if isinstance(method, VJEPA):
            before = [tensor.clone() for tensor in method.copy.network.parameters()]
            with torch.no_grad():
                for weights in encoder.parameters():
                    weights += 0.1
            method.after_step(0.5)
            after = list(method.copy.network.parameters())
            assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert len(MASKS) == 2
