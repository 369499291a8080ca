"""Positions, the class token, causal attention and stochastic depth of vision transformers."""

import pytest
import torch
from einops import rearrange

from avssl.encoders import ViT, load_encoder, save_encoder, weights_hash
from avssl.encoders.transformer import Blocks
from avssl.encoders.vit import sequence_code

TINY = {"width": 48, "depth": 2, "patch": 8, "heads": 2}


def test_rotary_positions_are_those_of_v_jepa_2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "crop_size": 32}
    sizes |= {"pred_hidden_size": 48, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "frames_per_clip": 8}
    theirs = transformers.VJEPA2Model(transformers.VJEPA2Config(**sizes, layer_norm_eps=1e-5)).eval()
    ours = ViT(**TINY, positions="rotary").eval()
    ours.load_state_dict(renamed(theirs.encoder.state_dict()))
    clips = torch.randn(2, 8, 3, 32, 32)
    with torch.inference_mode():
        expected = theirs(clips, skip_predictor=True).last_hidden_state
        torch.testing.assert_close(ours.tokens(ours.patches(clips), ours.positions(clips)), expected)


def renamed(state):
    names = {"norm1": "norm1", "norm2": "norm2", "attention.proj": "out", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}
    kernel = state["embeddings.patch_embeddings.proj.weight"]
    made = {"embed.weight": rearrange(kernel, "d c f p q -> d (f p q c)")}
    made["embed.bias"] = state["embeddings.patch_embeddings.proj.bias"]
    for kind in ("weight", "bias"):
        made[f"blocks.norm.{kind}"] = state[f"layernorm.{kind}"]
        for layer in range(2):
            parts = [state[f"layer.{layer}.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            made[f"blocks.layers.{layer}.qkv.{kind}"] = torch.cat(parts)
            for name, own in names.items():
                made[f"blocks.layers.{layer}.{own}.{kind}"] = state[f"layer.{layer}.{name}.{kind}"]
    return made


@pytest.mark.parametrize("positions", ["sequence", "learnt", "rotary"])
def test_tokens_know_their_places_and_their_order_does_not_matter(positions):
    torch.manual_seed(0)
    encoder = ViT(**TINY, positions=positions, table=(2, 3, 3)).eval()
    clips = torch.rand(2, 4, 3, 24, 24)
    patches, places = encoder.patches(clips), encoder.positions(clips)
    whole = encoder.encode(patches, places)
    order = torch.stack([torch.randperm(18), torch.randperm(18)])  # each clip its own
    shuffled = encoder.encode(patches.take_along_dim(order[..., None], 1), places[order])
    torch.testing.assert_close(shuffled, whole.take_along_dim(order[..., None], 1), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(encoder.encode(patches, places.flip(0)), whole, rtol=1e-2)
    assert encoder.maps(torch.rand(1, 8, 3, 32, 16)).shape == (1, 48, 4, 4, 2)


def test_a_learnt_table_is_interpolated_for_another_grid():
    encoder = ViT(**TINY, positions="learnt", table=(1, 2, 2))
    with torch.no_grad():
        encoder.table.copy_(torch.arange(4.0).view(1, 2, 2, 1).expand(1, 2, 2, 48))  # 2 row + column
    code = encoder.positions(torch.zeros(1, 4, 3, 32, 32)).detach().view(2, 4, 4, 48)
    steps = torch.tensor([0.0, 0.25, 0.75, 1.0])  # centres of four cells among those of two
    torch.testing.assert_close(code, (2 * steps[:, None] + steps)[None, ..., None].expand(2, 4, 4, 48))
    encoder(torch.rand(1, 4, 3, 32, 32)).sum().backward()
    assert encoder.table.grad.abs().sum() > 0


def test_the_code_of_a_sequence_is_vaswanis():
    code = sequence_code(5, 8)
    expected = [torch.tensor(3 / 10000 ** (2 * (channel // 2) / 8)) for channel in range(8)]
    expected = torch.stack([angle.cos() if channel % 2 else angle.sin() for channel, angle in enumerate(expected)])
    torch.testing.assert_close(code[3], expected)


def test_causal_tokens_see_no_later_time_and_the_class_token_sees_all_but_is_not_seen():
    torch.manual_seed(0)
    encoder = ViT(**TINY, positions="rotary", tubelet=1, class_token=True, causal=True).eval()
    clips = torch.rand(2, 4, 3, 16, 16)
    later = clips.clone()
    later[:, 2:] = torch.rand(2, 2, 3, 16, 16)
    maps, changed = encoder.maps(clips), encoder.maps(later)
    torch.testing.assert_close(changed[:, :, :2], maps[:, :, :2])
    assert not torch.allclose(changed[:, :, 2], maps[:, :, 2], rtol=1e-2)
    assert not torch.allclose(encoder(later), encoder(clips), rtol=1e-2)
    plain = ViT(**TINY, positions="rotary", tubelet=1, causal=True).eval()
    plain.load_state_dict({name: value for name, value in encoder.state_dict().items() if name != "class_token"})
    torch.testing.assert_close(plain.maps(clips), maps)
    kept = torch.stack([torch.randperm(16)[:5], torch.randperm(16)[:5]])  # other tokens of each clip, in any order
    shown = encoder.patches(clips).take_along_dim(kept[..., None], 1)
    each = encoder.tokens(shown, encoder.positions(clips)[kept])
    assert each.shape == (2, 6, 48)
    assert torch.equal(encoder.vectors(shown, encoder.positions(clips)[kept]), each[:, 0])
    torch.testing.assert_close(each[1:], encoder.tokens(shown[1:], encoder.positions(clips)[kept[1]]))


def test_paths_are_dropped_in_training_alone_for_whole_clips_and_never_in_the_first_block():
    torch.manual_seed(0)
    blocks, tokens = Blocks(16, 2, drop_path=0.9), torch.randn(1, 3, 16).expand(200, 3, 16)
    first = blocks.norm(blocks.layers[0](tokens))
    found = blocks(tokens)
    skipped = [torch.allclose(one, other) for one, other in zip(found, first, strict=True)]
    assert 0.7 < sum(skipped) / 200 < 0.92  # both of its branches: 0.9 squared
    assert torch.equal(blocks.eval()(tokens)[0], blocks(tokens)[1])
    plain = Blocks(16, 2).eval()
    plain.load_state_dict(blocks.state_dict())
    torch.testing.assert_close(plain(tokens), blocks(tokens))


def test_options_at_their_default_leave_hash_and_weights_as_they_were(tmp_path):
    torch.manual_seed(0)
    default = ViT(16, 1, patch=8)
    torch.manual_seed(0)
    given = ViT(16, 1, patch=8, heads=None, mlp=None, positions="sine", table=(8, 14, 14), key_bias=True)
    assert set(default.config) == {"width", "depth", "patch", "tubelet", "differences"}
    assert weights_hash(given) == weights_hash(default)
    options = {"heads": 2, "mlp": 24, "positions": "learnt", "table": (1, 2, 2), "drop_path": 0.1, "key_bias": False}
    encoder = ViT(16, 1, patch=8, **options, class_token=True).eval()
    save_encoder(encoder, tmp_path, {"mean": [0.4] * 3, "std": [0.2] * 3, "size": [16, 16]})
    clips = torch.rand(1, 4, 3, 16, 16)
    assert torch.equal(load_encoder(tmp_path)(clips), encoder(clips))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "width 48 can't have 5 heads"),
        ({"drop_path": 1.0}, "below 1, got 1.0"),
        ({"positions": "fourier"}, "one of sine, sequence, learnt, rotary; got fourier"),
        ({"positions": "rotary", "heads": 12}, "leaves 4: take fewer heads"),
        ({"causal": True}, "positions is sine"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**{**TINY, **options})
