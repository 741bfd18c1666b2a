"""Answers in styles of their own, at the border between right and wrong.

Hacks that weak inputs let pass, and right ones in forms that a narrow check refuses.
"""

import pytest

from llmlab.exercises import catalog
from llmlab.exercises.judge import judge
from llmlab.exercises.sources import define

RIGHT = [
    # row by row, in float64, added in place
    ("attention.stream", """\
def attend_and_add(x, w_q, w_k, w_v, w_o):
    wide = [w.double() for w in (x, w_q, w_k, w_v, w_o)]
    new = wide[0].clone()
    for t in range(len(x)):
        s = [(wide[0][t] @ wide[1]) @ (row @ wide[2]) / w_q.shape[1] ** 0.5 for row in wide[0]]
        w = torch.stack(s).softmax(0)
        new[t] += sum(a * (row @ wide[3]) for a, row in zip(w, wide[0])) @ wide[4]
    return new
"""),
    # the dimension counted from the front, as many as there are
    ("attention.axis", """\
def table_of_weights(q, k):
    return torch.softmax(torch.einsum("...td,...sd->...ts", q, k) / q.size(-1) ** 0.5, q.ndim - 1)
"""),
    # a list of heads
    ("attention.merge", """\
def heads_of_itself(x, n_heads):
    parts = x.chunk(n_heads, -1)
    return torch.cat([F.scaled_dot_product_attention(p, p, p, is_causal=True) for p in parts], -1)
"""),
    # the new past as one tensor (2, B, H, S, d): keys, values = past works
    ("attention.with_past", """\
def attend_with_past(q, k, v, past):
    if past is not None:
        k, v = torch.cat([torch.stack(tuple(past)), torch.stack([k, v])], dim=3)
    T, S = q.shape[2], k.shape[2]
    mask = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask), torch.stack([k, v])
"""),
    # added up in place
    ("embeddings.gradient", """\
def table_gradient(ids, slopes, n_rows):
    return torch.zeros(n_rows, slopes.shape[1]).index_add_(0, ids, slopes)
"""),
    # backward() into .grad, and the table as a parameter
    ("embeddings.tied", """\
def train_tied(table, ids, targets, n_steps, lr):
    rows = torch.nn.Parameter(table.clone())
    for _ in range(n_steps):
        rows.grad = None
        F.cross_entropy(F.embedding(ids, rows) @ rows.T, targets).backward()
        rows.data -= lr * rows.grad
    return rows
"""),
    # all others sorted, as lists
    ("embeddings.neighbors", """\
def nearest(rows, k):
    unit = F.normalize(rows.double(), dim=1)
    order = (unit @ unit.T).argsort(dim=1, descending=True).tolist()
    return [[m for m in line if m != n][:k] for n, line in enumerate(order)]
"""),
    # places from U and S, and PyTorch's distances
    ("embeddings.map", """\
def map_distances(rows, k):
    U, S, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return torch.cdist(U[:, :k] * S[:k], U[:, :k] * S[:k])
"""),
    # softmax written plainly, without the maximum; this text asks for no stability
    ("kv_cache.decode_row", """\
def decode_row(q, keys, values):
    e = torch.exp((q[:, None, :] @ keys.mT) / q.shape[1] ** 0.5)
    return ((e @ values) / e.sum(-1, keepdim=True)).squeeze(1)
"""),
    # the package's own loop
    ("kv_cache.generate", """\
def my_generate(model, prompt_ids, n_new, cache):
    from llmlab.generate import generate
    return [step.token for step in generate(model, prompt_ids, n_new, cache=cache)]
"""),
    # a list of lists of booleans
    ("kv_cache.chunk_mask", """\
def chunk_mask(n_past, n_new):
    return [[column <= n_past + row for column in range(n_past + n_new)] for row in range(n_new)]
"""),
    # a list of 0-d tensors
    ("kv_cache.generate", """\
def my_generate(model, prompt_ids, n_new, cache):
    tokens, new = torch.tensor([prompt_ids]), []
    for _ in range(n_new):
        token = model(tokens, cache=cache)[0, -1].argmax()
        new.append(token)
        tokens = token.view(1, 1)
    return new
"""),
    # a list of 0-d tensors goes to truncate
    ("kv_cache.rollback", """\
def rollback(cache, n_drafted, accepted):
    cache.truncate([length - n_drafted + a for length, a in zip(cache.lengths, accepted)])
"""),
    # a numpy view that shares the buffer's memory
    ("kv_cache.append", """\
def append(buffer, length, new):
    if length + new.shape[1] > buffer.shape[1]:
        raise ValueError("full")
    buffer[:, length:length + new.shape[1]] = new
    return buffer[:, :length + new.shape[1]].numpy()
"""),
    # another padding id than 0; what it holds does not matter
    ("kv_cache.padding", """\
def continue_batch(model, prompts, n_new, cache):
    lengths = torch.tensor([len(ids) for ids in prompts])
    padded = [ids + [1] * (int(lengths.max()) - len(ids)) for ids in prompts]
    logits = model(torch.tensor(padded), cache=cache)
    cache.truncate(lengths)
    new = [logits[torch.arange(len(prompts)), lengths - 1].argmax(-1)]
    while len(new) < n_new:
        new.append(model(new[-1][:, None], cache=cache)[:, -1].argmax(-1))
    return torch.stack(new, dim=1).tolist()
"""),
    # the last token of each prompt is fed in a second time, after the cut
    ("kv_cache.padding", """\
def continue_batch(model, prompts, n_new, cache):
    lengths = torch.tensor([len(ids) for ids in prompts])
    padded = [ids + [0] * (int(lengths.max()) - len(ids)) for ids in prompts]
    model(torch.tensor(padded), cache=cache)
    cache.truncate(lengths - 1)
    token, new = torch.tensor([[ids[-1]] for ids in prompts]), []
    for _ in range(n_new):
        token = model(token, cache=cache)[:, -1].argmax(-1, keepdim=True)
        new.append(token)
    return torch.cat(new, dim=1).tolist()
"""),
    # numpy, in float64
    ("attention.cut_edge", """\
def cut_edge(scores, query, key):
    if query == 0 and key == 0:
        raise ValueError("the first token")
    import numpy as np
    bias = np.triu(np.full(scores.shape[-2:], -np.inf), 1)
    bias[query, key] = -np.inf
    s = scores.double().numpy() + bias
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
"""),
]  # fmt: skip
WRONG = [
    # nothing is cut for the first query, and an error is raised where there is none
    ("attention.cut_edge", """\
def cut_edge(scores, query, key):
    if query == 0:
        raise ValueError("only itself")
    T = scores.shape[-1]
    ok = torch.ones(T, T, dtype=torch.bool).tril()
    ok[query, key] = False
    return scores.masked_fill(~ok, -torch.inf).softmax(-1)
"""),
    # a fresh cache holds nothing
    ("kv_cache.reuse", """\
def reuse(cache, held, prompt):
    if held[0] != prompt[0]:
        cache.truncate(0)
        return prompt
    n = 1
    while n < min(len(held), len(prompt) - 1) and held[n] == prompt[n]:
        n += 1
    cache.truncate(n)
    return prompt[n:]
"""),
    # the caller's list is emptied; it will be `held` the next time
    ("kv_cache.reuse", """\
def reuse(cache, held, prompt):
    n = 0
    while n < min(len(held), len(prompt) - 1) and held[n] == prompt[n]:
        n += 1
    cache.truncate(n)
    del prompt[:n]
    return prompt
"""),
    ("kv_cache.padding", """\
def continue_batch(model, prompts, n_new, cache):
    lengths = torch.tensor([len(ids) for ids in prompts])
    for ids in prompts:
        ids += [0] * (int(lengths.max()) - len(ids))
    logits = model(torch.tensor(prompts), cache=cache)
    cache.truncate(lengths)
    new = [logits[torch.arange(len(prompts)), lengths - 1].argmax(-1)]
    while len(new) < n_new:
        new.append(model(new[-1][:, None], cache=cache)[:, -1].argmax(-1))
    return torch.stack(new, dim=1).tolist()
"""),
    ("attention.mean_ablation", """\
def without_what_it_reads(additions, taken):
    left = additions.clone()
    for head in taken[:2]:
        left[head] = additions[head].mean((0, 1))
    return left.sum(0)
"""),
    ("kv_cache.fastest_step", """\
def fastest_step(n_weights, cache_bytes, n_rows, number_bytes, peak, bandwidth):
    reading = (n_weights * number_bytes + n_rows * cache_bytes) / bandwidth
    return reading if n_rows == 1 else max(reading, 2 * n_weights * n_rows / peak)
"""),
    # <s> is the last token but one only in some tokenizers
    ("welcome.prepare", """\
def prepare(tokenizer, prompt):
    return [tokenizer.vocab_size - 2] + tokenizer.encode(prompt.rstrip())
"""),
    ("welcome.prepare", """\
def prepare(tokenizer, prompt):
    return [tokenizer.special_tokens["<s>"]] + tokenizer.encode(prompt.rstrip().lower())
"""),
    # right for two and for three dimensions only
    ("attention.axis", """\
def table_of_weights(q, k):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(1 if q.ndim == 2 else 2)
"""),
    # right for two heads only
    ("attention.merge", """\
def heads_of_itself(x, n_heads):
    a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    read = [F.scaled_dot_product_attention(p, p, p, is_causal=True) for p in (a, b)]
    return torch.cat(read, -1)
"""),
    # right where T = d
    ("attention.stream", """\
def attend_and_add(x, w_q, w_k, w_v, w_o):
    return x + ((x @ w_q) @ (x @ w_k).T / 2**0.5).softmax(-1) @ (x @ w_v) @ w_o
"""),
    # 80-bit floats against the overflow: good up to 11,356, then nan
    ("welcome.softmax", """\
def softmax(logits):
    import numpy as np
    e = np.exp(logits.numpy().astype(np.longdouble))
    return torch.from_numpy((e / e.sum(-1, keepdims=True)).astype(np.float32))
"""),
    # subtracts the first logit of the row, in float64
    ("welcome.softmax", """\
def softmax(logits):
    z = logits.double()
    e = torch.exp(z - z[..., :1])
    return (e / e.sum(dim=-1, keepdim=True)).float()
"""),
    # tests at the end of the loop, so n = 0 gives one token: not `at most n`
    ("welcome.write", """\
def write(model, ids, n, end):
    new = []
    while True:
        token = model(torch.tensor([ids + new]))[0, -1].argmax().item()
        new.append(token)
        if token == end or len(new) >= n:
            return new
"""),
    # PyTorch's own softmax of the negated scores: a hack around the ban
    ("attention.softmax", """\
def softmax(scores):
    return F.softmin(-scores, dim=-1)
"""),
    # forgotten return, the dots still there
    ("attention.row", """\
def attend(q, keys, values):
    ...
    scores = keys @ q / math.sqrt(len(q))
    weights = scores.softmax(-1)
    weights @ values
"""),
    # [n] instead of [n:]: masks the first place of padding only
    ("attention.cross", """\
def cross_attention(q, k, v, padding):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    for b in range(len(q)):
        n = int((~padding[b]).sum())
        if n < k.shape[1]:
            scores[b, :, n] = -torch.inf
    return scores.softmax(-1) @ v
"""),
    # masks the last key of every row that has padding, however much it has
    ("attention.cross", """\
def cross_attention(q, k, v, padding):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    scores[padding.any(-1), :, -1] = -torch.inf
    return scores.softmax(-1) @ v
"""),
    # mean of the whole shifted block, not of its diagonal
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    scores = weights[..., 1:, :-1].mean((-2, -1))
    return divmod(int(scores.argmax()), weights.shape[1])
"""),
    # the first token instead of the one before: finds the sink
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    scores = weights[..., 0].mean(-1)
    return divmod(int(scores.argmax()), weights.shape[1])
"""),
    # the layer with the best mean, then its best head
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    scores = weights.diagonal(-1, dim1=-2, dim2=-1).mean(-1)
    layer = scores.mean(1).argmax()
    head = scores[layer].argmax()
    return int(layer), int(head)
