import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from models import TINY_LLAMA, random_model, random_tokens, relative

from llmlab import checkpoint, training, world
from llmlab.cli.train import PROMPTS, RECIPES, add_arguments, chosen
from llmlab.tokenization import BPETokenizer
from llmlab.training import Batch, Trainer, TrainingConfig, WorldBatches, batches, new_model, pack


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


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adamw_equals_pytorchs(weight_decay):
    start = [random(4, 3), random(5, seed=1)]
    mine, reference = ([x.clone().requires_grad_() for x in start] for _ in range(2))
    ours = training.AdamW(mine, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=weight_decay)
    theirs = torch.optim.AdamW(reference, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=weight_decay)
    for step in range(20):
        for optimizer, parameters in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            loss = sum(((p - step / 10) ** 4).sum() for p in parameters)
            loss.backward()
            optimizer.step()
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_equals_pytorchs(max_norm):
    mine, reference = ([random(4, 3).requires_grad_(), random(5, seed=1).requires_grad_()] for _ in range(2))
    for parameters in (mine, reference):
        sum((p**3).sum() for p in parameters).backward()
    ours = training.clip_gradients(mine, max_norm)
    theirs = torch.nn.utils.clip_grad_norm_(reference, max_norm)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


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


def test_stream_batches_are_shifted_by_one_and_repeat_for_the_same_step():
    tokens = torch.arange(1000)
    batch = batches(tokens, 4, 16, seed=3)
    assert torch.equal(batch(7).targets, batch(7).tokens + 1)
    assert torch.equal(batch(7).tokens, batch(7).tokens) and not torch.equal(batch(7).tokens, batch(8).tokens)
    with pytest.raises(ValueError, match="more than seq_len = 16 tokens, got 16"):
        batches(tokens[:16], 4, 16)


@pytest.fixture(scope="module")
def tokenizer():
    return training.train_tokenizer(400, n_documents=300)


def test_world_batches_hold_whole_documents_of_their_own_step(tokenizer):
    batch = WorldBatches(tokenizer, 3, 64, seed=5)
    texts = list(islice((d.text for d in world.documents(5, start=2 * 3 * 65)), 3))
    text = tokenizer.decode(batch(2).tokens[0].tolist())
    assert text.startswith("<s>" + texts[0][:40])
    assert torch.equal(batch(2).tokens, batch(2).tokens)


def test_the_first_steps_read_repeated_words_and_then_lists(tokenizer):
    batch, plain = WorldBatches(tokenizer, 2, 64, lists_first=6), WorldBatches(tokenizer, 2, 64)
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    for step, skill in ((2, "repeating"), (3, "copying"), (5, "copying"), (6, None)):
        texts = [d.text for d in islice(world.documents(0, start=step * 2 * 65, skills=skill), 4)]
        ids = [token for text in texts for token in (start, *tokenizer.encode(text), end)]
        assert batch(step).tokens[0].tolist() == ids[:64]
        assert torch.equal(batch(step).tokens, plain(step).tokens) == (step == 6)


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
    "--steps=40", "--documents=200", "--save-every=7", "--check-every=1000",
    "--set", "vocab_size=400", "d_model=32", "n_heads=2", "n_kv_heads=1", "n_layers=2", "batch_size=2", "seq_len=48",
]  # fmt: skip


def train_command(folder):
    return [sys.executable, "-m", "llmlab", "train", f"--run={folder}", *TINY_RUN]


def check_what_a_run_says_and_publishes(text, folder):
    assert "40/40" in text and re.search(r"step 40: validation loss \d\.\d+ nats a token", text)
    assert all(prompt in text for prompt in PROMPTS) and re.search(r"copying +\d\.\d\d \(", text)
    model = checkpoint.load(folder / "model.safetensors")
    assert model.config.vocab_size == BPETokenizer.load(folder / "tokenizer.json").vocab_size == 400
    last = json.loads((folder / "training.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 40 and last["validation_loss"] > 0 and set(last["skills"]) == set(world.EVALUATIONS)


def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    publish = [*train_command(tmp_path / "whole"), f"--publish={tmp_path / 'published'}"]
    said = subprocess.run(publish, check=True, capture_output=True, encoding="utf-8")
    check_what_a_run_says_and_publishes(said.stdout + said.stderr, tmp_path / "published")
    process = subprocess.Popen(train_command(tmp_path / "killed"), **quiet)
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 10):
        time.sleep(0.01)
    assert process.poll() is None, "the run ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    subprocess.run(train_command(tmp_path / "killed"), check=True, **quiet)
    whole, resumed = (checkpoint.load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
    curves = [
        [(line["step"], line["loss"]) for line in map(json.loads, (tmp_path / name / "log.jsonl").open())]
        for name in ("whole", "killed")
    ]
    assert curves[0] == curves[1] and len(curves[0]) == 40


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_run_saves_its_last_whole_step(tmp_path):
    process = subprocess.Popen(train_command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    log = tmp_path / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    tensors, metadata = checkpoint.load_tensors(tmp_path / "state.safetensors")
    n_done = int(tensors["optimizer.step.norm.weight"])
    assert process.returncode == 130 and f"stopped at step {n_done}; the same command goes on from there" in out
    assert len(log.read_text().splitlines()) == n_done < 40 and metadata["seconds"] > 0


def recipe(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return chosen(parser.parse_args(words))


def test_settings_reach_the_model_and_the_training():
    made = recipe("--steps=5", "--lists-first=2", "--set", "d_model=64", "n_heads=4", "batch_size=3", "ffn=gelu")
    model, run = made.model, made.training
    assert (model.d_model, model.head_dim, model.ffn, run.batch_size, run.n_steps) == (64, 16, "gelu", 3, 5)
    assert made.lists_first == 2 and recipe() == RECIPES["model"]
    with pytest.raises(ValueError, match=r"expected --set FIELD=VALUE with a field of .*vocab_size.*got 'layers=3'"):
        recipe("--set", "layers=3")
