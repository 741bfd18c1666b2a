"""Every exercise of the course: its stub runs, its solution passes, its planted mistakes are named. And the engine."""

import codecs
import itertools
import math
import random
import re
import sys
import tempfile
from fractions import Fraction
from functools import partial
from html import unescape
from statistics import NormalDist, harmonic_mean

import numpy as np
import pytest
import tiktoken
import tokenizers
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch.nn.attention.bias import causal_lower_right
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.llama.modeling_llama import repeat_kv as repeat_kv_of_llama

import llmlab.exercises
from llmlab.exercises import (
    Prediction,
    Question,
    all_exercises,
    all_predictions,
    all_questions,
    catalog,
    check,
    exercise,
    hint,
    predict,
    progress,
    quiz,
    solution,
    topics,
)
from llmlab.exercises.errors import in_plain_words
from llmlab.exercises.judge import judge, known_trials, named_mistake, said
from llmlab.exercises.look import Answer, highlight, measure
from llmlab.exercises.sources import define
from llmlab.exercises.store import home, store_in
from llmlab.generate import generate
from llmlab.tokenization import BPETokenizer, count_words, learn_merges_by_recounting

PLANTED = """
import torch
from llmlab.exercises import Prediction, Question, exercise

def _tables():
    yield torch.randn(2, 3), 1
    yield torch.randn(3, 5), 0
    yield torch.randn(4, 4), 1
    yield torch.zeros(2, 0), 1

@exercise("planted.mean", title="The mean", prompt="Write the mean over one dimension.", difficulty=2, inputs=_tables,
          hints=("Add, then divide.", "`x.sum(dim)` adds.", "Nothing to add: raise."))
def mean(x, dim):
    \"\"\"x (R, C) -> (N,)\"\"\"
    if x.shape[dim] == 0:
        raise ValueError("<empty>")  # not NaN
    return x.sum(dim) / x.shape[dim]

mean.plant({
    "the sum is not divided by the number of entries <n>": lambda x, dim: x.sum(dim),
    "a mean over nothing should raise ValueError": lambda x, dim: x.sum(dim) / x.shape[dim],
    "that is one mean of everything": lambda x, dim: x.mean(),
})

@exercise("planted.zero", title="Zero", prompt="Fill with zeros.", inputs=lambda: ((torch.ones(3),),), hints=("a", "b"))
def zero(x):
    \"\"\"x (N,) is 0 afterwards.\"\"\"
    x.zero_()

zero.plant({
    "some values are not zero": lambda x: x[:2].zero_(),
    "only the first is zero": lambda x: x[:1].zero_(),
})

@zero.mistake("only the last is zero")
def _last(x):
    x[-1] = 0

@exercise("planted.double", title="Twice", prompt="It is right for 2 only. Mend it.", hints=("a", "b"),
          inputs=lambda: ((2.0, 2), (3.0, 2), (5.0, 1)))
def double(x, *, times):
    \"\"\"A number, added up so many times.\"\"\"
    # add it to itself
    return times * x

@double.mend("that is the square")
def _square(x, *, times):
    # multiply it with itself
    return x ** times

double.plant({"nothing is added": lambda x, times: x, "that is one too many": lambda x, times: (times + 1) * x})

EXERCISES = (mean, zero, double)
QUESTIONS = (
    Question(id="planted.why", text="Why <b>√d</b>?", options=("speed", "the `softmax` stays soft", "luck"), answer=1,
             why=("It costs time.", "Scores have variance 1.", "No.")),
    Question(id="planted.who", text="Who?", options=("one", "two", "three"), answer=0, why=("Yes.", "No.", "No.")),
)
PREDICTIONS = (
    Prediction(id="planted.bytes", text="How large?", unit="KiB"),
    Prediction(id="planted.growth", text="How does it grow?", options=("as n", "as n²")),
)
"""


@pytest.fixture(autouse=True)
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))


@pytest.fixture
def topic(tmp_path, monkeypatch):
    """Makes a topic of our own beside the course's, as a module in a folder of its own."""
    (tmp_path / "topics").mkdir()
    monkeypatch.setattr(llmlab.exercises, "__path__", [*llmlab.exercises.__path__, str(tmp_path / "topics")])
    made = []

    def make(name, source):
        (tmp_path / "topics" / f"{name}.py").write_text(source, encoding="utf-8")
        made.append(name)
        return catalog.load(name)

    yield make
    for name in made:
        sys.modules.pop(f"llmlab.exercises.{name}", None)
        vars(llmlab.exercises).pop(name, None)


@pytest.fixture
def planted(topic):
    return topic("planted", PLANTED)


def cell(source):
    """A function of the learner's, as a notebook's cell defines it."""
    return define(source, f"cell {abs(hash(source))}")


# Every exercise of the course ---------------------------------------------------------------------------------------


def faults(exercise, seeds=(0, 1)):
    """What is wrong with an exercise, one line each."""
    found = []
    if check(exercise.id, define(exercise.stub, f"stub of {exercise.id}")).status != "not attempted":
        found.append("its stub is judged as an attempt")
    if judge(exercise, partial(define(exercise.stub, f"stub of {exercise.id}"))).status == "right":
        found.append("its stub passes the checks")
    for seed in seeds:
        verdict = judge(exercise, define(exercise.solution, f"solution of {exercise.id}"), seed=seed)
        if verdict.status != "right":
            found.append(f"its solution as shown is {verdict.status} with seed {seed}: {verdict.line} {verdict.reason}")
        for mistake in exercise.mistakes:
            told = named_mistake(exercise, known_trials(exercise, mistake.function, seed), seed=seed)
            if told != mistake.reason:
                found.append(f"with seed {seed}, what should be told {mistake.reason!r} is told {told!r}")
    if len(exercise.hints) < 2:
        found.append("fewer than two hints")
    if len({mistake.reason for mistake in exercise.mistakes}) < 3:
        found.append("fewer than three planted mistakes")
    found += [f"no {name}" for name in ("title", "prompt") if not getattr(exercise, name)]
    return found


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_the_stub_is_no_attempt_the_solution_passes_and_each_planted_mistake_gets_its_own_reason(exercise):
    assert faults(exercise) == []


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_what_an_exercise_shows_is_the_same_on_every_run(exercise, tmp_path, monkeypatch):
    shown = []
    for run in range(2):
        monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / f"home {run}"))
        functions = [cell(exercise.stub), cell(exercise.solution), exercise.mistakes[0].function]
        answers = [check(exercise.id, function) for function in functions]
        answers += [hint(exercise.id) for _ in (*exercise.hints, "all")] + [solution(exercise.id)]
        shown.append([(repr(answer), fallback(answer)) for answer in answers])
    assert shown[0] == shown[1]


def fallback(answer):
    """What an answer shows where there is no kernel, as HTML."""
    return answer.html() if isinstance(answer, Answer) else answer.fallback_html()


@pytest.mark.parametrize("question", all_questions(), ids=lambda question: question.id)
def test_questions_have_three_options_and_explain_each(question):
    assert len(set(question.options)) == len(question.options) >= 3
    assert len(question.why) == len(question.options) and all(question.why)
    assert quiz(question.id, question.answer + 1).passed


@pytest.mark.parametrize("prediction", all_predictions(), ids=lambda prediction: prediction.id)
def test_predictions_can_be_asked_without_an_answer_recorded(prediction):
    assert prediction.text in repr(predict(prediction.id))
    assert repr(predict(prediction.id, truth=prediction.options[0] if prediction.options else 1)).startswith(
        "No prediction"
    )


BAD = """
import torch
from llmlab.exercises import exercise

@exercise("bad.zero", title="Zero", prompt="Fill with zeros.", inputs=lambda: ((torch.ones(3),),), hints=("a",))
def zero(x):
    \"\"\"x (N,) is 0 afterwards.\"\"\"
    x.zero_()

zero.plant({"right": lambda x: x.mul_(0), "one": lambda x: x[:1].zero_(), "the same": lambda x: x[0].zero_()})

def _global():
    return 0

@exercise("bad.nothing", title="", prompt="Give 0.", inputs=lambda: ((1,),), hints=("a", "b"))
def nothing(x):
    \"\"\"0, whatever x is.\"\"\"
    return _global()

nothing.plant({"one": lambda x: 1})
EXERCISES = (zero, nothing)
"""


def test_the_planted_exercises_are_faultless_and_faults_are_found(planted, topic):
    assert [faults(exercise) for exercise in planted.exercises] == [[], [], []]
    zero, nothing = topic("bad", BAD).exercises
    assert faults(zero, seeds=(0,)) == [
        "with seed 0, what should be told 'right' is told ''",
        "with seed 0, what should be told 'the same' is told 'one'",
        "fewer than two hints",
    ]
    crash, few, title = faults(nothing, seeds=(0,))
    assert crash.startswith("its solution as shown is crashed with seed 0") and "NameError" in crash
    assert (few, title) == ("fewer than three planted mistakes", "no title")


# Right in any form, and judged by the text -------------------------------------------------------------------------


def sdpa(q, k, v, **given):
    return F.scaled_dot_product_attention(q, k, v, **given)


def by_loop(document_ids, window):
    ids = document_ids.tolist()
    rows = [[s <= t < s + window and ids[s] == ids[t] for s in range(len(ids))] for t in range(len(ids))]
    return torch.tensor(rows)


def generated(model, ids, n, **given):
    return [step.token for step in generate(model, ids, n, **given)]


def with_past(q, k, v, past):
    if past is not None:
        k, v = torch.cat([past[0], k], -2), torch.cat([past[1], v], -2)
    return sdpa(q, k, v, attn_mask=causal_lower_right(q.shape[-2], k.shape[-2])), (k, v)


def multi_head(x, w_q, w_k, w_v, w_o, n_heads):
    layer = torch.nn.MultiheadAttention(x.shape[-1], n_heads, bias=False, batch_first=True)
    layer.in_proj_weight.data = torch.cat((w_q.T, w_k.T, w_v.T))
    layer.out_proj.weight.data = w_o.T
    later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    return layer(x, x, x, attn_mask=later, need_weights=False)[0]


