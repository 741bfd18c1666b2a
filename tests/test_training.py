import argparse
import dataclasses
import json
import math
import re
import signal
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import TINY_LLAMA, random_model, random_tokens, relative
from streams import told

from llmlab import checkpoint, data_path, repetition, training, world
from llmlab.cli import train
from llmlab.cli.train import PROMPTS, RECIPES, add_arguments, chosen
from llmlab.tokenization import BPETokenizer
from llmlab.training import Batch, Trainer, TrainingConfig, WorldBatches, batches, fill, new_model, pack


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Written-out parts --------------------------------------------------------------------------------------------------


def test_cross_entropy_and_its_gradient_equal_pytorchs():
    logits = (random(2, 5, 11) * 30).requires_grad_()
    targets = random_tokens(TINY_LLAMA, 2, 5) % 11
    targets[0, 2] = training.IGNORE
    ours, theirs = training.cross_entropy(logits, targets), F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(ours, theirs)
    (mine,) = torch.autograd.grad(ours, logits)
    (reference,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(mine, reference)
    assert torch.isfinite(training.cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([1])))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cross_entropy_of_16_bit_logits_is_that_of_their_exact_values(dtype):
    """100,000 equal logits: Σ exp is beyond float16's 65,504, and log Σ is log 100,000 all the same."""
    assert training.cross_entropy(torch.zeros(2, 100_000, dtype=dtype), torch.tensor([3, 5])).item() == pytest.approx(
        math.log(100_000), rel=1e-6
    )
    logits, targets = (random(40, 97) * 5).to(dtype), random_tokens(TINY_LLAMA, 40)
    torch.testing.assert_close(training.cross_entropy(logits, targets), F.cross_entropy(logits.float(), targets))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_targets_of_any_whole_numbers_do(dtype):
    logits, targets = random(4, 97), torch.tensor([5, 0, 96, 7])
    torch.testing.assert_close(training.cross_entropy(logits, targets.to(dtype)), F.cross_entropy(logits, targets))


@pytest.mark.parametrize(
    "targets, message",
    [
        (torch.full((2, 3), -100), "expected a target that counts, got 6 that are all -100"),
        (torch.tensor([[1, 2, 3], [4, 11, 5]]), "expected targets from 0 to 10, or -100 to ignore; got 11"),
        (torch.tensor([[1, 2, 3], [4, -1, 5]]), "expected targets from 0 to 10, .* got -1"),
        (torch.tensor([1, 2, 3]), r"logits \(2, 3, 11\) and targets \(3,\)"),
        (torch.zeros(2, 4, dtype=torch.int64), r"a target for each row of logits .* targets \(2, 4\)"),
        (torch.zeros(2, 3), "token ids, whole numbers; got torch.float32"),
        (torch.ones(2, 3, dtype=torch.bool), "token ids, whole numbers; got torch.bool"),
    ],
)
def test_targets_that_cannot_be_asked_for_are_named(targets, message):
    with pytest.raises(ValueError, match=message):
        training.cross_entropy(random(2, 3, 11), targets)


def descend(optimizer, parameters, steps, late=None):
    """Some steps down Σ (p − step / 10)⁴; the parameter `late` gets its first gradient at step 7."""
    for step in steps:
        optimizer.zero_grad()
        for parameter in parameters:
            if parameter is not late or step >= 7:
                ((parameter - step / 10) ** 4).sum().backward()
        optimizer.step()


def start(n=2):
    """The same parameters n times."""
    return [[random(4, 3).requires_grad_(), random(5, seed=1).requires_grad_(), torch.ones(2, 2).requires_grad_()]
            for _ in range(n)]  # fmt: skip


def in_groups(parameters):
    """One group for each, with settings of its own and some of the optimizer's."""
    own = [{"lr": 0.02, "weight_decay": 0.0}, {"betas": (0.6, 0.999), "eps": 1e-2}, {"weight_decay": 0.5}]
    return [{"params": [parameter]} | settings for parameter, settings in zip(parameters, own, strict=True)]


SETTINGS = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("grouped", [list, in_groups])
def test_adamw_equals_pytorchs(weight_decay, grouped):
    mine, reference = start()
    ours = training.AdamW(grouped(mine), weight_decay=weight_decay, **SETTINGS)
    theirs = torch.optim.AdamW(grouped(reference), weight_decay=weight_decay, **SETTINGS)
    for optimizer, parameters in ((ours, mine), (theirs, reference)):
        descend(optimizer, parameters, range(60))
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_parameter_whose_gradient_comes_late_starts_its_own_count():
    mine, reference = start()
    for optimizer, parameters in (
        (training.AdamW(mine, weight_decay=0.1, **SETTINGS), mine),
        (torch.optim.AdamW(reference, weight_decay=0.1, **SETTINGS), reference),
    ):
        before = parameters[2].detach().clone()
        descend(optimizer, parameters, range(7), late=parameters[2])
        assert torch.equal(parameters[2], before)  # no gradient yet: no decay either
        descend(optimizer, parameters, range(7, 20), late=parameters[2])
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_an_optimizer_that_is_saved_and_loaded_takes_the_same_steps(tmp_path):
    whole, parts = start()
    descend(training.AdamW(in_groups(whole), **SETTINGS), whole, range(20), late=whole[1])
    first = training.AdamW(in_groups(parts), **SETTINGS)
    descend(first, parts, range(5), late=parts[1])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    held = first.state_dict()
    second = training.AdamW([{"params": [parameter]} for parameter in parts], lr=9.0)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    descend(second, parts, range(5, 20), late=parts[1])
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert held["state"][0]["step"] == 5 and 1 not in held["state"]  # a copy: later steps do not change it


