"""GPTQ, scaling, codebooks, rotation and training with rounded weights: against least squares, loops and PyTorch."""

import copy
import itertools

import pytest
import torch
from models import PUBLISHED_NF4, TINY, random_model, random_tokens, relative
from torch import nn

from llmlab.config import ModelConfig
from llmlab.quantization import (
    double_quantized,
    fake_quantize,
    finish,
    fold_norms,
    gptq,
    gptq_by_hessian,
    hadamard,
    hessian,
    joints,
    load,
    matrices,
    min_max,
    model_bytes,
    nf4,
    normal_levels,
    observe,
    outlier_ratio,
    output_error,
    prepare_for_training,
    quantize,
    quantize_activations,
    quantize_by_gptq,
    quantize_model,
    quantize_to_levels,
    random_rotation,
    rotate_stream,
    save,
    scale_by_awq,
    scale_by_smoothquant,
    to_levels,
)
from llmlab.quantization.gptq import inverse_factor
from llmlab.training import Batch, Trainer, TrainingConfig, batch_loss, batches

TURNED = {name: each for name, each in TINY.items() if each.norm == "rmsnorm" and each.position != "sinusoidal"}
TURNED["biased"] = ModelConfig(97, 32, 2, 4, position="learned", ffn="gelu", bias="all")