def head_by_head(x, n_heads):
    return torch.cat([sdpa(part, part, part, is_causal=True) for part in x.chunk(n_heads, -1)], -1)


def best_by_loop(weights):
    def mean(place):
        rows = weights[place].tolist()
        return sum(rows[t][t - 1] for t in range(1, len(rows))) / (len(rows) - 1)

    return max(((i, j) for i in range(len(weights)) for j in range(weights.shape[1])), key=mean)


def counted(n_prompt, n_new):
    """Counts by going through a generation, pass by pass."""
    text, without = n_prompt, 0
    for _ in range(n_new):
        without, text = without + text, text + 1
    return without, text - 1


def in_a_list(buffer, length, new):
    if length + new.shape[1] > buffer.shape[1]:
        raise ValueError
    for group in range(buffer.shape[0]):
        for row in range(new.shape[1]):
            buffer[group, length + row] = new[group, row]
    return buffer.narrow(1, 0, length + new.shape[1])


def heads_of_llama(x, n_heads):
    """What transformers' Llama does before attention."""
    return repeat_kv_of_llama(x, n_heads // x.shape[1])


def decoded_by_pytorch(q, k, v):
    """All tokens at once under a causal mask, with PyTorch's own sharing."""
    return sdpa(q, k, v, is_causal=True, enable_gqa=True), k, v


def context_by_trial(memory, n_weights, n_layers, n_heads, group_size, head_dim, n_rows, number_bytes):
    """Halved between a context that fits and one that does not, with the bytes of tensors without numbers."""
    dtype = {1: torch.int8, 2: torch.float16}[number_bytes]

    one = torch.empty(n_layers, 2, n_heads, head_dim, dtype=dtype, device="meta").nbytes  # as if each head kept its own
    weights = torch.empty(n_weights, dtype=dtype, device="meta").nbytes

    def fits(n):
        return n * n_rows * Fraction(one, group_size) + weights <= memory

    low, high = 0, memory
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def tied_by_autograd(gradient, n_kv_heads, head_dim):
    """One weight, copied to all heads of a group, whose copies get this gradient."""
    n_heads = len(gradient) // head_dim
    weight = torch.zeros(n_kv_heads * head_dim, gradient.shape[1], requires_grad=True)
    rows = [(head * n_kv_heads // n_heads) * head_dim + number for head in range(n_heads) for number in range(head_dim)]
    weight[rows].backward(gradient)
    return weight.grad


def margin_by_sorting(logits, answer):
    """Python's own lists, one place after another."""
    leads = []
    for row, right in zip(logits.double().tolist(), answer.tolist(), strict=True):
        leads.append(row[right] - sorted(z for token, z in enumerate(row) if token != right)[-1])
    return sorted(leads)[0]


def foretold_by_ranks(score, lost):
    """By the sum of the ranks of the lost ones (Mann and Whitney 1947), ties with their mean rank."""
    ordered = sorted(score.tolist())
    ranks = [ordered.index(s) + (ordered.count(s) + 1) / 2 for s in score.tolist()]
    n_lost, n_kept = int(lost.sum()), int((~lost).sum())
    total = sum(rank for rank, gone in zip(ranks, lost.tolist(), strict=True) if gone)
    return (total - n_lost * (n_lost + 1) / 2) / (n_lost * n_kept)


def bytes_by_packing(layers, bits, group_size):
    """Of what the package packs, one of each tensor."""
    from llmlab.quantization import quantize

    kept = []
    for weight in layers.values():
        if not any(weight is one for one in kept):
            kept.append(weight)
    how = {"group_size": group_size, "scale_dtype": torch.float16}
    return sum(quantize(weight, bits, **how).nbytes for weight in kept)


def next_in_exact_fractions(bits, harm, sizes, left):
    """Every candidate's gain as a fraction."""
    gains = {}
    for name, b in bits.items():
        if b < 8 and sizes[name] <= left:
            before, after = (Fraction(3, 2 ** (n - 1) - 1) ** 2 for n in (b, b + 1))
            gains[name] = Fraction(harm[name]) * (before - after) / sizes[name]
    return sorted(gains, key=gains.get)[-1] if gains else None


def range_of_all_at_once(batches):
    """One list of all numbers, and 0."""
    numbers = [0.0] + [x for batch in batches for x in batch.flatten().tolist()]
    return sorted(numbers)[0], sorted(numbers)[-1]


def error_input_by_input(weight, rounded, hessian):
    """Inputs that have this H: the columns of its square root."""
    values, vectors = np.linalg.eigh(hessian.numpy() / 2)
    inputs = np.sqrt(values.clip(0)) * vectors  # (n, n)
    return sum(float((one @ x) ** 2) for one in (weight - rounded).numpy() for x in inputs.T)


def best_of_a_list(weight, scale, inputs):
    """Every way up and down in Python's own loops, with the outputs of each."""
    wanted = inputs.numpy() @ weight.numpy()
    ways = itertools.product(*[(math.floor(w / scale), math.floor(w / scale) + 1) for w in weight.tolist()])
    return torch.tensor(min(ways, key=lambda way: np.linalg.norm(inputs.numpy() @ (np.array(way) * scale) - wanted)))


def compensated_by_lstsq(weight, hessian, column, q):
    """Least squares for inputs that have this H: the transposed Cholesky factor's rows."""
    x = torch.linalg.cholesky(hessian / 2, upper=True)  # (n, n)
    free = [n for n in range(len(weight)) if n != column]
    missing = x @ weight - x[:, column] * q
    new = torch.full_like(weight, q)
    new[free] = torch.linalg.lstsq(x[:, free], missing[:, None]).solution[:, 0]
    return new


def row_solved_again(weight, hessian, highest):
    """Each column rounded to nearest, and the least squares of all that are left solved again from the start."""
    x = torch.linalg.cholesky(hessian / 2, upper=True)  # (n, n)
    scale, now, codes = weight.abs().max() / highest, weight, []
    for n in range(len(weight)):
        codes.append(float((now[0] / scale).round().clamp(-highest, highest)))
        missing = x @ weight - x[:, : n + 1] @ (torch.tensor(codes, dtype=weight.dtype) * scale)
        now = torch.linalg.lstsq(x[:, n + 1 :], missing[:, None]).solution[:, 0] if n + 1 < len(weight) else None
    return torch.tensor(codes), scale


def gradient_by_fake_quantize(gradient, x, scale, highest):
    leaf = x.clone().requires_grad_()
    torch.fake_quantize_per_tensor_affine(leaf, scale, 0, -highest, highest).backward(gradient)
    return leaf.grad


def folded_by_a_layer_norm(gain, shift, readers, s):
    """Slopes and offset of PyTorch's LayerNorm, divided by s and read off its outputs for two inputs."""
    n = len(gain)
    norm = torch.nn.LayerNorm(n, elementwise_affine=True).double()
    norm.weight.data, norm.bias.data = gain.double(), shift.double()
    flat = torch.full((n,), 3.0, dtype=torch.float64)  # normed to 0
    shift = norm(flat).detach() / s
    uneven = torch.arange(n).double() ** 2 - 0.3  # none of them normed to 0, but by chance
    normed = torch.nn.functional.layer_norm(uneven, (n,))
    gain = (norm(uneven).detach() / s - shift) / normed
    return gain.float(), shift.float(), [torch.einsum("on,n->on", reader, s) for reader in readers]


def smoothed_channel_by_channel(x, w, alpha):
    columns = []
    for one, weights in zip(x.T.tolist(), w.T.tolist(), strict=True):
        reach, size = max(map(abs, one)), max(map(abs, weights))
        s = math.exp(alpha * math.log(reach) - (1 - alpha) * math.log(size))
        columns.append(([a / s for a in one], [b * s for b in weights]))
    return tuple(torch.tensor([each[side] for each in columns]).T for side in (0, 1))


def layer_of_python_integers(codes, w, bias, s_x, s_w):
    sums = []
    for token in codes.tolist():
        row = []
        for weights, b, s in zip(w.tolist(), bias.tolist(), s_w.tolist(), strict=True):
            row.append(sum(a * c for a, c in zip(token, weights, strict=True)) + round(b / (s * s_x)))
        sums.append(row)
    return torch.tensor(sums), torch.tensor([s * s_x for s in s_w.tolist()])


def leveled_by_the_package(x, levels, group_size):
    from llmlab.quantization import to_levels

    return to_levels(x, levels, group_size=group_size).dequantize()


def bytes_of_a_whole_step(weights, bits, group_size, cached, batch):
    """All bits that a step reads, its scales' 16 and its caches' bytes, shared out among its tokens."""
    n_bits = weights * bits + 16 * (weights // group_size) + 8 * cached * batch
    return float(Fraction(n_bits, 8 * batch))


def codes_by_fake_quantize(x, scale, zero_point):
    """PyTorch's own numbers on the marks, counted from the lowest one."""
    near = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)
    return (near / scale + zero_point).round().to(torch.int8)


def groups_number_by_number(w, bits, group_size):
    """Python's own round, one group after another."""
    highest, codes, scales = 2 ** (bits - 1) - 1, [], []
    for row in w.tolist():
        groups = [row[start : start + group_size] for start in range(0, len(row), group_size)]
        scales.append([max(max(group), -min(group)) / highest or 1.0 for group in groups])
        codes.append([round(x / s) for group, s in zip(groups, scales[-1], strict=True) for x in group])
    return codes, scales


def product_of_numbers(x, zero_point, x_scale, w, w_scale):
    """The numbers that the codes stand for, multiplied in float64."""
    numbers = (x.double().numpy() - zero_point) * x_scale
    return torch.from_numpy(numbers @ (w.double().numpy() * w_scale.double().numpy()[:, None]).T)


def nibbles_by_digits(packed, n):
    """Hexadecimal digits, looked up in the order of two's complement."""
    rows = [[int(byte, 16) for byte in (f"{byte:02x}"[1], f"{byte:02x}"[0])] for byte in packed.flatten().tolist()]
    signed = torch.tensor([[(code + 8) % 16 - 8 for code in row] for row in rows])
    return signed.reshape(len(packed), -1)[:, :n]


def nbytes(n_layers, n_kv_heads, head_dim, n_tokens, batch_size, bytes_per_number):
    dtype = {1: torch.int8, 2: torch.float16, 4: torch.float32}[bytes_per_number]
    one = torch.empty(2, n_layers, n_kv_heads, head_dim, n_tokens, batch_size, dtype=dtype, device="meta")
    return one.nbytes


def cut_row_by_row(cache, n_drafted, accepted):
    cache.truncate(
        [held - n_drafted + kept for held, kept in zip(cache.lengths.tolist(), accepted.tolist(), strict=True)]
    )


def in_one_batch(model, prompts, n_new, cache):
    lengths, rows = [len(ids) for ids in prompts], range(len(prompts))
    padded = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    for row, ids in enumerate(prompts):
        padded[row, : len(ids)] = torch.tensor(ids)
    logits = model(padded, cache=cache)
    new = [[int(logits[row, lengths[row] - 1].argmax())] for row in rows]
    cache.truncate(lengths)
    for _ in range(n_new - 1):
        logits = model(torch.tensor([ids[-1:] for ids in new]), cache=cache)
        new = [[*new[row], int(logits[row, 0].argmax())] for row in rows]
    return new


def to_the_common_prefix(cache, held, prompt):
    n = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(held, prompt[:-1], strict=False))])
    cache.truncate(n)
    return prompt[n:]