@pytest.mark.parametrize("kinds", [(training.AdamW, torch.optim.AdamW), (torch.optim.AdamW, training.AdamW)])
def test_a_run_goes_on_with_pytorchs_optimizer_and_back(kinds):
    whole, parts = start()
    descend(torch.optim.AdamW(in_groups(whole), weight_decay=0.1, **SETTINGS), whole, range(20))
    first = kinds[0](in_groups(parts), weight_decay=0.1, **SETTINGS)
    descend(first, parts, range(8))
    second = kinds[1](in_groups(parts), lr=1.0)
    second.load_state_dict(first.state_dict())
    descend(second, parts, range(8, 20))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    (parameters,) = start(1)
    optimizer = training.AdamW(parameters, lr=0.1)
    descend(optimizer, parameters, range(3))
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"groups of \[3\] parameters, got one of groups of \[1, 1, 1\]"):
        optimizer.load_state_dict(training.AdamW(in_groups(parameters), lr=0.1).state_dict())
    other = training.AdamW(parameters[::-1], lr=0.1)
    descend(other, parameters, range(1))
    with pytest.raises(ValueError, match=r"the state of a parameter \(4, 3\) as number 0, got \(2, 2\)"):
        optimizer.load_state_dict(other.state_dict())
    momentum = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    descend(momentum, parameters, range(1))
    with pytest.raises(ValueError, match="expected AdamW's step, exp_avg and exp_avg_sq, got momentum_buffer"):
        optimizer.load_state_dict(momentum.state_dict())
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(torch.equal(after["state"][n]["exp_avg"], before["state"][n]["exp_avg"]) for n in range(3))


X = torch.zeros(3, requires_grad=True)


@pytest.mark.parametrize(
    "parameters, settings, message",
    [
        ([], {}, "expected parameters, got none"),
        ([X, X], {}, "expected each parameter once"),
        ([{"params": [X]}, {"params": X}], {}, "expected each parameter once"),
        ([{"params": [X], "weigth_decay": 0}], {}, "a group's own lr, betas, eps, weight_decay, got weigth_decay"),
        ([{"lr": 1.0}], {}, 'expected groups that are dicts with "params"'),
        ([{"params": [X]}, X], {}, 'expected groups that are dicts with "params", got tensor'),
        ([X * 2], {}, "leaf tensors of floating-point numbers"),
        ([torch.arange(3)], {}, "floating-point numbers; got one of torch.int64"),
        (["x"], {}, "floating-point numbers; got one of str"),
        ([X], {"lr": -1.0}, "a finite lr of at least 0, got -1.0"),
        ([X], {"lr": float("nan")}, "a finite lr of at least 0, got nan"),
        ([{"params": [X], "eps": -1e-8}], {}, "a finite eps of at least 0"),
        ([X], {"weight_decay": -0.1}, "a finite weight_decay of at least 0"),
        ([X], {"betas": (0.9, 1.0)}, r"two betas from 0 to below 1, got \(0.9, 1.0\)"),
        ([{"params": [X], "betas": (0.9,)}], {}, r"two betas from 0 to below 1, got \(0.9,\)"),
    ],
)
def test_parameters_and_settings_that_make_no_sense_are_named(parameters, settings, message):
    with pytest.raises(ValueError, match=message):
        training.AdamW(parameters, **{"lr": 0.1, **settings})