def correlated(n_in, *, n=60, seed=0):
    """Inputs (n, n_in) whose columns depend on one another, as those of layers do."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, n_in, generator=generator, dtype=torch.float64)
    return mixed @ torch.randn(n_in, n_in, generator=generator, dtype=torch.float64)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)


def double(family, seed=0):
    return random_model(TINY[family], seed).double()


# GPTQ ----------------------------------------------------------------------------------------------------------------


def solved_again(weight, x, bits, *, symmetric=True, group_size=None, order=None):
    """After each rounded column, the free ones are the solution of the least squares, found anew by `lstsq`."""
    n_in = weight.shape[1]
    order = list(range(n_in)) if order is None else order
    free, rounded = weight.clone(), torch.zeros_like(weight)
    target, done = x @ weight.T, []
    for column in order:
        size = group_size or n_in
        first = column - column % size
        if not done or (group_size is not None and column == first):
            block = free if group_size is None else free[:, first : first + size]
            made = quantize(block, bits, granularity="channel", symmetric=symmetric)
        grid = {"symmetric": symmetric, "limits": limits_of(made, symmetric, bits)}
        again = quantize(free[:, [column]], bits, granularity="channel", **grid)
        rounded[:, column] = again.dequantize()[:, 0]
        done.append(column)
        left = [other for other in order if other not in done]
        if left:
            free[:, left] = torch.linalg.lstsq(x[:, left], target - x[:, done] @ rounded[:, done].T).solution.T
    return rounded


def limits_of(made, symmetric, bits):
    """The range that gives a grid its scale and zero point back."""
    if symmetric:
        top = made.scale * (2 ** (bits - 1) - 1)
        return -top, top
    low = -made.zero_point.to(made.scale.dtype) * made.scale
    return low, low + made.scale * (2**bits - 1)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "group_size"), [(3, None), (4, None), (2, 3), (4, 5)])
def test_gptq_equals_solving_the_least_squares_again_after_each_column(bits, group_size, symmetric):
    for seed in range(6):
        weight, x = drawn(4, 8, seed=seed), correlated(8, seed=seed)
        settings = {"symmetric": symmetric, "group_size": group_size}
        made = gptq(weight, x, bits, damping=0, **settings)
        expected = solved_again(weight, x, bits, **settings)
        assert torch.allclose(made.dequantize(), expected, atol=1e-9)


def test_in_activation_order_the_columns_with_the_largest_inputs_come_first():
    weight, x = drawn(4, 8), correlated(8) * torch.tensor([1, 5, 0.2, 3, 9, 0.5, 2, 7])
    order = sorted(range(8), key=lambda column: -x[:, column].norm().item())
    assert order != list(range(8))
    made = gptq(weight, x, 3, damping=0, order="activation")
    assert torch.allclose(made.dequantize(), solved_again(weight, x, 3, order=order), atol=1e-9)
    grouped = gptq(weight, x, 3, group_size=4, order="activation")
    assert torch.equal(grouped.scale, quantize(weight, 3, group_size=4).scale)


def test_gptq_is_never_better_than_the_best_of_all_roundings_of_a_row():
    equal = 0
    for seed in range(30):
        weight, x = drawn(1, 5, seed=seed), correlated(5, seed=seed)
        made = gptq(weight, x, 2, damping=0)
        codes = torch.tensor(list(itertools.product((-1, 0, 1), repeat=5)), dtype=torch.float64)
        errors = ((codes * made.scale - weight) @ x.T).pow(2).sum(1)  # of all 243 roundings
        ours = output_error(weight, made.dequantize(), hessian(x))
        assert ours >= errors.min() * (1 - 1e-9)
        equal += ours <= errors.min() * (1 + 1e-9)
    assert 0 < equal < 30  # often the best of all, not always: it is a greedy search


def test_gptq_beats_rounding_to_nearest_on_correlated_inputs():
    better, ratios = 0, []
    for seed in range(40):
        weight, x = drawn(16, 24, seed=seed), correlated(24, n=200, seed=seed)
        limits = min_max(weight, granularity="channel")
        plain = quantize(weight, 3, granularity="channel", limits=limits)
        made = gptq(weight, x, 3, limits=limits)
        assert torch.equal(made.scale, plain.scale)
        ours, nearest = (output_error(weight, each.dequantize(), hessian(x)) for each in (made, plain))
        better, ratios = better + (ours < nearest), [*ratios, ours / nearest]
    assert better == 40
    assert sorted(ratios)[20] < 0.75


def test_with_inputs_that_have_nothing_to_do_with_one_another_gptq_is_rounding_to_nearest():
    weight, x = drawn(6, 10), torch.diag(torch.arange(1.0, 11, dtype=torch.float64))
    for settings in ({}, {"group_size": 4}, {"symmetric": False}, {"order": "activation"}, {"granularity": "tensor"}):
        plain = {"granularity": "channel"} if "granularity" not in settings and "group_size" not in settings else {}
        plain |= {name: value for name, value in settings.items() if name != "order"}
        made, nearest = gptq(weight, x, 3, **settings), quantize(weight, 3, **plain)
        assert torch.equal(made.codes, nearest.codes)
        assert torch.equal(made.dequantize(), nearest.dequantize())
    nothing = gptq(weight, torch.zeros(5, 10), 3)  # no input at all
    assert torch.equal(nothing.codes, quantize(weight, 3, granularity="channel").codes)


def test_the_hessian_and_its_factor_are_what_they_are_called():
    x, weight, other = correlated(6, n=11), drawn(3, 6), drawn(3, 6, seed=1)
    row = weight[0].clone().requires_grad_()
    second = torch.autograd.functional.hessian(lambda w: (x @ w - x @ other[0]).pow(2).sum(), row)
    assert torch.allclose(hessian(x), second)
    assert torch.allclose(hessian(x.view(1, 11, 6)), second)
    error = sum(((weight - other) @ one).pow(2).sum().item() for one in x)
    assert output_error(weight, other, hessian(x)) == pytest.approx(error)
    factor = inverse_factor(second, 0.1)
    damped = second + 0.1 * second.diagonal().mean() * torch.eye(6)
    assert torch.equal(factor, factor.triu())
    assert torch.allclose(factor.T @ factor @ damped, torch.eye(6, dtype=torch.float64), atol=1e-8)


@torch.no_grad()
def layer_by_layer(model, tokens, bits, **settings):
    """`quantize_by_gptq` without any shortcut: a whole forward pass for each layer, in the order of the modules."""
    model = copy.deepcopy(model)
    made = {}
    for name, weight in matrices(model).items():
        if isinstance(model.get_submodule(name), nn.Embedding):
            made[name] = quantize(weight, bits, scale_dtype=torch.float16, group_size=settings["group_size"])
            weight.copy_(made[name].dequantize())
    for name, weight in matrices(model).items():
        if name in made or name.endswith("router"):
            continue
        given = []
        hook = model.get_submodule(name).register_forward_hook(lambda _, x, y, given=given: given.append(x[0]))
        model(tokens)
        hook.remove()
        x = torch.cat([each.flatten(0, -2) for each in given]) if given else torch.zeros(1, weight.shape[1])
        made[name] = gptq(weight, x, bits, scale_dtype=torch.float16, **settings)
        weight.copy_(made[name].dequantize())
    return model


@pytest.mark.parametrize("family", TINY)
def test_each_layer_is_rounded_for_the_inputs_that_rounded_layers_before_it_give(family):
    model, tokens = double(family), random_tokens(TINY[family], 4, 12)
    before = copy.deepcopy(model.state_dict())
    small = quantize_by_gptq(model, [tokens[:2], tokens[2:]], 4, group_size=8)
    by_hand = layer_by_layer(model, tokens, 4, group_size=8)
    with torch.inference_mode():
        assert relative(small(tokens), by_hand(tokens)) < 1e-9
    assert model_bytes(small) == model_bytes(quantize_model(model, 4, group_size=8))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_calibration_takes_batches_of_packed_documents_and_only_some_layers():
    model = random_model(TINY["llama"])
    tokens = random_tokens(model.config, 2, 12)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    batch = Batch(tokens, tokens, torch.arange(12), mask)
    one, other = (quantize_by_gptq(model, [given], {"*.down": 3, "*.q_proj": 3}) for given in (tokens, batch))
    with torch.inference_mode():
        assert torch.equal(one(tokens), other(tokens))
    assert set(matrices(one)) == {name for name in matrices(model) if not name.endswith(("down", "q_proj"))}
    assert observe(model, [batch])["head"].n_tokens == 24


def test_gptq_says_what_it_cannot_do():
    weight, x = drawn(4, 8), correlated(8)
    wrong = {
        "inputs": lambda: gptq(weight, x[:, :7], 4),
        "hessian": lambda: gptq_by_hessian(weight, torch.eye(7), 4),
        "given, activation": lambda: gptq(weight, x, 4, order="largest"),
        "no inverse": lambda: gptq(weight, x[:3], 4, damping=0),
        "finite": lambda: gptq(weight, x * torch.inf, 4),
        "damping": lambda: gptq(weight, x, 4, damping=-1),
        "at least one batch": lambda: quantize_by_gptq(random_model(TINY["llama"]), [], 4),
    }
    for said, attempt in wrong.items():
        with pytest.raises(ValueError, match=said):
            attempt()


# Scaling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", TINY)
def test_scaled_models_compute_the_same(family):
    model, tokens = double(family), random_tokens(TINY[family], 3, 10)
    scaled, found = scale_by_awq(model, [tokens], 3, group_size=8)
    smooth = scale_by_smoothquant(model, observe(model, [tokens]))
    with torch.inference_mode():
        for other in (scaled, smooth):
            assert relative(other(tokens), model(tokens)) < 1e-9
            assert any(not torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))
    assert any(each.alpha > 0 for each in found)
    for each in found:
        assert each.errors[each.alpha] == min(each.errors.values()) <= each.errors[0.0]


def test_the_error_that_awq_searches_by_is_the_layers_own():
    model, tokens = double("llama"), random_tokens(TINY["llama"], 3, 10)
    scaled, found = scale_by_awq(model, [tokens], 3, group_size=8)
    inputs = observe(model, [tokens], keep=1000)
    for each in found:
        size = inputs[each.joint.readers[0]].mean_abs
        if ".v_proj" in each.joint.source:  # two heads read each value: mean|x| of both
            size = torch.stack([size[head * 8 : head * 8 + 8] for head in range(4)])
            size = torch.cat((size[:2].mean(0), size[2:].mean(0)))
        by_hand = size**each.alpha
        assert torch.allclose(each.scale, by_hand / (by_hand.max() * by_hand.min()).sqrt())
        for chosen, which in ((0.0, model), (each.alpha, scaled)):
            total = 0.0
            for path in each.joint.readers:
                factor = scaled.get_submodule(path).weight / model.get_submodule(path).weight  # (out, n_in)
                off = quantize(
                    which.get_submodule(path).weight, 3, group_size=8, scale_dtype=torch.float16
                ).dequantize()
                off = off / (factor if which is scaled else 1)
                off = (off - model.get_submodule(path).weight) @ inputs[path].rows.T
                total += off.pow(2).sum().item()
            if ".v_proj" in each.joint.source or ".up" in each.joint.source or which is model:
                assert total == pytest.approx(each.errors[chosen], rel=1e-6)


def test_awq_leaves_the_error_smaller_where_some_inputs_are_large():
    model, tokens = double("llama"), random_tokens(TINY["llama"], 8, 16)
    with torch.no_grad():
        for block in model.blocks:  # a few channels speak louder: what AWQ was made for
            block.attention_norm.weight[::8] *= 20
            block.ffn_norm.weight[::8] *= 20
    _, found = scale_by_awq(model, [tokens], 3)
    norms = [each for each in found if "norm" in each.joint.source]
    assert all(each.errors[each.alpha] < 0.7 * each.errors[0.0] for each in norms)


def test_smoothquant_makes_inputs_and_weights_alike():
    model, tokens = double("llama"), random_tokens(TINY["llama"], 3, 10)
    with torch.no_grad():
        for block in model.blocks:
            block.attention_norm.weight[3] = block.ffn_norm.weight[3] = 50.0
    before = observe(model, [tokens])
    smooth = scale_by_smoothquant(model, before, 0.5)
    after = observe(smooth, [tokens])
    for joint in joints(model, norms_only=True):
        path = joint.readers[0]
        x, new = (torch.maximum(-each[path].low, each[path].high) for each in (before, after))
        w = torch.cat([model.get_submodule(reader).weight for reader in joint.readers]).abs().amax(0)
        for channel in range(len(x)):  # the paper's equation 4, and what it does to both sides
            scale = x[channel] ** 0.5 / w[channel] ** 0.5
            assert new[channel].item() == pytest.approx((x[channel] / scale).item())
        new_w = torch.cat([smooth.get_submodule(reader).weight for reader in joint.readers]).abs().amax(0)
        assert torch.allclose(new, new_w)
    with torch.inference_mode():
        expected = model(tokens)
        plain, evened = (
            quantize_activations(quantize_model(each, 8), 8, calibration=observe(each, [tokens]))(tokens)
            for each in (model.float(), smooth.float())
        )
    assert (evened - expected).pow(2).sum() < 0.5 * (plain - expected).pow(2).sum()
    with pytest.raises(ValueError, match=r"nothing of blocks\.0"):
        scale_by_smoothquant(model, {})
    with pytest.raises(ValueError, match="alpha from 0 to 1"):
        scale_by_smoothquant(model, before, 1.5)


# Codebooks -----------------------------------------------------------------------------------------------------------


def test_the_levels_of_nf4_are_the_published_ones():
    ours = normal_levels(4)
    assert torch.allclose(ours, torch.tensor(PUBLISHED_NF4), atol=1e-6)
    end = torch.tensor(0.9677083, dtype=torch.float64)  # appendix E, by PyTorch's inverse error function
    upper = torch.erfinv(2 * torch.linspace(0.5, end, 9, dtype=torch.float64)[1:] - 1)
    lower = torch.erfinv(2 * torch.linspace(0.5, end, 8, dtype=torch.float64)[1:] - 1)
    by_hand = torch.cat((-lower.flip(0), torch.zeros(1), upper)) / upper[-1]
    assert torch.allclose(ours.double(), by_hand, atol=1e-6)
    for bits, levels in ((bits, normal_levels(bits)) for bits in (2, 3, 5)):
        assert len(levels) == 2**bits and levels[0] == -1 and levels[-1] == 1 and (levels == 0).sum() == 1


@pytest.mark.parametrize("levels", [normal_levels(4), normal_levels(3), torch.tensor([-1.0, 0.1, 1.0])], ids=len)
def test_each_number_takes_the_nearest_level(levels):
    x = drawn(5, 20).float()
    x[2, 8:16] = 0
    made = to_levels(x, levels, group_size=8)
    back = made.dequantize()
    for row, column in itertools.product(range(5), range(20)):
        group = x[row, column - column % 8 : column - column % 8 + 8]
        choices = levels * (group.abs().max() if group.any() else 1)
        assert (back[row, column] - x[row, column]).abs() <= (choices - x[row, column]).abs().min() + 1e-6
    assert made.bits == max(2, (len(levels) - 1).bit_length())
    assert (x.abs().amax() == back.abs().amax()) or len(levels) == 3


def test_a_model_in_nf4_is_written_and_read_again(tmp_path):
    model = random_model(TINY["mixtral"])
    tokens = random_tokens(model.config, 2, 9)
    small = quantize_to_levels(model)
    save(small, tmp_path / "small.safetensors")
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "small.safetensors")(tokens), small(tokens))
    down = small.blocks[0].ffn.experts[0].down.packed.quantized()
    by_hand = nf4(model.blocks[0].ffn.experts[0].down.weight, scale_dtype=torch.float16)
    assert torch.equal(down.dequantize(), by_hand.dequantize())
    with pytest.raises(ValueError, match="ascending"):
        to_levels(tokens.float(), torch.tensor([1.0, 0.0]))


def test_double_quantization_takes_fewer_bytes_and_adds_little():
    x = drawn(64, 512).float()
    made = nf4(x)
    twice, nbytes = double_quantized(made)
    assert 8 * (made.nbytes - 64) / x.numel() == 4 + 32 / 64  # the levels themselves are 64 bytes
    assert 8 * (nbytes - 64 - 4) / x.numel() == 4 + 8 / 64 + 32 / (
        64 * 256
    )  # the paper: 0.127 bits in the place of 0.5
    once, both = ((each.dequantize() - x).pow(2).mean() for each in (made, twice))
    assert torch.equal(made.codes, twice.codes) and both < once * 1.001


# Rotation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 8, 12, 20, 24, 64, 192, 768])
def test_hadamard_matrices_are_orthogonal_and_all_their_entries_alike(n):
    matrix = hadamard(n)
    assert torch.allclose(matrix @ matrix.T, torch.eye(n, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, n**-0.5))
    turned = random_rotation(n, seed=3)
    assert torch.allclose(turned.T @ turned, torch.eye(n, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("family", TURNED)
@pytest.mark.parametrize("kind", ["hadamard", "orthogonal"])
def test_a_rotated_model_computes_the_same(family, kind):
    model, tokens = random_model(TURNED[family]).double(), random_tokens(TURNED[family], 3, 10)
    rotation = random_rotation(model.config.d_model, kind=kind, seed=1)
    turned, folded = rotate_stream(model, rotation), fold_norms(model)
    with torch.inference_mode():
        expected = model(tokens)
        assert relative(folded(tokens), expected) < 1e-9
        assert relative(turned(tokens), expected) < 1e-9
        stream = folded.hidden(tokens)
        assert torch.allclose(turned.hidden(tokens), stream @ rotation, atol=1e-9)
    assert not turned.config.tie_embeddings and model.config.tie_embeddings == TURNED[family].tie_embeddings


def test_rotation_spreads_an_outlier_over_all_channels():
    model, tokens = double("llama"), random_tokens(TINY["llama"], 8, 16)
    with torch.no_grad():
        model.embedding.weight[:, 5] += 8.0
    before, after = (
        outlier_ratio(observe(each, [tokens], keep=128)["blocks.0.attention.q_proj"].rows)
        for each in (fold_norms(model), rotate_stream(model, seed=1))
    )
    assert before > 5 and after < 0.6 * before
    assert outlier_ratio(torch.tensor([3.0, -4.0, 0.0, 0.0])) == pytest.approx(4 / 2.5)


def test_rotation_says_what_it_cannot_do():
    llama = random_model(TINY["llama"])
    wrong = {
        "RMSNorm": lambda: fold_norms(random_model(TINY["gpt2"])),
        "sinusoidal": lambda: rotate_stream(random_model(TINY["sinusoidal"])),
        "orthogonal": lambda: rotate_stream(llama, torch.ones(32, 32)),
        "shape": lambda: rotate_stream(llama, torch.eye(16)),
        "no Hadamard matrix of size 22": lambda: hadamard(22),
    }
    for said, attempt in wrong.items():
        with pytest.raises(ValueError, match=said):
            attempt()
    rotate_stream(random_model(ModelConfig(vocab_size=11, d_model=22, n_layers=1, n_heads=1)))  # any rotation will do


# Training ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_gradient_is_that_of_pytorchs_fake_quantization(symmetric):
    x = drawn(6, 9).float() * 3
    low, high = torch.tensor(-2.0), torch.tensor(2.0 if symmetric else 3.0)
    made = quantize(x, 4, symmetric=symmetric, limits=(low, high))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    upstream = drawn(6, 9, seed=1).float()
    rounded = fake_quantize(ours, 4, symmetric=symmetric, limits=(low, high))
    rounded.backward(upstream)
    zero, ends = (0, (-7, 7)) if symmetric else (int(made.zero_point), (0, 15))
    expected = torch.fake_quantize_per_tensor_affine(theirs, made.scale.item(), zero, *ends)
    expected.backward(upstream)
    assert torch.allclose(rounded, expected, atol=1e-6)
    assert torch.equal(ours.grad, theirs.grad)
    assert 0 < (ours.grad == 0).sum() < 54


def test_the_gradient_of_channels_is_pytorchs_and_without_limits_all_of_it_passes():
    x = drawn(6, 9).float()
    limits = (-torch.full((6, 1), 0.9), torch.full((6, 1), 0.9))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    fake_quantize(ours, 3, granularity="channel", limits=limits).sum().backward()
    scale = torch.full((6,), 0.3)
    torch.fake_quantize_per_channel_affine(theirs, scale, torch.zeros(6), 0, -3, 3).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    free = x.clone().requires_grad_()
    rounded = fake_quantize(free, 3, group_size=4)
    (rounded * x).sum().backward()
    assert torch.equal(rounded, quantize(x, 3, group_size=4).dequantize())
    assert torch.equal(free.grad, x)


@pytest.mark.parametrize("family", TINY)
def test_a_prepared_model_computes_what_its_packed_one_does(family):
    model, tokens = random_model(TINY[family]), random_tokens(TINY[family], 2, 9)
    prepared = prepare_for_training(model, {"*": 3, "*.o_proj": 8}, group_size=8)
    packed, straight = finish(prepared), quantize_model(model, {"*": 3, "*.o_proj": 8}, group_size=8)
    with torch.inference_mode():
        assert torch.equal(prepared(tokens), packed(tokens))
        assert torch.equal(straight(tokens), packed(tokens))
    assert [name for name, _ in prepared.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert not any(a is b for a, b in zip(prepared.parameters(), model.parameters(), strict=True))


def test_the_trainer_trains_rounded_weights():
    config = ModelConfig(vocab_size=13, d_model=16, n_layers=1, n_heads=2, max_seq_len=16)
    model = random_model(config)
    source = batches(torch.arange(2000) % 13, 4, 16)
    prepared = prepare_for_training(model, 3)
    with torch.no_grad():
        before = batch_loss(finish(prepared), source(0)).item()
    for _ in Trainer(
        prepared, source, TrainingConfig(n_steps=60, batch_size=4, seq_len=16, learning_rate=2e-2, warmup=5)
    ):
        pass
    with torch.no_grad():
        packed = finish(prepared)
        after = batch_loss(packed, source(0)).item()
        assert after == batch_loss(prepared, source(0)).item()
    assert after < 0.3 * before
    assert model_bytes(packed) == model_bytes(quantize_model(model, 3))
    with pytest.raises(ValueError, match="prepare_for_training"):
        finish(model)