def in_exact_fractions(n_weights, cache_bytes, n_rows, number_bytes, peak, bandwidth):
    reading = Fraction(n_weights * number_bytes + n_rows * cache_bytes) / Fraction(bandwidth)
    return float(max(reading, Fraction(2 * n_weights * n_rows) / Fraction(peak)))


# Each solution is compared with an implementation of somebody else's, or with a loop.
def prepared_by_hand(tokenizer, prompt):
    while prompt and prompt[-1].isspace():
        prompt = prompt[:-1]
    (start,) = tokenizer.encode("<s>", allowed_special={"<s>"})
    return [start, *tokenizer.encode(prompt)]


def induction_by_loop(weights, period):
    return torch.tensor(
        [[np.mean([float(of[t, t - period + 1]) for t in range(period, len(of))]) for of in layer] for layer in weights]
    )


def ablated_by_loop(additions, taken):
    rows = additions.numpy()
    parts = [np.broadcast_to(of.reshape(-1, of.shape[-1]).mean(0), of.shape) if n in taken else of
             for n, of in enumerate(rows)]  # fmt: skip
    return sum(parts)


def bits_by_probability(loss, n_tokens, text):
    probability = math.exp(-loss) ** n_tokens
    return -math.log2(probability) / len(text.encode("utf-8"))


def price_token_by_token(tokenizer, texts):
    tokens = [token for text in texts for token in tokenizer.encode(text)]
    characters = [character for text in texts for character in text]
    return float(Fraction(len(tokens), len(characters)))


def by_growing(text, tokenizer, n_tokens):
    budget = len(tokenizer.decode_bytes(tokenizer.encode(text)[:n_tokens]))
    return max((text[:n] for n in range(len(text) + 1) if len(text[:n].encode()) <= budget), key=len)


def by_index(text):
    prompts, start = [], 0
    while (end := text.find("\n---\n", start)) >= 0:
        prompts.append(text[start:end])
        start = end + 5
    return [*prompts, text[start:]]