def test_a_sparse_gradient_is_refused_before_anything_moves():
    table, weight = torch.nn.Embedding(5, 2, sparse=True).weight, torch.ones(2, requires_grad=True)
    before = table.detach().clone()
    (F.embedding(torch.tensor([1, 2]), table, sparse=True) @ weight).sum().backward()
    with pytest.raises(ValueError, match=r"expected dense gradients, got a sparse one"):
        training.AdamW([weight, table], lr=0.1).step()
    assert torch.equal(weight, torch.ones(2)) and torch.equal(table, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("max_norm", [0.5, 1e6, float("inf")])
def test_clipping_equals_pytorchs(max_norm, dtype):
    mine, reference = (
        [x.to(dtype).requires_grad_() for x in (random(4, 3), random(5, seed=1), random(2))] for _ in range(2)
    )
    for parameters in (mine, reference):
        sum((p**3).sum() for p in parameters[:2]).backward()  # the third has no gradient
    ours = training.clip_gradients((parameter for parameter in mine), max_norm)
    theirs = torch.nn.utils.clip_grad_norm_((parameter for parameter in reference), max_norm)
    rounding = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 1e-6}
    torch.testing.assert_close(ours.to(dtype), theirs, **rounding)
    for a, b in zip(mine[:2], reference[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad, **rounding)


@pytest.mark.parametrize("size", [1e-5, 300.0])
def test_squares_of_16_bit_gradients_neither_vanish_nor_overflow(size):
    """float16 holds neither (1e-5)² nor 300²; a hundred equal gradients have 10 times the norm of one."""
    parameter = torch.zeros(100, dtype=torch.float16, requires_grad=True)
    parameter.grad = torch.full_like(parameter, size)
    one = parameter.grad[0].item()  # as float16 rounds it
    norm = training.clip_gradients([parameter], 5 * one)
    assert norm.item() == pytest.approx(10 * one, rel=1e-5)
    torch.testing.assert_close(parameter.grad.float(), torch.full((100,), one / 2), rtol=0.1, atol=0.0)


def test_clipping_without_gradients_gives_0_as_pytorch_does():
    for parameters in ([], [X], iter([])):
        ours, theirs = training.clip_gradients(parameters, 1.0), torch.nn.utils.clip_grad_norm_([X], 1.0)
        assert torch.equal(ours, theirs) and ours.item() == 0
    alone, other = (random(3, seed=2).requires_grad_() for _ in range(2))
    alone.grad, other.grad = torch.ones(3), torch.ones(3)
    assert torch.equal(training.clip_gradients(alone, 1.0), torch.nn.utils.clip_grad_norm_(other, 1.0))
    torch.testing.assert_close(alone.grad, other.grad)


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan")])
def test_a_max_norm_that_is_not_above_0_is_refused(max_norm):
    with pytest.raises(ValueError, match=f"expected max_norm above 0, got {max_norm}"):
        training.clip_gradients([X], max_norm)


def test_schedule_equals_pytorchs_warm_up_and_cosine():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    schedulers = torch.optim.lr_scheduler
    warm = schedulers.LambdaLR(optimizer, lambda step: (step + 1) / 10)
    cosine = schedulers.CosineAnnealingLR(optimizer, T_max=90, eta_min=0.05)
    schedule = schedulers.SequentialLR(optimizer, [warm, cosine], milestones=[10])
    for step in range(100):
        ours = training.cosine_schedule(step, n_steps=100, peak=0.5, warmup=10, floor=0.05)
        assert abs(ours - optimizer.param_groups[0]["lr"]) < 1e-9
        optimizer.step()
        schedule.step()


def test_a_schedule_without_a_warm_up_starts_at_the_peak_and_stays_at_the_floor_when_it_is_over():
    def rate(step, warmup=0, n_steps=10):
        return training.cosine_schedule(step, n_steps=n_steps, peak=2.0, warmup=warmup, floor=0.5)

    assert rate(0) == 2.0 and rate(5) == pytest.approx(1.25)  # half a cosine is halfway down in its middle
    assert [rate(step) for step in (10, 11, 1000)] == [0.5] * 3
    assert rate(9, warmup=10) == 2.0 and rate(10, warmup=10) == 0.5  # nothing but a warm-up
    assert rate(0, n_steps=0) == 0.5
    for wrong in ({"step": -1}, {"step": 0, "warmup": -1}, {"step": 0, "n_steps": -1}):
        with pytest.raises(ValueError, match="expected step, n_steps and warmup of at least 0, got"):
            rate(**wrong)


# Batches ------------------------------------------------------------------------------------------------------------


def test_packed_documents_equal_each_alone():
    """The loss and logits of a packed row are those of its documents one by one: nothing leaks between them."""
    model = random_model(TINY_LLAMA)
    documents = [random_tokens(TINY_LLAMA, n, seed=n).tolist() for n in (5, 9, 3, 12, 20)]
    batch = pack(documents, 1, 29)
    with torch.inference_mode():
        packed = model(batch.tokens, positions=batch.positions, mask=batch.mask)[0]
        start = 0
        for document in documents[:4]:
            alone = model(torch.tensor([document]))[0]
            assert relative(packed[start : start + len(document)], alone) < 1e-5
            expected = [*document[1:], training.IGNORE]
            assert batch.targets[0, start : start + len(document)].tolist() == expected
            start += len(document)
    assert start == 29


def test_a_document_longer_than_a_row_is_cut_and_rows_are_full():
    batch = pack([range(20), range(3), range(50)], 2, 8)
    assert batch.tokens.tolist() == [list(range(8)), [0, 1, 2, 0, 1, 2, 3, 4]]
    assert batch.targets.tolist() == [list(range(1, 9)), [1, 2, training.IGNORE, 1, 2, 3, 4, 5]]
    assert batch.positions[1].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="too few documents to fill 3 rows of 8"):
        pack([range(20)], 3, 8)


def test_rows_take_whole_documents_and_no_more_than_they_need():
    taken = []
    supply = (taken.append(document) or document for document in ("abcd", "", "efghi", "jk", "lmnopqrstuv", "w"))
    assert list(fill(supply, 2, 8)) == [["abcd", "", "efghi"], ["jk", "lmnopqrstuv"]]
    assert taken[-1] == "lmnopqrstuv"
    assert list(fill(range(9), 2, 3, n_tokens=lambda number: number)) == [[0, 1, 2, 3], [4]]


def test_documents_may_be_arrays_or_tensors():
    documents = [list(range(5)), [], list(range(9))]
    whole = pack(documents, 1, 10)
    for kind in (np.array, torch.tensor, lambda ids: np.array(ids, dtype=np.uint16), tuple):
        batch = pack(map(kind, documents), 1, 10)
        for name in ("tokens", "targets", "positions", "mask"):
            assert torch.equal(getattr(batch, name), getattr(whole, name))
    for wrong in ([[0.5, 1.0]], [[[1, 2]]], ["text"]):
        with pytest.raises(ValueError, match=r"expected token ids \(N,\), whole numbers in one row; got "):
            pack(wrong, 1, 1)


def test_stream_batches_are_shifted_by_one_and_repeat_for_the_same_step():
    tokens = torch.arange(1000)
    batch = batches(tokens, 4, 16, seed=3)
    assert torch.equal(batch(7).targets, batch(7).tokens + 1)
    assert torch.equal(batch(7).tokens, batch(7).tokens) and not torch.equal(batch(7).tokens, batch(8).tokens)
    with pytest.raises(ValueError, match="more than seq_len = 16 tokens, got 16"):
        batches(tokens[:16], 4, 16)