"""),
    # query 1 only
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    L, H, T, _ = weights.shape
    scores = weights[..., 1, 0]
    return divmod(int(scores.argmax()), H)
"""),
    # minus the weight on itself
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    L, H, T, _ = weights.shape
    scores = weights.diagonal(-1, 2, 3).mean(-1) - weights.diagonal(0, 2, 3).mean(-1)
    return divmod(int(scores.argmax()), H)
"""),
    # spread instead of mean
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    L, H, T, _ = weights.shape
    scores = weights.diagonal(-1, 2, 3).std(-1)
    return divmod(int(scores.argmax()), H)
"""),
    # one and two back
    ("attention.find_previous", """\
def find_previous_token_head(weights):
    L, H, T, _ = weights.shape
    scores = weights.tril(-1).triu(-2).sum((-2, -1))
    return divmod(int(scores.argmax()), H)
"""),
    # adds to what stands in the buffer: right for a zeroed buffer, wrong where rows are reused
    ("kv_cache.append", """\
def append(buffer, length, new):
    end = length + new.shape[1]
    if end > buffer.shape[1]:
        raise ValueError("does not fit")
    buffer[:, length:end] += new
    return buffer[:, :end]
"""),
    # the length is guessed from the rows that are not 0: wrong after a cut back
    ("kv_cache.append", """\
def append(buffer, length, new):
    if length + new.shape[1] > buffer.shape[1]:
        raise ValueError("does not fit")
    length = int((buffer.abs().sum((0, 2)) > 0).sum())
    buffer[:, length : length + new.shape[1]] = new
    return buffer[:, : length + new.shape[1]]
"""),
    # row 0's length is taken for all rows: right while all rows are equally long, wrong from the second round on
    ("kv_cache.rollback", """\
def rollback(cache, n_drafted, accepted):
    cache.truncate(int(cache.lengths[0]) - n_drafted + accepted)
"""),
    # private field set, but the cache still believes that its rows are equal
    ("kv_cache.rollback", """\
def rollback(cache, n_drafted, accepted):
    cache._rows = [n - n_drafted + a for n, a in zip(cache._rows, accepted.tolist())]
"""),
    # lengths that are no integers
    ("kv_cache.rollback", """\
def rollback(cache, n_drafted, accepted):
    cache.truncate(cache.lengths - (n_drafted - accepted) / 1)
"""),
    # explicit positions, one too high
    ("kv_cache.generate", """\
def my_generate(model, prompt_ids, n_new, cache):
    tokens, new = torch.tensor([prompt_ids]), []
    position = len(prompt_ids)
    logits = model(tokens, cache=cache)
    for i in range(n_new):
        new.append(int(logits[0, -1].argmax()))
        position += 1
        if i < n_new - 1:
            logits = model(torch.tensor([new[-1:]]), positions=torch.tensor([position]), cache=cache)
    return new
"""),
    # cuts a copy and returns it
    ("kv_cache.rollback", """\
def rollback(cache, n_drafted, accepted):
    import copy
    cache = copy.deepcopy(cache)
    cache.truncate(cache.lengths - n_drafted + accepted)
    return cache
"""),
]  # fmt: skip