def by_rust(texts, vocab_size):
    """The `tokenizers` library, from the same merges."""
    n_test = math.ceil(len(texts) / 5)
    trained = BPETokenizer.train(texts[: len(texts) - n_test], vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        trained.save(f"{folder}/tokenizer.json")
        theirs = Tokenizer.from_file(f"{folder}/tokenizer.json")
    test = texts[len(texts) - n_test :]
    return len("".join(test).encode()) / sum(len(theirs.encode(text).ids) for text in test)


def cut_from_numpy(scores, query, key):
    if query == key == 0:
        raise ValueError
    bias = torch.full_like(scores, -torch.inf).triu(1)
    bias[:, query, key] = -torch.inf
    return from_numpy_softmax(scores + bias)


def counted_by_place(words):
    found = [pair for word, times in words.items() for pair in itertools.pairwise(word) for _ in range(times)]
    return {pair: found.count(pair) for pair in found}


def joined_in_a_text(parts, pair):
    """Each part as one letter of a private alphabet, so that str.replace joins from left to right."""
    letters = {part: chr(0xE000 + number) for number, part in enumerate(dict.fromkeys([*parts, *pair]))}
    joined = "".join(letters[part] for part in parts).replace("".join(letters[part] for part in pair), "\ue999")
    back = {letter: part for part, letter in letters.items()} | {"\ue999": pair[0] + pair[1]}
    return [back[letter] for letter in joined]


def encoded_by_tokenizers(piece, ranks):
    """The BPE of the `tokenizers` library on letters that stand for bytes, as its byte-level tokenizers have them."""
    letters = bytes_to_unicode()

    def spelled(part):
        return "".join(letters[byte] for byte in part)

    merges = [(spelled(first), spelled(second)) for first, second in sorted(ranks, key=ranks.get)]
    vocab = {token: id for id, token in enumerate([*letters.values(), *dict.fromkeys(a + b for a, b in merges)])}
    tokens = tokenizers.models.BPE(vocab, merges).tokenize(spelled(piece.encode())) if piece else []
    back = {letter: byte for byte, letter in letters.items()}
    return [bytes(back[letter] for letter in token.value) for token in tokens]


def decoded_in_a_stream(ids, vocab):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return "".join(decoder.decode(vocab[id]) for id in ids) + decoder.decode(b"", final=True)


def as_tiktoken(text, tokenizer):
    special = tokenizer.special_tokens
    ranks = {token: id for id, token in tokenizer.vocab.items() if id not in special.values()}
    theirs = tiktoken.Encoding("same", pat_str=tokenizer.pattern, mergeable_ranks=ranks, special_tokens=special)
    return [special["<s>"], *theirs.encode_ordinary(text), theirs.encode("</s>", allowed_special="all")[0]]


def learned_by_recounting(text, n_merges, special):
    return learn_merges_by_recounting(count_words([text], special_tokens=special), n_merges)


def gradient_by_autograd(ids, slopes, n_rows):
    table = torch.nn.Embedding(n_rows, slopes.shape[1])
    table(ids).backward(slopes)
    return table.weight.grad


def one_parameter(table, ids, targets, n_steps, lr):
    read = torch.nn.Embedding.from_pretrained(table.clone(), freeze=False)
    score = torch.nn.Linear(*table.T.shape, bias=False)
    score.weight = read.weight
    optimizer = torch.optim.SGD(score.parameters(), lr=lr)
    for _ in range(n_steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(score(read(ids)), targets).backward()
        optimizer.step()
    return read.weight.detach()


def sorted_cosines(rows, k):
    def cosine(a, b):
        return torch.nn.functional.cosine_similarity(rows[a], rows[b], dim=0)

    every = range(len(rows))
    return [sorted((b for b in every if b != a), key=lambda b: -cosine(a, b))[:k] for a in every]


def by_covariance(rows, k):
    _, vectors = np.linalg.eigh(np.cov(rows.double().numpy().T))
    places = rows.double().numpy() @ vectors[:, ::-1][:, :k]
    return np.linalg.norm(places[:, None] - places, axis=2)


def leans_in_numpy(rows, senses):
    rows, senses = rows.double().numpy(), senses.numpy()
    found = []
    for n, row in enumerate(rows):
        without = np.delete(np.arange(len(rows)), n)
        near = [np.linalg.norm(row - np.mean([rows[m] for m in without if senses[m] == s], axis=0)) for s in (0, 1)]
        own, other = near[senses[n]], near[1 - senses[n]]
        found.append((other - own) / (other + own))
    return found


def losses_pair_by_pair(rows, contexts, words, near, drawn):
    def minus_log_sigmoid(x):
        return math.log1p(math.exp(-x))

    def product(word, context):
        return sum(a * b for a, b in zip(rows[word].tolist(), contexts[context].tolist(), strict=True))

    total = 0.0
    for word, true, draws in zip(words.tolist(), near.tolist(), drawn.tolist(), strict=True):
        total += minus_log_sigmoid(product(word, true))
        total += sum(minus_log_sigmoid(-product(word, wrong)) for wrong in draws if wrong != true)
    return total / len(words)


def analogy_by_sorting(rows, a, b, c):
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    place = unit[b] - unit[a] + unit[c]
    order = sorted(range(len(rows)), key=lambda n: -torch.nn.functional.cosine_similarity(unit[n], place, dim=0))
    return order[0], next(n for n in order if n not in (a, b, c))


def mean_text_by_text(vectors, counts):
    return torch.stack([text[own].mean(0) for text, own in zip(vectors, counts, strict=True)])


def in_batch_by_softmax(one, other, temperature):
    total = 0.0
    for n, row in enumerate(one.double()):
        cosines = [torch.nn.functional.cosine_similarity(row, each, dim=0) for each in other.double()]
        weights = [math.exp(cosine / temperature) for cosine in cosines]
        total -= math.log(weights[n] / sum(weights))
    return total / len(one)


def turned_by_complex(x, positions, freqs):
    """Neighbors as complex numbers, times one of length 1."""
    hands = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    angles = positions.double()[:, None] * freqs.double()
    return torch.view_as_real(hands * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def angles_one_by_one(positions, d, base):
    if d % 2 == 1:
        raise ValueError("no partner")
    return torch.tensor([[p / base ** (2 * j / d) for j in range(d // 2)] for p in positions.tolist()])


def turned_halves_by_transformers(x, positions, freqs):
    angles = torch.cat((positions[:, None] * freqs,) * 2, -1)[None]
    return apply_rotary_pos_emb(x[None], x[None], angles.cos(), angles.sin())[0][0]


def rows_one_by_one(weight, n_heads):
    d = len(weight) // n_heads
    order = [h * d + half * d // 2 + j for h in range(n_heads) for j in range(d // 2) for half in (0, 1)]
    return torch.stack([weight[row] for row in order])


def read_all_at_once(q, k, v, n_prompt, freqs):
    places = torch.arange(len(q))
    q, k = (turned_halves_by_transformers(x[None], places, freqs)[0] for x in (q, k))
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


def positions_one_by_one(own):
    return [[sum(row[:t]) if row[t] else 0 for t in range(len(row))] for row in own.tolist()]


def once_round_distance_by_distance(freqs, trained, length):
    """The hands at all trained distances: none of a slow clock's is past a whole turn."""
    angles = np.outer(np.arange(trained), freqs.numpy())  # (distances, d/2)
    return (angles < 2 * math.pi).all(0) & (length > trained)


def raised_base_of_transformers(head_dim, theta, factor):
    """The dynamic scaling of transformers at `factor` times the trained length, with its own factor 1."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "dynamic", "rope_theta": theta, "factor": 1.0}
    sizes = {"head_dim": head_dim, "max_position_embeddings": 64, "rope_parameters": rope}
    return ROPE_INIT_FUNCTIONS["dynamic"](LlamaConfig(**sizes), "cpu", seq_len=round(64 * factor))[0]


def mixed_clock_by_clock(freqs, factor, length, low, high):
    new = []
    for speed in freqs.tolist():
        wavelength = 2 * math.pi / speed
        keep = min(max((length / wavelength - low) / (high - low), 0.0), 1.0)
        new.append(speed * (keep + (1 - keep) / factor))
    return new


def alibi_of_bloom(scores):
    """Bloom adds slope · position of the key, which the softmax cannot tell from −slope · distance."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    n_heads, n_tokens, _ = scores.shape
    bias = build_alibi_tensor(torch.ones(1, n_tokens), n_heads, torch.float32)  # (H, 1, T)
    later = torch.full((n_tokens, n_tokens), -math.inf).triu(1)
    return from_numpy_softmax(scores + bias + later)


def parabola_by_autograd(params, x, y):
    params = params.clone().requires_grad_()
    loss = torch.nn.functional.mse_loss(params[0] * x**2 + params[1] * x + params[2], y)
    return torch.autograd.grad(loss, params)[0]


def cubic_by_its_series(loss, params, h):
    """A difference to both sides is the slope and h²/6 times the third derivative; for a cubic, nothing more."""
    params = params.clone().requires_grad_()
    value = params @ loss.weights @ params + (loss.cubes * params**3).sum() + params.sum()
    return torch.autograd.grad(value, params)[0] + h**2 * loss.cubes


def walk_by_sgd(gradient, start, rate, n_steps):
    place = torch.nn.Parameter(start.clone())
    optimizer, places = torch.optim.SGD([place], lr=rate), [start.tolist()]
    for _ in range(n_steps):
        place.grad = gradient(place.data)
        optimizer.step()
        places.append(place.tolist())
    return torch.tensor(places, dtype=torch.float64)


def epoch_by_sgd(params, x, y, rate, batch_size):
    place = torch.nn.Parameter(params.clone())
    optimizer = torch.optim.SGD([place], lr=rate)
    for months, sales in zip(x.split(batch_size), y.split(batch_size), strict=True):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(place[0] * months**2 + place[1] * months + place[2], sales).backward()
        optimizer.step()
    return place


def slopes_by_inverse(parents, slopes):
    """The sum over all ways of the product of their slopes: the last row of 1 + S + S² + … = 1 / (1 − S)."""
    steps = np.zeros((len(parents), len(parents)))  # S
    for row, (places, values) in enumerate(zip(parents, slopes, strict=True)):
        np.add.at(steps[row], places, values)
    return np.linalg.inv(np.eye(len(steps)) - steps)[-1].tolist()


def slopes_of_a_graph_by_inverse(end, made_from):
    names = [*(name for name in made_from if name != end), end]
    parents = [[names.index(parent) for parent, _ in made_from[name]] for name in names]
    slopes = [[slope for _, slope in made_from[name]] for name in names]
    return dict(zip(names, slopes_by_inverse(parents, slopes), strict=True))


def line_by_sgd(xs, ys, a, b, rate, n_steps):
    line = torch.tensor([a.data, b.data], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([line], lr=rate)
    x, y = (torch.tensor(each, dtype=torch.float64) for each in (xs, ys))
    for _ in range(n_steps):
        optimizer.zero_grad()
        F.mse_loss(line[0] * x + line[1], y).backward()
        optimizer.step()
    return line.tolist()


def back_through_torchs_relu(values, grads):
    values = values.clone().requires_grad_()
    return torch.autograd.grad(F.relu(values), values, grads)[0]


def layers_of_torch(x, layers):
    parts = []
    for w, b in layers:
        part = torch.nn.Linear(*w.shape)
        part.weight.data, part.bias.data = w.T, b
        parts += [part, torch.nn.Tanh()]
    return torch.nn.Sequential(*parts[:-1])(x).detach()


def surprises_in_numpy(logits, right):
    wide = logits.numpy().astype(np.float64)
    return np.logaddexp.reduce(wide, axis=1) - wide[range(len(right)), right.numpy()]


def slopes_by_autograd(logits, right):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(logits, right), logits)[0]


def shifted_token_by_token(tokens, documents):
    rows = []
    for row, numbers in zip(tokens.tolist(), documents.tolist(), strict=True):
        pairs = zip(itertools.pairwise(row), itertools.pairwise(numbers), strict=True)
        rows.append([after if of == of_next else -100 for (_, after), (of, of_next) in pairs] + [-100])
    return torch.tensor(rows)


def counted_by_pytorch(logits, targets):
    """PyTorch's own ignoring, over the vocabulary in the second place; its NaN is made an error."""
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets)
    if loss.isnan():
        raise ValueError("a mean over nothing")
    return loss


def perplexity_as_a_root(losses, counts):
    """One over the geometric mean of the probabilities."""
    pairs = [(loss, n) for loss, n in zip(losses.tolist(), counts.tolist(), strict=True) if n]
    return math.prod(math.exp(loss) ** (n / sum(n for _, n in pairs)) for loss, n in pairs)


def apart_document_by_document(documents):
    positions, mask = torch.zeros_like(documents), torch.zeros(*documents.shape, documents.shape[1], dtype=torch.bool)
    for row, numbers in enumerate(documents.tolist()):
        place = 0
        for _, of_one in itertools.groupby(numbers):
            n = len(list(of_one))
            positions[row, place : place + n] = torch.arange(n)
            mask[row, place : place + n, place : place + n] = torch.ones(n, n).tril().bool()
            place += n
    return positions, mask


def ended_row_by_row(rows, end):
    targets = []
    for row in rows.tolist():
        said = row[: row.index(end) + 1]
        targets.append((said[1:] + [-100] * len(row))[: len(row) - 1])
    return torch.tensor(targets).view(len(rows), -1)


def states_by_pytorch(lists, W, U, b):
    rnn = torch.nn.RNN(W.shape[1], W.shape[0], batch_first=True).double()
    for parameter, value in zip(rnn.parameters(), (W, U, b, torch.zeros_like(b)), strict=True):
        parameter.data = value
    return torch.cat([rnn(words[None])[1][0] for words in lists]).detach()


def shared_slope_by_autograd(U, states, slope):
    """Each state is made again from the one before, with an input that makes it come out as it was given."""
    u, h = U.clone().requires_grad_(), states[0]
    for before, after in itertools.pairwise(states):
        h = torch.tanh(torch.atanh(after) - U @ before + u @ h)
    return torch.autograd.grad(h @ slope + 0 * u.sum(), u)[0]


def adam_by_pytorch(params, gradients, rate, beta1, beta2, eps):
    place = torch.nn.Parameter(params.clone())
    optimizer = torch.optim.Adam([place], lr=rate, betas=(beta1, beta2), eps=eps)
    for gradient in gradients:
        place.grad = gradient.clone()
        optimizer.step()
    return place


def clipped_by_pytorch(gradients, max_norm):
    places = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for place, gradient in zip(places, gradients, strict=True):
        place.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(places, max_norm)  # adds 1e-6 to the length
    return [place.grad for place in places]


def added_by_linear_layers(x, w_up, b_up, w_down, b_down):
    return F.linear(F.threshold(F.linear(x, w_up, b_up), 0.0, 0.0), w_down, b_down)


def gelu_number_by_number(x):
    """The share below each number from Python's own normal distribution."""
    return torch.tensor([each * NormalDist().cdf(each) for each in x.flatten().tolist()]).view(x.shape)


def gated_by_phi3(x, w_gate_up, w_down):
    from transformers import Phi3Config
    from transformers.models.phi3.modeling_phi3 import Phi3MLP

    sizes = {"hidden_size": w_down.shape[0], "intermediate_size": w_down.shape[1]}
    layer = Phi3MLP(Phi3Config(**sizes, pad_token_id=0))
    layer.gate_up_proj.weight.data, layer.down_proj.weight.data = w_gate_up, w_down
    return layer(x).detach()


def width_by_counting(d_model, factor, multiple):
    least = math.floor(Fraction(str(factor)) * math.floor(Fraction(8 * d_model, 3)))
    return next(wide for wide in itertools.count(multiple, multiple) if wide >= least)


def largest_row_by_row(hidden, k):
    rows = hidden.flatten(0, -2).tolist()
    kept = [sorted(range(len(row)), key=lambda n, row=row: -abs(row[n]))[:k] for row in rows]
    new = [[each if n in stay else 0.0 for n, each in enumerate(row)] for row, stay in zip(rows, kept, strict=True)]
    return torch.tensor(new).view(hidden.shape)


def story_by_sets(values, tokens, story, n):
    """The harmonic mean of precision and recall, of sets of places."""
    excited = set(sorted(range(len(values)), key=lambda place: -values[place].item())[:n])
    named = {place for place, token in enumerate(tokens.tolist()) if token in story}
    hits = Fraction(len(excited & named))
    return float(harmonic_mean([hits / max(1, len(named)), hits / len(excited)]))


def restored_by_masks(clean, spoiled, run):
    masks = torch.eye(len(clean))[1:, :, None]
    lost = run(clean) - run(spoiled)
    return torch.tensor([(run(spoiled + mask * (clean - spoiled)) - run(spoiled)) / lost for mask in masks])


def edited_by_lagrange(weight, key, value, moment):
    """The linear equations of least squares with the key's value as a condition, solved for all rows at once."""
    n = len(key)
    system = torch.zeros(n + 1, n + 1).double()
    system[:n, :n], system[:n, n], system[n, :n] = moment, key, key
    right = torch.zeros(n + 1, len(value)).double()
    right[n] = value - weight @ key
    return weight + torch.linalg.solve(system, right)[:n].T


def locality_by_removal(edited, asked, before, after):
    kept = [yes for fact, was, yes in zip(asked, before, after, strict=True) if was and fact != edited]
    return kept.count(True) / len(kept)


def first_to_go_one_by_one(weight, slope, k):
    takes = (weight.double() * slope.double()).numpy().copy()
    kept = weight.clone()
    for _ in range(k):
        row, column = np.unravel_index(np.argmax(takes), takes.shape)
        kept[row, column] = 0
        takes[row, column] = -np.inf
    return kept


def number_by_walking_up(pattern, n_exponent, n_fraction):
    """Step by step from 0: the patterns of positive numbers stand in the order of their sizes."""
    step, value = Fraction(2) ** (2 - 2 ** (n_exponent - 1) - n_fraction), Fraction(0)
    for place in range(pattern % 2 ** (n_exponent + n_fraction)):
        if place and place % 2**n_fraction == 0 and place > 2**n_fraction:
            step *= 2
        value += step
    return float(value) * (-1) ** (pattern // 2 ** (n_exponent + n_fraction))


def step_by_pytorchs_scaler(weights, scaled, scale, n_good, rate, max_norm, patience):
    """PyTorch's own loop: unscale, clip, step, update; good steps before this one are taken with a gradient of 0."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=patience)
    place = torch.nn.Parameter(torch.zeros_like(weights))
    optimizer = torch.optim.SGD([place], lr=rate)
    for gradient in [torch.zeros_like(scaled)] * n_good + [scaled]:
        scaler.scale(torch.zeros(()))
        place.data.copy_(weights)
        place.grad = gradient.clone()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_([place], max_norm)
        scaler.step(optimizer)
        scaler.update()
    return place.detach().clone(), scaler.get_scale(), scaler._get_growth_tracker()


def rows_added_one_by_one(n_bytes, n_parameters, n_layers, d_model, numbers_per_token, seq_len):
    """Rows are added until the bytes of PyTorch's own (empty) tensors are more than there are."""

    def empty(*shape, dtype):
        return torch.empty(*shape, dtype=dtype, device="meta").nbytes

    half, wide = torch.bfloat16, torch.float32
    taken, rows = sum(empty(n_parameters, dtype=dtype) for dtype in (half, half, wide, wide, wide)), -1
    row = sum(empty(seq_len, d_model, dtype=half) for _ in range(n_layers - 1))
    row += empty(seq_len, numbers_per_token, dtype=half)  # the layer that is rerun, its input among them
    while taken <= n_bytes:
        taken, rows = taken + row, rows + 1
    return max(0, rows)


def late_by_pytorch(params, gradients, rate, betas, eps, decay):
    places = [torch.nn.Parameter(p.clone()) for p in params]
    groups = [{"params": [p], "weight_decay": decay * (p.dim() > 1)} for p in places]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas, eps=eps)
    for step in gradients:
        for place, gradient in zip(places, step, strict=True):
            place.grad = gradient
        optimizer.step()
    return [place.detach() for place in places]


def groups_by_hash(named):
    """A tensor is told by its identity where it is the key of a dictionary."""
    first = {p: name for name, p in reversed(named)}
    names = sorted(first.items(), key=lambda pair: [name for name, _ in named].index(pair[1]))
    return [[name for p, name in names if (len(p.shape) > 1) is matrix] for matrix in (True, False)]


def rate_by_pytorch(step, n_steps, peak, warmup, floor):
    if step < min(warmup, n_steps):
        return float(np.interp(step, [-1, warmup - 1], [0, peak]))
    if step >= n_steps:
        return floor
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps - warmup, eta_min=floor)
    for _ in range(step - warmup):
        optimizer.step()
        cosine.step()
    return cosine.get_last_lr()[0]


def batch_by_autograd(gradients, counts, max_norm):
    """Each target has a loss, linear in the weights with its part's slopes; the mean of all is walked back."""
    weights = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients[0]]
    losses = []
    for part, n in zip(gradients, counts, strict=True):
        losses += [sum((w * g).sum() for w, g in zip(weights, part, strict=True))] * n
    torch.stack(losses).mean().backward()
    torch.nn.utils.clip_grad_norm_(weights, max_norm)
    return [w.grad for w in weights]


def dropped_one_by_one(x, update, uniform, p, training):
    pairs = zip(update.flatten().tolist(), uniform.flatten().tolist(), strict=True)
    kept = [0.0 if training and drawn < p else each / (1 - p * training) for each, drawn in pairs]
    return torch.tensor(kept).view(x.shape) + x


def jump_by_windows(losses, width):
    values, best, found = losses.tolist(), -math.inf, None
    for first in range(len(values) - width):
        fall = math.fsum(values[first : first + width]) - math.fsum(values[first + 1 : first + 1 + width])
        if fall > best + 1e-12:
            best, found = fall, first + width // 2
    return found


def tellings_by_columns(right, told):
    held_out = [column for column, was_told in zip(right.T.tolist(), told.tolist(), strict=True) if not was_told]
    known = [n for n, each in enumerate(zip(*held_out, strict=True)) if set(each) == {True}]
    return min(known, default=-1)


def numbers_by_listing(seed, step, n_steps):
    order = [0]
    while seed not in order:
        order += [-(len(order) // 2 + 1), len(order) // 2 + 1]
    return sum(n_steps for _ in order[: order.index(seed)]) + step


def law_by_polyfit(work, losses, floor):
    slope, height = np.polyfit(np.log(work.numpy()), np.log(losses.numpy() - floor), 1)
    return np.exp(height).item(), -slope.item()


def intervals_one_by_one(runs, drawn):
    ends = []
    for point, losses in enumerate(runs.numpy()):
        means = [losses[of_draw].mean() for of_draw in drawn[:, point].numpy()]
        ends.append(np.quantile(means, [0.025, 0.975]))
    return np.array(ends)


def pooled_by_pytorch(weight, n_kv_heads, head_dim):
    heads = weight.reshape(1, -1, head_dim * weight.shape[1]).mT  # (1, d·D, H)
    means = F.avg_pool1d(heads, heads.shape[2] // n_kv_heads)  # (1, d·D, G)
    return means.mT.reshape(-1, weight.shape[1])


def absorbed_head_by_head(q, latents, w_k, w_v):
    moved, mixed, read = [], [], []
    for query, to_key, to_value in zip(q, w_k, w_v, strict=True):
        latent = torch.zeros(latents.shape[1], requires_grad=True)
        moved.append(torch.autograd.grad(query @ (to_key @ latent), latent)[0])  # the slope of a linear function
        keys = F.linear(latents, to_key)
        mixed.append(F.scaled_dot_product_attention(query[None, None], keys[None], latents[None])[0, 0])
        read.append(
            F.scaled_dot_product_attention(query[None, None], keys[None], F.linear(latents, to_value)[None])[0, 0]
        )
    return torch.stack(moved), torch.stack(mixed), torch.stack(read)


def stepped_with_keys(q, q_rope, new, new_shared, latents, shared, w_k, w_v):
    latents, shared = (torch.stack([torch.vstack(two) for two in zip(*of, strict=True)])
                       for of in ((latents, new), (shared, new_shared)))  # fmt: skip
    of_heads = latents[:, None].expand(-1, len(w_k), -1, -1)  # (B, H, S, r)
    keys = torch.cat((of_heads @ w_k.mT, shared[:, None].expand(-1, len(w_k), -1, -1)), -1)
    queries = torch.cat((q, q_rope), -1)[:, :, None]
    return F.scaled_dot_product_attention(queries, keys, of_heads @ w_v.mT)[:, :, 0], latents, shared


def cached_by_complex(x, w_latent, w_shared, cos, sin):
    key, half = F.linear(x, w_shared), cos.shape[1]
    turned = torch.complex(key[:, :half], key[:, half:]) * torch.complex(cos, sin)
    return F.linear(x, w_latent), torch.cat((turned.real, turned.imag), 1)


def window_token_by_token(q, keys, values, k, v, window):
    out = []
    for query, key, value in zip(q, k, v, strict=True):
        keys, values = torch.vstack((keys, key))[-window:], torch.vstack((values, value))[-window:]
        out.append(F.scaled_dot_product_attention(query[None, None], keys[None], values[None])[0, 0])
    return torch.stack(out), keys, values


OTHERS = {
    "training.decode": number_by_walking_up,
    "training.to_bfloat16": lambda x: x.to(torch.bfloat16).float(),
    "training.mean_square": lambda x: torch.from_numpy(np.sqrt((x.double().numpy() ** 2).mean(1))),
    "training.loss_scale": step_by_pytorchs_scaler,
    "training.most_rows": rows_added_one_by_one,
    "welcome.softmax": lambda logits: from_numpy_softmax(logits),
    "welcome.write": lambda model, ids, n, end: generated(model, ids, n, stop=[end]),
    "welcome.prepare": prepared_by_hand,
    "attention.softmax": lambda scores: from_numpy_softmax(scores),
    "attention.row": lambda q, keys, values: sdpa(q[None], keys, values)[0],
    "attention.stream": lambda x, w_q, w_k, w_v, w_o: x + sdpa(x @ w_q, x @ w_k, x @ w_v) @ w_o,
    "attention.axis": lambda q, k: sdpa(q, k, torch.eye(k.shape[-2]).expand(*k.shape[:-1], -1)),
    "attention.causal": lambda scores: from_numpy_softmax(scores + torch.full_like(scores, -torch.inf).triu(1)),
    "attention.window": by_loop,
    "attention.split_heads": lambda x, n_heads: torch.stack(x.chunk(n_heads, -1), 1),
    "attention.multi_head": multi_head,
    "attention.merge": head_by_head,
    "attention.cross": lambda q, k, v, padding: sdpa(q, k, v, attn_mask=~padding[:, None]),
    "attention.with_past": with_past,
    "attention.find_previous": best_by_loop,
    "attention.induction": induction_by_loop,
    "attention.mean_ablation": ablated_by_loop,
    "attention.cut_edge": cut_from_numpy,
    "embeddings.gradient": gradient_by_autograd,
    "embeddings.tied": one_parameter,
    "embeddings.neighbors": sorted_cosines,
    "embeddings.map": by_covariance,
    "embeddings.lean": leans_in_numpy,
    "embeddings.negatives": losses_pair_by_pair,
    "embeddings.analogy": analogy_by_sorting,
    "embeddings.mean_pool": mean_text_by_text,
    "embeddings.in_batch": in_batch_by_softmax,
    "rope.angles": angles_one_by_one,
    "rope.turn": turned_by_complex,
    "rope.mixed": turned_halves_by_transformers,
    "rope.permute": rows_one_by_one,
    "rope.restarted": read_all_at_once,
    "rope.padded": positions_one_by_one,
    "rope.unseen": once_round_distance_by_distance,
    "rope.ntk": raised_base_of_transformers,
    "rope.by_parts": mixed_clock_by_clock,
    "rope.alibi": alibi_of_bloom,
    "ffn.layer": added_by_linear_layers,
    "ffn.gelu": gelu_number_by_number,
    "ffn.gated": gated_by_phi3,
    "ffn.width": width_by_counting,
    "ffn.top_k": largest_row_by_row,
    "ffn.story": story_by_sets,
    "ffn.restore": restored_by_masks,
    "ffn.rank_one": edited_by_lagrange,
    "ffn.locality": locality_by_removal,
    "ffn.salience": first_to_go_one_by_one,
    "gradients.formula": parabola_by_autograd,
    "gradients.small_step": cubic_by_its_series,
    "gradients.walk": walk_by_sgd,
    "gradients.mean": epoch_by_sgd,
    "gradients.used_twice": slopes_by_inverse,
    "gradients.any_order": slopes_of_a_graph_by_inverse,
    "gradients.zero": line_by_sgd,
    "gradients.dual": lambda coefficients, x: (np.polyval(coefficients, x), np.polyval(np.polyder(coefficients), x)),
    "gradients.relu_slope": back_through_torchs_relu,
    "gradients.forward": layers_of_torch,
    "gradients.over_batch": torch.nn.functional.cross_entropy,
    "gradients.log_of_zero": surprises_in_numpy,
    "gradients.p_minus_y": slopes_by_autograd,
    "gradients.fresh_state": states_by_pytorch,
    "gradients.shared": shared_slope_by_autograd,
    "gradients.adam": adam_by_pytorch,
    "gradients.clip": clipped_by_pytorch,
    "training.jump": jump_by_windows,
    "training.tellings": tellings_by_columns,
    "training.seeds": numbers_by_listing,
    "training.power_law": law_by_polyfit,
    "training.bootstrap": intervals_one_by_one,
    "kv_cache.decode_row": lambda q, keys, values: sdpa(q[:, None], keys, values)[:, 0],
    "kv_cache.count_keys": counted,
    "kv_cache.append": in_a_list,
    "kv_cache.chunk_mask": lambda n_past, n_new: causal_lower_right(n_new, n_past + n_new)._materialize(),
    "kv_cache.generate": lambda model, ids, n, cache: generated(model, ids, n, cache=cache),
    "kv_cache.cache_bytes": nbytes,
    "kv_cache.rollback": cut_row_by_row,
    "gqa.pool_heads": pooled_by_pytorch,
    "gqa.absorb": absorbed_head_by_head,
    "gqa.latent_step": stepped_with_keys,
    "gqa.latent_rope": cached_by_complex,
    "gqa.window_cache": window_token_by_token,
    "kv_cache.padding": in_one_batch,
    "kv_cache.reuse": to_the_common_prefix,
    "kv_cache.fastest_step": in_exact_fractions,
    "gqa.share": heads_of_llama,
    "gqa.attend": lambda q, keys, values: sdpa(q[:, :, None], keys, values, enable_gqa=True)[:, :, 0],
    "gqa.keep_groups": decoded_by_pytorch,
    "gqa.fits": context_by_trial,
    "gqa.tied": tied_by_autograd,
    "quantization.to_codes": codes_by_fake_quantize,
    "quantization.in_groups": groups_number_by_number,
    "quantization.product": product_of_numbers,
    "quantization.unpack4": nibbles_by_digits,
    "quantization.margin": margin_by_sorting,
    "quantization.foretells_lost": foretold_by_ranks,
    "quantization.file_bytes": bytes_by_packing,
    "quantization.next_bit": next_in_exact_fractions,
    "quantization.calibrate": range_of_all_at_once,
    "quantization.output_error": error_input_by_input,
    "quantization.best_rounding": best_of_a_list,
    "quantization.compensate": compensated_by_lstsq,
    "quantization.fresh_scale": row_solved_again,
    "quantization.straight_through": gradient_by_fake_quantize,
    "quantization.fold": folded_by_a_layer_norm,
    "quantization.smooth": smoothed_channel_by_channel,
    "quantization.integer_layer": layer_of_python_integers,
    "quantization.to_levels": leveled_by_the_package,
    "quantization.bytes_a_token": bytes_of_a_whole_step,
    "training.shift": shifted_token_by_token,
    "training.counted": counted_by_pytorch,
    "training.perplexity": perplexity_as_a_root,
    "training.apart": apart_document_by_document,
    "training.stops": ended_row_by_row,
    "tokenization.count_pairs": counted_by_place,
    "tokenization.merge": joined_in_a_text,
    "tokenization.encode_piece": encoded_by_tokenizers,
    "tokenization.decode": decoded_in_a_stream,
    "tokenization.document": as_tiktoken,
    "tokenization.learn": learned_by_recounting,
    "tokenization.bits_per_byte": bits_by_probability,
    "tokenization.tokens_per_character": price_token_by_token,
    "tokenization.fit": by_growing,
    "tokenization.read_prompts": by_index,
    "tokenization.compression": by_rust,
    "training.accumulate": batch_by_autograd,
    "training.dropout": dropped_one_by_one,
    "training.groups": groups_by_hash,
    "training.late": late_by_pytorch,
    "training.schedule": rate_by_pytorch,
}


def from_numpy_softmax(scores):
    wide = scores.numpy().astype(np.float64)
    with np.errstate(over="ignore"):
        return np.exp(wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True))


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_every_solution_agrees_with_another_implementation(exercise):
    for seed in range(3):
        verdict = judge(exercise, OTHERS[exercise.id], seed=seed)
        assert verdict.status == "right", verdict


# check --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "def mean(x, dim):\n    ...",
        "def mean(x, dim):\n    pass",
        "def mean(a, b):\n    '''mine'''\n    # soon\n    ...",
        "def mean(x, dim):\n    total = ...\n    return total",
        "def mean(x, dim):\n    total = ...\n    return total / x.shape[dim]",
        "def mean(x, dim):\n    return ..., ...",
    ],
)
def test_a_stub_or_a_begun_stub_is_not_attempted_yet(planted, source):
    answer = check("planted.mean", cell(source))
    assert (answer.status, answer.passed) == ("not attempted", False)
    assert repr(answer).startswith("○ not attempted yet: The mean\nWrite the mean over one dimension.")
    assert "attempts" not in store_in(home()).read()[0]["exercises"].get("planted.mean", {})
    assert check("planted.mean", ...).status == "not attempted"


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("def mean(x, dim):\n    ...\n    return x.sum(dim)", "wrong", "not divided by the number"),
        ("def mean(x, dim):\n    ...\n    return x[9]", "crashed", "IndexError"),
        ("def mean(x, dim):\n    total = x[..., 0]", "wrong", "mean returned None; is a `return` missing?"),
        (
            "def mean(x, dim):\n    return 'text'",
            "wrong",
            "expected a tensor of shape (N) = (2,), got a value of type str. With x = [[",
        ),
        ("def mean(x):\n    return x", "wrong", "expected mean(x, dim), got a function that takes (x)"),
        (
            "def mean(x, dim, eps):\n    return x",
            "wrong",
            "expected mean(x, dim), got a function that takes (x, dim, eps)",
        ),
        (
            "def mean(x, dim):\n    raise SystemExit(3)",
            "wrong",
            "here nothing should be raised; it raised SystemExit: 3",
        ),
        ("def mean(x, dim):\n    assert x is None, 'mine'", "crashed", "line 2: assert x is None, 'mine'\n"),
    ],
)
def test_each_way_to_fail_gets_its_reason(planted, source, status, told):
    answer = check("planted.mean", cell(source))
    assert (answer.status, told in repr(answer)) == (status, True), repr(answer)
    assert repr(answer).startswith("✗ not yet: The mean\n") and not answer.passed


def test_a_crash_shows_the_learners_own_innermost_line_and_nothing_of_ours(planted):
    helper = "def helper(x):\n    y = x.T\n    return torch.cat([y, 'no'])  # <here>\n"
    source = f"{helper}\ndef mean(x, dim):\n    return helper(x)"
    answer = check("planted.mean", cell(source).__globals__["mean"])
    assert "line 3: return torch.cat([y, 'no'])  # <here>" in repr(answer) and "TypeError: expected Tensor" in repr(
        answer
    )
    assert "Traceback" not in repr(answer) and "File" not in repr(answer)
    assert "&lt;here&gt;" in fallback(answer) and "<here>" not in fallback(answer)


def test_endless_recursion_is_a_crash_like_others(planted):
    answer = check("planted.mean", cell("def mean(x, dim):\n    return mean(x, dim)"))
    assert answer.status == "crashed" and "line 2: return mean(x, dim)" in repr(answer)


def test_a_right_answer_is_recorded_and_stays_right(planted):
    answer = check("planted.mean", cell(planted.exercises[0].solution))
    assert answer.passed and answer.status == "right"
    assert repr(answer) == "✓ right: The mean\n1 of 3 exercises of planted done."
    check("planted.mean", cell("def mean(x, dim):\n    return x"))
    assert "2 of 3 exercises" in repr(check("planted.zero", torch.Tensor.zero_))
    assert store_in(home()).read()[0]["exercises"]["planted.mean"] == {"attempts": 2, "passed": True}


def test_anything_that_can_be_called_is_judged(planted):
    assert check("planted.zero", lambda x: x.zero_()).passed
    assert check("planted.zero", partial(torch.Tensor.mul_, other=0)).passed
    assert "line" in repr(check("planted.zero", partial(cell("def zero(x, y):\n    return y.x"), y=1)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, 'got None; write check("planted.mean", mean), with no parentheses after mean'),
        (torch.zeros(2, 3), "got a tensor of shape (2, 3)"),
        (3.5, "got a value of type float"),
        ("mean", 'got a text; write check("planted.mean", mean) without quotes'),
    ],
)
def test_what_is_no_function_is_told_how_to_call_check(planted, given, told):
    answer = check("planted.mean", given)
    assert answer.status == "wrong" and told in repr(answer)


def test_memory_addresses_and_long_messages_do_not_reach_the_output(planted):
    one, two = (check("planted.mean", cell("def mean(x, dim):\n    raise KeyError(object())")) for _ in range(2))
    assert "0x…" in repr(one) and repr(one) == repr(two)
    assert len(repr(check("planted.mean", cell("def mean(x, dim):\n    raise KeyError('x' * 10**6)")))) < 1000


def test_checks_get_the_same_random_numbers_and_the_learners_are_put_back(planted):
    torch.manual_seed(5)
    random.seed(5)
    expected = (torch.rand(1).item(), random.random())
    seen = []
    for _ in range(2):
        torch.manual_seed(5)
        random.seed(5)
        check("planted.mean", lambda x, dim: seen.append(x.clone()) or x.sum(dim))
        assert (torch.rand(1).item(), random.random()) == expected
    assert len(seen) == 8 and all(torch.equal(one, again) for one, again in zip(seen[:4], seen[4:], strict=True))


def test_what_the_learners_function_prints_is_left_alone(planted, capsys):
    check("planted.mean", cell("def mean(x, dim):\n    print('hello', x.shape[dim])"))
    assert capsys.readouterr().out == "hello 3\nhello 3\nhello 4\nhello 0\n"


@pytest.mark.parametrize(
    ("line", "n_lines"),
    [("print('line ' * 9)", 5000), ("print('x' * 10_000)", 1), ("print('x' * 10_000, end='')", 0)],
)
def test_a_flood_of_printed_lines_does_not_bury_the_answer(planted, capsys, line, n_lines):
    """The answer comes after what is printed, so that must stay short."""
    flood = cell(f"def mean(x, dim):\n    for _ in range({max(n_lines, 1)}):\n        {line}\n    return x.sum(dim)")
    assert "not divided" in repr(check("planted.mean", flood))
    said = capsys.readouterr().out
    assert said.count("\n") <= 22 and len(said) < 4100
    left_out = 4 * n_lines - (said.count("\n") - 2)  # four inputs; the last two line ends belong to what is said
    assert f"printed is left out: {left_out:,} line" in said.splitlines()[-1]


def test_what_an_answer_repeats_of_a_learners_is_short(planted):
    huge = 10**5000  # Python refuses to write it
    for answer in (
        check("planted.mean", lambda x, dim: huge),
        check("planted.mean", lambda x, dim: [huge] * 1000),
        check("planted.mean", lambda x, dim: "9" * 10_000),
        check("planted.mean", lambda x, dim: {"9" * 10_000: 1}),
        check("planted.double", lambda x, *, times: huge),
        check("planted.double", lambda x, *, times: "9" * 10_000),
        check(
            "planted.mean", cell(f"def mean(x, dim):\n    n = {'9' * 4000}; y = x.size(n * {'9' * 4000})\n    return y")
        ),
        check("planted.mean", cell(f"def mean(x, {'y' * 5000}, z):\n    return 1")),
    ):
        assert max(map(len, repr(answer).splitlines())) < 600
    for call in (
        partial(predict, "planted.bytes", huge),
        partial(predict, "planted.bytes", "9" * 10_000),
        partial(predict, "planted.growth", truth="9" * 10_000),
        partial(quiz, "planted.why", "9" * 10_000),
        partial(hint, "9" * 10_000),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert len(str(refused.value)) < 600
    assert len(repr(predict("planted.bytes", 10**300))) < 100


def test_a_check_that_is_interrupted_stays_interrupted(planted):
    with pytest.raises(KeyboardInterrupt):
        check("planted.mean", cell("def mean(x, dim):\n    raise KeyboardInterrupt"))


@pytest.mark.parametrize(
    ("work", "meaning"),
    [
        (lambda: torch.ones(2, 3) + torch.ones(2), "in dimension 1 one has 3 and the other 2"),
        (lambda: torch.ones(2, 3) @ torch.ones(2, 3), "the last dimension of a must be as long as"),
        (lambda: torch.ones(4, 2, 3) @ torch.ones(4, 2, 3), "the last dimension of a must be as long as"),
        (lambda: torch.ones(2, 3).view(4, 2), "the product of the new sizes must be that of the old ones"),
        (lambda: torch.ones(2, 3).T.view(6), "reshape can"),
        (lambda: torch.cat((torch.ones(2, 3), torch.ones(2, 4))), "alike in every dimension but the one"),
        (lambda: torch.ones(2) > 0 and True, "there are &, | and ~"),
        (lambda: [None][0][0], "Something is None here"),
        (lambda: np.all(torch.ones(2, 3) > 0, axis=1), "One of NumPy's functions or methods meets a tensor"),
        (lambda: np.var(torch.ones(3), ddof=1), "One of NumPy's functions or methods meets a tensor"),
        (lambda: np.mean(torch.ones(3)), "One of NumPy's functions or methods meets a tensor"),
        (lambda: torch.ones(3).copy(), "One of NumPy's functions or methods meets a tensor"),
        (
            lambda: np.take_along_axis(torch.ones(2, 3), torch.zeros(2, 1).long(), axis=1),
            "One of NumPy's functions or methods meets a tensor",
        ),
        (lambda: np.ones(3).unfold(0, 3, 1), "An array of NumPy has nothing called `unfold`"),
        (lambda: torch.tensor([True, False]).argmax(), "make 0 and 1 of the booleans first"),
        (
            lambda: torch.zeros(2, 3)[:, :1].__setitem__(slice(None), torch.ones(2, 2)),
            "what is written must have the size of the place",
        ),
        (lambda: torch.zeros(2)[2], "the last of n is n − 1"),
        (lambda: torch.zeros(2).gather(0, torch.tensor([-100])), "−100 is no token"),
        (lambda: torch.stack([torch.ones(2), torch.ones(3)]), "torch.cat joins them in one row"),
        (lambda: torch.tensor([[1.0], [1.0, 2.0]]), "torch.cat joins them in one row"),
        (lambda: unknown, "This name has no value yet"),  # noqa: F821
        (lambda: torch.ones(2).colour, "This value is of a kind that has nothing called `colour`."),
        (lambda: math.ln(2), "The module math has nothing called `ln`."),
        (lambda: torch.ones(2).double() @ torch.ones(2), "dtype"),
        (lambda: math.exp(710), "beyond what a float holds"),
        (lambda: math.log(0.0), "the logarithm of 0 or less"),
        (lambda: math.sqrt(-1.0), "the root of a number below 0"),
        (lambda: 1 / 0, ""),
    ],
)
def test_errors_that_python_and_pytorch_raise_today_are_put_into_words(work, meaning):
    with pytest.raises(Exception) as caught:
        work()
    words = in_plain_words(said(caught.value))
    assert meaning in words and bool(meaning) == bool(words), said(caught.value)


# Ids ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [partial(check, function=max), hint, solution])
def test_a_wrong_id_names_the_nearest_and_the_topics(planted, call):
    with pytest.raises(ValueError, match=r"no exercise 'planted\.maen'; nearest: planted\.mean.*; topics: .*planted"):
        call("planted.maen")
    with pytest.raises(ValueError, match=r"nearest: planted\.mean"):
        call("plnted.mean")
    with pytest.raises(ValueError, match=r'planted\.why is a question, not an exercise: use quiz\("planted\.why"\)'):
        call("planted.why")
    with pytest.raises(ValueError, match=r'expected the id of an exercise, a text "topic\.name", got function'):
        call(lambda: None)


def test_questions_predictions_and_topics_name_the_nearest_too(planted):
    with pytest.raises(ValueError, match=r"no question 'planted\.whi'; nearest: planted\.why, planted\.who"):
        quiz("planted.whi")
    with pytest.raises(ValueError, match=r"no prediction 'planted\.byte'; nearest: planted\.bytes"):
        predict("planted.byte")
    with pytest.raises(ValueError, match="no topic 'plante'; nearest: planted"):
        progress("plante")
    with pytest.raises(ValueError, match="no exercise"):
        check("os.path", max)


def test_topics_are_found_without_importing_them(planted):
    sys.modules.pop("llmlab.exercises.planted")
    assert "planted" in topics() and not set(topics()) & catalog.MACHINERY
    assert "llmlab.exercises.planted" not in sys.modules


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "Mean"}, 'expected an id "topic.name"'),
        ({"difficulty": 6}, "expected a difficulty of 1 to 5, got 6"),
        ({"hints": "one"}, "expected a tuple of hints, got str"),
        ({"keeps": ("y",)}, "mean has no argument y to keep"),
    ],
)
def test_a_badly_written_exercise_is_refused_with_its_fault(planted, change, told):
    good = {"id": "a.mean", "title": "", "prompt": "", "hints": (), "inputs": tuple}
    with pytest.raises(ValueError, match=told):
        exercise(**{**good, **change})(planted.exercises[0].answer)