def test_a_stream_may_be_an_array_a_file_or_a_list_and_its_batches_are_int64(tmp_path):
    ids = [n * 7919 % 60_000 for n in range(300)]  # above what int16 holds
    np.array(ids, dtype=np.uint16).tofile(tmp_path / "tokens.bin")
    streams = {
        "tensor": torch.tensor(ids),
        "int32": torch.tensor(ids, dtype=torch.int32),
        "uint16 tensor": torch.from_numpy(np.array(ids, dtype=np.uint16)),
        "uint16": np.array(ids, dtype=np.uint16),
        "big-endian": np.array(ids, dtype=">i4"),
        "file": np.memmap(tmp_path / "tokens.bin", dtype=np.uint16, mode="r"),
        "list": ids,
    }
    model = random_model(dataclasses.replace(TINY_LLAMA, vocab_size=60_000, d_model=8, n_layers=1))
    for name, stream in streams.items():
        batch = batches(stream, 2, 16, seed=1)(4)
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64, name
        for row, following in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
            start = ids.index(row[0])
            assert row == ids[start : start + 16] and following == ids[start + 1 : start + 17], name
        assert torch.isfinite(training.batch_loss(model, batch))  # PyTorch looks up and scores these


def test_batches_stand_on_the_device_that_was_asked_for(tokenizer):
    for batch in (
        batches(torch.arange(100), 2, 8, device="meta")(0),
        WorldBatches(tokenizer, 2, 16, device="meta")(0),
        training.MaskedBatches(tokenizer, 2, 16, device=torch.device("meta"))(0),
    ):
        tensors = [t for t in (batch.tokens, batch.targets, batch.positions, batch.mask) if t is not None]
        assert {t.device.type for t in tensors} == {"meta"} and tensors[0].shape[0] == 2
    assert batches(torch.arange(100), 2, 8)(0).tokens.device.type == "cpu"


@pytest.mark.parametrize(
    "stream, sizes, message",
    [
        (torch.zeros(4, 50, dtype=torch.int64), (2, 8), r"in one row; got int64 \(4, 50\)"),
        (torch.zeros(50), (2, 8), r"whole numbers in one row; got float32 \(50,\)"),
        (["a", "b"], (2, 1), "whole numbers in one row; got <U1"),
        (range(50), (0, 8), "batch_size and seq_len of at least 1, got 0 and 8"),
        (range(50), (2, 0), "batch_size and seq_len of at least 1, got 2 and 0"),
    ],
)
def test_a_stream_that_is_none_is_refused(stream, sizes, message):
    with pytest.raises(ValueError, match=message):
        batches(stream, *sizes)


@pytest.fixture(scope="module")
def tokenizer():
    return training.train_tokenizer(400, n_documents=300)


def test_world_batches_hold_whole_documents_of_their_own_step(tokenizer):
    batch = WorldBatches(tokenizer, 3, 64, seed=5)
    texts = list(islice((d.text for d in world.documents(5, start=2 * 3 * 65)), 3))
    text = tokenizer.decode(batch(2).tokens[0].tolist())
    assert text.startswith("<s>" + texts[0][:40])
    assert torch.equal(batch(2).tokens, batch(2).tokens)


def test_without_ends_no_document_has_an_end_token(tokenizer):
    end = tokenizer.special_tokens["</s>"]
    whole, endless = (WorldBatches(tokenizer, 4, 512, seed=2, ends=ends) for ends in (True, False))
    for step in range(3):
        assert (whole(step).tokens == end).any() and not (endless(step).tokens == end).any()
        texts = [[read.document.text for read in islice(one.documents(step), 5)] for one in (whole, endless)]
        assert texts[0] == texts[1]


def test_the_first_steps_read_repeated_words_and_then_lists(tokenizer):
    batch, plain = WorldBatches(tokenizer, 2, 64, lists_first=6), WorldBatches(tokenizer, 2, 64)
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    for step, skill in ((2, "repeating"), (3, "copying"), (5, "copying"), (6, None)):
        texts = [d.text for d in islice(world.documents(0, start=step * 2 * 65, skills=skill), 4)]
        ids = [token for text in texts for token in (start, *tokenizer.encode(text), end)]
        assert batch(step).tokens[0].tolist() == ids[:64]
        assert torch.equal(batch(step).tokens, plain(step).tokens) == (step == 6)


def documents_of(batch, tokenizer):
    """The documents of a batch that ended before their row did, without the tokens around them."""
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    for row in batch.tokens.tolist():
        for document in " ".join(map(str, row)).split(str(start))[1:]:
            ids = [int(token) for token in document.split()]
            if end in ids:
                yield ids[: ids.index(end)]


def test_the_second_reading_begins_with_pairs_of_tokens_and_goes_on_with_texts_of_pairs():
    tokenizer = BPETokenizer.load(data_path("tokenizer.json"))
    batch = WorldBatches(tokenizer, 4, 2048, seed=5, reading=2, token_lists=0.25, pairs_first=20)
    plain = WorldBatches(tokenizer, 4, 2048, seed=5, reading=2, token_lists=0.25)
    assert [torch.equal(batch(step).tokens, plain(step).tokens) for step in (0, 5, 6, 19, 20)] == 4 * [False] + [True]
    drilled = set(batch.drilled)
    for steps, lists, recall in ((range(6), 0.7, 0.3), (range(6, 20), 0.15, 0.75)):
        read = [one for step in steps for one in islice(batch.documents(step), 100)]
        of_lists = [one.ids[1:-1] for one in read if one.document is None]
        texts = [one.document for one in read if one.document is not None]
        assert len(of_lists) / len(read) == pytest.approx(lists, abs=4 * (lists * (1 - lists) / len(read)) ** 0.5)
        expected = recall + (1 - recall) * world.SECOND_MIXTURE["recall"]
        share = sum(document.skill == "recall" for document in texts) / len(texts)
        assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / len(texts)) ** 0.5)
        of_drilled = sum(set(ids) <= drilled for ids in of_lists) / len(of_lists)
        assert of_drilled > 0.85 if lists == 0.7 else of_drilled < 0.5