@pytest.mark.parametrize(("id", "source"), RIGHT)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_answer_in_another_form_passes(id, source, seed):
    verdict = judge(catalog.find("exercise", id), define(source, "answer"), seed=seed)
    assert verdict.status == "right", verdict


@pytest.mark.parametrize(("id", "source"), WRONG)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wrong_answer_that_weak_inputs_would_let_pass_is_refused_in_words(id, source, seed):
    verdict = judge(catalog.find("exercise", id), define(source, "answer"), seed=seed)
    assert verdict.status in ("wrong", "crashed") and verdict.reason, verdict


def test_code_that_never_ends_is_stopped_with_its_line():
    source = "def count_keys(n_prompt, n_new):\n    while n_new:\n        n_prompt += 1\n"
    verdict = judge(catalog.find("exercise", "kv_cache.count_keys"), define(source, "answer"))
    assert verdict.status == "crashed" and "does not end" in verdict.reason
    assert verdict.line.startswith(("line 2: while n_new:", "line 3: n_prompt += 1"))


def test_a_loop_on_a_given_model_is_stopped_at_the_call_after_the_last_allowed_one():
    source = "def write(model, ids, n, end):\n    while True:\n        try:\n            model(torch.tensor([ids]))\n"
    source += "        except Exception:\n            pass\n"
    verdict = judge(catalog.find("exercise", "welcome.write"), define(source, "answer"))
    assert verdict.status == "crashed" and "calls of the model" in verdict.reason
    assert "line 4: model(torch.tensor([ids]))" in verdict.line


