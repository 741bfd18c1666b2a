"""Training in parts: by two processes of `llmlab train`, and one after another in one process."""

import dataclasses
import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models import TINY, TINY_LLAMA, random_tokens

from llmlab import checkpoint, data_path
from llmlab.cli.train import RECIPES
from llmlab.studies.laboratory import Setting
from llmlab.tokenization import BPETokenizer
from llmlab.training import IGNORE, Batch, MaskedBatches, Trainer, TrainingConfig, batch_loss, new_model
from llmlab.training.parallel import Ranks

N_STEPS = 20
# Three rows for two processes: one gets twice as many targets as the other. A high rate makes a wrong gradient show.
CHANGES = {"d_model": 24, "n_heads": 2, "n_kv_heads": 1, "n_layers": 1, "d_ff": 32}
TRAINED = {"batch_size": 3, "seq_len": 40, "warmup": 2, "learning_rate": 0.01}
ARGUMENTS = [
    "train", "--which=encoder", f"--steps={N_STEPS}", "--save-every=100", "--check-every=10",
    "--set", *(f"{name}={value}" for name, value in (CHANGES | TRAINED).items()),
]  # fmt: skip


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def apart(one, other):
    """The largest difference of the losses of two runs."""
    assert [line["step"] for line in one] == [line["step"] for line in other] == list(range(1, N_STEPS + 1))
    return max(abs(a["loss"] - b["loss"]) for a, b in zip(one, other, strict=True))


def weights(folder, name="model.safetensors"):
    tensors, _ = checkpoint.load_tensors(folder / name)
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "llmlab", *ARGUMENTS, f"--run={folder}"], check=True, capture_output=True)
    return folder


