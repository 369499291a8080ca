"""Audio encoders from folders in the Hugging Face format hear what transformers' own preprocessing hears."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avssl.encoders import HuggingFaceAudio, load_audio_encoder, save_encoder, weights_hash

transformers = pytest.importorskip("transformers")

FEW = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SPEECH = {
    **FEW,
    **{"conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 4], "num_conv_pos_embeddings": 4},
    **{"num_conv_pos_embedding_groups": 2, "vocab_size": 8},
}
KINDS = {
    "audio-spectrogram-transformer": ({**FEW, "max_length": 64, "num_mel_bins": 32}, "ASTForAudioClassification"),
    "wav2vec2": (SPEECH, "Wav2Vec2ForPreTraining"),
    "hubert": (SPEECH, "HubertForCTC"),
}
PREPARED = {
    "audio-spectrogram-transformer": {"num_mel_bins": 32, "max_length": 64, "mean": -3.0, "std": 2.0},
    "wav2vec2": {"do_normalize": True},
    "hubert": {"do_normalize": True},
}


def sound(seconds: float) -> Tensor:
    made = torch.randn(2, round(16000 * seconds), generator=torch.Generator().manual_seed(0)) / 8
    return (made + 0.05).clamp(-1, 1)


def saved(kind: str, folder: Path) -> torch.nn.Module:
    settings, name = KINDS[kind]
    torch.manual_seed(0)
    model = getattr(transformers, name)(transformers.AutoConfig.for_model(kind, **settings))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    model.save_pretrained(folder)
    prepared = {"sampling_rate": 16000, **PREPARED[kind]}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_hears_what_transformers_hears(kind: str, tmp_path: Path) -> None:
    model = saved(kind, tmp_path / "folder")
    encoder = HuggingFaceAudio(str(tmp_path / "folder")).eval()
    given = sound(0.5)
    spectrogram = kind not in ("wav2vec2", "hubert")
    kindly = transformers.ASTFeatureExtractor if spectrogram else transformers.Wav2Vec2FeatureExtractor
    prepare = kindly.from_pretrained(tmp_path / "folder")
    ready = prepare(list(given.numpy()), sampling_rate=16000, return_tensors="pt").input_values
    expected = model.base_model(ready).last_hidden_state
    if spectrogram:  # 48 frames of sound in 64: 4 steps of it among 5
        expected = expected[:, 2:].unflatten(1, (2, 5)).mean(1)[:, :4]
    torch.testing.assert_close(encoder.maps(given), expected.transpose(1, 2), atol=1e-5, rtol=1e-5)
    loaded = load_audio_encoder(
        save_encoder(encoder, tmp_path / "export", {"mean": [0] * 3, "std": [1] * 3, "size": [1, 1]})
    )
    assert torch.equal(loaded(given), encoder(given))
    assert weights_hash(loaded) == weights_hash(encoder)
    assert (loaded.rate, loaded.min_samples) == (16000, encoder.min_samples)
    assert loaded.maps(sound(1)[:, : encoder.min_samples]).shape == (2, 24, 1)
    with pytest.raises(ValueError, match="needs at least"):
        loaded.maps(sound(1)[:, : encoder.min_samples - 1])
    if spectrogram:
        with pytest.raises(ValueError, match=r"at most 0.655 s of sound, got 0.995 s"):
            encoder.maps(sound(1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns_and_a_forward_pass_draws_from_torch_alone(kind: str, tmp_path: Path) -> None:
    settings, _ = KINDS[kind]
    torch.manual_seed(0)
    encoder = HuggingFaceAudio(config={"model_type": kind, **settings}, prepared=PREPARED[kind])
    outs = []
    for _ in range(2):
        torch.manual_seed(1)
        outs.append(encoder(sound(0.4)))
    assert torch.equal(*outs)
    outs[0].sum().backward()
    assert all(weights.grad is not None for weights in encoder.parameters())
    with pytest.raises(ValueError, match="'videomae' is not among the audio networks"):
        HuggingFaceAudio(config={"model_type": "videomae"})
