"""Prediction of the future: the papers' formulas, targets read off the times, and shortcuts."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.data.transforms import ColourJitter
from avssl.encoders import R3D, FrameLSTM, ResNet, load_encoder, save_encoder
from avssl.encoders.lstm import PeepholeLSTM
from avssl.methods import CPC, DPC, MemDPC, UnsupervisedLSTM
from avssl.methods.losses import dense_nce
from avssl.methods.recurrent import Blocks, ConvGRU
from avssl.methods.temporal.unsupervised_lstm import Decoder, matches_target


def clips_of(videos=3, frames=8, size=32):
    times = 0.1 * torch.arange(frames).double().expand(videos, 1, frames)
    return Clips(torch.rand(videos, 1, frames, 3, size, size), times)


def methods():
    blocks = Blocks(4, 2, 0.1)
    lstm = UnsupervisedLSTM(FrameLSTM(8, size=8), RandomClips(num_frames=8), 3)
    return [
        DPC(R3D(8), blocks, 2),
        MemDPC(R3D(8), blocks, 2, slots=16),
        CPC(ResNet(18, 8), blocks, 2, width=8),
        lstm,
    ]


def test_dense_nce_is_the_softmax_over_all_videos_steps_and_places():
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    every = [target[b, k, s] for b in range(2) for k in range(3) for s in range(4)]
    loss, right, right_in_time = 0.0, 0, 0
    for b in range(2):
        for k in range(3):
            for s in range(4):
                scores = [float(predicted[b, k, s] @ other) for other in every]
                own = scores[(b * 3 + k) * 4 + s]
                loss -= math.log(math.exp(own) / sum(math.exp(score) for score in scores)) / 24
                right += own == max(scores)
                right_in_time += own == max(scores[(b * 3 + step) * 4 + s] for step in range(3))
    out = dense_nce(predicted, target)
    assert out["loss"].item() == pytest.approx(loss, rel=1e-5)
    assert out["accuracy"].mean().item() == pytest.approx(right / 24)
    assert out["temporal"].mean().item() == pytest.approx(right_in_time / 24)
    assert out["chance/accuracy"].tolist() == [pytest.approx(1 / 6)] * 2
    assert out["chance/top5"].tolist() == [pytest.approx(5 / 6)] * 2
    assert out["chance/temporal"].tolist() == [pytest.approx(1 / 3)] * 2


def test_what_does_not_change_with_time_is_no_help():
    """Shortcut: video and place are known perfectly, and the prediction is the same at every step."""
    torch.manual_seed(0)
    still = 9 * torch.randn(6, 1, 4, 32)
    target = still + 0.1 * torch.randn(6, 3, 4, 32)
    out = dense_nce(still.expand(6, 3, 4, 32), target)
    assert out["temporal"].tolist() == [pytest.approx(1 / 3)] * 6
    assert out["accuracy"].mean().item() == pytest.approx(1 / 3)
    assert (
        matches_target(torch.randn(6, 1, 32).expand(6, 5, 32), torch.randn(6, 5, 32)).mean(1).tolist()
        == [pytest.approx(1 / 5)] * 6
    )


def test_a_vector_that_is_the_same_everywhere_stays_at_chance_in_place_of_winning_every_tie():
    out = dense_nce(torch.ones(2, 3, 4, 5), torch.ones(2, 3, 4, 5))
    assert out["accuracy"].mean().item() == pytest.approx(1 / 24)
    assert out["temporal"].mean().item() == pytest.approx(1 / 3)


def test_matches_target_is_blind_to_how_far_a_prediction_is_shrunk_and_to_a_common_shift():
    torch.manual_seed(0)
    target = torch.randn(4, 5, 20)
    assert matches_target(0.01 * target + 3, target).all()
    assert not matches_target(target.flip(1), target)[:, [0, 1, 3, 4]].any()


@pytest.mark.parametrize("method", methods(), ids=lambda method: type(method).__name__)
def test_which_frames_follow_is_read_off_the_times_and_not_off_their_place(method):
    torch.manual_seed(0)
    method.eval()
    clips = clips_of()
    order = torch.randperm(8)
    shown = Clips(clips.video[:, :, order], clips.times[:, :, order])
    assert torch.equal(method(clips)["loss"], method(shown)["loss"])
    assert not torch.equal(method(clips)["loss"], method(Clips(shown.video, clips.times))["loss"])


@pytest.mark.parametrize("method", methods(), ids=lambda method: type(method).__name__)
def test_a_prediction_knows_nothing_of_the_frames_to_come(method):
    """The predictions don't depend on the future (no leak by overlap, order or state)."""
    torch.manual_seed(0)
    method.eval()
    clips = clips_of()
    other = Clips(clips.video.clone(), clips.times)
    seen = 5 if isinstance(method, UnsupervisedLSTM) else 4
    other.video[:, :, seen:] = torch.rand_like(other.video[:, :, seen:])
    if isinstance(method, UnsupervisedLSTM):
        one, two = (method.decoded(c)[1]["prediction"] for c in (clips, other))
    elif isinstance(method, DPC):
        one, two = (method.predicted(method.encoded(c)[:, :2], method.aggregate) for c in (clips, other))
    else:
        vectors = [method.encoder(c.video.flatten(0, 1).unflatten(1, (4, -1)).flatten(0, 1)) for c in (clips, other)]
        one, two = (method.context(v.unflatten(0, (3, 4)))[0][:, :2] for v in vectors)
    assert torch.allclose(one, two, atol=1e-6)