def test_the_second_reading_reads_its_own_documents_and_lists_of_tokens(tokenizer):
    """Document by document: a text of the second reading or, in the place of one in four, a list said over and over."""
    batch = WorldBatches(tokenizer, 4, 2048, seed=5, reading=2, token_lists=0.25)
    texts, lists = [], []
    for step in range(8):
        first = step * 4 * 2049
        told = {d.text for d in islice(world.documents(5, start=first, reading=2), 80)}
        for ids in documents_of(batch(step), tokenizer):
            (texts if tokenizer.decode(ids) in told else lists).append(ids)
    merged = set(repetition.merged_tokens(tokenizer)) - set(repetition.never_listed(tokenizer))
    assert len(merged) >= 100 and all(set(ids) <= merged for ids in lists)
    over = sum(any(ids[n:] == ids[:-n] for n in range(3, 101)) for ids in lists) / len(lists)
    n = len(texts) + len(lists)
    assert over == pytest.approx(2 / 3, abs=4 * (2 / 9 / len(lists)) ** 0.5 + 0.05)  # the others are pairs
    assert n > 200 and len(lists) / n == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / n) ** 0.5 + 0.02)
    again = WorldBatches(tokenizer, 4, 2048, seed=5, reading=2, token_lists=0.25)
    assert torch.equal(batch(3).tokens, again(3).tokens) and not torch.equal(batch(3).tokens, batch(4).tokens)
    assert not torch.equal(batch(3).tokens, WorldBatches(tokenizer, 4, 2048, seed=5, token_lists=0.25)(3).tokens)
    with pytest.raises(ValueError, match="expected pairs_first with a later reading, got 4 steps with reading 1"):
        WorldBatches(tokenizer, 2, 16, pairs_first=4)
    with pytest.raises(ValueError, match="expected token_lists, a share, from 0 to 1, got 25"):
        WorldBatches(tokenizer, 2, 16, token_lists=25)


def test_hidden_tokens_are_asked_for_and_seen_from_both_sides(tokenizer):
    plain = WorldBatches(tokenizer, 16, 128)(0)
    batch = training.MaskedBatches(tokenizer, 16, 128)(0)
    asked = batch.targets != training.IGNORE
    assert torch.equal(batch.targets[asked], plain.tokens[asked])
    assert torch.equal(batch.tokens[~asked], plain.tokens[~asked])
    n = plain.tokens.numel()
    assert asked.sum() / n == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / n) ** 0.5)
    hidden = (batch.tokens == tokenizer.special_tokens["<mask>"]) & asked
    kept = (batch.tokens == plain.tokens) & asked
    for found, share in ((hidden, 0.8), (kept, 0.1)):
        wide = 4 * (share * (1 - share) / asked.sum().item()) ** 0.5
        assert (found.sum() / asked.sum()).item() == pytest.approx(share, abs=wide + 0.01)
    same = plain.mask | plain.mask.transpose(-1, -2)
    assert torch.equal(batch.mask, same) and batch.mask[:, 0].diagonal(dim1=-2, dim2=-1).all()
    assert torch.equal(batch.tokens, training.MaskedBatches(tokenizer, 16, 128)(0).tokens)
    assert not torch.equal(batch.tokens, training.MaskedBatches(tokenizer, 16, 128, seed=1)(0).tokens)
    with pytest.raises(ValueError, match="a share above 0 and at most 1, got 15"):
        training.MaskedBatches(tokenizer, 2, 16, share=15)(0)


# The trainer --------------------------------------------------------------------------------------------------------

CONFIG = TrainingConfig(n_steps=12, batch_size=4, seq_len=16, learning_rate=1e-2, warmup=3)


def memory_task(step):
    """The second half repeats the first: learnable, and different at every step."""
    half = random_tokens(TINY_LLAMA, 4, 9, seed=step)
    tokens = torch.cat((half, half), dim=1)
    return Batch(tokens[:, :-1], tokens[:, 1:])


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_one_step_equals_a_plain_pytorch_step():
    ours, plain = new_model(TINY_LLAMA), new_model(TINY_LLAMA)
    config = TrainingConfig(n_steps=1, learning_rate=1e-2, warmup=1, weight_decay=0.2, clip=0.1)
    (step,) = Trainer(ours, memory_task, config)
    plain.train()
    batch = memory_task(0)
    loss = F.cross_entropy(plain(batch.tokens).flatten(0, 1), batch.targets.flatten())
    loss.backward()
    matrices = [p for p in plain.parameters() if p.dim() > 1]
    vectors = [p for p in plain.parameters() if p.dim() == 1]
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
    groups = [{"params": matrices, "weight_decay": 0.2}, {"params": vectors, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95)).step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-5, atol=1e-6)
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    assert step.gradient_norm == pytest.approx(norm.item(), rel=1e-4)