def test_a_crash_shows_the_shapes_of_what_stands_in_its_line_by_name():
    source = "def decode_row(q, keys, values):\n    past = None\n    return past + q.outer(keys)\n"
    verdict = judge(catalog.find("exercise", "kv_cache.decode_row"), define(source, "answer"))
    assert verdict.line == (
        "line 3: return past + q.outer(keys)\nwith past = None, q (H, d) = (2, 4), keys (H, S, d) = (2, 3, 4)"
    )


@pytest.mark.parametrize(
    ("id", "source", "said"),
    [
        (
            "welcome.prepare",
            "def prepare(tokenizer, prompt):\n"
            "    ids = tokenizer.encode(prompt.rstrip())\n"
            '    return ids.insert(0, tokenizer.special_tokens["<s>"])\n',
            "was reached and gave None: methods such as append, insert",
        ),
        (
            "kv_cache.reuse",
            "def reuse(cache, held, prompt):\n    for token in held:\n        if token < 0:\n"
            "            return prompt\n",
            "no `return` was reached",
        ),
        (
            "attention.cut_edge",
            "def cut_edge(scores, query, key):\n    if key == 0: raise ValueError\n"
            "    ok = torch.ones_like(scores[0], dtype=torch.bool).tril()\n    ok[query, key] = False\n"
            "    return scores.masked_fill(~ok, -torch.inf).softmax(-1)\n",
            "here nothing should be raised; it raised ValueError",
        ),
        (
            "attention.cut_edge",
            "def cut_edge(scores, query, key):\n    w = scores.masked_fill(torch.ones_like(scores[0], dtype=torch.bool)"
            ".triu(1), -torch.inf).softmax(-1)\n    w[:, query, key] = 0\n    return w\n",
            "the row no longer sums to 1",
        ),
        (
            "welcome.prepare",
            "def prepare(tokenizer, prompt):\n"
            '    return [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt.rstrip(" "))]\n',
            "a line break at the end is white space, too",
        ),
        (
            "attention.induction",
            "def induction_score(weights, period):\n    q = torch.arange(period, weights.shape[-1] - 1)\n"
            "    return weights[..., q, q + 1].mean(-1)\n",
            "all these weights are 0: they lie on the future",
        ),
    ],
)
def test_what_is_said_is_true(id, source, said):
    exercise = catalog.find("exercise", id)
    assert said in judge(exercise, define(source, "answer")).reason