def test_a_solution_without_a_docstring_and_mistakes_that_cannot_be_called_are_refused(planted):
    def bare(x):
        return x

    with pytest.raises(ValueError, match=r"a\.bare: expected a docstring in bare"):
        exercise("a.bare", title="", prompt="", hints=(), inputs=tuple)(bare)
    mean = planted.exercises[0]
    with pytest.raises(ValueError, match=r"the mistake 'x' takes \(x\), not \(x, dim\)"):
        mean.plant({"x": lambda x: x})
    with pytest.raises(ValueError, match="two mistakes have the reason 'that is one mean of everything'"):
        mean.plant({"that is one mean of everything": lambda x, dim: x})


def test_badly_written_questions_and_predictions_are_refused():
    with pytest.raises(ValueError, match="expected an answer from 0 to 1, got 2"):
        Question("a.b", "?", ("x", "y"), 2, ("1", "2"))
    with pytest.raises(ValueError, match="expected a why for each of 2 options, got 1"):
        Question("a.b", "?", ("x", "y"), 1, ("1",))
    with pytest.raises(ValueError, match="two or more different options"):
        Prediction("a.b", "?", ("x", "x"))


# hint, solution -----------------------------------------------------------------------------------------------------


def test_hints_come_one_by_one_and_then_all(planted):
    first, second, third, everything = (hint("planted.mean") for _ in range(4))
    assert repr(first) == 'Hint 1 of 3: Add, then divide.\n`hint("planted.mean")` again shows the next.'
    assert repr(second).startswith("Hint 2 of 3: `x.sum(dim)` adds.") and "<code>x.sum(dim)</code>" in second.html()
    assert 'The last one; `solution("planted.mean")` comes next.' in repr(third)
    assert "All 3 hints\n1. Add, then divide.\n2." in repr(everything)
    assert repr(hint("planted.mean")) == repr(everything)
    assert repr(hint("planted.zero")).startswith("Hint 1 of 2")


