import torch

from avssl.encoders import R3D, ViT
from avssl.methods import SimCLR, VideoMAE
from avssl.recipe.groups import is_vector, parameters
from avssl.training import Recipe
from avssl.training.module import Pretraining


def test_without_a_recipe_there_is_one_group_in_the_order_of_the_method():
    method = SimCLR(R3D(8), hidden=8)
    expected = [parameter for parameter in method.parameters() if parameter.requires_grad]
    assert all(one is other for one, other in zip(parameters(method, Recipe()), expected, strict=True))


def test_rates_by_depth_and_no_decay_of_vectors():
    method = VideoMAE(ViT(64, 2, patch=8), hidden=64, depth=1)
    recipe = Recipe(layer_decay=0.5, decay_vectors=False, lr_per=64, accumulate=2, decay_end=0.2)
    module = Pretraining(
        method, lambda held: torch.optim.AdamW(held, 1e-3, weight_decay=0.1), recipe=recipe, batch_size=64
    )
    module._trainer = type("Trainer", (), {"max_steps": 10})()
    groups = module.configure_optimizers()["optimizer"].param_groups
    found = {parameter: group for group in groups for parameter in group["params"]}
    names = dict(method.named_parameters())
    assert len(found) == len([parameter for parameter in names.values() if parameter.requires_grad])
    expected = {
        "encoder.embed.weight": (1 / 8, 0.1),
        "encoder.embed.bias": (1 / 8, 0.0),
        "encoder.blocks.layers.0.qkv.weight": (1 / 4, 0.1),
        "encoder.blocks.layers.1.norm1.weight": (1 / 2, 0.0),
        "encoder.blocks.norm.bias": (1, 0.0),
    }
    rising = 1 / max(1, round(0.05 * 10))
    for name, (rate, decay) in expected.items():
        group = found[names[name]]
        assert group["initial_lr"] == 2e-3 * rate, name
        assert group["lr"] == 2e-3 * rate * rising, name
        assert group["weight_decay"] == decay, name
    outside = [parameter for name, parameter in names.items() if not name.startswith("encoder.")]
    assert {found[parameter]["initial_lr"] for parameter in outside if parameter.requires_grad} == {2e-3}


def test_tokens_and_positions_are_vectors():
    for name, shape in {
        "embeddings.cls_token": (1, 1, 8),
        "mask_token": (1, 8),
        "net.pos_embed": (1, 9, 8),
        "position_embeddings.weight": (9, 8),
        "attn.relative_position_bias_table": (9, 2),
        "norm.weight": (8,),
        "scale": (),
    }.items():
        assert is_vector(name, torch.empty(shape)), name
    for name, shape in {"patch_embed.proj.weight": (8, 3), "pose.weight": (8, 8)}.items():
        assert not is_vector(name, torch.empty(shape)), name