def test_conv_gru_with_a_kernel_of_one_is_a_gru_at_each_place():
    torch.manual_seed(0)
    cell = ConvGRU(3, 4)
    read, hidden = torch.randn(2, 3, 2, 2), torch.randn(2, 4, 2, 2)
    got = cell(read, hidden)
    for row, column in ((0, 0), (1, 0)):
        x, h = read[:, :, row, column], hidden[:, :, row, column]
        both = torch.cat([x, h], 1)
        r, u = torch.sigmoid(both @ cell.gates.weight[:, :, 0, 0].T + cell.gates.bias).split(4, 1)
        n = torch.tanh(torch.cat([x, r * h], 1) @ cell.candidate.weight[:, :, 0, 0].T + cell.candidate.bias)
        assert torch.allclose(got[:, :, row, column], (1 - u) * h + u * n, atol=1e-6)


def test_without_peepholes_the_lstm_is_torchs_and_with_them_it_is_not():
    torch.manual_seed(0)
    lstm, reference = PeepholeLSTM(3, 4, layers=2), nn.LSTM(3, 4, num_layers=2, batch_first=True)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(lstm.weight / 3**0.5)
        reference.weight_ih_l1.copy_(lstm.below[0].weight)
        for layer in range(2):
            getattr(reference, f"weight_hh_l{layer}").copy_(lstm.before[layer].weight)
            getattr(reference, f"bias_hh_l{layer}").copy_(lstm.before[layer].bias)
            getattr(reference, f"bias_ih_l{layer}").zero_()
    values = torch.randn(2, 6, 3)
    expected, (hidden, cell) = reference(values)
    got, state = lstm(values)
    assert torch.allclose(got, expected, atol=1e-6)
    assert all(torch.allclose(state[layer][0], hidden[layer], atol=1e-6) for layer in range(2))
    assert all(torch.allclose(state[layer][1], cell[layer], atol=1e-6) for layer in range(2))
    with torch.no_grad():
        lstm.peepholes[0].fill_(1.0)
    assert not torch.allclose(lstm(values)[0], expected, atol=1e-3)


def test_a_conditional_decoder_reads_the_truth_where_it_has_it_and_else_its_own_output():
    torch.manual_seed(0)
    state = [(torch.randn(2, 4), torch.randn(2, 4))]
    decoder = Decoder(3, 4, 1, conditional=True)
    free = decoder(state, 5)
    assert torch.allclose(decoder(state, 5, free), free, atol=1e-6)  # its own output read as ground truth
    other = decoder(state, 5, torch.randn(2, 5, 3))
    assert torch.equal(other[:, 0], free[:, 0])  # the first step has no input
    assert not torch.allclose(other[:, 1], free[:, 1], atol=1e-4)
    deaf = Decoder(3, 4, 1, conditional=False)
    assert torch.equal(deaf(state, 5), deaf(state, 5, torch.randn(2, 5, 3)))


def test_the_input_is_given_back_from_its_last_frame_and_drawn_from_its_first():
    method = UnsupervisedLSTM(FrameLSTM(8, size=32), RandomClips(num_frames=8), 3).eval()
    clips = clips_of()
    targets, _ = method.decoded(clips)
    values = clips.video.flatten(0, 1).flatten(2)  # [B, T, V]: frames of 32 x 32 are read unchanged
    assert torch.allclose(targets["reconstruction"], values[:, :5].flip(1), atol=1e-6)
    assert torch.allclose(targets["prediction"], values[:, 5:], atol=1e-6)
    drawn = method.pictures(replace(clips, mean=torch.zeros(3), std=torch.ones(3)))
    assert list(drawn) == ["input", "reconstruction", "future", "prediction"]
    assert drawn["input"].shape == (3, 1, 5, 3, 32, 32)
    assert drawn["prediction"].shape == (3, 1, 3, 3, 32, 32)
    dark, light = clips.video[0, 0, :5].flatten(1).mean(1).argsort()[[0, -1]]
    assert drawn["input"][0, 0, dark].mean() < drawn["input"][0, 0, light].mean()