def test_a_solution_is_shown_escaped_and_noted_as_seen(planted):
    answer = solution("planted.mean")
    assert '    raise ValueError("<empty>")  # not NaN' in repr(answer)
    assert "&lt;empty&gt;" in answer.html() and "<empty>" not in answer.html() and "<pre>" in answer.html()
    assert '<span class="llmlab-keyword">return</span>' in answer.html()
    assert store_in(home()).read()[0]["exercises"]["planted.mean"] == {"solution_seen": True}


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_highlighting_adds_marks_and_changes_no_character(exercise):
    assert unescape(re.sub(r"</?span[^>]*>", "", highlight(exercise.solution))) == exercise.solution


# quiz, predict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["b", "B", "b)", 2, "2", "the `softmax` stays soft"])
def test_a_question_can_be_answered_in_code(planted, answer):
    result = quiz("planted.why", answer)
    assert result.passed and repr(result) == "✓ right: b) the `softmax` stays soft\nScores have variance 1."
    assert store_in(home()).read()[0]["questions"]["planted.why"] == {"tries": 1, "right": True}


def test_a_wrong_answer_says_why_and_may_be_tried_again(planted):
    assert repr(quiz("planted.why", "c")) == "✗ not yet: c) luck\nNo."
    assert quiz("planted.why", 2).passed
    quiz("planted.why", 1)
    assert store_in(home()).read()[0]["questions"]["planted.why"] == {"tries": 3, "right": True}