def test_two_processes_of_torchrun_train_as_one(alone, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    start = [*torchrun, "--nproc-per-node=2", "-m", "--", "llmlab", *ARGUMENTS, f"--run={tmp_path / 'run'}"]
    done = subprocess.run(start, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ours, theirs = lines(tmp_path / "run"), lines(alone)
    assert apart(ours, theirs) < 1e-4
    assert max(abs(a["norm"] - b["norm"]) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    assert abs(ours[-1]["validation_loss"] - theirs[-1]["validation_loss"]) < 1e-4
    torch.testing.assert_close(weights(tmp_path / "run"), weights(alone), rtol=0, atol=1e-4)
    names = [sorted(str(p.relative_to(of)) for p in of.rglob("*")) for of in (tmp_path / "run", alone)]
    assert names[0] == names[1]
    said = done.stdout + done.stderr
    assert said.count("the model is") == said.count("step 10: validation loss") == 1
    assert len(re.findall(r" 0/20 \[", said)) == 1  # one bar


def curve_of_a_plain_loop(weigh):
    """The losses of the run above in a loop of PyTorch's own parts, where each batch is read in two parts of its rows,
    whose means count as `weigh` says: a function of their numbers of targets."""
    tokenizer = BPETokenizer.load(data_path("tokenizer.json"))
    recipe = RECIPES["encoder"]
    derived = dict.fromkeys(("head_dim",))
    model = new_model(dataclasses.replace(recipe.model, **derived, **CHANGES))
    config = dataclasses.replace(recipe.training, n_steps=N_STEPS, **TRAINED)
    batch_of = MaskedBatches(tokenizer, config.batch_size, config.seq_len, seed=config.seed)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=config.betas, foreach=False)
    schedule = torch.optim.lr_scheduler
    warm = [config.learning_rate * (step + 1) / config.warmup for step in range(config.warmup)]
    low = config.floor * config.learning_rate
    fake = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    cosine = schedule.CosineAnnealingLR(fake, T_max=N_STEPS - config.warmup, eta_min=low)
    losses = []
    for step in range(N_STEPS):
        batch, total = batch_of(step), 0.0
        rate = warm[step] if step < config.warmup else fake.param_groups[0]["lr"]
        for rows in (slice(0, 1), slice(1, 3)):
            logits = model(batch.tokens[rows], positions=batch.positions[rows], mask=batch.mask[rows])
            targets = batch.targets[rows]
            counts = [int((batch.targets[part] != IGNORE).sum()) for part in (slice(0, 1), slice(1, 3))]
            mine = int((targets != IGNORE).sum())
            total = total + F.cross_entropy(logits.flatten(0, 1), targets.flatten()) * weigh(mine, sum(counts))
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if step >= config.warmup:
            fake.step()
            cosine.step()
        losses.append({"step": step + 1, "loss": total.item()})
    return losses


def test_means_that_are_not_weighted_would_give_another_curve(alone):
    assert apart(curve_of_a_plain_loop(lambda mine, all: mine / all), lines(alone)) < 1e-4
    assert apart(curve_of_a_plain_loop(lambda mine, all: 1 / 2), lines(alone)) > 1e-2


# What may happen to one of two processes ----------------------------------------------------------------------------


CASES = {
    "stopped": {"AT": "1,7,SIGTERM"},
    "error of 0": {"AT": "0,3,raise"},
    "error of 1": {"AT": "1,3,raise"},
    "killed": {"AT": "1,3,SIGKILL"},
    "hangs": {"AT": "1,3,SIGSTOP", "TIMEOUT": "5"},
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Of each case its folder, the exit codes of two processes that run there, and what each has said."""
    if sys.platform != "linux":
        pytest.skip("the processes are forked")
    top = tmp_path_factory.mktemp("cases")
    given = [
        {"folder": str(top / name), "settings": settings, "arguments": [*ARGUMENTS, f"--run={top / name / 'run'}"]}
        for name, settings in CASES.items()
    ]
    script = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        [sys.executable, script], input=json.dumps(given), capture_output=True, text=True, timeout=300
    )
    codes = map(json.loads, done.stdout.splitlines())
    said = {name: [(top / name / f"said_{rank}.txt").read_text() for rank in range(2)] for name in CASES}
    return {name: (top / name, codes, said[name]) for name, codes in zip(CASES, codes, strict=True)}


def test_a_signal_to_one_stops_both_after_the_same_step_and_one_alone_goes_on(alone, cases):
    folder, codes, said = cases["stopped"]
    assert codes == [130, 130] and "stopped at step 8; the same command goes on from there" in said[0]
    assert said[1] == ""  # only the first one speaks
    norms = [(folder / f"norms_{rank}.txt").read_text().split() for rank in range(2)]
    assert norms[0] == norms[1] and len(norms[0]) == 8  # the same to the last bit
    tensors, _ = checkpoint.load_tensors(folder / "run" / "state.safetensors")
    assert tensors["optimizer.step.norm.weight"] == 8 and len(lines(folder / "run")) == 8
    go_on = [sys.executable, "-m", "llmlab", *ARGUMENTS, f"--run={folder / 'run'}"]
    assert "going on from step 8 of 20" in subprocess.run(go_on, check=True, capture_output=True, text=True).stdout
    assert apart(lines(folder / "run"), lines(alone)) < 1e-4


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_ends_the_other_with_a_message(cases, rank):
    _, codes, said = cases[f"error of {rank}"]
    assert codes == [1, 1] and "llmlab train: something is wrong here" in said[rank]
    lost = rf"llmlab train: process {1 - rank} of 2 .* lost the others: one of them has ended .*\(.*by peer"
    assert re.search(lost, said[1 - rank]) and "Traceback" not in "".join(said)


def test_a_process_that_is_killed_or_hangs_does_not_hang_the_other(cases):
    _, codes, said = cases["killed"]
    assert codes == [1, -9] and "process 0 of 2 (from 0) lost the others" in said[0]
    _, codes, said = cases["hangs"]
    assert codes == [1, -9] and re.search(r"or does not answer \(Timed out waiting 5000ms", said[0])


# In parts, in one process -------------------------------------------------------------------------------------------

CONFIG = TrainingConfig(n_steps=N_STEPS, batch_size=5, seq_len=16, learning_rate=1e-2, warmup=3)
N_COUNTED = (1, 16, 0, 3, 9)  # targets of the rows: one in a row of its own, and a row without any


def uneven(step):
    tokens = random_tokens(TINY_LLAMA, len(N_COUNTED), 17, seed=step)
    places = torch.arange(16).expand(len(N_COUNTED), -1)
    targets = tokens[:, 1:].masked_fill(places >= torch.tensor(N_COUNTED)[:, None], IGNORE)
    mask = (places[:, None, :, None] >= places[:, None, None, :]) & (
        places[:, None, None, :] // 8 == places[:, None, :, None] // 8
    )
    return Batch(tokens[:, :-1], targets, places % 8, mask)


def trained(config, model=TINY_LLAMA, batch=uneven):
    trainer = Trainer(new_model(model), batch, config)
    return [step.loss for step in trainer], torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize(("accumulate", "model"), [(2, TINY_LLAMA), (8, TINY_LLAMA), (3, TINY["mixtral"])])
def test_accumulation_equals_the_whole_batch(accumulate, model):
    losses, ended = trained(CONFIG, model)
    in_parts, ended_in_parts = trained(dataclasses.replace(CONFIG, accumulate=accumulate), model)
    assert max(abs(a - b) for a, b in zip(losses, in_parts, strict=True)) < 1e-5
    torch.testing.assert_close(ended_in_parts, ended, rtol=0, atol=1e-4)


def test_the_mean_of_the_parts_means_is_another_one():
    whole, model = uneven(0), new_model(TINY_LLAMA)
    parts = [whole.part(number, 5) for number in range(5)]
    assert [part.n_targets for part in parts] == list(N_COUNTED) and whole.n_targets == sum(N_COUNTED)
    loss = batch_loss(model, whole).item()
    means = {part.n_targets: batch_loss(model, part).item() for part in parts if part.n_targets}
    assert sum(n * mean for n, mean in means.items()) / whole.n_targets == pytest.approx(loss, rel=1e-6)
    assert abs(sum(means.values()) / len(means) - loss) > 5e-3


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_parts_have_all_rows_once_and_a_shared_mask_whole(n):
    whole = uneven(0)
    parts = [whole.part(number, n) for number in range(n)]
    for name in ("tokens", "targets", "positions", "mask"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    sizes = [len(part.tokens) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    shared = dataclasses.replace(whole, mask=torch.ones(16, 16, dtype=torch.bool), positions=None)
    assert all(shared.part(number, n).mask is shared.mask for number in range(n))
    square = Batch(torch.zeros(4, 4), torch.zeros(4, 4), torch.arange(4), torch.ones(4, 4))
    assert square.part(0, 2).mask.shape == (4, 4) and square.part(0, 2).positions.shape == (4,)


def test_accumulation_is_not_told_of_where_there_is_none():
    """Headers, states and keys of recorded studies are those from before there was any."""
    assert (
        "accumulate" not in CONFIG.to_dict() | Setting().to_dict()["training"] | RECIPES["model"].header(3)["training"]
    )
    assert CONFIG.to_dict() | {"betas": CONFIG.betas, "accumulate": 1} == dataclasses.asdict(CONFIG)
    recorded = json.loads(data_path("studies/ffn.json").read_text(encoding="utf-8"))
    for one in recorded["settings"].values():
        setting = Setting().changed(one["changes"])
        assert setting.key == one["key"] != setting.changed({"accumulate": 2}).key
    with pytest.raises(ValueError, match="expected accumulate of at least 1, got 0"):
        TrainingConfig(n_steps=1, accumulate=0)


def test_a_state_says_in_how_many_parts_it_was_trained(tmp_path):
    in_parts = Trainer(new_model(TINY_LLAMA), uneven, dataclasses.replace(CONFIG, accumulate=2))
    for _ in islice(in_parts, 2):
        pass
    in_parts.save(tmp_path / "state.safetensors")
    whole = Trainer(new_model(TINY_LLAMA), uneven, CONFIG)
    with pytest.raises(ValueError, match=r"was made with training setting accumulate=2; this run has 1"):
        whole.resume(tmp_path / "state.safetensors")
    in_parts.resume(tmp_path / "state.safetensors")


def test_several_processes_draw_their_own_random_numbers():
    def drawn(ranks, seed):
        torch.manual_seed(1)
        ranks.seed(seed)
        return torch.rand(3).tolist()

    draws = [drawn(Ranks(rank, 2), seed) for rank in (0, 1) for seed in (7, 8)]
    assert all(one != other for n, one in enumerate(draws) for other in draws[:n])
    torch.manual_seed(1)
    usual = torch.rand(3).tolist()
    assert drawn(Ranks(), 7) == usual not in draws