@pytest.mark.parametrize(
    ("reconstruct", "predict", "drawn"),
    [("conditional", "none", 8), ("none", "unconditional", 3), ("unconditional", "conditional", 3)],
)
def test_each_of_the_three_models_trains_all_it_has(reconstruct, predict, drawn):
    method = UnsupervisedLSTM(FrameLSTM(8, 2, size=8), RandomClips(num_frames=8), 3, reconstruct, predict)
    out = method(clips_of())
    out["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert out["chance/temporal"].tolist() == [pytest.approx(1 / drawn)] * 3


def test_memdpc_begins_with_orthogonal_weights_of_any_gain():
    method = MemDPC(R3D(8), Blocks(4, 4), 2, slots=200, gain=0.1)
    for layer in (method.aggregate.gates, method.aggregate_backward.candidate, method.head[0], method.head[2]):
        weight = layer.weight.detach().flatten(1)
        square = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(square, 0.01 * torch.eye(len(square)), atol=1e-6, rtol=0)
        assert not layer.bias.any()


def test_a_composite_without_decoders_or_future_is_refused():
    with pytest.raises(ValueError, match="at least one decoder"):
        UnsupervisedLSTM(FrameLSTM(8), RandomClips(num_frames=8), 3, "none", "none")
    with pytest.raises(ValueError, match="at least 2 frames to read"):
        UnsupervisedLSTM(FrameLSTM(8), RandomClips(num_frames=8), 7)
    with pytest.raises(ValueError, match="predict must be 1 to 3, got 4"):
        DPC(R3D(8), Blocks(4, 2), 4)


def test_percepts_are_frozen_and_travel_with_the_encoder(tmp_path):
    torch.manual_seed(0)
    method = UnsupervisedLSTM(FrameLSTM(8, percepts=ResNet(18, 8)), RandomClips(num_frames=8), 3).train()
    before = {name: tensor.clone() for name, tensor in method.encoder.percepts.state_dict().items()}
    clips = clips_of()
    method(clips)["loss"].backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.encoder.percepts.state_dict().items())
    assert all(parameter.grad is None for parameter in method.encoder.percepts.parameters())
    assert method.pictures(clips) == {}
    video = clips.video[:, 0]
    expected = method.encoder.eval()(video)
    save_encoder(method.encoder, tmp_path, {"mean": [0.4] * 3, "std": [0.2] * 3, "size": [32, 32]})
    assert torch.equal(load_encoder(tmp_path)(video), expected)
    with pytest.raises(ValueError, match="R3D mixes frames"):
        FrameLSTM(8, percepts=R3D(8))


def test_the_state_of_the_lstm_encoder_is_causal():
    encoder = FrameLSTM(8, size=8).eval()
    video = torch.rand(2, 6, 3, 32, 32)
    maps = encoder.maps(video)
    assert maps.shape == (2, 8, 6, 1, 1)
    assert torch.allclose(encoder.maps(video[:, :4]), maps[:, :, :4], atol=1e-6)
    assert torch.allclose(encoder(video), maps.mean((2, 3, 4)), atol=1e-6)


def test_a_memory_gives_back_one_slot_or_a_mean_of_slots():
    torch.manual_seed(0)
    method = MemDPC(R3D(8), Blocks(4, 2, 0.1), 2, slots=5)
    nn.init.zeros_(method.head[-1].weight)
    nn.init.zeros_(method.head[-1].bias)
    hidden = torch.randn(2, 64, 2, 2)
    mean = method.memory.mean(0)[None, :, None, None].expand(2, 64, 2, 2)
    assert torch.allclose(method.next_block(hidden), mean, atol=1e-6)
    nn.init.constant_(method.head[-1].bias[3:4], 50.0)
    assert torch.allclose(method.next_block(hidden)[1, :, 0, 1], method.memory[3], atol=1e-4)


def test_memdpc_backward_predicts_the_beginning():
    torch.manual_seed(0)
    method = MemDPC(R3D(8), Blocks(4, 2, 0.1), 2, slots=5).eval()
    method.aggregate_backward.load_state_dict(method.aggregate.state_dict())
    clips = clips_of()
    blocks = torch.arange(8).unflatten(0, (4, 2)).flip(0).flatten()  # whole blocks in reverse order
    mirrored = Clips(clips.video[:, :, blocks], clips.times)
    assert torch.allclose(method(clips)["loss"], method(mirrored)["loss"], rtol=1e-5)


def test_frame_jitter_changes_each_frame_by_itself_and_hides_a_drift_of_brightness():
    torch.manual_seed(0)
    clip = torch.linspace(60, 180, 16).byte()[:, None, None, None].expand(16, 3, 8, 8)
    orders = []
    for _ in range(40):
        means = ColourJitter(0.8, each_frame=True)(clip).float().mean((1, 2, 3))
        orders.append(torch.corrcoef(torch.stack([means, torch.arange(16.0)]))[0, 1])
    assert torch.stack(orders).mean() < 0.85  # 1 without
    grey = ColourJitter(0.0, each_frame=True)(clip)
    assert torch.equal(grey, clip)
    colours = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    jittered = ColourJitter(0.5, each_frame=True)(colours[:1].expand(16, 3, 8, 8))
    assert jittered.dtype == torch.uint8
    assert len({frame.float().mean().item() for frame in jittered}) == 16