@pytest.mark.parametrize("answer", ["d", 0, 4, True, 1.0, "", "speedy"])
def test_an_answer_that_is_no_option_is_refused(planted, answer):
    with pytest.raises(ValueError, match=r'planted\.why: expected an option, "a" to "c" or 1 to 3, got'):
        quiz("planted.why", answer)
    with pytest.raises(ValueError, match="expected the id of one question to answer"):
        quiz("planted", answer)


def test_the_quiz_widget_shows_records_and_keeps_its_answers(planted):
    widget = quiz("planted.why")
    assert repr(widget) == "Why <b>√d</b>?\n  a) speed\n  b) the `softmax` stays soft\n  c) luck"
    widget.tried = [[2]]
    widget.tried = [[2, 1]]
    assert widget.right() == [True]
    assert store_in(home()).read()[0]["questions"]["planted.why"] == {"tries": 2, "right": True}
    with pytest.raises(Exception, match="expected a list of options for each of 1 questions"):
        widget.tried = [[3]]
    [table] = widget.tables()
    assert [row[2] for row in table.rows] == ["", "✓ right", "✗ not this one"]
    assert [row[0] for row in table.rows] == ["a)", "b)", "c)"]


def test_a_quiz_that_is_asked_again_knows_what_was_answered_right(planted):
    quiz("planted").tried = [[0], [0]]
    again = quiz("planted")
    assert again.before == again.right() == [False, True] and again.tried == [[], []]
    again.tried = [[1], []]
    assert again.right() == [True, True] and quiz("planted").before == [True, True]