def test_training_lowers_the_loss_of_one_batch():
    model = new_model(TINY_LLAMA)
    losses = [step.loss for step in Trainer(model, lambda step: memory_task(0), TrainingConfig(60, warmup=5))]
    assert losses[0] == pytest.approx(torch.tensor(97.0).log().item(), abs=0.2)  # untrained: every token equally likely
    assert losses[-1] < 0.5 * losses[0] and not model.training


def test_validation_loss_is_the_mean_over_targets_and_not_over_batches():
    """Batches with 40, 1 and 17 targets that count: the mean of all of them at once, by PyTorch."""
    model = random_model(TINY_LLAMA)
    made = []
    for n_counted, seed in ((40, 1), (1, 2), (17, 3)):
        tokens = random_tokens(TINY_LLAMA, 4, 13, seed=seed)
        targets = tokens[:, 1:].clone()
        targets.flatten()[n_counted:] = training.IGNORE  # a view: it changes the targets
        made.append(Batch(tokens[:, :-1], targets))
    tokens, targets = (torch.cat([getattr(batch, name) for batch in made]) for name in ("tokens", "targets"))
    assert (targets != training.IGNORE).sum() == 58
    model.train()
    with torch.no_grad():
        whole = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).item()
        of_batches = sum(training.batch_loss(model, batch).item() for batch in made) / 3
    assert training.validation_loss(model, made.__getitem__, 3) == pytest.approx(whole, rel=1e-5)
    assert abs(of_batches - whole) > 1e-2 and model.training  # the two means differ here
    with pytest.raises(ValueError, match="n_batches of at least 1, got 0"):
        training.validation_loss(model, made.__getitem__, 0)


def test_a_batch_in_which_nothing_is_asked_stops_the_run_before_a_step():
    model = new_model(TINY_LLAMA)
    before = weights(model).clone()
    empty = Batch(memory_task(0).tokens, torch.full((4, 17), training.IGNORE))
    with pytest.raises(ValueError, match="expected a target that counts, got 68 that are all -100"):
        list(Trainer(model, lambda step: empty, CONFIG))
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"n_steps": -1}, "expected n_steps of at least 0, got -1"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
        ({"learning_rate": float("nan")}, "expected learning_rate of at least 0, got nan"),
        ({"clip": 0.0}, "expected clip above 0, got 0.0"),
    ],
)
def test_settings_of_a_run_that_make_no_sense_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{"n_steps": 5, **setting})


def test_resumed_training_equals_uninterrupted(tmp_path):
    whole = new_model(TINY_LLAMA)
    for _ in Trainer(whole, memory_task, CONFIG):
        pass
    first = Trainer(new_model(TINY_LLAMA), memory_task, CONFIG)
    for _ in islice(first, 5):
        pass
    assert first.n_done == 5
    first.save(tmp_path / "state.safetensors")
    second = Trainer(new_model(TINY_LLAMA, seed=9), memory_task, CONFIG)
    second.resume(tmp_path / "state.safetensors")
    assert [step.step for step in second] == list(range(5, 12))
    assert torch.equal(weights(second.model), weights(whole))


def test_breaking_off_leaves_a_usable_model_and_iterating_goes_on():
    whole, parts = new_model(TINY_LLAMA), new_model(TINY_LLAMA)
    for _ in Trainer(whole, memory_task, CONFIG):
        pass
    trainer = Trainer(parts, memory_task, CONFIG)
    with pytest.raises(KeyboardInterrupt):
        for step in trainer:
            if step.step == 4:
                raise KeyboardInterrupt
    # the generator is closed, the weights are finite, and the model answers
    assert trainer.n_done == 5 and torch.isfinite(parts(memory_task(0).tokens)).all()
    for _ in trainer:
        pass
    assert torch.equal(weights(parts), weights(whole))


def test_a_diverging_run_stops_with_the_last_finite_weights():
    model = new_model(TINY_LLAMA)
    trainer = Trainer(model, memory_task, CONFIG)
    with pytest.raises(FloatingPointError, match=r"gradient is not finite at step 2 .* lower the learning rate"):
        for step in trainer:
            if step.step == 1:
                before = weights(model).clone()
                model.norm.weight.register_hook(lambda gradient: gradient * float("nan"))
    assert torch.equal(weights(model), before)


def test_a_state_of_another_run_is_refused_and_changes_nothing(tmp_path):
    trainer = Trainer(new_model(TINY_LLAMA), memory_task, CONFIG)
    for _ in islice(trainer, 2):
        pass
    trainer.save(tmp_path / "state.safetensors")
    other = Trainer(new_model(TINY_LLAMA, seed=4), memory_task, TrainingConfig(n_steps=13, batch_size=4, seq_len=16))
    before = weights(other.model).clone()
    with pytest.raises(ValueError, match="training setting n_steps=12; this run has 13"):
        other.resume(tmp_path / "state.safetensors")
    assert torch.equal(weights(other.model), before) and other.n_done == 0
    checkpoint.save(trainer.model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="no training settings"):
        trainer.resume(tmp_path / "model.safetensors")
    tensors, metadata = checkpoint.load_tensors(tmp_path / "state.safetensors")
    del tensors["model.norm.weight"]
    checkpoint.save_tensors(tmp_path / "state.safetensors", tensors, metadata)
    fresh = Trainer(new_model(TINY_LLAMA, seed=4), memory_task, CONFIG)
    with pytest.raises(ValueError, match=r"state.safetensors is not a checkpoint of a .* it has no model.norm.weight"):
        fresh.resume(tmp_path / "state.safetensors")
    assert torch.equal(weights(fresh.model), before)