def test_a_topic_asks_all_its_questions_in_one_widget(planted):
    widget = quiz("planted")
    assert [question["id"] for question in widget.questions] == ["planted.why", "planted.who"]
    widget.tried = [[], [1, 0]]
    assert store_in(home()).read()[0]["questions"] == {"planted.who": {"tries": 2, "right": True}}


def test_without_a_kernel_the_question_shows_and_its_answer_opens(planted):
    bundle, _ = quiz("planted.why")._repr_mimebundle_()
    html = bundle["text/html"]
    assert "Why &lt;b&gt;√d&lt;/b&gt;?" in html and "<b>√d" not in html
    before, details = html.split("<details>")
    for part in (
        before,
        details,
    ):  # letters as text: JupyterLab takes a list's type away, and numbers would stand there
        assert re.findall(r"<p>(\w\))", part)[-3:] == ["a)", "b)", "c)"] and "<ol" not in part
    assert (
        "variance" not in before
        and "It costs time." in details
        and "<b>✓ right:</b> Scores have variance 1." in details
    )
    assert bundle["text/plain"] == repr(quiz("planted.why"))


def test_a_prediction_is_recorded_and_set_beside_the_truth(planted):
    assert repr(predict("planted.bytes", truth=200)) == "No prediction recorded; it is 200 KiB."
    assert repr(predict("planted.bytes", guess=100)) == "Recorded: you predict 100 KiB."
    told = "You predicted 100 KiB, it is 200 KiB. That is 2 times your prediction."
    assert (
        repr(predict("planted.bytes", truth=200)) == told == repr(predict("planted.bytes", truth=torch.tensor(200.0)))
    )
    close = predict("planted.bytes", truth=102)
    assert close.passed and repr(close) == "✓ You predicted 100 KiB, it is 102 KiB."
    assert repr(predict("planted.growth", truth="as n²", guess="a")) == "You predicted “as n”, it is “as n²”."
    assert predict("planted.growth", truth="as n²", guess=2).passed


def test_the_prediction_widget_records_and_remembers(planted):
    widget = predict("planted.bytes")
    assert repr(widget) == "Your prediction: How large? (a number of KiB)" and widget.guess is None
    widget.number = 1500
    assert repr(predict("planted.bytes", truth=3000)).startswith("You predicted 1,500 KiB, it is 3,000 KiB.")
    assert predict("planted.bytes").number == 1500
    options = predict("planted.growth")
    options.choice = 1
    assert predict("planted.growth").guess == "as n²" and predict("planted.growth", truth="as n²").passed
    with pytest.raises(Exception, match="expected -1 to 1, got 2"):
        options.choice = 2
    assert repr(options) == "Your prediction: How does it grow?\n  a) as n\n  b) as n²"  # whatever was chosen


@pytest.mark.parametrize("value", ["many", float("nan"), True, torch.zeros(1).bool()])
def test_a_guess_or_truth_that_is_no_number_is_refused(planted, value):
    for call in (partial(predict, truth=value), partial(predict, guess=value)):
        with pytest.raises(ValueError, match=r"planted\.bytes: expected a number, got"):
            call("planted.bytes")
    with pytest.raises(ValueError, match="expected one of as n, as n²; got"):
        predict("planted.growth", truth=value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (999.9, "1,000"), (0.12345, "0.123"), (256.0, "256"), (-2.5, "-2.5")],
)
def test_numbers_are_written_for_reading(value, text):
    assert measure(value) == text and measure(value, "ms") == f"{text} ms"


# progress -----------------------------------------------------------------------------------------------------------


def test_progress_counts_what_was_done(planted):
    check("planted.zero", lambda x: x.zero_())
    for _ in range(9):
        hint("planted.mean")
    quiz("planted.who", "a")
    predict("planted.bytes", 1)
    answer = progress()
    [row] = [line for line in repr(answer).splitlines() if line.startswith("planted")]
    assert row.split() == ["planted", "1", "of", "3", *["1", "of", "2"] * 2, "3"]
    assert [line.split()[0] for line in repr(answer).splitlines()[3:]] == list(topics())
    check("planted.mean", lambda x, dim: x)
    text = repr(progress("planted"))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[3:]}
    assert rows["planted.mean"] == ["✗", "not", "yet", "●●○○○", "5", "min"] and rows["planted.zero"][:2] == [
        "✓",
        "right",
    ]
    assert rows["planted.why"] == ["○", "not", "attempted", "question"]


def test_answers_show_as_html_and_as_text_and_never_by_color_alone(planted):
    for function in (lambda x, dim: x, lambda x, dim: 1 / 0, ...):
        answer = check("planted.mean", function)
        bundle, _ = answer._repr_mimebundle_()
        assert {"text/html", "text/plain"} <= set(bundle) and bundle["text/plain"] == repr(answer)
        symbol, words = repr(answer).split(":")[0].split(" ", 1)
        assert symbol in "✗○" and symbol in bundle["text/html"] and words in bundle["text/html"]


def test_without_topics_all_is_empty_and_nothing_breaks(monkeypatch):
    monkeypatch.setattr(catalog, "topics", lambda: ())
    assert all_exercises() == () and all_questions() == () and all_predictions() == ()
    assert repr(progress()) == "Progress: there are no exercises yet."
    with pytest.raises(ValueError, match=r"no exercise 'a\.b'; topics: none yet"):
        check("a.b", max)


def test_where_nothing_can_be_written_the_answer_is_still_judged(planted, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "file"))
    answer = check("planted.zero", lambda x: x.zero_())
    assert answer.passed and "1 of 3 exercises" in repr(answer)
    assert "Progress is kept for this session only" in repr(answer)
    assert [repr(hint("planted.mean"))[:11] for _ in range(2)] == ["Hint 1 of 3", "Hint 2 of 3"]