def test_written_out_adamw_and_clipping_train_like_the_trainer():
    ours, theirs = new_model(TINY_LLAMA), new_model(TINY_LLAMA)
    config = TrainingConfig(n_steps=5, learning_rate=3e-3, warmup=2, clip=0.5)
    for _ in Trainer(theirs, memory_task, config):
        pass
    groups = [
        {"params": [p for p in ours.parameters() if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in ours.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = training.AdamW(groups, lr=0.0, betas=config.betas)
    for step in range(5):
        rate = training.cosine_schedule(step, n_steps=5, peak=3e-3, warmup=2, floor=0.05 * 3e-3)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        batch = memory_task(step)
        training.cross_entropy(ours(batch.tokens), batch.targets).backward()
        training.clip_gradients(ours.parameters(), config.clip)
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-3, atol=1e-5)


# The command --------------------------------------------------------------------------------------------------------

TINY_RUN = [
    "--steps=24", "--documents=200", "--save-every=7", "--check-every=1000",
    "--set", "vocab_size=400", "d_model=32", "n_heads=2", "n_kv_heads=1", "n_layers=2", "batch_size=2", "seq_len=48",
    "second.n_steps=16", "second.batch_size=2", "second.seq_len=48",
    "third.n_steps=8", "third.batch_size=2", "third.seq_len=48",
]  # fmt: skip


ENDS_ITSELF = """
import os, sys
from llmlab.cli import main, train
last_step, number, *arguments = sys.argv[1:]
write = train.Log.write
def write_and_end(log, line):
    write(log, line)
    if line["step"] == int(last_step):
        os.kill(os.getpid(), int(number))
train.Log.write = write_and_end
sys.exit(main(arguments))
"""


def train_command(folder, *, ends_itself=None):
    """A run of 24 steps, 16 more of the second reading and 8 of the third; `ends_itself`: a step, and the signal that
    the run gets when that step is logged."""
    start = ["-m", "llmlab"] if ends_itself is None else ["-c", ENDS_ITSELF, *(str(int(part)) for part in ends_itself)]
    return [sys.executable, *start, "train", f"--run={folder}", *TINY_RUN]


def check_what_a_run_says_and_publishes(text, folder):
    assert "48/48" in text and re.search(r"step 48: validation loss \d\.\d+ nats a token", text)
    assert all(prompt in text for prompt in PROMPTS) and re.search(r"copying +\d\.\d\d \(", text)
    model = checkpoint.load(folder / "model.safetensors")
    assert model.config.vocab_size == BPETokenizer.load(folder / "tokenizer.json").vocab_size == 400
    last = json.loads((folder / "training.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 48 and last["validation_loss"] > 0 and set(last["skills"]) == set(world.EVALUATIONS)


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never stopped, published beside it."""
    folder = tmp_path_factory.mktemp("whole")
    publish = [*train_command(folder), f"--publish={folder / 'published'}"]
    said = subprocess.run(publish, check=True, capture_output=True, encoding="utf-8")
    check_what_a_run_says_and_publishes(said.stdout + said.stderr, folder / "published")
    return folder


def check_weights_are_alike(one, other, names):
    for name in names:
        ours, theirs = (checkpoint.load_tensors(folder / name) for folder in (one, other))
        assert ours[1] == theirs[1] and ours[0].keys() == theirs[0].keys()
        assert all(torch.equal(ours[0][key], theirs[0][key]) for key in ours[0]), name


def lines_of(curve):
    """The lines of a run's log without what depends on the clock."""
    return [{**line, "seconds": None} for line in map(json.loads, curve.read_text().splitlines())]


def test_a_killed_and_resumed_run_ends_with_the_same_weights(whole, tmp_path):
    for step in (10, 33, 43):  # in each of the readings
        killed = subprocess.run(train_command(tmp_path, ends_itself=(step, signal.SIGKILL)), **QUIET)
        assert killed.returncode == -signal.SIGKILL and not (tmp_path / "model.safetensors").exists()
        assert (tmp_path / "first.safetensors").exists() == (step > 24)
        assert (tmp_path / "second.safetensors").exists() == (step > 40)
    subprocess.run(train_command(tmp_path), check=True, **QUIET)
    snapshots, resumed = (sorted(p.name for p in (folder / "snapshots").iterdir()) for folder in (whole, tmp_path))
    assert snapshots == resumed and {"step_000024.safetensors", "step_000040.safetensors"} < set(snapshots)
    names = [f"snapshots/{name}" for name in snapshots]
    check_weights_are_alike(whole, tmp_path, ["model.safetensors", "first.safetensors", "second.safetensors", *names])
    ours, theirs = (lines_of(folder / "log.jsonl") for folder in (whole, tmp_path))
    assert ours == theirs and [line["step"] for line in ours] == list(range(1, 49))
    assert [line["reading"] for line in ours] == 24 * [1] + 16 * [2] + 8 * [3]


def test_a_later_reading_goes_on_from_the_published_weights_of_the_one_before(whole, tmp_path):
    """A run of some readings publishes what the next begins with, so that all ways end alike."""
    published = tmp_path / "published"
    only_first = [*train_command(tmp_path / "1"), "second.n_steps=0", "third.n_steps=0", f"--publish={published}"]
    subprocess.run(only_first, check=True, **QUIET)
    _, metadata = checkpoint.load_tensors(published / "model.safetensors")
    assert metadata["training"]["n_steps"] == 24 and "later" not in metadata
    for number, left_out in ((2, ["third.n_steps=0"]), (3, [])):
        start = f"--from={published / 'model.safetensors'}"
        go_on = [*train_command(tmp_path / str(number)), *left_out, start, f"--publish={published}"]
        subprocess.run(go_on, check=True, **QUIET)
        _, metadata = checkpoint.load_tensors(published / "model.safetensors")
        assert [later["n_steps"] for later in metadata["later"]] == [16, 8][: number - 1]
    check_weights_are_alike(whole, tmp_path / "2", ["snapshots/step_000024.safetensors"])
    check_weights_are_alike(whole, tmp_path / "3", ["model.safetensors", "second.safetensors"])
    check_weights_are_alike(whole / "published", published, ["model.safetensors"])
    ours, theirs = (lines_of(folder / "training.jsonl") for folder in (whole / "published", published))
    assert [line["step"] for line in ours] == [10, 20, 24, 30, 40, 48] and ours == theirs


def test_a_later_reading_of_another_recipe_is_refused(whole, tmp_path):
    made, folder = recipe(*TINY_RUN), tmp_path / "on"
    folder.mkdir()
    train.begin_with(whole / "first.safetensors", folder, made)
    tokenizer = BPETokenizer.load(folder / "tokenizer.json")
    assert train.later_reading(made, "model", tokenizer, folder, 2).n_done == 24
    for changes, message in (
        ({"lists_first": 7}, "was made with lists_first=1400; this run has 7"),
        ({"training": dataclasses.replace(made.training, seed=5)}, "was made with seed=0; this run has 5"),
        ({"model": dataclasses.replace(made.model, n_layers=1)}, "was made with config=.*'n_layers': 2.*'n_layers': 1"),
    ):
        with pytest.raises(ValueError, match=message):
            train.later_reading(dataclasses.replace(made, **changes), "model", tokenizer, folder, 2)
    train.begin_with(whole / "second.safetensors", folder, made)
    assert train.later_reading(made, "model", tokenizer, folder, 3).n_done == 40
    other = dataclasses.replace(made, later=(dataclasses.replace(made.later[0], token_lists=0.5), made.later[1]))
    with pytest.raises(ValueError, match=r"was made with second.token_lists=0.12; this run has 0.5"):
        train.later_reading(other, "model", tokenizer, folder, 3)
    other = random_model(checkpoint.load(whole / "first.safetensors").config)
    checkpoint.save(other, whole / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"was begun with other weights than those of .*other.safetensors; give another"
    ):
        train.begin_with(whole / "other.safetensors", folder, made)
    with pytest.raises(ValueError, match="holds a run that began with an earlier reading; give another --run"):
        (tmp_path / "state.safetensors").touch()
        train.begin_with(whole / "other.safetensors", tmp_path, made)
    with pytest.raises(ValueError, match=r"expected a model that has read less than 3 times; .* has, 3 times"):
        train.begin_with(whole / "model.safetensors", folder, made)
    with pytest.raises(ValueError, match=r"expected a model that has read less than 1 times; .* has, 1 times"):
        train.begin_with(whole / "first.safetensors", folder, dataclasses.replace(made, later=()))


def test_a_published_model_comes_with_an_index_of_what_it_has_read(whole):
    made, folder = recipe(*TINY_RUN), whole / "published"
    tokenizer = BPETokenizer.load(folder / "tokenizer.json")
    first, second, third = (made.batches(tokenizer, made.training.seed, number) for number in (1, 2, 3))
    steps = [(first, step) for step in range(24)] + [(second, step) for step in range(16)]
    steps += [(third, step) for step in range(8)]
    read = [(n, text) for n, (of, step) in enumerate(steps, start=1) for _, text, _ in told(of, step) if text]
    found = world.seen_all({text for _, text in read}, stream=folder / "stream.npz")
    assert all(step in found[text] for step, text in read) and len({step for step, _ in read}) > 30


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_run_saves_its_last_whole_step(tmp_path):
    done = subprocess.run(train_command(tmp_path, ends_itself=(3, signal.SIGINT)), capture_output=True, text=True)
    tensors, metadata = checkpoint.load_tensors(tmp_path / "state.safetensors")
    n_done = int(tensors["optimizer.step.norm.weight"])
    assert done.returncode == 130 and f"stopped at step {n_done}; the same command goes on from there" in done.stdout
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == n_done < 48 and metadata["seconds"] > 0


def recipe(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return chosen(parser.parse_args(words))


def test_settings_reach_the_model_and_the_training():
    made = recipe("--steps=5", "--lists-first=2", "--set", "d_model=64", "n_heads=4", "batch_size=3", "ffn=gelu")
    model, run = made.model, made.training
    assert (model.d_model, model.head_dim, model.ffn, run.batch_size, run.n_steps) == (64, 16, "gelu", 3, 5)
    assert made.lists_first == 2 and recipe() == RECIPES["model"]
    second, third = (one.training for one in recipe("--seed=3", "--set", "second.n_steps=7", "third.warmup=4").later)
    assert (second.n_steps, second.seed, second.batch_size) == (7, 3, RECIPES["model"].reading(2).batch_size)
    assert (third.n_steps, third.warmup) == (RECIPES["model"].reading(3).n_steps, 4)
    assert recipe("--set", "second.n_steps=0", "third.n_steps=0").later == ()
    assert recipe("--set", "third.n_steps=0").later == RECIPES["model"].later[:1]
    assert recipe("--which=draft").later == RECIPES["draft"].later and len(RECIPES["draft"].later) == 2
    with pytest.raises(ValueError, match=r"expected --set FIELD=VALUE with a field of .*vocab_size.*got 'layers=3'"):
        recipe("--set", "layers=3")
