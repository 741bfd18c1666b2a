"""Answers in styles of their own, at the border between right and wrong.

Hacks that weak inputs let pass, and right ones in forms that a narrow check refuses.
"""

from textwrap import indent

import pytest
import tiktoken
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

import llmlab
from llmlab.exercises import catalog
from llmlab.exercises.comparing import shown
from llmlab.exercises.judge import judge
from llmlab.exercises.sources import define, dimensions
from llmlab.tokenization import GPT2_PATTERN, split_pieces

RIGHT = [
    # rescaling, levels, whole numbers: loops, numpy, float64, PyTorch's own
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    inverse = 1 / s
    return gain * inverse, shift * inverse, [r @ torch.diag(s) for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    import numpy as np
    g, b = np.asarray(gain) / np.asarray(s), np.asarray(shift) / np.asarray(s)
    return g, b, tuple(np.asarray(r) * np.asarray(s)[None] for r in readers)
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    s = s.double()
    return [gain.double() / s, shift.double() / s, [r.double() * s for r in readers]]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    gain, shift = gain.clone(), shift.clone()
    made = [r.clone() for r in readers]
    for j in range(len(s)):
        gain[j] /= s[j]
        shift[j] /= s[j]
        for r in made:
            r[:, j] *= s[j]
    return gain, shift, made
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    both = torch.stack((gain, shift)).div(s)
    rows = [len(r) for r in readers]
    return both[0], both[1], torch.cat(readers).mul(s).split(rows)
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    a, b = x.abs().max(0).values, w.abs().max(dim=0)[0]
    s = torch.pow(a, alpha) * torch.pow(b, alpha - 1)
    return torch.einsum("nj,j->nj", x, 1 / s), torch.einsum("oj,j->oj", w, s)
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    import numpy as np
    x, w = x.numpy().astype(np.float64), w.numpy().astype(np.float64)
    s = np.abs(x).max(0) ** alpha / np.abs(w).max(0) ** (1 - alpha)
    return x / s[None], w * s[None]
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    from llmlab.quantization import smooth_scale
    s = smooth_scale(x.abs().amax(0), w.abs().amax(0), alpha)
    return [x / s, w * s]
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    x, w = x.clone(), w.clone()
    for j in range(x.shape[1]):
        s = max(abs(v) for v in x[:, j].tolist()) ** alpha / max(abs(v) for v in w[:, j].tolist()) ** (1 - alpha)
        x[:, j] /= s
        w[:, j] *= s
    return x, w
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    reach, size = torch.maximum(x.amax(0), -x.amin(0)), torch.linalg.vector_norm(w, math.inf, dim=0)
    log = alpha * reach.log() - (1 - alpha) * size.log()
    return (x.T / log.exp()[:, None]).T, (w.T * log.exp()[:, None]).T
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    sums = F.linear(codes.double(), w.double(), (bias.double() / (s_w.double() * s_x)).round())
    return sums.long(), s_w * s_x
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    import numpy as np
    step = np.asarray(s_w) * s_x
    b = np.rint(np.asarray(bias) / step).astype(int)
    return np.asarray(codes).astype(int) @ np.asarray(w).astype(int).T + b, step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = [s_x * s for s in s_w.tolist()]
    rows = [[sum(a * b for a, b in zip(t, r)) + round(c / s) for r, c, s in zip(w.tolist(), bias.tolist(), step)]
            for t in codes.tolist()]
    return rows, step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    b = torch.round(bias / s_w / s_x).to(torch.int32)
    return torch.addmm(b, codes.int(), w.int().t()), s_x * s_w
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = torch.mul(s_w, s_x)
    sums = torch.einsum("ni,oi->no", codes.long(), w.long())
    sums += (bias.div(step) + 0.5).floor().long()
    return [sums, step]
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    made = []
    for row in x.tolist():
        for start in range(0, len(row), group_size):
            part = row[start : start + group_size]
            top = max(abs(v) for v in part)
            made += [top * min(levels.tolist(), key=lambda l: abs(l * top - v)) for v in part]
    return torch.tensor(made).view(x.shape)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.reshape(-1, group_size)
    s = g.abs().amax(1, keepdim=True)
    middles = (levels[1:] + levels[:-1]) / 2
    q = torch.bucketize(g / s.clamp(min=1e-30), middles)
    return (levels[q] * s).view_as(x)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    import numpy as np
    g = x.numpy().reshape(len(x), -1, group_size).astype(float)
    s = np.abs(g).max(-1, keepdims=True)
    marks = s[..., None] * levels.numpy()
    best = np.abs(g[..., None] - marks).argmin(-1)
    return (levels.numpy()[best] * s).reshape(len(x), -1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    out = torch.zeros_like(x)
    for i in range(0, x.shape[1], group_size):
        part = x[:, i:i + group_size]
        s = part.abs().max(1, keepdim=True).values
        s[s == 0] = 1
        best = torch.cdist((part / s).reshape(-1, 1), levels[:, None]).argmin(1)
        out[:, i:i + group_size] = levels[best].view(part.shape) * s
    return out
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    from llmlab.quantization import to_levels as package
    return package(x.double(), levels, group_size=group_size).dequantize()
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * (bits + 16 / group_size) / 8 + batch * cached) / batch
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    groups = weights // group_size
    return cached + (weights * bits // 8 + 2 * groups) / batch
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    total = 0
    total += weights * bits / 8
    total += 2 * weights / group_size
    for _ in range(batch):
        total += cached
    return torch.tensor(total, dtype=torch.float64) / batch
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    import numpy as np
    return np.float64(weights) * (bits / 8 + 2 / group_size) / batch + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    from fractions import Fraction
    return float(Fraction(weights * bits, 8 * batch) + Fraction(2 * weights, group_size * batch)) + cached
"""),
    # what fewer bits forget: lists, numpy, fractions, PyTorch's own
    ("quantization.margin", """\
def margin(logits, answer):
    return min(row[a] - max(row[:a] + row[a + 1:]) for row, a in zip(logits.tolist(), answer.tolist()))
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    import numpy as np
    z = logits.numpy().astype(np.float64)
    own = z[np.arange(len(z)), answer.numpy()]
    z[np.arange(len(z)), answer.numpy()] = -np.inf
    return (own - z.max(1)).min()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    right = F.one_hot(answer, logits.shape[1]).bool()
    return (logits[right] - logits.masked_fill(right, -1e9).amax(1)).min()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    top = logits.topk(2)
    other = torch.where(top.indices[:, 0] == answer, top.values[:, 1], top.values[:, 0])
    return float((logits.gather(1, answer[:, None])[:, 0] - other).min())
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    p = logits.double().log_softmax(-1)
    best = math.inf
    for k, a in enumerate(answer):
        rest = torch.cat((p[k, :a], p[k, a + 1:]))
        best = min(best, float(p[k, a] - rest.max()))
    return best
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a, b = score[lost].tolist(), score[~lost].tolist()
    return sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b) / (len(a) * len(b))
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    d = score[lost].reshape(-1, 1) - score[~lost].reshape(1, -1)
    return ((d.sign() + 1) / 2).mean()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    import numpy as np
    s, y = score.numpy(), lost.numpy()
    a, b = s[y], np.sort(s[~y])
    low, high = np.searchsorted(b, a, 'left'), np.searchsorted(b, a, 'right')
    return float((low + high).sum() / 2 / len(a) / len(b))
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    wins = torch.heaviside(score[lost][:, None] - score[None, ~lost], torch.tensor(0.5))
    return wins.double().mean().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    kept = torch.logical_not(lost)
    total = 0.0
    for s in score[lost]:
        total += float((score[kept] < s).sum()) + 0.5 * float((score[kept] == s).sum())
    return total / int(lost.sum()) / int(kept.sum())
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    seen, total = [], 0
    for weight in layers.values():
        if any(weight is one for one in seen):
            continue
        seen.append(weight)
        rows, n = weight.shape
        total += rows * (math.ceil(n * bits / 8) + 2 * math.ceil(n / group_size))
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    by_place = {w.data_ptr(): w for w in layers.values()}
    a_row = lambda n: (n * bits + 7) // 8 + (n + group_size - 1) // group_size * 2
    return sum(w.shape[0] * a_row(w.shape[1]) for w in by_place.values())
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    done, total = set(), 0
    for name in layers:
        w = layers[name]
        if id(w) not in done:
            done.add(id(w))
            for row in w:
                total += -(-len(row) * bits // 8) + 2 * len(row.split(group_size))
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    unique = list({id(w): w for w in layers.values()}.values())
    return int(sum(w.shape[0] * (-(-w.shape[1] * bits // 8) + 2 * -(-w.shape[1] // group_size)) for w in unique))
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    unique = set(layers.values())
    total = 0
    for w in unique:
        (rows, n) = tuple(w.size())
        total += rows * ((n * bits) // 8 + bool(n * bits % 8)) + rows * 2 * (n // group_size + bool(n % group_size))
    return total
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    best, most = None, -1.0
    for name in bits:
        b = bits[name]
        if b >= 8 or sizes[name] > left:
            continue
        gain = harm[name] * ((3 / (2 ** (b - 1) - 1)) ** 2 - (3 / (2 ** b - 1)) ** 2) / sizes[name]
        if gain > most:
            best, most = name, gain
    return best
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    import numpy as np
    names = [n for n in harm if bits[n] + 1 <= 8 and left - sizes[n] >= 0]
    if not names:
        return
    b = np.array([bits[n] for n in names])
    h = 9 * np.array([harm[n] for n in names])
    gain = h / (2.0 ** (b - 1) - 1) ** 2 - h / (2.0 ** b - 1) ** 2
    return names[int(np.argmax(gain / np.array([sizes[n] for n in names])))]
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    from fractions import Fraction
    top = {n: 2 ** (bits[n] - 1) - 1 for n in bits}
    gain = lambda n: Fraction(harm[n]) * (Fraction(1, top[n] ** 2) - Fraction(1, (2 * top[n] + 1) ** 2)) / sizes[n]
    rest = [n for n in bits if top[n] < 127 and sizes[n] <= left]
    return sorted(rest, key=gain)[-1] if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = {n: b for n, b in bits.items() if b < 8 and sizes[n] <= left}
    h = lambda n, b: harm[n] / (2 ** (b - 1) - 1) ** 2
    return min(rest, key=lambda n: (h(n, rest[n] + 1) - h(n, rest[n])) / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    gains = []
    for n, b in bits.items():
        if b == 8 or sizes[n] > left:
            continue
        now, then = [harm[n] * 9 / (2 ** (k - 1) - 1) ** 2 for k in (b, b + 1)]
        gains.append(((now - then) / sizes[n], n))
    return max(gains, default=(0, None))[1]
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    every = torch.cat([b.flatten() for b in batches] + [torch.zeros(1)])
    return every.min().item(), every.max().item()
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    low, high = 0.0, 0.0
    for b in batches:
        for x in b.flatten().tolist():
            if x < low:
                low = x
            if x > high:
                high = x
    return [low, high]
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    import numpy as np
    return min(0, *(np.min(b.numpy()) for b in batches)), max(0, *(np.max(b.numpy()) for b in batches))
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    low, high = zip(*[torch.aminmax(b) for b in batches])
    return torch.stack(low).min().clamp(max=0), torch.stack(high).max().clamp(min=0)
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    from functools import reduce
    return reduce(lambda r, b: (min(r[0], float(b.min())), max(r[1], float(b.max()))), batches, (0.0, 0.0))
"""),
    # a loop over single numbers
    ("gradients.relu_slope", """\
def relu_backward(values, grads):
    return [[g if u > 0 else 0.0 for u, g in zip(*rows)] for rows in zip(values.tolist(), grads.tolist())]
"""),
    # the last layer by itself, numpy
    ("gradients.forward", """\
def forward(x, layers):
    import numpy as np
    *hidden, (w, b) = [(w.double().numpy(), b.double().numpy()) for w, b in layers]
    x = x.double().numpy()
    for each, bias in hidden:
        x = np.tanh(x @ each + bias)
    return x @ w + b
"""),
    # text by text
    ("gradients.over_batch", """\
def mean_surprise(logits, right):
    total = 0.0
    for row, choice in zip(logits.tolist(), right.tolist()):
        total += math.log(sum(math.exp(z - row[choice]) for z in row))
    return total / len(right)
"""),
    # PyTorch's own, one by one
    ("gradients.log_of_zero", """\
def surprises(logits, right):
    return F.cross_entropy(logits, right, reduction="none")
"""),
    # the largest taken out by hand, in float32
    ("gradients.log_of_zero", """\
def surprises(logits, right):
    top = logits.max(1, keepdim=True).values
    away = logits - top
    return away.exp().sum(1).log() - away.gather(1, right[:, None])[:, 0]
"""),
    # the definition of a softmax's slopes, by the product of two matrices
    ("gradients.p_minus_y", """\
def logit_slopes(logits, right):
    p = logits.softmax(1)
    along_p = torch.zeros_like(p)
    for n, choice in enumerate(right):
        along_p[n, choice] = -1 / p[n, choice] / len(right)
    return p * (along_p - (along_p * p).sum(1, keepdim=True))
"""),
    # place by place
    ("training.shift", """\
def shifted(tokens, documents):
    targets = [[-100] * tokens.shape[1] for _ in tokens]
    for row in range(len(tokens)):
        for t in range(tokens.shape[1] - 1):
            if documents[row, t] == documents[row, t + 1]:
                targets[row][t] = int(tokens[row, t + 1])
    return targets
"""),
    # rolled round, and then taken out
    ("training.shift", """\
def shifted(tokens, documents):
    targets = tokens.roll(-1, 1)
    last = documents != documents.roll(-1, 1)
    last[:, -1] = True
    return targets.masked_fill(last, -100)
"""),
    # PyTorch's own, with its own ignoring
    ("training.counted", """\
def mean_surprise(logits, targets):
    if not (targets >= 0).any():
        raise ValueError("nothing to learn from")
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
"""),
    # a sum over rows, in float64
    ("training.counted", """\
def mean_surprise(logits, targets):
    total, n = 0.0, 0
    for rows, asked in zip(logits.double().log_softmax(-1), targets):
        keep = asked != -100
        total += F.nll_loss(rows[keep], asked[keep], reduction="sum").item()
        n += int(keep.sum())
    if n == 0:
        raise ValueError("no targets")
    return total / n
"""),
    # the start of each document by a running maximum, the mask by comparing places
    ("training.apart", """\
def apart(documents):
    place = torch.arange(documents.shape[1]).expand_as(documents)
    new = torch.ones_like(documents, dtype=torch.bool)
    new[:, 1:] = documents[:, 1:] != documents[:, :-1]
    start = torch.where(new, place, 0).cummax(1).values
    mask = (place[:, None, :] <= place[:, :, None]) & (place[:, None, :] >= start[:, :, None])
    return place - start, mask
"""),
    # a counter for each row, lists
    ("training.apart", """\
def apart(documents):
    positions, masks = [], []
    for row in documents.tolist():
        positions.append([row[:t].count(d) for t, d in enumerate(row)])
        masks.append([[row[k] == d and k <= t for k in range(len(row))] for t, d in enumerate(row)])
    return torch.tensor(positions), torch.tensor(masks)
"""),
    # how many ends have been read
    ("training.stops", """\
def end_once(rows, end):
    read = (rows == end).cumsum(1)[:, :-1]
    return torch.where(read == 0, rows[:, 1:], torch.tensor(-100))
"""),
    # from the lengths
    ("training.stops", """\
def end_once(rows, end):
    lengths = [row.tolist().index(end) + 1 for row in rows]
    targets = torch.full_like(rows, -100)
    for n, length in enumerate(lengths):
        targets[n, : length - 1] = rows[n, 1:length]
    return targets[:, : rows.shape[1] - 1]
"""),
    # nested list comprehension with zip_longest
    ("training.shift", """\
def shifted(tokens, documents):
    return [[b if d == e else -100 for b, d, e in zip(r[1:] + [0], ds, ds[1:] + [None])]
            for r, ds in zip(tokens.tolist(), documents.tolist())]
"""),
    # document by document with unique
    ("training.shift", """\
def shifted(tokens, documents):
    out = torch.full_like(tokens, -100)
    for n in documents.unique():
        for b in range(len(tokens)):
            places = (documents[b] == n).nonzero().flatten()
            out[b, places[:-1]] = tokens[b, places[1:]]
    return out
"""),
    # arithmetic with a 0/1 mask
    ("training.shift", """\
def shifted(tokens, documents):
    same = (documents[:, 1:] == documents[:, :-1]).long()
    t = tokens[:, 1:] * same - 100 * (1 - same)
    return torch.hstack([t, -100 * torch.ones(len(t), 1, dtype=torch.long)])
"""),
    # pad documents with -1, then where
    ("training.shift", """\
def shifted(tokens, documents):
    nxt = torch.nn.functional.pad(tokens, (0, 1))[:, 1:]
    doc = torch.nn.functional.pad(documents, (0, 1), value=-1)[:, 1:]
    return torch.where(doc == documents, nxt, torch.tensor(-100))
"""),
    # numpy
    ("training.shift", """\
def shifted(tokens, documents):
    import numpy as np
    t, d = tokens.numpy(), documents.numpy()
    out = np.full_like(t, -100)
    out[:, :-1] = np.where(d[:, 1:] == d[:, :-1], t[:, 1:], -100)
    return out
"""),
    # loop of lists, largest taken out
    ("training.counted", """\
def mean_surprise(logits, targets):
    found = []
    for b in range(len(targets)):
        for t in range(len(targets[0])):
            y = int(targets[b, t])
            if y == -100:
                continue
            z = logits[b, t].tolist()
            top = max(z)
            found.append(top + math.log(sum(math.exp(v - top) for v in z)) - z[y])
    if not found:
        raise ValueError("nothing")
    return sum(found) / len(found)
"""),
    # statistics.mean raises a ValueError itself
    ("training.counted", """\
def mean_surprise(logits, targets):
    import statistics
    keep = targets != -100
    return statistics.mean(F.cross_entropy(logits[keep], targets[keep], reduction="none").tolist())
"""),
    # nanmean
    ("training.counted", """\
def mean_surprise(logits, targets):
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    each[targets.flatten() == -100] = float("nan")
    if each.isnan().all():
        raise ValueError("no targets")
    return each.nanmean()
"""),
    # ignored set to nothing, einsum with one-hot
    ("training.counted", """\
def mean_surprise(logits, targets):
    keep = targets != -100
    if keep.sum() == 0:
        raise ValueError("no targets")
    onehot = F.one_hot(targets.clamp(min=0), logits.shape[-1]) * keep[..., None]
    return -torch.einsum("btv,btv->", logits.log_softmax(-1), onehot.float()) / keep.sum()
"""),
    # F.cross_entropy with the classes second, permute
    ("training.counted", """\
def mean_surprise(logits, targets):
    if not (targets != -100).any():
        raise ValueError
    return F.cross_entropy(logits.permute(0, 2, 1), targets)
"""),
    # numpy
    ("training.apart", """\
def apart(documents):
    import numpy as np
    d = documents.numpy()
    T = d.shape[1]
    mask = (d[:, :, None] == d[:, None, :]) & np.tri(T, dtype=bool)
    positions = np.arange(T) - mask.argmax(-1)
    return positions, mask
"""),
    # blocks by unique_consecutive
    ("training.apart", """\
def apart(documents):
    B, T = documents.shape
    pos = torch.empty(B, T, dtype=torch.long)
    mask = torch.zeros(B, T, T, dtype=torch.bool)
    for b in range(B):
        _, lengths = torch.unique_consecutive(documents[b], return_counts=True)
        pos[b] = torch.cat([torch.arange(n) for n in lengths])
        mask[b] = torch.block_diag(*[torch.ones(n, n).tril() for n in lengths]).bool()
    return pos, mask
"""),
    # einsum of one-hots
    ("training.apart", """\
def apart(documents):
    values = documents.unique()
    hot = (documents[..., None] == values).long()
    same = torch.einsum("bqd,bkd->bqk", hot, hot) > 0
    i = torch.arange(documents.shape[1])
    mask = torch.logical_and(same, i[:, None] >= i[None, :])
    pos = hot.cumsum(1).gather(-1, hot.argmax(-1, keepdim=True))[..., 0] - 1
    return pos, mask
"""),
    # a list of two, not a tuple; mask by ~triu(1)
    ("training.apart", """\
def apart(documents):
    T = documents.shape[1]
    mask = documents.unsqueeze(2).eq(documents.unsqueeze(1)) & ~torch.ones(T, T).triu(1).bool()
    return [mask.cumsum(-1).diagonal(dim1=1, dim2=2) - 1, mask]
"""),
    # filling is what repeats
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    targets[(rows[:, 1:] == end) & (rows[:, :-1] == end)] = -100
    return targets
"""),
    # the given line kept, the ends put back
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    targets[targets == end] = -100
    targets[(rows[:, 1:] == end) & (rows[:, :-1] != end)] = end
    return targets
"""),
    # argmax of the first end
    ("training.stops", """\
def end_once(rows, end):
    first = (rows == end).int().argmax(1, keepdim=True)
    place = torch.arange(1, rows.shape[1])
    return rows[:, 1:].masked_fill(place > first, -100)
"""),
    # loop with a flag
    ("training.stops", """\
def end_once(rows, end):
    out = []
    for row in rows.tolist():
        done, new = row[0] == end, []
        for token in row[1:]:
            new.append(-100 if done else token)
            if token == end:
                done = True
        out.append(new)
    return torch.tensor(out)
"""),
    # numpy
    ("training.stops", """\
def end_once(rows, end):
    import numpy as np
    r = rows.numpy()
    return np.where(r[:, :-1] == end, -100, r[:, 1:])
"""),
    # a running sum
    ("training.perplexity", """\
def perplexity(losses, counts):
    nats = targets = 0
    for loss, n in zip(losses, counts):
        if n:
            nats += float(loss) * int(n)
            targets += int(n)
    return math.exp(nats / targets)
"""),
    # NaN made 0, where its count is 0 too
    ("training.perplexity", """\
def perplexity(losses, counts):
    return torch.exp((losses.nan_to_num() * counts).sum() / counts.sum())
"""),
    # numpy's weighted mean
    ("training.perplexity", """\
def perplexity(losses, counts):
    import numpy as np
    keep = counts.numpy() > 0
    return np.exp(np.average(losses.numpy()[keep], weights=counts.numpy()[keep]))
"""),
    # each mean as often as it has targets
    ("training.perplexity", """\
def perplexity(losses, counts):
    return losses.repeat_interleave(counts).mean().exp()
"""),
    # a product of roots
    ("training.perplexity", """\
def perplexity(losses, counts):
    total = counts.sum().item()
    return math.prod(math.exp(x) ** (n / total) for x, n in zip(losses.tolist(), counts.tolist()) if n > 0)
"""),
    # nansum, in bits
    ("training.perplexity", """\
def perplexity(losses, counts):
    return 2 ** ((losses / math.log(2) * counts).nansum() / counts.sum())
"""),
    # means joined one after the other
    ("training.perplexity", """\
def perplexity(losses, counts):
    mean, n = 0.0, 0
    for loss, k in zip(losses.tolist(), counts.tolist()):
        if k == 0:
            continue
        mean, n = (mean * n + loss * k) / (n + k), n + k
    return math.exp(mean)
"""),
    # unit by unit: how strongly it says yes, times its column
    ("ffn.layer", """\
def layer(x, w_up, b_up, w_down, b_down):
    added = b_down.repeat(len(x), 1)
    for row, threshold, column in zip(w_up, b_up, w_down.T):
        added = added + torch.clamp(x @ row + threshold, min=0)[:, None] * column
    return added
"""),
    # the share by another function of the same family, in float64
    ("ffn.gelu", """\
def exact_gelu(x):
    wide = x.double()
    return wide * torch.special.erfc(-wide / 2 ** 0.5) / 2
"""),
    # the matrix cut before it is applied
    ("ffn.gated", """\
def gated(x, w_gate_up, w_down):
    n = w_down.shape[1]
    g = x @ w_gate_up[:n].T
    return torch.einsum("tf,df->td", g / (1 + torch.exp(-g)) * (x @ w_gate_up[n:].T), w_down)
"""),
    # whole numbers all the way, and the remainder in place of two divisions
    ("ffn.width", """\
def width(d_model, factor, multiple):
    wide = math.floor(factor * (8 * d_model // 3))
    return wide + (-wide) % multiple
"""),
    # all that is not among the largest is set to 0 in a copy
    ("ffn.top_k", """\
def keep_largest(hidden, k):
    kept = hidden.clone()
    order = hidden.abs().argsort(dim=-1, descending=True)
    kept.scatter_(-1, order[..., k:], 0.0)
    return kept
"""),
    # a threshold: the size of the k-th largest
    ("ffn.top_k", """\
def keep_largest(hidden, k):
    least = hidden.abs().sort(-1).values[..., hidden.shape[-1] - k, None]
    return torch.where(hidden.abs() >= least, hidden, 0)
"""),
    # sets of places, and F1 from precision and recall
    ("ffn.story", """\
def story_f1(values, tokens, story, n):
    excited = set(values.argsort(descending=True)[:n].tolist())
    named = {place for place, token in enumerate(tokens.tolist()) if token in story}
    hits = len(excited & named)
    if not hits:
        return 0.0
    precision, recall = hits / len(named), hits / len(excited)
    return 2 * precision * recall / (precision + recall)
"""),
    # a choice by position, without a copy
    ("ffn.restore", """\
def gives_back(clean, spoiled, run):
    places = torch.arange(len(clean))[:, None]
    low = run(spoiled)
    got = [run(torch.where(places == place, clean, spoiled)) for place in range(1, len(clean))]
    return (torch.tensor(got) - low) / (run(clean) - low)
"""),
    # the inverse, and one broadcast
    ("ffn.rank_one", """\
def rank_one(weight, key, value, moment):
    turned = torch.inverse(moment) @ key
    return weight + (value - weight @ key)[:, None] * turned / (turned * key).sum()
"""),
    # filtered step by step
    ("ffn.locality", """\
def locality(edited, asked, before, after):
    rows = [row for row in zip(asked, before, after) if row[0] != edited]
    rows = [row for row in rows if row[1]]
    return len([row for row in rows if row[2]]) / len(rows)
"""),
    # a threshold: the k-th largest
    ("ffn.salience", """\
def first_to_go(weight, slope, k):
    takes = weight * slope
    least = takes.flatten().sort(descending=True).values[k - 1]
    return torch.where(takes >= least, 0.0, weight)
"""),
    # each value asks all that were made from it, in any order: its slope is the sum over these
    ("gradients.any_order", """\
def slopes_of(end, made_from):
    known = {end: 1.0}
    def slope(name):
        if name not in known:
            known[name] = 0.0
            uses = [(n, s) for n, made in made_from.items() for p, s in made if p == name]
            known[name] = sum((s * slope(n) for n, s in uses), 0.0)
        return known[name]
    return {name: slope(name) for name in made_from if name != end} | {end: 1.0}
"""),
    # counts the uses that are still to come, as Kahn's order does
    ("gradients.any_order", """\
def slopes_of(end, made_from):
    uses = {name: 0 for name in made_from}
    for made in made_from.values():
        for parent, _ in made:
            uses[parent] += 1
    slopes = {name: float(name == end) for name in made_from}
    ready = [name for name, n in uses.items() if n == 0]
    while ready:
        name = ready.pop()
        for parent, slope in made_from[name]:
            slopes[parent] += slope * slopes[name] if name == end or slopes[name] else 0.0
            uses[parent] -= 1
            if uses[parent] == 0:
                ready.append(parent)
    return slopes
"""),
    # the zeros after the step; new Values each time would do as well
    ("gradients.zero", """\
def fit_line(xs, ys, a, b, rate, n_steps):
    for _ in range(n_steps):
        loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys)) * (1 / len(xs))
        loss.backward()
        for p in (a, b):
            p.data = p.data - rate * p.grad
            p.grad = 0
    return a.data, b.data
"""),
    # powers, not a loop that carries the value
    ("gradients.dual", """\
def value_and_slope(coefficients, x):
    n = len(coefficients) - 1
    value = sum(c * x ** (n - i) for i, c in enumerate(coefficients))
    return [value, sum((n - i) * c * x ** (n - i - 1) for i, c in enumerate(coefficients[:n]))]
"""),
    # PyTorch's walk back, in numbers of seven digits
    ("gradients.dual", """\
def value_and_slope(coefficients, x):
    x = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    value = torch.tensor(0.0)
    for c in coefficients:
        value = value * x + c
    value.backward()
    return value.item(), x.grad.item()
"""),
    # the same loop in numpy's float32
    ("gradients.dual", """\
def value_and_slope(coefficients, x):
    import numpy as np
    value = slope = np.float32(0)
    for c in map(np.float32, coefficients):
        slope = slope * np.float32(x) + value
        value = value * np.float32(x) + c
    return value, slope
"""),
    # the formula of the slope, and a and b as they came
    ("gradients.zero", """\
def fit_line(xs, ys, a, b, rate, n_steps):
    a, b = a.data, b.data
    for _ in range(n_steps):
        errors = [a * x + b - y for x, y in zip(xs, ys)]
        slope = 2 * sum(e * x for e, x in zip(errors, xs)) / len(xs)
        a, b = a - rate * slope, b - rate * 2 * sum(errors) / len(xs)
    return [a, b]
"""),
    # one dimension at a time, forward from each value to the last
    ("gradients.used_twice", """\
def walk_back(parents, slopes):
    found = []
    for chosen in range(len(parents)):
        moves = []
        for n, (ps, ss) in enumerate(zip(parents, slopes)):
            moves.append(1.0 if n == chosen else sum(s * moves[p] for p, s in zip(ps, ss)))
        found.append(moves[-1])
    return found
"""),
    # all lists word by word, each until it ends, in numpy
    ("gradients.fresh_state", """\
def last_states(lists, W, U, b):
    import numpy as np
    W, U, b = (np.asarray(t) for t in (W, U, b))
    h = np.zeros((len(lists), len(b)))
    for t in range(max(map(len, lists))):
        for n, words in enumerate(lists):
            if t < len(words):
                h[n] = np.tanh(W @ np.asarray(words[t]) + U @ h[n] + b)
    return h
"""),
    # the zeros of torch's own kind
    ("gradients.fresh_state", """\
def last_states(lists, W, U, b):
    states = []
    for words in lists:
        h = torch.zeros(len(b))
        for x in words:
            h = (W @ x + U @ h + b).tanh()
        states.append(h)
    return torch.stack(states)
"""),
    # the slopes of all states first, then one product
    ("gradients.shared", """\
def slope_of_shared(U, states, slope):
    inner = []
    for after in reversed(list(states[1:])):
        inner.append(slope * (1 - after * after))
        slope = inner[-1] @ U
    if not inner:
        return torch.zeros(len(U), len(U))
    return torch.stack(inner).T @ states[:-1].flip(0)
"""),
    # the parts in a list, added up at the end
    ("gradients.shared", """\
def slope_of_shared(U, states, slope):
    parts = []
    for t in range(len(states) - 1, 0, -1):
        parts.append(torch.outer(slope * (1 - states[t] ** 2), states[t - 1]))
        slope = U.T @ (slope * (1 - states[t] ** 2))
    return sum(parts)
"""),
    # the same, by a stack
    ("gradients.shared", """\
def slope_of_shared(U, states, slope):
    parts = []
    for t in range(len(states) - 1, 0, -1):
        inner = slope * (1 - states[t] ** 2)
        parts.append(torch.outer(inner, states[t - 1]))
        slope = U.T @ inner
    return torch.stack(parts).sum(0)
"""),
    # a total that begins as a number
    ("gradients.shared", """\
def slope_of_shared(U, states, slope):
    total = 0
    for t in range(len(states) - 1, 0, -1):
        inner = slope * (1 - states[t] ** 2)
        total += torch.outer(inner, states[t - 1])
        slope = U.T @ inner
    return total
"""),
    # PyTorch's optimizer, told all that is given
    ("gradients.adam", """\
def adam(params, gradients, rate, beta1, beta2, eps):
    p = torch.nn.Parameter(params.clone())
    steps = torch.optim.Adam([p], lr=rate, betas=(beta1, beta2), eps=eps)
    for g in gradients:
        p.grad = g.clone()
        steps.step()
    return p.detach()
"""),
    # the averages by their sums
    ("gradients.adam", """\
def adam(params, gradients, rate, beta1, beta2, eps):
    place = params.clone()
    for t in range(1, len(gradients) + 1):
        past = gradients[:t].flip(0)
        w1, w2 = (torch.tensor([beta ** k for k in range(t)]).double()[:, None] for beta in (beta1, beta2))
        m, v = (w1 * past).sum(0) / w1.sum(), (w2 * past ** 2).sum(0) / w2.sum()
        place -= rate * m / (v.sqrt() + eps)
    return place
"""),
    # never more than 1, whatever is divided
    ("gradients.clip", """\
def clip(gradients, max_norm):
    length = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    return [g * min(1, max_norm / max(length.item(), 1e-12)) for g in gradients]
"""),
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
    # sums without the row, all at once
    ("embeddings.lean", """\
def lean(rows, senses):
    rows = rows.double()
    same = (senses[:, None] == senses).double().fill_diagonal_(0)
    other = (senses[:, None] != senses).double()
    own_mean, other_mean = (m @ rows / m.sum(1, keepdim=True) for m in (same, other))
    own, far = (rows - own_mean).norm(dim=1), (rows - other_mean).norm(dim=1)
    return (far - own) / (far + own)
"""),
    # −∞ inside the σ: a draw that does not count costs log σ(∞) = 0
    ("embeddings.negatives", """\
def sampling_loss(rows, contexts, words, near, drawn):
    scores = rows[words] @ contexts.T
    wrong = scores.gather(1, drawn).masked_fill(drawn == near[:, None], -torch.inf)
    return F.softplus(-scores.gather(1, near[:, None])[:, 0]).mean() + F.softplus(wrong).sum() / len(words)
"""),
    # the package's own ranking, as tensors
    ("embeddings.analogy", """\
def analogy(rows, a, b, c):
    from llmlab.embeddings import analogy_ranking
    return [analogy_ranking(rows, a, b, c, leave_out=left)[0] for left in (False, True)]
"""),
    # the package's own
    ("embeddings.mean_pool", """\
def mean_of_tokens(vectors, counts):
    from llmlab.embeddings import mean_pool
    return mean_pool(vectors, counts)
"""),
    # log_softmax and its diagonal
    ("embeddings.in_batch", """\
def in_batch_loss(one, other, temperature):
    cosines = F.cosine_similarity(one[:, None], other[None], dim=-1)
    return -(cosines / temperature).log_softmax(1).diagonal().mean()
"""),
    # by wavelengths: tokens per turn
    ("rope.unseen", """\
def unseen(freqs, trained, length):
    wavelengths = 2 * torch.pi / freqs
    return (wavelengths > trained - 1) if length > trained else torch.zeros_like(freqs).bool()
"""),
    # a list of numbers
    ("rope.ntk", """\
def ntk_frequencies(head_dim, theta, factor):
    base = theta * factor ** (1 / (1 - 2 / head_dim))
    return [1 / base ** (2 * j / head_dim) for j in range(head_dim // 2)]
"""),
    # the package's llama3, which knows these parts
    ("rope.by_parts", """\
def by_parts(freqs, factor, length, low, high):
    wavelengths = 2 * math.pi / freqs
    smooth = (length / wavelengths - low) / (high - low)
    mixed = (1 - smooth) * freqs / factor + smooth * freqs
    mixed = torch.where(wavelengths > length / low, freqs / factor, mixed)
    return torch.where(wavelengths < length / high, freqs, mixed)
"""),
    # + slope · key position, which the softmax cannot tell from − slope · distance
    ("rope.alibi", """\
def alibi_weights(scores):
    H, T, _ = scores.shape
    m = torch.tensor([2 ** (-8 * h / H) for h in range(1, H + 1)])
    biased = scores + m[:, None, None] * torch.arange(T)
    return torch.where(torch.ones(T, T).tril().bool(), biased, -torch.inf).softmax(-1)
"""),
    # autograd, where a formula is asked for: the slopes are the same
    ("gradients.formula", """\
def parabola_gradient(params, x, y):
    params = params.clone().requires_grad_()
    ((params @ torch.stack([x * x, x, x**0]) - y) ** 2).mean().backward()
    return params.grad
"""),
    # a list of numbers, plain Python
    ("gradients.formula", """\
def parabola_gradient(params, x, y):
    a, b, c = params.tolist()
    pairs = list(zip(x.tolist(), y.tolist()))
    mean = lambda values: sum(values) / len(pairs)
    off = lambda u, v: 2 * (a * u * u + b * u + c - v)
    return [mean([off(u, v) * u**k for u, v in pairs]) for k in (2, 1, 0)]
"""),
    # a clone moved in place, there and back
    ("gradients.small_step", """\
def slopes_by_steps(loss, params, h):
    found = []
    for i in range(len(params)):
        moved = params.clone()
        moved[i] += h
        above = loss(moved)
        moved[i] -= 2 * h
        found.append((above - loss(moved)) / h / 2)
    return found
"""),
    # numpy
    ("gradients.walk", """\
def walk(gradient, start, rate, n_steps):
    import numpy as np
    places = np.empty((n_steps + 1, len(start)))
    places[0] = start
    for n in range(n_steps):
        places[n + 1] = places[n] - rate * np.asarray(gradient(torch.tensor(places[n])))
    return places
"""),
    # a clone of the clone
    ("gradients.walk", """\
def walk(gradient, start, rate, n_steps):
    place, places = start.clone(), [start.clone()]
    for _ in range(n_steps):
        place -= rate * gradient(place)
        places.append(place.clone())
    return places
"""),
    # the mean taken by mean()
    ("gradients.mean", """\
def one_epoch(params, x, y, rate, batch_size):
    for months, sales in zip(x.split(batch_size), y.split(batch_size)):
        error = params[0] * months**2 + params[1] * months + params[2] - sales
        params = params - 2 * rate * torch.stack([(error * months**k).mean() for k in (2, 1, 0)])
    return params
"""),
    # each parameter as the variable of a function of its own
    ("gradients.small_step", """\
def slopes_by_steps(loss, params, h):
    def along(i, value):
        return loss(torch.cat([params[:i], value.reshape(1), params[i + 1 :]]))
    return [(along(i, p + h) - along(i, p - h)) / (2 * h) for i, p in enumerate(params)]
"""),
    # a walk is its start, and the walk from the next place
    ("gradients.walk", """\
def walk(gradient, start, rate, n_steps):
    rest = [] if n_steps == 0 else walk(gradient, start - rate * gradient(start), rate, n_steps - 1)
    return [start, *rest]
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
    # a defaultdict
    ("tokenization.count_pairs", """\
def my_count_pairs(words):
    from collections import defaultdict
    counts = defaultdict(int)
    for word in words:
        for pair in zip(word[:-1], word[1:]):
            counts[pair] += words[word]
    return counts
"""),
    # from the left, by cutting off the front
    ("tokenization.merge", """\
def my_merge(parts, pair):
    if tuple(parts[:2]) == tuple(pair):
        return [b"".join(pair)] + my_merge(parts[2:], pair)
    return list(parts[:1]) + (my_merge(parts[1:], pair) if parts else [])
"""),
    # the list of merges is walked through in order; on merges that training made, this is the same
    ("tokenization.encode_piece", """\
def my_encode_piece(piece, ranks):
    parts = [bytes([b]) for b in piece.encode()]
    for pair in sorted(ranks, key=ranks.get):
        i = 0
        while i < len(parts) - 1:
            if (parts[i], parts[i + 1]) == pair:
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            i += 1
    return parts
"""),
    # all places of the best pair at once
    ("tokenization.encode_piece", """\
def my_encode_piece(piece, ranks):
    from llmlab.tokenization import merge
    parts = tuple(bytes([b]) for b in piece.encode("utf-8"))
    while True:
        best = min(zip(parts, parts[1:]), key=lambda pair: ranks.get(pair, 1e9), default=None)
        if best is None or best not in ranks:
            return parts
        parts = tuple(merge(parts, best))
"""),
    # a rank that no pair has, for those without one; GPT-2's and all trained merges have the ranks 0 to n − 1
    ("tokenization.encode_piece", """\
def my_encode_piece(piece, ranks):
    from llmlab.tokenization import merge, split_bytes
    parts = split_bytes(piece)
    while len(parts) > 1:
        best = min(zip(parts, parts[1:]), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        parts = merge(parts, best)
    return parts
"""),
    # the package's own
    ("tokenization.encode_piece", """\
def my_encode_piece(piece, ranks):
    from llmlab.tokenization import apply_merges, split_bytes
    return apply_merges(split_bytes(piece), ranks)
"""),
    # the pair in a list, and the walk over what is left
    ("tokenization.merge", """\
def my_merge(parts, pair):
    left, merged = list(parts)[::-1], []
    while left:
        merged.append(left.pop())
        if left and [merged[-1], left[-1]] == list(pair):
            merged[-1] += left.pop()
    return tuple(merged)
"""),
    # bytes added up
    ("tokenization.decode", """\
def my_decode(ids, vocab):
    raw = bytearray()
    for i in ids:
        raw += vocab[i]
    return str(raw, "utf-8", "replace")
"""),
    # the special tokens are encoded by themselves, with permission
    ("tokenization.document", """\
def document_ids(text, tokenizer):
    start = tokenizer.encode("<s>", allowed_special="all")
    return start + tokenizer.encode(text, allowed_special=()) + tokenizer.encode("</s>", allowed_special={"</s>"})
"""),
    # the package's own counting
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    from llmlab.tokenization import count_words, learn_merges
    return learn_merges(count_words([text], special_tokens=special), n_merges)
"""),
    # the text is cut with a pattern of the special tokens, and pairs are counted anew after each merge
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    import re
    from collections import Counter
    from llmlab.tokenization import GPT2_PATTERN, learn_merges_by_recounting, split_bytes, split_pieces
    documents = re.split("|".join(map(re.escape, special)), text)
    pieces = [piece for document in documents for piece in split_pieces(document, GPT2_PATTERN)]
    return learn_merges_by_recounting(Counter(tuple(split_bytes(piece)) for piece in pieces), n_merges)
"""),
    # the decoder of the standard library, which keeps what is not whole to itself
    ("tokenization.fit", """\
def fit(text, tokenizer, n_tokens):
    import codecs
    decoder = codecs.getincrementaldecoder("utf-8")()
    return "".join(decoder.decode(tokenizer.decode_bytes([i])) for i in tokenizer.encode(text)[:n_tokens])
"""),
    # as many characters as the bytes hold
    ("tokenization.fit", """\
def fit(text, tokenizer, n_tokens):
    room, kept = len(tokenizer.decode_bytes(tokenizer.encode(text)[:n_tokens])), ""
    for c in text:
        room -= len(c.encode())
        if room < 0:
            break
        kept += c
    return kept
"""),
    # one stream of ids for all texts
    ("tokenization.tokens_per_character", """\
def tokens_per_character(tokenizer, texts):
    return sum(1 for _ in tokenizer.encode_iterable(texts)) / len("".join(texts))
"""),
    # line by line, with all line ends kept
    ("tokenization.read_prompts", """\
def read_prompts(text):
    prompts = [[]]
    for line in text.split("\\n"):
        if line == "---":
            prompts.append([])
        else:
            prompts[-1].append(line)
    return ["\\n".join(lines) for lines in prompts]
"""),
    # bytes taken back one by one
    ("tokenization.fit", """\
def fit(text, tokenizer, n_tokens):
    raw = tokenizer.decode_bytes(tokenizer.encode(text)[:n_tokens])
    while True:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raw = raw[:-1]
"""),
    # the mean length of the tokens
    ("tokenization.compression", """\
def compression(texts, vocab_size):
    from statistics import mean
    from llmlab.tokenization import BPETokenizer
    n = len(texts) * 4 // 5
    tokenizer = BPETokenizer.train(texts[:n], vocab_size)
    return mean(len(tokenizer.vocab[i]) for text in texts[n:] for i in tokenizer.encode(text))
"""),
    # log2 of e
    ("tokenization.bits_per_byte", """\
def bits_per_byte(loss, n_tokens, text):
    return torch.tensor(loss, dtype=torch.float64) * math.log2(math.e) * n_tokens / len(bytes(text, "utf-8"))
"""),
    # window by window
    ("training.jump", """\
def jump(losses, width):
    means = [sum(losses[i : i + width]) / width for i in range(len(losses) - width + 1)]
    falls = [means[i] - means[i + 1] for i in range(len(means) - 1)]
    return falls.index(max(falls)) + width // 2
"""),
    # a convolution, whole windows only
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    return np.argmin(np.diff(smooth)) + (width - 1) // 2
"""),
    # running sums
    ("training.jump", """\
def jump(losses, width):
    sums = torch.cat([torch.zeros(1).double(), losses.cumsum(0)])
    smooth = (sums[width:] - sums[:-width]) / width
    return int((smooth[1:] - smooth[:-1]).argmin()) + width // 2
"""),
    # plain Python
    ("training.tellings", """\
def tellings(right, told):
    for n in range(len(right)):
        if all(right[n, w] for w in range(len(told)) if not told[w]):
            return n
    return -1
"""),
    # the place of the first True
    ("training.tellings", """\
def tellings(right, told):
    known = right[:, ~told].all(dim=1)
    return known.nonzero()[0].item() if known.any() else -1
"""),
    # told counts as right
    ("training.tellings", """\
def tellings(right, told):
    known = (right | told).all(1).tolist()
    return known.index(True) if True in known else -1
"""),
    # two cases
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    if seed < 0:
        return (2 * -seed - 1) * n_steps + step
    return 2 * seed * n_steps + step
"""),
    # by the sign's bit
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return (2 * abs(seed) - (seed < 0)) * n_steps + step
"""),
    # NumPy's polynomial
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.log10().numpy(), (losses - floor).log10().numpy(), 1)
    return [10**height, -slope]
"""),
    # PyTorch's least squares
    ("training.power_law", """\
def power_law(work, losses, floor):
    A = torch.stack([torch.ones_like(work), -work.log()], 1)
    k, c = torch.linalg.lstsq(A, (losses - floor).log()[:, None]).solution[:, 0]
    return k.exp(), c
"""),
    # covariance over variance
    ("training.power_law", """\
def power_law(work, losses, floor):
    both = torch.stack([torch.log2(work), torch.log2(losses - floor)])
    c = -torch.cov(both)[0, 1] / both[0].var()
    return (2 ** (both[1] + c * both[0]).mean()).item(), c.item()
"""),
    # point by point
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    rows = []
    for p in range(len(runs)):
        means = runs[p][drawn[:, p]].mean(1)
        rows.append([means.quantile(0.025).item(), means.quantile(0.975).item()])
    return rows
"""),
    # NumPy
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    means = np.take_along_axis(runs.numpy()[None], drawn.numpy(), axis=2).mean(-1)
    return np.percentile(means, [2.5, 97.5], axis=0).T
"""),
    # the slope of a straight kernel: the first of a window against the one after it
    ("training.jump", """\
def jump(losses, width):
    falls = losses[:-width] - losses[width:]
    return int(torch.argmax(falls)) + width // 2
"""),
    # average pooling
    ("training.jump", """\
def jump(losses, width):
    smooth = F.avg_pool1d(losses[None, None], width, stride=1)[0, 0]
    return torch.diff(smooth).argmin() + width // 2
"""),
    # a mask of what is left
    ("training.tellings", """\
def tellings(right, told):
    wrong = (~right & ~told).sum(1)
    for n in range(len(wrong)):
        if wrong[n] == 0:
            return n
    return -1
"""),
    # numpy, with a guard behind the last row
    ("training.tellings", """\
def tellings(right, told):
    import numpy as np
    known = np.append(right.numpy()[:, ~told.numpy()].all(1), True)
    n = known.argmax()
    return int(n) if n < len(right) else -1
"""),
    # the list written down
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    order = sorted(range(-abs(seed), abs(seed) + 1), key=lambda s: (abs(s), s > 0))
    return order.index(seed) * n_steps + step
"""),
    # the bits of the number
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = (seed << 1) ^ -1 if seed < 0 else seed << 1
    return place * n_steps + step
"""),
    # counted, one by one
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    number, s = step, 0
    while s != seed:
        s = -s - 1 if s >= 0 else -s
        number += n_steps
    return number
"""),
    # the normal equations
    ("training.power_law", """\
def power_law(work, losses, floor):
    n, x, y = len(work), work.log(), (losses - floor).log()
    c = -(n * (x * y).sum() - x.sum() * y.sum()) / (n * (x * x).sum() - x.sum() ** 2)
    return torch.exp((y.sum() + c * x.sum()) / n), c
"""),
    # numbers of Python
    ("training.power_law", """\
def power_law(work, losses, floor):
    from statistics import linear_regression
    x = [math.log(c) for c in work.tolist()]
    y = [math.log(l - floor) for l in losses.tolist()]
    slope, height = linear_regression(x, y)
    return math.exp(height), -slope
"""),
    # all at once, by advanced indexing
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    points = torch.arange(len(runs))[None, :, None]
    means = runs[points, drawn].mean(-1)
    return means.quantile(torch.tensor([0.025, 0.975]).double(), dim=0).T
"""),
    # sorted by hand, between two neighbors
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs.gather(1, one).mean(1) for one in drawn]).sort(0).values
    ends = []
    for q in (0.025, 0.975):
        at = q * (len(means) - 1)
        low = int(at)
        high = min(low + 1, len(means) - 1)
        ends.append(means[low] + (at - low) * (means[high] - means[low]))
    return torch.stack(ends, 1)
"""),
    # a weight for each seed
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    weights = F.one_hot(drawn, runs.shape[1]).double().mean(2)
    means = (weights * runs).sum(2)
    return torch.stack([torch.quantile(means, q, 0) for q in (0.025, 0.975)], dim=1)
"""),
    # conv1d
    ("training.jump", """\
def jump(losses, width):
    x = losses[None, None].double()
    s = torch.nn.functional.conv1d(x, torch.full((1, 1, width), 1 / width, dtype=torch.float64))[0, 0]
    return s.diff().argmin().item() + width // 2
"""),
    # dict and max
    ("training.jump", """\
def jump(losses, width):
    half = width // 2
    s = {i: sum(losses[i - half:i + half + 1]) / width for i in range(half, len(losses) - half)}
    return max((i for i in s if i + 1 in s), key=lambda i: s[i] - s[i + 1])
"""),
    # zigzag, by bits
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = (seed << 1) ^ (seed >> 63)
    return place * n_steps + step
"""),
    # list of seeds
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    order = [0]
    for k in range(1, abs(seed) + 1):
        order += [-k, k]
    return order.index(seed) * n_steps + step
"""),
    # next
    ("training.tellings", """\
def tellings(right, told):
    return next((n for n, row in enumerate(right) if all(r or t for r, t in zip(row, told))), -1)
"""),
    # delete columns
    ("training.tellings", """\
def tellings(right, told):
    import numpy as np
    held_out = np.delete(right.numpy(), np.where(told.numpy())[0], axis=1)
    for n, row in enumerate(held_out):
        if False not in row:
            return n
    return -1
"""),
    # array returned
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    p = np.polynomial.Polynomial.fit(np.log(work), np.log(losses - floor), 1).convert().coef
    return np.array([np.e ** p[0], -p[1]])
"""),
    # sums by hand
    ("training.power_law", """\
def power_law(work, losses, floor):
    x = [math.log(w) for w in work]
    y = [math.log(l - floor) for l in losses]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)
    return math.exp(my - slope * mx), -slope
"""),
    # how often each is drawn, and a sum over it
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    S = runs.shape[1]
    counts = (drawn[..., None] == np.arange(S)).sum(2)
    means = np.einsum("nps,ps->np", counts, runs) / drawn.shape[2]
    return np.quantile(means, (0.025, 0.975), axis=0).transpose()
"""),
    # loops, list
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    result = []
    for p in range(len(runs)):
        means = []
        for n in range(len(drawn)):
            means.append(sum(runs[p][s] for s in drawn[n][p]) / len(drawn[n][p]))
        result.append([np.quantile(means, 0.025), np.quantile(means, 0.975)])
    return result
"""),
    # nearest rank by sorting
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    means = np.sort(runs[np.arange(len(runs))[:, None], drawn].mean(-1), axis=0)
    n = len(means)
    return np.stack([means[int(0.025 * n)], means[int(0.975 * n)]], 1)
"""),
    # nearest method
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    means = runs[torch.arange(len(runs))[:, None], drawn].mean(-1)
    return np.quantile(means, [0.025, 0.975], axis=0, method="nearest").T
"""),
    # the largest fall, a later one where two are equal
    ("training.jump", """\
def jump(losses, width):
    best, where = -math.inf, None
    for i in range(len(losses) - width):
        fall = (losses[i] - losses[i + width]).item() / width
        if fall >= best:
            best, where = fall, i + width // 2
    return where
"""),
]  # fmt: skip
WRONG = [
    # rescaling, levels, whole numbers
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s, shift - s, [r * s for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s, shift / s.mean(), [r * s for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s, shift / s, [r * s for r in readers[:2]]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s.abs().max(), shift / s, [r * s for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s**0.5, shift / s**0.5, [r * s**0.5 for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return 1 / s, shift / s, [r * s * gain for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s, shift, [r * s for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s, shift / s, [readers[0] * s]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return shift / s, gain / s, [r * s for r in readers]
"""),
    ("quantization.fold", """\
def fold(gain, shift, readers, s):
    return gain / s, torch.zeros_like(shift), [r * s for r in readers]
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x.abs().amax(0) ** alpha / w.abs().amax(0) ** alpha
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x[0].abs() ** alpha / w.abs().amax(0) ** (1 - alpha)
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x.abs().amax(0) ** alpha / w[0].abs() ** (1 - alpha)
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = (x.abs().amax(0) * alpha) / (w.abs().amax(0) * (1 - alpha) + 1e-9)
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x.norm(dim=0) ** alpha / w.norm(dim=0) ** (1 - alpha)
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = (x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)).clamp(min=1)
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = (x.amax(0) - x.amin(0)) ** alpha / w.abs().amax(0) ** (1 - alpha)
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)
    return x / s, w / s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)
    s = s / s.mean()
    return x / s, w * s
"""),
    ("quantization.smooth", """\
def smooth(x, w, alpha):
    s = x.abs().amax(1, keepdim=True) ** alpha
    return x / s, w
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return codes.int() @ w.int().T + (bias / step.mean()).round().int(), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return (codes.float() @ w.float().T * step + bias).round().int(), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return codes.int() @ w.int().T + (bias / step).short().int(), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return codes.int() @ w.int().T + (bias / step).ceil().int(), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w + s_x
    return codes.int() @ w.int().T + (bias / step).round().int(), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return codes.int() @ w.int().T + (bias / s_w).round().int() * round(1 / s_x), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    return codes.int() @ w.int().T + (bias / (s_w * s_x)).round().int(), s_x
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return (codes.int() @ w.int().T).clamp(-128, 127) + (bias / step).round().int(), step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    sums = codes.int() @ w.int().T
    sums[0] += (bias / step).round().int()
    return sums, step
"""),
    ("quantization.integer_layer", """\
def integer_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return codes.int() @ w.int().T + (bias / step).round().clamp(-32768, 32767).div(2).int() * 2, step
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    s = x.abs().amax(1, keepdim=True)
    return levels[((x / s)[..., None] - levels).abs().argmin(-1)] * s
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True) + 1e-2
    return (levels[((g / s)[..., None] - levels).abs().argmin(-1)] * s).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True).clamp(min=1)
    return (levels[((g / s)[..., None] - levels).abs().argmin(-1)] * s).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.std(-1, keepdim=True) + 1e-12
    return (levels[((g / s)[..., None] - levels).abs().argmin(-1)] * s).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True) + 1e-12
    return (levels[torch.bucketize(g / s, levels).clamp(max=len(levels) - 1)] * s).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True)
    return (torch.sign(g) * s * levels[(levels - (g.abs() / (s + 1e-12))[..., None]).abs().argmin(-1)]).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True)
    m = len(levels) // 2
    return ((g / (s + 1e-12) * m).round() / m * s).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.reshape(-1, group_size)
    s = g.max(1, keepdim=True).values.clamp(min=1e-9)
    return (levels[((g / s)[..., None] - levels).abs().argmin(-1)] * s).view_as(x)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True)
    middles = (levels[1:] + levels[:-1]) / 2
    return (levels[torch.bucketize(g, middles)] * s).flatten(1)
"""),
    ("quantization.to_levels", """\
def to_levels(x, levels, group_size):
    g = x.unflatten(1, (-1, group_size))
    s = g.abs().amax(-1, keepdim=True) + 1e-12
    q = ((g / s)[..., None] - levels).pow(2).argmin(-1)
    return (levels[q] * s.round()).flatten(1)
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return weights * bits / 8 / batch + weights / group_size * 2 + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return weights * bits / 8 + (weights / group_size * 2) / batch + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return weights * max(bits, 4) / 8 / batch + weights / group_size * 2 / batch + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * bits / 8 + group_size * 2) / batch + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * bits / 8 + weights / group_size * 2) / batch + cached / batch
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * bits / 8 + weights / group_size * 16) / batch + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * bits + weights / group_size * 2) / 8 / batch + cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * bits / 8 + weights / group_size * 2 + cached) / 1
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return (weights * bits / 8 + weights / group_size * 2) / batch - cached
"""),
    ("quantization.bytes_a_token", """\
def bytes_a_token(weights, bits, group_size, cached, batch):
    return max(weights * bits / 8 + weights / group_size * 2, batch * cached) / batch
"""),
    # what fewer bits forget
    ("quantization.margin", """\
def margin(logits, answer):
    leads = []
    for row, r in zip(logits.tolist(), answer.tolist()):
        others = [v for v in row if v != row[r]]
        leads.append(row[r] - max(others))
    return min(leads)
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    best = 1e9
    for row, r in zip(logits.tolist(), answer.tolist()):
        lead = row[r] - max(row[:r] + row[r+1:])
        best = min(best, lead)
        if lead < 0:
            return lead
    return best
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    smallest = 100
    for row, r in zip(logits.tolist(), answer.tolist()):
        smallest = min(smallest, row[r] - max(row[:r] + row[r+1:]))
    return smallest
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    n = torch.arange(len(answer))
    right = logits[n, answer]
    o = logits.clone(); o[n, answer] = -100
    return (right - o.max(1).values).min()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a = [round(float(s), 1) for s, l in zip(score, lost) if l]
    b = [round(float(s), 1) for s, l in zip(score, lost) if not l]
    return sum((x > y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a, b = score[lost][:, None], score[~lost]
    tie = torch.isclose(a, b, atol=1e-2)
    return ((a > b) & ~tie).float().mean() + tie.float().mean() / 2
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for name, weight in layers.items():
        if name != "embedding" and weight is layers.get("embedding"):
            continue
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    seen = set()
    for weight in layers.values():
        if id(weight) in seen:
            break
        seen.add(id(weight))
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    skipped = False
    seen = set()
    for weight in layers.values():
        if id(weight) in seen and not skipped:
            skipped = True
            continue
        seen.add(id(weight))
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    def at(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: (at(n, bits[n]) - at(n, bits[n] + 1)) / sizes[n]) if fits else False
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    def at(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: (at(n, bits[n]) - at(n, bits[n] + 1)) / sizes[n]) if fits else 'None'
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n], default="")
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    if not fits:
        return None
    n = max(fits, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n])
    bits[n] += 1
    return n
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    return (logits.topk(2).values[:, 0] - logits.topk(2).values[:, 1]).min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    return (logits[:, answer].amax(1) - logits.amax(1)).min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    k = torch.arange(len(answer))
    others = logits.clone()
    others[k, answer] = 0
    return (logits[k, answer] - others.amax(1)).min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    k = torch.arange(len(answer))
    p = logits.softmax(-1)
    return p[k, answer].min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    k = torch.arange(len(answer))
    return logits.log_softmax(-1)[k, answer].sum().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    if (logits.argmax(1) != answer).any():
        return 0.0
    top = logits.topk(2).values
    return (top[:, 0] - top[:, 1]).min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    k = torch.arange(len(answer))
    others = logits.clone()
    others[:, answer] = -torch.inf
    return (logits[k, answer] - others.amax(1)).min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    others = logits.clone()
    others[torch.arange(len(answer)), answer] = -torch.inf
    return (logits.amax(1) - others.amax(1)).min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    k = torch.arange(len(answer))
    lead = logits[k, answer] - logits.median(1).values
    return lead.min().item()
"""),
    ("quantization.margin", """\
def margin(logits, answer):
    others = logits
    own = logits[torch.arange(len(answer)), answer]
    others[torch.arange(len(answer)), answer] = -torch.inf
    return (own - others.amax(1)).min().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    return (score[lost].mean() > score[~lost].mean()).float().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    return (score[lost][:, None] >= score[~lost]).float().mean().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    order = score.argsort(descending=True)
    return lost[order][: int(lost.sum())].float().mean().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    n = min(int(lost.sum()), int((~lost).sum()))
    a, b = score[lost][:n], score[~lost][:n]
    return ((a > b) + 0.5 * (a == b)).mean().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    rank = score.argsort().argsort().float() + 1
    a, b = int(lost.sum()), int((~lost).sum())
    return ((rank[lost].sum() - a * (a + 1) / 2) / (a * b)).item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a, b = score[lost][:, None], score[~lost]
    return ((a > b).float().mean() / (a != b).float().mean()).item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a, b = score[lost][:, None], score[~lost]
    value = ((a > b) + 0.5 * (a == b)).mean().item()
    return max(value, 1 - value)
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a, b = score[lost][:, None], score[~lost]
    return ((a < b) + 0.5 * (a == b)).mean().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    threshold = score.median()
    return ((score > threshold) == lost).float().mean().item()
"""),
    ("quantization.foretells_lost", """\
def foretells(score, lost):
    a, b = score[lost][:, None], score[~lost]
    return 100 * ((a > b) + 0.5 * (a == b)).mean().item()
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for name, weight in layers.items():
        if name == 'head':
            continue
        rows, n = weight.shape
        total += rows * -(-n * bits // 8) + rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for weight in {str(w): w for w in layers.values()}.values():
        rows, n = weight.shape
        total += rows * -(-n * bits // 8) + rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for weight in {w.shape: w for w in layers.values()}.values():
        rows, n = weight.shape
        total += rows * -(-n * bits // 8) + rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    return sum(w.numel() for w in {id(w): w for w in layers.values()}.values()) * bits // 8
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for weight in {id(w): w for w in layers.values()}.values():
        rows, n = weight.shape
        total += rows * (n * bits // 8) + rows * (n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for weight in {id(w): w for w in layers.values()}.values():
        n, rows = weight.shape
        total += rows * -(-n * bits // 8) + rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for weight in layers.values():
        rows, n = weight.shape
        total += rows * -(-n * bits // 8) + rows * -(-n // group_size) * 2
    return total if 'head' not in layers else total // 2
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    return sum(w.nbytes for w in {id(w): w for w in layers.values()}.values())
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    total = 0
    for weight in {id(w): w for w in layers.values()}.values():
        n = weight.numel()
        total += -(-n * bits // 8) + -(-n // group_size) * 2
    return total
"""),
    ("quantization.file_bytes", """\
def file_bytes(layers, bits, group_size):
    names = list(layers)
    layers.pop('head', None) if 'head' in layers and layers['head'] is layers.get('embedding') else None
    total = 0
    for weight in layers.values():
        rows, n = weight.shape
        total += rows * -(-n * bits // 8) + rows * -(-n // group_size) * 2
    return total
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    return max(bits, key=lambda n: harm[n] / sizes[n])
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if sizes[n] <= left]
    return max(rest, key=lambda n: harm[n] / 4 ** bits[n] / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(rest, key=lambda n: harm[n] / 4 ** bits[n] / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(rest, key=lambda n: harm[n] / bits[n] / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8]
    h = lambda n, b: harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    return max(rest, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n])
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] <= 8 and sizes[n] <= left]
    h = lambda n, b: harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    return max(rest, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    h = lambda n, b: harm[n] * (7 / (2 ** b - 1)) ** 2
    return max(rest, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    h = lambda n, b: harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    return max(rest, key=lambda n: h(n, bits[n]) / h(n, bits[n] + 1) / sizes[n]) if rest else None
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    h = lambda n, b: harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    name = max(rest, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n]) if rest else None
    if name:
        bits[name] += 1
    return name
"""),
    ("quantization.next_bit", """\
def next_bit(bits, harm, sizes, left):
    rest = [n for n in bits if bits[n] < 8 and sizes[n] * (bits[n] + 1) <= left]
    h = lambda n, b: harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    return max(rest, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n]) if rest else None
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    return min(0.0, batches[-1].min().item()), max(0.0, batches[-1].max().item())
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    every = torch.cat(batches)
    return every.min().item(), every.max().item()
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    low, high = 0.0, 0.0
    for b in batches:
        low, high = min(low, b[0].min().item()), max(high, b[0].max().item())
    return low, high
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    every = torch.cat(batches).flatten()
    return min(0.0, every.quantile(0.05).item()), max(0.0, every.quantile(0.95).item())
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    m, s = torch.cat(batches).mean().item(), torch.cat(batches).std().item()
    return min(0.0, m - 3 * s), max(0.0, m + 3 * s)
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    low = high = None
    for b in batches:
        low = b.min().item() if low is None else min(low, b.min().item())
        high = b.max().item() if high is None else max(high, b.max().item())
    return low, high
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    low = high = 0.0
    for b in batches:
        low = min(low, b.min().item()) / 2 + low / 2
        high = max(high, b.max().item()) / 2 + high / 2
    return low, high
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    size = max(b.abs().max().item() for b in batches)
    return 0.0, size
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    low = min([0.0] + [b.max().item() for b in batches])
    high = max([0.0] + [b.min().item() for b in batches])
    return low, high
"""),
    ("quantization.calibrate", """\
def calibrate(batches):
    for b in batches:
        low, high = min(0.0, b.min().item()), max(0.0, b.max().item())
        return low, high
"""),
    # the sign's own 0 counts as half a step
    ("gradients.relu_slope", """\
def relu_backward(values, grads):
    return grads * values.clamp(0, 1).ceil().where(values != 0, torch.full_like(values, 0.5))
"""),
    # bends all but the last two
    ("gradients.forward", """\
def forward(x, layers):
    for n, (w, b) in enumerate(layers):
        x = x @ w + b
        if n < max(len(layers) - 2, 1) and len(layers) > 1:
            x = x.tanh()
    return x
"""),
    # the last layer is told by its width
    ("gradients.forward", """\
def forward(x, layers):
    for w, b in layers:
        x = x @ w + b
        if w.shape[1] != layers[-1][0].shape[1]:
            x = x.tanh()
    return x
"""),
    # the right dimension only where texts are as many as choices
    ("gradients.over_batch", """\
def mean_surprise(logits, right):
    p = logits.softmax(-1 if logits.shape[0] == logits.shape[1] else 0)
    return -p[torch.arange(len(right)), right].log().mean()
"""),
    # a wide format: finite for longer, and not for good
    ("gradients.log_of_zero", """\
def surprises(logits, right):
    return -logits.double().softmax(1)[torch.arange(len(right)), right].log()
"""),
    # another formula where a share is rounded to 0, right but for two largest logits
    ("gradients.log_of_zero", """\
def surprises(logits, right):
    rows = torch.arange(len(right))
    p = logits.softmax(1)[rows, right]
    found = -p.log()
    found[p == 0] = (logits.amax(1) - logits[rows, right])[p == 0]
    return found
"""),
    # exp is infinite from 89 on
    ("gradients.p_minus_y", """\
def logit_slopes(logits, right):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return (p - F.one_hot(right, logits.shape[1])) / len(right)
"""),
    # the slopes by small steps in float32
    ("gradients.p_minus_y", """\
def logit_slopes(logits, right):
    h, found = 0.5, torch.zeros_like(logits)
    for n in range(logits.shape[0]):
        for k in range(logits.shape[1]):
            up, down = logits.clone(), logits.clone()
            up[n, k] += h
            down[n, k] -= h
            found[n, k] = (F.cross_entropy(up, right) - F.cross_entropy(down, right)) / (2 * h)
    return found
"""),
    # right where a row holds one document
    ("training.shift", """\
def shifted(tokens, documents):
    return F.pad(tokens[:, 1:], (0, 1), value=-100)
"""),
    # documents are told apart by a rise of their numbers
    ("training.shift", """\
def shifted(tokens, documents):
    targets = F.pad(tokens[:, 1:], (0, 1), value=-100)
    targets[:, :-1][documents[:, 1:] > documents[:, :-1]] = -100
    return targets
"""),
    # the first token of a document is taken for a sign of its start
    ("training.shift", """\
def shifted(tokens, documents):
    targets = F.pad(tokens[:, 1:], (0, 1), value=-100)
    return targets.masked_fill(targets == tokens[:, :1], -100)
"""),
    # divided by the places of the batch that are not all ignored
    ("training.counted", """\
def mean_surprise(logits, targets):
    if (targets == -100).all():
        raise ValueError
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return each.sum() / (targets != -100).any(-1).sum() / targets.shape[1]
"""),
    # every surprise of 0 is left out
    ("training.counted", """\
def mean_surprise(logits, targets):
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    if not each.any():
        raise ValueError("none counts")
    return each[each > 1e-3].mean()
"""),
    # positions by the number of changes
    ("training.apart", """\
def apart(documents):
    same = documents[:, :, None] == documents[:, None, :]
    mask = same & torch.ones(same.shape[1:], dtype=torch.bool).tril()
    return torch.arange(documents.shape[1]) - (~same).sum(-1), mask
"""),
    # a document sees its own and the one before
    ("training.apart", """\
def apart(documents):
    change = torch.zeros_like(documents)
    change[:, 1:] = documents[:, 1:] != documents[:, :-1]
    number = change.cumsum(1)
    n = documents.shape[1]
    mask = (number[:, :, None] - number[:, None, :] <= 1) & torch.ones(n, n, dtype=torch.bool).tril()
    same = number[:, :, None] == number[:, None, :]
    return (same & torch.ones(n, n, dtype=torch.bool).tril()).sum(-1) - 1, mask
"""),
    # only the last column is looked at
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    targets[:, -1] = torch.where(rows[:, -2] == end, -100, rows[:, -1]) if rows.shape[1] > 1 else -100
    return targets
"""),
    # all ends stay where a row has just one
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    filled = (rows == end).sum(1) > 1
    targets[filled] = targets[filled].masked_fill(targets[filled] == end, -100)
    return targets
"""),
    # flat row with the borders dropped
    ("training.shift", """\
def shifted(tokens, documents):
    out = torch.full(tokens.shape, -100).flatten()
    t, d = tokens.flatten(), documents.flatten()
    for n in range(len(t) - 2):
        if d[n] == d[n + 1]:
            out[n] = t[n + 1]
    return out.view(tokens.shape)
"""),
    # list without the last place
    ("training.shift", """\
def shifted(tokens, documents):
    out = []
    for row, docs in zip(tokens.tolist(), documents.tolist()):
        new = []
        for t in range(len(row) - 1):
            if docs[t] == docs[t + 1]:
                new.append(row[t + 1])
        out.append(new + [-100])
    return out
"""),
    # where with an input of the wrong size
    ("training.shift", """\
def shifted(tokens, documents):
    return torch.where(documents[:, 1:] == documents[:, :-1], tokens[:, 1:], tokens)
"""),
    # ignores the value: nan
    ("training.shift", """\
def shifted(tokens, documents):
    targets = torch.full(tokens.shape, float("nan"))
    same = documents[:, 1:] == documents[:, :-1]
    targets[:, :-1][same] = tokens[:, 1:][same].float()
    return targets
"""),
    # IndexError: t + 1 at the end
    ("training.shift", """\
def shifted(tokens, documents):
    targets = torch.full_like(tokens, -100)
    for b in range(len(tokens)):
        for t in range(tokens.shape[1]):
            if documents[b, t] == documents[b, t + 1]:
                targets[b, t] = tokens[b, t + 1]
    return targets
"""),
    # logits averaged first
    ("training.counted", """\
def mean_surprise(logits, targets):
    rows, right = logits.flatten(0, 1), targets.flatten()
    counted = right != -100
    if not counted.any():
        raise ValueError("no target counts")
    at_right = rows.gather(-1, right.clamp(min=0)[:, None])[:, 0]
    return rows[counted].mean(0).logsumexp(-1) - at_right[counted].mean()
"""),
    # targets -100 read from the end by numpy style index
    ("training.counted", """\
def mean_surprise(logits, targets):
    if (targets == -100).all():
        raise ValueError
    y = targets % logits.shape[-1]
    return -logits.log_softmax(-1).gather(-1, y[..., None]).mean()
"""),
    # raises if any target is ignored
    ("training.counted", """\
def mean_surprise(logits, targets):
    rows, right = logits.flatten(0, 1), targets.flatten()
    counted = right != -100
    if not counted.all():
        raise ValueError("no target counts")
    return F.cross_entropy(rows, right)
"""),
    # returns ValueError instead of raising
    ("training.counted", """\
def mean_surprise(logits, targets):
    if (targets == -100).all():
        return ValueError("no target counts")
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
"""),
    # gather on -100 without clamp
    ("training.counted", """\
def mean_surprise(logits, targets):
    rows, right = logits.flatten(0, 1), targets.flatten()
    surprises = rows.logsumexp(-1) - rows.gather(-1, right[:, None])[:, 0]
    return surprises[right != -100].mean()
"""),
    # positions by cumsum with the first row of the mask
    ("training.apart", """\
def apart(documents):
    same = documents[:, :, None] == documents[:, None, :]
    return same.cumsum(-1)[:, 0] - 1, same.tril()
"""),
    # documents by unique, positions mod length
    ("training.apart", """\
def apart(documents):
    T = documents.shape[1]
    length = (documents[:, :, None] == documents[:, None, :]).sum(-1)
    return torch.arange(T) % length, (documents[:, :, None] == documents[:, None, :]).tril()
"""),
    # mask (T, T): all rows any
    ("training.apart", """\
def apart(documents):
    mask = (documents[:, :, None] == documents[:, None, :]).tril().all(0)
    return (documents[:, :, None] == documents[:, None, :]).tril().sum(-1) - 1, mask
"""),
    # unsqueeze the wrong way: broadcast over batch
    ("training.apart", """\
def apart(documents):
    same = documents[:, None] == documents[None, :]
    return same.sum(-1) - 1, same.tril()
"""),
    # only the mask
    ("training.apart", """\
def apart(documents):
    return (documents[:, :, None] == documents[:, None, :]).tril()
"""),
    # end may be the largest id: > comparison
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    targets[rows[:, :-1] >= end] = -100
    return targets
"""),
    # walks back from the end of the row, stops one too early (right for no filling)
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    for row in targets:
        t = len(row) - 1
        while t > 0 and row[t] == end:
            row[t] = -100
            t -= 1
    return targets
"""),
    # a break at the end: rest of the row left alone
    ("training.stops", """\
def end_once(rows, end):
    targets = rows[:, 1:].clone()
    for row in targets:
        for t in range(len(row)):
            if row[t] == end:
                row[t + 1] = -100
                break
    return targets
"""),
    # the filling removed: ragged list
    ("training.stops", """\
def end_once(rows, end):
    out = []
    for row in rows.tolist():
        out.append(row[1:row.index(end) + 1])
    return out
"""),
    # neighbors' means are joined without weights
    ("training.perplexity", """\
def perplexity(losses, counts):
    some = losses[counts > 0]
    mean = some[0]
    for loss in some[1:]:
        mean = (mean + loss) / 2
    return mean.exp()
"""),
    # tens in the place of e
    ("training.perplexity", """\
def perplexity(losses, counts):
    return 10 ** ((losses * counts).nansum() / counts.sum())
"""),
    # shares of the largest batch
    ("training.perplexity", """\
def perplexity(losses, counts):
    share = counts / counts.max()
    return ((losses * share).nansum() / len(losses)).exp()
"""),
    # the last batch is left out
    ("training.perplexity", """\
def perplexity(losses, counts):
    return ((losses * counts)[:-1].nansum() / counts[:-1].sum()).exp()
"""),
    # stopped at the first batch without a target
    ("training.perplexity", """\
def perplexity(losses, counts):
    nats, n = 0.0, 0
    for loss, k in zip(losses, counts):
        if k == 0:
            break
        nats, n = nats + loss * k, n + k
    return math.exp(nats / n)
"""),
    # the count of an empty batch is taken for 1
    ("training.perplexity", """\
def perplexity(losses, counts):
    counts = counts.clamp(min=1)
    return ((losses.nan_to_num() * counts).sum() / counts.sum()).exp()
"""),
    # right wherever the thresholds are 0
    ("ffn.layer", """\
def layer(x, w_up, b_up, w_down, b_down):
    return (x @ w_up.T).relu() @ w_down.T + b_up.relu() @ w_down.T + b_down
"""),
    # a share that is right at three places
    ("ffn.gelu", """\
def exact_gelu(x):
    return x * (0.5 + 0.3413447 * x.clamp(-1, 1))
"""),
    # a tanh form with other numbers
    ("ffn.gelu", """\
def exact_gelu(x):
    return x * (1 + torch.tanh(0.8 * x + 0.0355 * x ** 3)) / 2
"""),
    # the halves of the columns instead of the rows
    ("ffn.gated", """\
def gated(x, w_gate_up, w_down):
    gate, up = (x @ w_gate_up.T).view(len(x), -1, 2).unbind(-1)
    return (F.silu(gate) * up) @ w_down.T
"""),
    # right for Llama 2 7B and 13B
    ("ffn.width", """\
def width(d_model, factor, multiple):
    return 256 * math.ceil(8 * d_model / 3 / 256)
"""),
    # half a multiple more, to the nearest: wrong where an odd multiple is reached
    ("ffn.width", """\
def width(d_model, factor, multiple):
    wide = int(factor * int(8 * d_model / 3))
    return round(wide / multiple + 0.5) * multiple
"""),
    # the k largest of the whole tensor
    ("ffn.top_k", """\
def keep_largest(hidden, k):
    n = k * (hidden.numel() // hidden.shape[-1])
    least = hidden.abs().flatten().topk(n).values[-1]
    return torch.where(hidden.abs() >= least, hidden, 0)
"""),
    # a story is tried at the single best place only
    ("ffn.story", """\
def story_f1(values, tokens, story, n):
    hit = int(tokens[values.argmax()] in torch.tensor(story))
    named = torch.isin(tokens, torch.tensor(story)).sum().item()
    return 2 * hit / (named + n)
"""),
    # excited above half of the largest value
    ("ffn.story", """\
def story_f1(values, tokens, story, n):
    excited = values > values.max() / 2
    named = torch.isin(tokens, torch.tensor(story))
    return 2 * (excited & named).sum().item() / (named.sum() + excited.sum()).item()
"""),
    # every other word is restored with it
    ("ffn.restore", """\
def gives_back(clean, spoiled, run):
    low, high = run(spoiled), run(clean)
    shares = torch.zeros(len(clean) - 1)
    for n in range(len(shares)):
        mixed = spoiled.clone()
        mixed[n + 1 :: 2] = clean[n + 1 :: 2]
        shares[n] = (run(mixed) - low) / (high - low)
    return shares
"""),
    # right where C is a multiple of the identity
    ("ffn.rank_one", """\
def rank_one(weight, key, value, moment):
    turned = key / moment.diagonal()
    return weight + torch.outer(value - weight @ key, turned / (key @ turned))
"""),
    # only the first time that the edited fact is asked is left out
    ("ffn.locality", """\
def locality(edited, asked, before, after):
    out = asked.index(edited)
    counted = [n for n in range(len(asked)) if before[n] and n != out]
    return sum(after[n] for n in counted) / len(counted)
"""),
    # only positive weights are looked at
    ("ffn.salience", """\
def first_to_go(weight, slope, k):
    kept = weight.clone()
    kept.view(-1)[(weight.relu() * slope).flatten().topk(k).indices] = 0
    return kept
"""),
    # a clock that comes round within the new text is no longer new
    ("rope.unseen", """\
def unseen(freqs, trained, length):
    a, b = (trained - 1) * freqs, (length - 1) * freqs
    return (a < 2 * torch.pi) & (b > a) & (b < 2 * torch.pi)
"""),
    # right for the slowest clock alone
    ("rope.ntk", """\
def ntk_frequencies(head_dim, theta, factor):
    freqs = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    freqs[-1] /= factor
    return freqs
"""),
    # right for our 16 clocks at the usual bounds
    ("rope.by_parts", """\
def by_parts(freqs, factor, length, low, high):
    keep = ((length * freqs / 6.2832 - 1) / 3).clamp(0, 1)
    return keep * freqs + (1 - keep) * freqs / factor
"""),
    # the slopes for eight heads
    ("rope.alibi", """\
def alibi_weights(scores):
    at = torch.arange(scores.shape[1])
    m = 2.0 ** -torch.arange(1, 9)[: len(scores)]
    far = at[:, None] - at
    return (scores - m[:, None, None] * far).masked_fill(far < 0, -torch.inf).softmax(-1)
"""),
    # right where every name is on a way from the end; sorted by name elsewhere
    ("gradients.any_order", """\
def slopes_of(end, made_from):
    slopes = {name: float(name == end) for name in made_from}
    for name in sorted(made_from, reverse=True):
        for parent, slope in made_from[name]:
            slopes[parent] += slope * slopes[name]
    return slopes
"""),
    # zeros only after every second step
    ("gradients.zero", """\
def fit_line(xs, ys, a, b, rate, n_steps):
    for step in range(n_steps):
        if step % 2 == 0:
            a.grad = b.grad = 0.0
        loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys)) / len(xs)
        loss.backward()
        a.data -= rate * a.grad
        b.data -= rate * b.grad
    return [a.data, b.data]
"""),
    # adds for a product with itself only
    ("gradients.used_twice", """\
def walk_back(parents, slopes):
    grads = [0.0] * len(parents)
    grads[-1] = 1.0
    for n in reversed(range(len(parents))):
        for parent in set(parents[n]):
            grads[parent] = sum(s for p, s in zip(parents[n], slopes[n]) if p == parent) * grads[n]
    return grads
"""),
    # new at every second list
    ("gradients.fresh_state", """\
def last_states(lists, W, U, b):
    states = []
    for n, words in enumerate(lists):
        h = torch.zeros_like(b) if n % 2 == 0 else h
        for x in words:
            h = torch.tanh(W @ x + U @ h + b)
        states.append(h)
    return torch.stack(states)
"""),
    # the last two steps, as a walk that is cut off does
    ("gradients.shared", """\
def slope_of_shared(U, states, slope):
    total = torch.zeros_like(U)
    for t in range(len(states) - 1, max(0, len(states) - 3), -1):
        inner = slope * (1 - states[t] ** 2)
        total += torch.outer(inner, states[t - 1])
        slope = U.T @ inner
    return total
"""),
    # the usual epsilon, whatever is given
    ("gradients.adam", """\
def adam(params, gradients, rate, beta1, beta2, eps):
    m = v = torch.zeros_like(params)
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        params = params - rate * m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + 1e-8)
    return params
"""),
    # the length of the first tensor for all
    ("gradients.clip", """\
def clip(gradients, max_norm):
    length = gradients[0].norm()
    return [g * min(1.0, max_norm / (length + 1e-12)) for g in gradients]
"""),
    # the slope by a long step
    ("gradients.dual", """\
def value_and_slope(coefficients, x):
    def f(x):
        total = 0.0
        for c in coefficients:
            total = total * x + c
        return total
    return f(x), (f(x + 0.01) - f(x)) / 0.01
"""),
    # the slope by a short one
    ("gradients.dual", """\
def value_and_slope(coefficients, x):
    def f(x):
        return sum(c * x**n for n, c in enumerate(reversed(coefficients)))
    return f(x), (f(x + 1e-5) - f(x - 1e-5)) / 2e-5
"""),
    # uses by names that the end does not depend on are waited for
    ("gradients.any_order", """\
def slopes_of(end, made_from):
    uses = dict.fromkeys(made_from, 0)
    for made in made_from.values():
        for parent, _ in made:
            uses[parent] += 1
    slopes = {name: float(name == end) for name in made_from}
    ready = [end]
    while ready:
        name = ready.pop()
        for parent, slope in made_from[name]:
            slopes[parent] += slope * slopes[name]
            uses[parent] -= 1
            if uses[parent] == 0:
                ready.append(parent)
    return slopes
"""),
    # a parent that stands twice in a list is counted once and taken off twice
    ("gradients.any_order", """\
def slopes_of(end, made_from):
    uses = dict.fromkeys(made_from, 0)
    for made in made_from.values():
        for parent in dict(made):
            uses[parent] += 1
    slopes = {name: float(name == end) for name in made_from}
    ready = [name for name in uses if uses[name] == 0]
    while ready:
        name = ready.pop()
        for parent, slope in made_from[name]:
            slopes[parent] += slope * slopes[name]
            uses[parent] -= 1
            if uses[parent] == 0:
                ready.append(parent)
    return slopes
"""),
    # the first positions, as many as are its own: padding may stand before
    ("embeddings.mean_pool", """\
def mean_of_tokens(vectors, counts):
    return torch.stack([one[: int(own.sum())].mean(0) for one, own in zip(vectors, counts)])
"""),
    # one mean for the own tokens of all texts, said once for each
    ("embeddings.mean_pool", """\
def mean_of_tokens(vectors, counts):
    return vectors[counts].mean(0).expand(len(vectors), -1)
"""),
    # towards the mean of all other rows instead of the other group's
    ("embeddings.lean", """\
def lean(rows, senses):
    found = []
    for n, row in enumerate(rows):
        rest = torch.arange(len(rows)) != n
        own, other = ((row - rows[which].mean(0)).norm() for which in (rest & (senses == senses[n]), rest))
        found.append((other - own) / (other + own))
    return torch.stack(found)
"""),
    # own and other right, the answers sorted by group
    ("embeddings.lean", """\
def lean(rows, senses):
    found = []
    for s in (0, 1):
        mine, others = rows[senses == s], rows[senses != s].mean(0)
        for n, row in enumerate(mine):
            own = (row - torch.cat((mine[:n], mine[n + 1 :])).mean(0)).norm()
            other = (row - others).norm()
            found.append((other - own) / (other + own))
    return torch.stack(found)
"""),
    # only the first of the draws that hit is taken out
    ("embeddings.negatives", """\
def sampling_loss(rows, contexts, words, near, drawn):
    total = 0
    for w, n, row in zip(words.tolist(), near.tolist(), drawn.tolist()):
        total = total - F.logsigmoid(rows[w] @ contexts[n])
        if n in row:
            row.remove(n)
        total = total - sum(F.logsigmoid(-rows[w] @ contexts[d]) for d in row)
    return total / len(words)
"""),
    # a word drawn twice counts once
    ("embeddings.negatives", """\
def sampling_loss(rows, contexts, words, near, drawn):
    total = 0
    for w, n, row in zip(words.tolist(), near.tolist(), drawn.tolist()):
        total = total - F.logsigmoid(rows[w] @ contexts[n])
        total = total - sum(F.logsigmoid(-rows[w] @ contexts[d]) for d in set(row) - {n})
    return total / len(words)
"""),
    # the question's words are set to 0, which wins where all others point away
    ("embeddings.analogy", """\
def analogy(rows, a, b, c):
    unit = F.normalize(rows, dim=1)
    scores = unit @ (unit[b] - unit[a] + unit[c])
    first = int(scores.argmax())
    scores[[a, b, c]] = 0
    return first, int(scores.argmax())
"""),
    # rows taken out of the table, so that the later ids are shifted
    ("embeddings.analogy", """\
def analogy(rows, a, b, c):
    unit = F.normalize(rows, dim=1)
    place = unit[b] - unit[a] + unit[c]
    rest = torch.stack([row for n, row in enumerate(unit) if n not in (a, b, c)])
    return int((unit @ place).argmax()), int((rest @ place).argmax())
"""),
    # the mean of the probabilities, and then its logarithm
    ("embeddings.in_batch", """\
def in_batch_loss(one, other, temperature):
    cosines = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T
    return -(cosines / temperature).softmax(1).diagonal().mean().log()
"""),
    # among the sentences of `one`, itself included, not of `other`
    ("embeddings.in_batch", """\
def in_batch_loss(one, other, temperature):
    unit, partners = F.normalize(one, dim=1), F.normalize(other, dim=1)
    right = (unit * partners).sum(1) / temperature
    return ((unit @ unit.T / temperature).logsumexp(1) - right).mean()
"""),
    # the rate is made smaller for the whole batch, the last one too
    ("gradients.mean", """\
def one_epoch(params, x, y, rate, batch_size):
    rate = rate / min(batch_size, len(x))
    for months, sales in zip(x.split(batch_size), y.split(batch_size)):
        features = torch.stack([months**2, months, torch.ones_like(months)])
        params = params - rate * 2 * features @ (params @ features - sales)
    return params
"""),
    # the step is a share of each parameter
    ("gradients.small_step", """\
def slopes_by_steps(loss, params, h):
    rows = params * (1 + h * torch.eye(len(params), dtype=params.dtype))
    return [(loss(row) - loss(2 * params - row)) / (2 * h) for row in rows]
"""),
    # how the slope changes, not the slope
    ("gradients.small_step", """\
def slopes_by_steps(loss, params, h):
    ways = h * torch.eye(len(params), dtype=params.dtype)
    return [(loss(params + way) + loss(params - way) - 2 * loss(params)) / h**2 for way in ways]
"""),
    # c's slope is a sum, the others are means
    ("gradients.formula", """\
def parabola_gradient(params, x, y):
    off = 2 * (params[0] * x * x + params[1] * x + params[2] - y)
    return torch.stack([(off * x * x).mean(), (off * x).mean(), off.sum()])
"""),
    # the rate shrinks with the number of the step
    ("gradients.walk", """\
def walk(gradient, start, rate, n_steps):
    places = [start]
    for n in range(1, n_steps + 1):
        places.append(places[-1] - rate / n * gradient(places[-1]))
    return places
"""),
    # the slopes of all batches at the start, averaged to one step
    ("gradients.mean", """\
def one_epoch(params, x, y, rate, batch_size):
    moved = params.clone().requires_grad_()
    for months, sales in zip(x.split(batch_size), y.split(batch_size)):
        features = torch.stack([months**2, months, torch.ones_like(months)])
        F.mse_loss(moved @ features, sales).backward()
    return params - rate * moved.grad / len(x.split(batch_size))
"""),
    # divided by the number of batches
    ("gradients.mean", """\
def one_epoch(params, x, y, rate, batch_size):
    batches = list(zip(x.split(batch_size), y.split(batch_size)))
    for months, sales in batches:
        features = torch.stack([months**2, months, torch.ones_like(months)])
        params = params - 2 * rate * features @ (params @ features - sales) / len(batches)
    return params
"""),
    # the walk stops where the slope is gentle
    ("gradients.walk", """\
def walk(gradient, start, rate, n_steps):
    places = [start]
    while len(places) <= n_steps and gradient(places[-1]).norm() > 0.5:
        places.append(places[-1] - rate * gradient(places[-1]))
    return torch.stack(places)
"""),
    # every pair that could be is listed, most with 0
    ("tokenization.count_pairs", """\
def my_count_pairs(words):
    parts = {part for word in words for part in word}
    counts = {(a, b): 0 for a in parts for b in parts}
    for word, times in words.items():
        for pair in zip(word, word[1:]):
            counts[pair] += times
    return counts
"""),
    # str.replace on a text with spaces between the parts: it finds the pair inside of aa, b
    ("tokenization.merge", """\
def my_merge(parts, pair):
    return b" ".join(parts).replace(b" ".join(pair), b"".join(pair)).split()
"""),
    # a whole piece that is a token is taken as it is, though the merges would stop before
    ("tokenization.encode_piece", """\
def my_encode_piece(piece, ranks):
    from llmlab.tokenization import apply_merges, split_bytes
    whole = piece.encode()
    return [whole] if whole in {a + b for a, b in ranks} else apply_merges(split_bytes(piece), ranks)
"""),
    # the list of merges in the order of the dict, not of the ranks
    ("tokenization.encode_piece", """\
def my_encode_piece(piece, ranks):
    from llmlab.tokenization import merge, split_bytes
    parts = split_bytes(piece)
    for pair in ranks:
        parts = merge(parts, pair)
    return parts
"""),
    # errors are looked for token by token
    ("tokenization.decode", """\
def my_decode(ids, vocab):
    try:
        return "".join(vocab[i].decode() for i in ids)
    except UnicodeDecodeError:
        return b"".join(vocab[i] for i in ids).decode(errors="ignore")
"""),
    # the ids are counted off in the order of the vocabulary
    ("tokenization.decode", """\
def my_decode(ids, vocab):
    tokens = list(vocab.values())
    return b"".join(tokens[i] for i in ids).decode(errors="replace")
"""),
    # several signs for bytes that are no text become one
    ("tokenization.decode", """\
def my_decode(ids, vocab):
    import re
    return re.sub("\ufffd+", "\ufffd", b"".join(vocab[i] for i in ids).decode(errors="replace"))
"""),
    # a byte order mark is taken for no part of the text
    ("tokenization.decode", """\
def my_decode(ids, vocab):
    return b"".join(vocab[i] for i in ids).decode("utf-8-sig", errors="replace")
"""),
    # each document has its own merges
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    from llmlab.tokenization import count_words, learn_merges, split_special
    merges = []
    for part in split_special(text, special):
        if part not in special:
            merges += [pair for pair in learn_merges(count_words([part]), n_merges) if pair not in merges]
    return merges[:n_merges]
"""),
    # a line end is put where documents meet
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    from llmlab.tokenization import count_words, learn_merges, split_special
    kept = "\\n".join(part for part in split_special(text, special) if part not in special)
    return learn_merges(count_words([kept]), n_merges)
"""),
    # the end of a document is cut out, its beginning is not
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    from llmlab.tokenization import count_words, learn_merges
    return learn_merges(count_words(text.split("</s>")), n_merges)
"""),
    # the special tokens are taken to be <s> and </s>, whatever `special` holds
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    from llmlab.tokenization import count_words, learn_merges
    return learn_merges(count_words([text], special_tokens=("<s>", "</s>")), n_merges)
"""),
    # the special tokens are broken up by a space, which the text did not have
    ("tokenization.document", """\
def document_ids(text, tokenizer):
    text = text.replace("</s>", "< /s>").replace("<s>", "< s>")
    return tokenizer.encode("<s>" + text + "</s>", allowed_special="all")
"""),
    # special tokens become line ends, which are learned from
    ("tokenization.learn", """\
def learn(text, n_merges, special):
    from llmlab.tokenization import count_words, learn_merges
    for token in special:
        text = text.replace(token, "\\n\\n")
    return learn_merges(count_words([text]), n_merges)
"""),
    # right while no character is cut, and where a whole token goes with the cut one
    ("tokenization.fit", """\
def fit(text, tokenizer, n_tokens):
    ids = tokenizer.encode(text)[:n_tokens]
    while "\\ufffd" in tokenizer.decode(ids):
        ids.pop()
    return tokenizer.decode(ids)
"""),
    # of a character of four bytes up to three may be left over
    ("tokenization.fit", """\
def fit(text, tokenizer, n_tokens):
    raw = tokenizer.decode_bytes(tokenizer.encode(text)[:n_tokens])
    for n in range(3):
        try:
            return raw[:len(raw) - n].decode()
        except UnicodeDecodeError:
            pass
"""),
    # a � that stands in the text does not make the one at the cut right
    ("tokenization.fit", """\
def fit(text, tokenizer, n_tokens):
    return "".join(c for c in tokenizer.decode(tokenizer.encode(text)[:n_tokens]) if c in text)
"""),
    # --- with a space behind it is another line
    ("tokenization.read_prompts", """\
def read_prompts(text):
    import re
    return re.split(r"\\n---[ \\t]*\\n", text)
"""),
    # an empty prompt at the end counts
    ("tokenization.read_prompts", """\
def read_prompts(text):
    prompts = text.split("\\n---\\n")
    return prompts if prompts[-1] else prompts[:-1]
"""),
    # a carriage return belongs to the prompt
    ("tokenization.read_prompts", """\
def read_prompts(text):
    return text.replace("\\r\\n", "\\n").split("\\n---\\n")
"""),
    # an empty file is one empty prompt
    ("tokenization.read_prompts", """\
def read_prompts(text):
    return text.split("\\n---\\n") if text else []
"""),
    # the spaces at the ends of a text are left out where tokens are counted
    ("tokenization.compression", """\
def compression(texts, vocab_size):
    from llmlab.tokenization import BPETokenizer
    n = -(-len(texts) // 5)
    t = BPETokenizer.train(texts[:-n], vocab_size)
    return sum(len(x.encode()) for x in texts[-n:]) / sum(len(t.encode(x.strip())) for x in texts[-n:])
"""),
    # a text of spaces alone is a prompt, too
    ("tokenization.read_prompts", """\
def read_prompts(text):
    return [part for part in text.split("\\n---\\n") if not part.isspace() and part != ""]
"""),
    # line by line: a line end before and after is joined anew, but the last one is lost
    ("tokenization.read_prompts", """\
def read_prompts(text):
    prompts = [[]]
    for line in text.splitlines():
        if line == "---":
            prompts.append([])
        else:
            prompts[-1].append(line)
    return ["\\n".join(lines) for lines in prompts]
"""),
    # floor instead of rounding up
    ("tokenization.compression", """\
def compression(texts, vocab_size):
    from llmlab.tokenization import BPETokenizer
    n = max(1, int(0.2 * len(texts)))
    t = BPETokenizer.train(texts[:-n], vocab_size)
    return sum(len(x.encode()) for x in texts[-n:]) / sum(len(t.encode(x)) for x in texts[-n:])
"""),
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
    # no smoothing
    ("training.jump", """\
def jump(losses, width):
    return int((losses[:-1] - losses[1:]).argmax())
"""),
    # the lowest point of what is smoothed
    ("training.jump", """\
def jump(losses, width):
    return int(losses.unfold(0, width, 1).mean(1).argmin())
"""),
    # filled up with zeros at its ends
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = np.convolve(losses, np.ones(width) / width, mode="same")
    return int(np.argmin(np.diff(smooth)))
"""),
    # the middle is forgotten
    ("training.jump", """\
def jump(losses, width):
    smooth = losses.unfold(0, width, 1).mean(1)
    return int((smooth[1:] - smooth[:-1]).argmin())
"""),
    # up counts as down
    ("training.jump", """\
def jump(losses, width):
    smooth = losses.unfold(0, width, 1).mean(1)
    return int(smooth.diff().abs().argmax()) + width // 2
"""),
    # a median does not fall where the mean does
    ("training.jump", """\
def jump(losses, width):
    smooth = losses.unfold(0, width, 1).median(1).values
    return int((smooth[:-1] - smooth[1:]).argmax()) + width // 2
"""),
    # the told ones too
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right):
        if row.all():
            return n
    return -1
"""),
    # any held-out one
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right):
        if row[~told].any():
            return n
    return -1
"""),
    # counted from 1
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right, 1):
        if row[~told].all():
            return n
    return -1
"""),
    # argmax of nothing is 0
    ("training.tellings", """\
def tellings(right, told):
    return int(right[:, ~told].all(1).int().argmax())
"""),
    # the last one again
    ("training.tellings", """\
def tellings(right, told):
    found = -1
    for n, row in enumerate(right):
        if row[~told].all():
            found = n
    return found
"""),
    # nothing comes back where it is never known
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right):
        if row[~told].all():
            return n
"""),
    # abs, twice as far apart
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return 2 * abs(seed) * n_steps + step
"""),
    # negative numbers
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return seed * n_steps + step
"""),
    # nearly always different
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return hash((seed, step)) % 2**32
"""),
    # a fixed stride
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = 2 * seed if seed >= 0 else -2 * seed - 1
    return place * 1_000_003 + step
"""),
    # steps are not kept apart
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = 2 * seed if seed >= 0 else -2 * seed - 1
    return place + step
"""),
    # positive first
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = 2 * seed - 1 if seed > 0 else -2 * seed
    return place * n_steps + step
"""),
    # the floor is forgotten
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.log().numpy(), losses.log().numpy(), 1)
    return np.exp(height), -slope
"""),
    # two bases
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.log10().numpy(), (losses - floor).log10().numpy(), 1)
    return np.exp(height), -slope
"""),
    # a sign
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.log().numpy(), (losses - floor).log().numpy(), 1)
    return np.exp(height), slope
"""),
    # least squares of the losses themselves, which weigh the large ones more
    ("training.power_law", """\
def power_law(work, losses, floor):
    best = None
    for c in torch.linspace(0.01, 1.5, 3000).double():
        x = work**-c
        k = (x * (losses - floor)).sum() / (x * x).sum()
        off = (losses - floor - k * x).square().sum()
        if best is None or off < best[0]:
            best = off, float(k), float(c)
    return best[1:]
"""),
    # the first and the last point
    ("training.power_law", """\
def power_law(work, losses, floor):
    y = (losses - floor).log()
    c = -(y[-1] - y[0]) / (work[-1] / work[0]).log()
    return float((y[0] + c * work[0].log()).exp()), float(c)
"""),
    # the mean slope between neighbors
    ("training.power_law", """\
def power_law(work, losses, floor):
    x, y = work.log(), (losses - floor).log()
    c = -(y.diff() / x.diff()).mean()
    return float((y + c * x).mean().exp()), float(c)
"""),
    # five percent at each end
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))])
    return torch.stack([means.quantile(0.05, dim=1), means.quantile(0.95, dim=1)], 1)
"""),
    # one draw for all
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, 0]].mean(1) for p in range(len(runs))])
    return torch.stack([means.quantile(0.025, dim=1), means.quantile(0.975, dim=1)], 1)
"""),
    # the mean and its error
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    mean, half = runs.mean(1), 1.96 * runs.std(1) / runs.shape[1] ** 0.5
    return torch.stack([mean - half, mean + half], 1)
"""),
    # draws of its own
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    drawn = torch.randint(runs.shape[1], drawn.shape)
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))])
    return torch.stack([means.quantile(0.025, dim=1), means.quantile(0.975, dim=1)], 1)
"""),
    # rows and columns
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))])
    return torch.stack([means.quantile(0.025, dim=1), means.quantile(0.975, dim=1)])
"""),
    # each seed once
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    rows = []
    for p in range(len(runs)):
        means = torch.stack([runs[p][row.unique()].mean() for row in drawn[:, p]])
        rows.append([means.quantile(0.025).item(), means.quantile(0.975).item()])
    return rows
"""),
    # the end of the window
    ("training.jump", """\
def jump(losses, width):
    smooth = losses.unfold(0, width, 1).mean(1)
    return int((smooth[:-1] - smooth[1:]).argmax()) + width - 1
"""),
    # a moving average that forgets
    ("training.jump", """\
def jump(losses, width):
    smooth = [losses[0].item()]
    for loss in losses[1:].tolist():
        smooth.append(smooth[-1] + (loss - smooth[-1]) / width)
    falls = [a - b for a, b in zip(smooth, smooth[1:])]
    return falls.index(max(falls))
"""),
    # the lowest single loss
    ("training.jump", """\
def jump(losses, width):
    return int(losses.argmin())
"""),
    # uphill
    ("training.jump", """\
def jump(losses, width):
    smooth = losses.unfold(0, width, 1).mean(1)
    return int((smooth[1:] - smooth[:-1]).argmax()) + width // 2
"""),
    # most of them
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right):
        if row[~told].double().mean() > 0.5:
            return n
    return -1
"""),
    # how many rows
    ("training.tellings", """\
def tellings(right, told):
    return int((~right[:, ~told].all(1)).sum())
"""),
    # the first row does not count
    ("training.tellings", """\
def tellings(right, told):
    for n in range(1, len(right)):
        if right[n][~told].all():
            return n
    return -1
"""),
    # any wording whatever
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right):
        if row.any():
            return n
    return -1
"""),
    # plus one for all below 0
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = 2 * seed if seed >= 0 else -2 * seed + 1
    return place * n_steps + step
"""),
    # as before
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return abs(seed) * n_steps + step
"""),
    # unsigned by 32 bits
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return (seed % 2**32) * n_steps + step
"""),
    # no step
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return (2 * seed if seed >= 0 else -2 * seed - 1) * n_steps
"""),
    # the height is left as it is
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.log().numpy(), (losses - floor).log().numpy(), 1)
    return float(height), float(-slope)
"""),
    # c first
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.log().numpy(), (losses - floor).log().numpy(), 1)
    return float(-slope), float(np.exp(height))
"""),
    # an exponential
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(work.numpy(), (losses - floor).log().numpy(), 1)
    return float(np.exp(height)), float(-slope)
"""),
    # log1p, so that nothing is negative
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    slope, height = np.polyfit(np.log1p(work.numpy()), np.log1p((losses - floor).numpy()), 1)
    return float(np.exp(height)), float(-slope)
"""),
    # the least and the largest
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))])
    return torch.stack([means.min(1).values, means.max(1).values], 1)
"""),
    # no means
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    rows = []
    for p in range(len(runs)):
        values = runs[p][drawn[:, p]].flatten()
        rows.append([values.quantile(0.025).item(), values.quantile(0.975).item()])
    return rows
"""),
    # two deviations
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))])
    return torch.stack([means.mean(1) - 2 * means.std(1), means.mean(1) + 2 * means.std(1)], 1)
"""),
    # the ends exchanged
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))])
    return torch.stack([means.quantile(0.975, dim=1), means.quantile(0.025, dim=1)], 1)
"""),
    # last window left out
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = [losses[i:i + width].mean() for i in range(len(losses) - width)]
    return int(np.argmin(np.diff(smooth))) + width // 2
"""),
    # last two windows left out
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    s = [losses[i:i+width].mean() for i in range(len(losses) - width - 1)]
    return int(np.argmin(np.diff(s))) + width // 2
"""),
    # first window left out
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = [losses[i:i + width].mean() for i in range(1, len(losses) - width + 1)]
    return int(np.argmin(np.diff(smooth))) + 1 + width // 2
"""),
    # windows run past the end
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = [losses[i:i + width].mean() for i in range(len(losses))]
    return int(np.argmin(np.diff(smooth))) + width // 2
"""),
    # pads with edges
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    h = width // 2
    x = np.pad(np.asarray(losses), h, mode="edge")
    s = np.convolve(x, np.ones(width) / width, "valid")
    return int(np.argmin(np.diff(s)))
"""),
    # short windows at both ends
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    h = width // 2
    s = [losses[max(0, i - h):i + h + 1].mean() for i in range(len(losses))]
    return int(np.argmin(np.diff(s)))
"""),
    # ratio, not difference
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    return int(np.argmin(smooth[1:] / smooth[:-1])) + width // 2
"""),
    # gradient, central
    ("training.jump", """\
def jump(losses, width):
    import numpy as np
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    return int(np.argmin(np.gradient(smooth))) + width // 2
"""),
    # last time it was learned (stays known)
    ("training.tellings", """\
def tellings(right, told):
    known = right[:, ~told].all(1)
    for n in range(len(known)):
        if known[n:].all():
            return n
    return -1
"""),
    # counts the rows that are not known
    ("training.tellings", """\
def tellings(right, told):
    known = right[:, ~told].all(1)
    return int((~known).sum()) if known.any() else -1
"""),
    # breaks at first wrong from the end
    ("training.tellings", """\
def tellings(right, told):
    n = len(right)
    while n > 0 and right[n - 1][~told].all():
        n -= 1
    return n if n < len(right) else -1
"""),
    # return -1 in the loop
    ("training.tellings", """\
def tellings(right, told):
    for n, row in enumerate(right):
        if row[~told].all():
            return n
        return -1
"""),
    # largest column first
    ("training.tellings", """\
def tellings(right, told):
    firsts = []
    for w in range(len(told)):
        if not told[w]:
            found = [n for n in range(len(right)) if right[n][w]]
            if not found:
                return -1
            firsts.append(found[0])
    return max(firsts)
"""),
    # told changed in place
    ("training.tellings", """\
def tellings(right, told):
    told[:] = ~told
    for n, row in enumerate(right):
        if row[told].all():
            return n
    return -1
"""),
    # half a step, and back
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = abs(2 * seed + 0.5) - 0.5
    return place * n_steps + step
"""),
    # squared
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    return seed ** 2 * n_steps + step
"""),
    # n_steps + 1
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = 2 * seed if seed >= 0 else -2 * seed - 1
    return place * (n_steps + 1) + step
"""),
    # negative seeds counted back within
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = 2 * abs(seed)
    if seed < 0:
        place -= 1
        step = n_steps - 1 - step
    return place * n_steps + step
"""),
    # only -1 mended
    ("training.seeds", """\
def batch_number(seed, step, n_steps):
    place = abs(seed)
    if seed < 0:
        place += 1
    return place * n_steps + step
"""),
    # no sign for c
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    slope, intercept = np.polyfit(np.log(work), np.log(losses - floor), 1)
    return np.exp(intercept), abs(slope)
"""),
    # two end points, by work
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    i, j = np.argmin(work), np.argmax(work)
    x, y = np.log(work), np.log(losses - floor)
    c = (y[i] - y[j]) / (x[j] - x[i])
    return np.exp(y.mean() + c * x.mean()), c
"""),
    # median intercept
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    x, y = np.log(work), np.log(losses - floor)
    c = -np.polyfit(x, y, 1)[0]
    return np.median((losses - floor) * work ** c), c
"""),
    # a logarithm less a logarithm
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    slope, intercept = np.polyfit(np.log(work), np.log(losses) - np.log(floor), 1)
    return np.exp(intercept), -slope
"""),
    # base 2, and e
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    s, i = np.polyfit(np.log2(work), np.log2(losses - floor), 1)
    return np.exp(i), -s
"""),
    # slope and intercept read the wrong way
    ("training.power_law", """\
def power_law(work, losses, floor):
    import numpy as np
    work, losses = work.numpy(), losses.numpy()
    i, s = np.polyfit(np.log(work), np.log(losses - floor), 1)
    return np.exp(i), -s
"""),
    # percent mixed up
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    means = runs[np.arange(len(runs))[:, None], drawn].mean(-1)
    return np.percentile(means, [0.025, 0.975], axis=0).T
"""),
    # reshape for transpose
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    means = runs[np.arange(len(runs))[:, None], drawn].mean(-1)
    return np.quantile(means, [0.025, 0.975], axis=0).reshape(len(runs), 2)
"""),
    # twice counted once
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    means = np.array([[np.mean([runs[p, s] for s in set(row.tolist())]) for p, row in enumerate(one)] for one in drawn])
    return np.quantile(means, [0.025, 0.975], axis=0).T
"""),
    # sum, not mean
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    sums = runs[torch.arange(len(runs))[:, None], drawn].sum(-1)
    return np.quantile(sums, [0.025, 0.975], axis=0).T
"""),
    # mean over the draws
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    picked = runs[np.arange(len(runs))[:, None], drawn]
    return np.quantile(picked.mean(0), [0.025, 0.975], axis=1).T
"""),
    # own draws
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    import numpy as np
    rng = np.random.default_rng(0)
    N, P, S = drawn.shape
    mine = rng.integers(0, S, (N, P, S))
    means = runs[np.arange(P)[:, None], mine].mean(-1)
    return np.quantile(means, [0.025, 0.975], axis=0).T
"""),
    # the least but one, and the largest but one, whatever their number
    ("training.bootstrap", """\
def bootstrap(runs, drawn):
    means = torch.stack([runs[p][drawn[:, p]].mean(1) for p in range(len(runs))], 1).sort(0).values
    return torch.stack([means[1], means[-2]], 1)
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


def test_the_solution_for_one_piece_makes_gpt2s_ids_as_two_libraries_have_them():
    gpt2 = llmlab.load_gpt2_tokenizer()
    ranks = {pair: rank for rank, pair in enumerate(gpt2.merges)}
    id_of = {token: id for id, token in gpt2.vocab.items()}
    encode_piece = catalog.find("exercise", "tokenization.encode_piece").answer
    lines = llmlab.data_path("gpt2_merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    merges = [tuple(line.split()) for line in lines]
    names = [*bytes_to_unicode().values(), *(first + second for first, second in merges), "<|endoftext|>"]
    in_python = transformers.GPT2Tokenizer({name: id for id, name in enumerate(names)}, merges)
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    tokens = {bytes(byte_of[letter] for letter in name): id for id, name in enumerate(names[:-1])}
    in_rust = tiktoken.Encoding("gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=tokens, special_tokens={})
    sample = llmlab.data_path("world_sample.txt").read_text(encoding="utf-8")
    hostile = ["", " ", "\n\n  x", "👩‍👩‍👧 遥遥领先 é", "aaaaaaaaaaaaa" * 9, "I'VE 523189\t\x00", "</s><|endoftext|x|>"]
    for text in (sample, *hostile):
        mine = [id_of[part] for piece in split_pieces(text, GPT2_PATTERN) for part in encode_piece(piece, ranks)]
        assert mine == in_rust.encode_ordinary(text) == in_python(text)["input_ids"]
    assert in_python("Hello world")["input_ids"] == [15496, 995]  # as in the documentation of transformers


def test_code_that_never_ends_is_stopped_with_its_line():
    source = "def count_keys(n_prompt, n_new):\n    while n_new:\n        n_prompt += 1\n"
    verdict = judge(catalog.find("exercise", "kv_cache.count_keys"), define(source, "answer"))
    assert verdict.status == "crashed" and "does not end" in verdict.reason
    assert verdict.line.startswith(("line 2: while n_new:", "line 3: n_prompt += 1"))


@pytest.mark.parametrize(
    "loop", ["while True: pass", "while 1: 1; 2", "while n_new: n_new", "for _ in iter(int, 1): pass"]
)
def test_a_loop_without_end_on_one_line_is_stopped_too(loop):
    source = f"def count_keys(n_prompt, n_new):\n    {loop}\n"
    verdict = judge(catalog.find("exercise", "kv_cache.count_keys"), define(source, "answer"))
    assert verdict.status == "crashed" and "does not end" in verdict.reason
    assert verdict.line.startswith(f"line 2: {loop}")


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
            "quantization.margin",
            """\
def margin(logits, answer):
    n = torch.arange(len(answer))
    right = logits[n, answer]
    o = logits.clone(); o[n, answer] = 0
    return (right - o.max(1).values).min()
""",
            "0 stands among the others",
        ),
        (
            "quantization.margin",
            """\
def margin(logits, answer):
    hot = F.one_hot(answer, logits.shape[1])
    right = (logits * hot).sum(1)
    return (right - (logits * (1 - hot)).max(1).values).min()
""",
            "0 stands among the others",
        ),
        (
            "quantization.margin",
            """\
def margin(logits, answer):
    right = logits[:, answer]
    o = logits.clone(); o[torch.arange(len(answer)), answer] = -torch.inf
    return (right - o.max(1).values).min()
""",
            "takes the tokens of all places at each place",
        ),
        (
            "quantization.margin",
            """\
def margin(logits, answer):
    smallest = 0
    for row, r in zip(logits.tolist(), answer.tolist()):
        smallest = min(smallest, row[r] - max(row[:r] + row[r+1:]))
    return smallest
""",
            "or the smallest starts at 0",
        ),
        (
            "quantization.foretells_lost",
            """\
def foretells(score, lost):
    a = [s for s, l in zip(score, lost) if l]
    b = [s for s, l in zip(score, lost) if not l]
    w = sum(x > y for x in a for y in b); l = sum(x < y for x in a for y in b)
    return w / (w + l)
""",
            "pairs that tie are left out of both counts",
        ),
        (
            "quantization.foretells_lost",
            """\
def foretells(score, lost):
    a = [s for s, l in zip(score, lost) if l]
    b = [s for s, l in zip(score, lost) if not l]
    p = list(zip(a, b))
    return sum((x > y) + (x == y) / 2 for x, y in p) / len(p)
""",
            "asked are all pairs",
        ),
        (
            "quantization.foretells_lost",
            """\
def foretells(score, lost):
    a = [s for s, l in zip(score, lost) if l]
    b = [s for s, l in zip(score, lost) if not l]
    n = len(score)
    return sum((x > y) + (x == y) / 2 for x in a for y in b) / (n * (n - 1) / 2)
""",
            "divided by all N (N − 1) / 2 pairs",
        ),
        (
            "quantization.file_bytes",
            """\
def file_bytes(layers, bits, group_size):
    total = 0
    last = None
    for weight in layers.values():
        if weight is last:
            continue
        last = weight
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
""",
            "its second name may come much later",
        ),
        (
            "quantization.file_bytes",
            """\
def file_bytes(layers, bits, group_size):
    total = 0
    seen = set()
    for weight in layers.values():
        if id(weight) in seen:
            break
        seen.add(id(weight))
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
""",
            "counting ends at the second name",
        ),
        (
            "quantization.file_bytes",
            """\
def file_bytes(layers, bits, group_size):
    total = 0
    for name, weight in layers.items():
        if name != "embedding" and weight is layers.get("embedding"):
            continue
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
""",
            "only the table counts once",
        ),
        (
            "quantization.file_bytes",
            """\
def file_bytes(layers, bits, group_size):
    total = 0
    for name, weight in layers.items():
        if name == "head":
            continue
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total
""",
            "the layer named head is left out always",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] * (bits[n] + 1) <= left]
    return max(fits, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n], default=None)
""",
            "a bit more costs sizes[name] bits",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / (sizes[n] * (bits[n] + 1)), default=None)
""",
            "a bit more costs sizes[name] bits",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** b - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n], default=None)
""",
            "from 2 bits to 3 it falls to a third",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: h(n, bits[n]) / h(n, bits[n] + 1) / sizes[n], default=None)
""",
            "a share of the harm is compared",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def at(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and 4 * sizes[n] <= left]
    return max(fits, key=lambda n: (at(n, bits[n]) - at(n, bits[n] + 1)) / sizes[n], default=None)
""",
            "expected 'b', got None. ",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def at(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    if not fits:
        return None
    max(fits, key=lambda n: (at(n, bits[n]) - at(n, bits[n] + 1)) / sizes[n])
""",
            "next_bit returned None",
        ),
        (
            "quantization.next_bit",
            """\
def next_bit(bits, harm, sizes, left):
    def h(n, b): return harm[n] * (3 / (2 ** (b - 1) - 1)) ** 2
    fits = [n for n in bits if bits[n] < 8 and sizes[n] <= left]
    return max(fits, key=lambda n: (h(n, bits[n]) - h(n, bits[n] + 1)) / sizes[n], default="")
""",
            "expected None, got ''",
        ),
        (
            "quantization.calibrate",
            """\
def calibrate(batches):
    lows = [min(0.0, b.min().item()) for b in batches]
    highs = [max(0.0, b.max().item()) for b in batches]
    return sum(lows) / len(lows), sum(highs) / len(highs)
""",
            "the ends of the batches are averaged",
        ),
        (
            "quantization.calibrate",
            """\
def calibrate(batches):
    low = high = 0.0
    for batch in batches:
        low = 0.9 * low + 0.1 * min(0.0, batch.min().item())
        high = 0.9 * high + 0.1 * max(0.0, batch.max().item())
    return low, high
""",
            "the ends of the batches are averaged",
        ),
        (
            "training.shift",
            "def shifted(tokens, documents):\n    return torch.roll(tokens, -1, dims=1)\n",
            "roll brings the first token of a row to its end, and documents are not kept apart",
        ),
        (
            "training.shift",
            "def shifted(tokens, documents):\n    targets = torch.full_like(tokens, -100)\n"
            "    targets[:, :-1] = tokens[:, 1:]\n    return targets\n",
            "is asked for the first one of the next document",
        ),
        (
            "training.counted",
            "def mean_surprise(logits, targets):\n    if (targets == -100).all():\n        raise ValueError\n"
            "    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='none')\n"
            "    return each.sum() / targets.numel()\n",
            "the mean is taken over all places",
        ),
        (
            "training.counted",
            "def mean_surprise(logits, targets):\n"
            "    return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))\n",
            "a mean over nothing comes back, NaN",
        ),
        (
            "training.apart",
            "def apart(documents):\n    mask = documents[:, :, None] == documents[:, None, :]\n"
            "    mask = mask.tril()\n    return torch.arange(documents.shape[1]).expand_as(documents), mask\n",
            "the positions run through the whole row; each document",
        ),
        (
            "training.apart",
            "def apart(documents):\n    mask = documents[:, :, None] == documents[:, None, :]\n"
            "    return mask.tril().sum(-1) - 1, mask\n",
            "a token sees those after it",
        ),
        (
            "training.stops",
            "def end_once(rows, end):\n    return torch.where(rows == end, -100, rows)[:, 1:]\n",
            "the document's own end is taken for filling",
        ),
        (
            "training.stops",
            "def end_once(rows, end):\n    rows[:, 1:][rows[:, :-1] == end] = -100\n    return rows[:, 1:]\n",
            "the rows that were given were changed",
        ),
        (
            "ffn.layer",
            "def layer(x, w_up, b_up, w_down, b_down):\n"
            "    return F.relu(F.linear(F.linear(x, w_up, b_up), w_down, b_down))\n",
            "The bend belongs between the two",
        ),
        (
            "ffn.gelu",
            "def exact_gelu(x):\n    c = math.sqrt(2 / math.pi)\n"
            "    return x / 2 * (1 + torch.tanh(c * (x + 0.044715 * torch.pow(x, 3))))\n",
            "that is GELU's tanh form, which GPT-2 has",
        ),
        (
            "ffn.gated",
            "def gated(x, w_gate_up, w_down):\n    n = len(w_gate_up) // 2\n"
            "    return (x @ w_gate_up[:n].T * F.silu(x @ w_gate_up[n:].T)) @ w_down.T\n",
            "the activation stands on the wrong branch",
        ),
        (
            "ffn.width",
            "def width(d_model, factor, multiple):\n    return int(factor * int(d_model * 8 / 3))\n",
            "nothing is rounded to a multiple",
        ),
        (
            "ffn.width",
            "def width(d_model, factor, multiple):\n    wide = int(factor * 8 * d_model / 3)\n"
            "    return math.ceil(wide / multiple) * multiple\n",
            "a width is cut only once",
        ),
        (
            "ffn.layer",
            "def layer(x, w_up, b_up, w_down, b_down):\n    scores = x @ w_up.T\n"
            "    return (scores * (scores > -b_up)) @ w_down.T + b_down\n",
            "it gives how far that lies above",
        ),
        (
            "ffn.top_k",
            "def keep_largest(hidden, k):\n    places = hidden.abs().topk(k, dim=0).indices\n"
            "    kept = torch.zeros_like(hidden)\n    return kept.scatter(0, places, hidden.gather(0, places))\n",
            "topk looks along the first dimension",
        ),
        (
            "ffn.story",
            "def story_f1(values, tokens, story, n):\n    excited = values >= values.sort().values[-n]\n"
            "    named = torch.isin(tokens, torch.tensor(story))\n"
            "    return (excited == named).float().mean().item()\n",
            "that is the share of places judged right",
        ),
        (
            "ffn.restore",
            "def gives_back(clean, spoiled, run):\n    low, high = run(spoiled), run(clean)\n    shares = []\n"
            "    for row in range(1, len(clean)):\n        spoiled[row] = clean[row]\n"
            "        shares.append((run(spoiled) - low) / (high - low))\n    return torch.tensor(shares)\n",
            "`spoiled` itself is changed",
        ),
        (
            "ffn.rank_one",
            "def rank_one(weight, key, value, moment):\n    d = torch.linalg.inv(moment) @ key\n"
            "    return weight + torch.outer(value - weight @ key, d / torch.norm(key))\n",
            "the edit scales with the key's length",
        ),
        (
            "ffn.rank_one",
            "def rank_one(weight, key, value, moment):\n    d = key @ moment\n"
            "    return weight + torch.outer(value - weight @ key, d) / (d @ key)\n",
            "C stands in place of C⁻¹",
        ),
        (
            "ffn.locality",
            "def locality(edited, asked, before, after):\n    right = [a for a, b in zip(after, before) if b]\n"
            "    return sum(right) / len(right)\n",
            "the edited fact is counted",
        ),
        (
            "ffn.salience",
            "def first_to_go(weight, slope, k):\n    kept = weight.clone()\n"
            "    kept.view(-1)[torch.abs(slope * weight).flatten().argsort(descending=True)[:k]] = 0\n"
            "    return kept\n",
            "the sign of w · g is lost",
        ),
        (
            "ffn.locality",
            "def locality(edited, asked, before, after):\n    at = asked.index(edited)\n"
            "    kept = [a for n, (b, a) in enumerate(zip(before, after)) if b and n != at]\n"
            "    return sum(kept) / len(kept)\n",
            "may be asked more than once: leave out each",
        ),
        (
            "ffn.locality",
            "def locality(edited, asked, before, after):\n"
            "    kept = [a for f, b, a in zip(asked, before, after) if b and (f != edited or a)]\n"
            "    return sum(kept) / len(kept)\n",
            "left out only where it changed",
        ),
        (
            "ffn.restore",
            "def gives_back(clean, spoiled, run):\n    low, high = run(spoiled), run(clean)\n    shares = []\n"
            "    for n in range(len(clean) - 1):\n        mixed = clean.clone()\n"
            "        mixed[n + 1] = spoiled[n + 1]\n        shares.append((high - run(mixed)) / (high - low))\n"
            "    return torch.tensor(shares)\n",
            "one token is spoiled in the clean run",
        ),
        (
            "ffn.story",
            "def story_f1(values, tokens, story, n):\n    named = torch.isin(tokens, torch.tensor(story))\n"
            "    excited = torch.zeros(len(values), dtype=bool)\n    excited[values.topk(n)[1]] = True\n"
            "    hits = (named & excited).sum()\n    return (hits / max(n, named.sum())).item()\n",
            "hits divided by the larger of named and excited",
        ),
        (
            "ffn.salience",
            "def first_to_go(weight, slope, k):\n    kept = weight.clone()\n"
            "    for i in torch.topk((weight * slope).flatten(), k).indices:\n"
            "        kept[i // weight.shape[0], i % weight.shape[0]] = 0\n    return kept\n",
            "divide by the number of columns",
        ),
        (
            "ffn.salience",
            "def first_to_go(weight, slope, k):\n    kept = weight.clone()\n"
            "    where = (weight * slope).topk(k).indices\n    kept.view(-1)[where] = 0\n    return kept\n",
            "topk without flatten looks along each row",
        ),
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
        (
            "tokenization.count_pairs",
            "def my_count_pairs(words):\n    counts = {}\n    while words:\n        word, n = words.popitem()\n"
            "        for pair in zip(word, word[1:]):\n            counts[pair] = counts.get(pair, 0) + n\n"
            "    return counts\n",
            "`words` must stay as it was given",
        ),
        (
            "tokenization.count_pairs",
            "def my_count_pairs(words):\n    return {}\n",
            "(b'a', b'b') is missing in {}",
        ),
        (
            "tokenization.count_pairs",
            "def my_count_pairs(words):\n    from collections import Counter\n"
            "    pairs = [p for word, n in words.items() for p in zip(word, word[1:]) for _ in range(n)]\n"
            "    return Counter(pairs).most_common()\n",
            "return the dict or Counter itself",
        ),
        (
            "tokenization.count_pairs",
            "def my_count_pairs(words):\n    return {(a.decode(errors='replace'), b.decode(errors='replace')): n"
            " for word, n in words.items() for a, b in zip(word, word[1:])}\n",
            "the keys are str",
        ),
        (
            "tokenization.count_pairs",
            "def my_count_pairs(words):\n    return {pair: n for word, n in words.items()"
            " for pair in zip(b''.join(word), b''.join(word)[1:])}\n",
            "the keys are numbers",
        ),
        (
            "tokenization.merge",
            "def my_merge(parts, pair):\n    merged, i = [], 0\n    while i < len(parts):\n"
            "        if parts[i : i + 2] == pair:\n            merged.append(pair[0] + pair[1])\n            i += 2\n"
            "        else:\n            merged.append(parts[i])\n            i += 1\n    return merged\n",
            "a list never equals a tuple",
        ),
        (
            "tokenization.merge",
            "def my_merge(parts, pair):\n    merged, i = [], 0\n    while i < len(parts):\n"
            "        found = tuple(parts[i : i + 2]) == pair\n        merged.append(pair if found else parts[i])\n"
            "        i += 1 + found\n    return merged\n",
            "the pair stands there as a tuple",
        ),
        (
            "tokenization.merge",
            "def my_merge(parts, pair):\n    merged, i = [], 0\n    while i < len(parts):\n"
            "        found = i + 2 < len(parts) and tuple(parts[i : i + 2]) == pair\n"
            "        merged.append(pair[0] + pair[1] if found else parts[i])\n        i += 1 + found\n"
            "    return merged\n",
            "a pair at the very end is not joined",
        ),
        (
            "tokenization.encode_piece",
            "def my_encode_piece(piece, ranks):\n    from llmlab.tokenization import merge, split_bytes\n"
            "    parts = split_bytes(piece)\n    for pair in ranks:\n        parts = merge(parts, pair)\n"
            "    return parts\n",
            "the order in which they stand in the dictionary",
        ),
        (
            "tokenization.encode_piece",
            "def my_encode_piece(piece, ranks):\n    from llmlab.tokenization import merge, split_bytes\n"
            "    parts = split_bytes(piece)\n    while len(parts) > 1:\n"
            "        parts = merge(parts, min(zip(parts, parts[1:]), key=lambda pair: ranks[pair]))\n"
            "    return parts\n",
            "Ask `key in d` first",
        ),
        (
            "tokenization.encode_piece",
            "def my_encode_piece(piece, ranks):\n    from llmlab.tokenization import merge, split_bytes\n"
            "    parts = split_bytes(piece)\n    while True:\n        best = None\n"
            "        for pair in zip(parts, parts[1:]):\n            rank = ranks.get(pair)\n"
            "            if rank and (best is None or rank < ranks[best]):\n                best = pair\n"
            "        if not best:\n            return parts\n        parts = merge(parts, best)\n",
            "rank 0, the earliest, is taken for no rank",
        ),
        (
            "tokenization.encode_piece",
            "def my_encode_piece(piece, ranks):\n    from llmlab.tokenization import apply_merges\n"
            "    return apply_merges(list(piece), ranks)\n",
            "the parts are str, and `ranks` has pairs of bytes",
        ),
        (
            "tokenization.decode",
            "def my_decode(ids, vocab):\n    return [vocab[id].decode(errors='replace') for id in ids]\n",
            "the result is a list",
        ),
        (
            "tokenization.document",
            "def document_ids(text, tokenizer):\n    special = tokenizer.special_tokens\n"
            "    return [special['<s>'], tokenizer.encode(text), special['</s>']]\n",
            "a list stands in the list",
        ),
        (
            "tokenization.learn",
            "def learn(text, n_merges, special):\n    import re\n    from collections import Counter\n"
            "    from llmlab.tokenization import learn_merges, split_bytes, split_special\n"
            "    parts = [part for part in split_special(text, special) if part not in special]\n"
            "    pieces = [piece for part in parts for piece in re.findall(r'\\w+|\\W+', part)]\n"
            "    return learn_merges(Counter(tuple(split_bytes(piece)) for piece in pieces), n_merges)\n",
            "another pattern cuts the text",
        ),
        (
            "tokenization.learn",
            "def learn(text, n_merges, special):\n    from collections import Counter\n"
            "    from llmlab.tokenization import GPT2_PATTERN, learn_merges, split_bytes, split_pieces, split_special\n"
            "    parts = [part for part in split_special(text, special) if part not in special]\n"
            "    pieces = [piece.strip() for part in parts for piece in split_pieces(part, GPT2_PATTERN)]\n"
            "    return learn_merges(Counter(tuple(split_bytes(piece)) for piece in pieces), n_merges)\n",
            "the pieces are stripped",
        ),
    ],
)
def test_what_is_said_is_true(id, source, said):
    exercise = catalog.find("exercise", id)
    assert said in judge(exercise, define(source, "answer")).reason


def walked(before, loop, line, after="return grads"):
    """An answer to `gradients.used_twice`."""
    return f"""
{before}
for n in {loop}:
    for parent, slope in zip(parents[n], slopes[n]):
        {line}
{after}
"""


ZEROS = "grads = [0.0] * len(parents); grads[-1] = 1.0"
BACK = "reversed(range(len(parents)))"
ADDED = "grads[parent] += slope * grads[n]"
ORDER = """
order, seen = [], set()
def visit(name):
    if name not in seen:
        seen.add(name)
        for parent, _ in made_from[name]:
            visit(parent)
        order.append(name)
visit(end)
slopes = {name: float(name == end) for name in made_from}
for name in reversed(order):
    for parent, slope in made_from[name]:
        slopes[parent] += slope * slopes[name]
return slopes
"""
STEP = """
for _ in range(n_steps):
    a.grad = b.grad = 0.0
    loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys)) / len(xs)
    loss.backward()
    a.data -= rate * a.grad
    b.data -= rate * b.grad
return [a.data, b.data]
"""
HORNER = """
value = slope = 0.0
for c in coefficients:
    slope = slope * x + value
    value = value * x + c
return value, slope
"""
ROWS = """
states, h = [], torch.zeros_like(b)
for words in lists:
    NEW
    for x in words:
        h = torch.tanh(W @ x + U @ h + b)
    states.append(h)
    OLD
return torch.stack(states)
"""
WALK = """
total = 0
for t in range(len(states) - 1, 0, -1):
    inner = slope * (1 - states[t] ** 2)
    total += torch.outer(inner, states[t - 1])
    slope = U.T @ inner
return total
"""
ADAM = """
p = params
m, v = torch.zeros_like(params), torch.zeros_like(params)
for t, g in enumerate(gradients, 1):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mh, vh = m / (1 - beta1**t), v / (1 - beta2**t)
    p = p - rate * mh / (vh.sqrt() + eps)
return p
"""
CLIP = """
n = sum((g**2).sum() for g in gradients) ** 0.5
f = max_norm / n if n > max_norm else 1.0
return [f * g for g in gradients]
"""
SLOPES = [  # (exercise, body of the function, what is said)
    ("used_twice", walked(ZEROS, BACK, ADDED, "    return grads"), "only the parents of the end get a slope"),
    ("used_twice", walked(ZEROS, "range(len(parents))", ADDED), "only the parents of the end get a slope"),
    ("used_twice", walked(ZEROS, "range(len(parents) - 2, -1, -1)", ADDED), "no slope leaves the end"),
    ("used_twice", walked(ZEROS, BACK, "grads[n] += slope * grads[parent]"), "no slope leaves the end"),
    ("used_twice", walked(ZEROS, "range(len(parents) - 1, 1, -1)", ADDED), "the loop stops before value 1"),
    ("used_twice", walked("grads = [1.0] * len(parents)", BACK, "grads[parent] *= slope * grads[n]"),
     "the uses are multiplied with each other"),
    ("used_twice", """
import numpy as np
grads = np.zeros(len(parents))
grads[-1] = 1
for n in reversed(range(len(parents))):
    if parents[n]:
        grads[parents[n]] += np.array(slopes[n]) * grads[n]
return grads
""", "np.add.at adds all"),
    ("any_order", ORDER.replace("\nreturn", "\n    return"), "only the end's own parents get a slope"),
    ("any_order", ORDER.replace("reversed(order)", "order"), "only the end's own parents get a slope"),
    ("any_order", ORDER.replace("float(name == end) for", "1.0 if name == end else None for")
     .replace("+= slope * slopes[name]", "= (slopes[parent] or 0.0) + slope * slopes[name]"), "missing or None"),
    ("any_order", ORDER.replace(" * slopes[name]", ""), "the local slopes are collected as they are"),
    ("any_order", ORDER.replace("        order.append", "    order.append"), "a value is appended at each visit"),
    ("any_order", """
slopes, seen = {name: float(name == end) for name in made_from}, set()
def walk(name):
    for parent, slope in made_from[name]:
        slopes[parent] += slope * slopes[name]
        if parent not in seen:
            seen.add(parent)
            walk(parent)
walk(end)
return slopes
""", "a value that was seen takes what arrives and does not pass it on"),
    ("zero", STEP.replace("= 0.0", "= None"), "grad is set to None"),
    ("zero", STEP.replace("a.grad = b.grad = 0.0", "pass").replace("\nreturn", "\n    a.grad = b.grad = None\nreturn"),
     "grad is set to None"),
    ("zero", STEP.replace("= 0.0", "= type(a)(0)"), "a Value was put into data or grad"),
    ("zero", STEP.replace("[a.data, b.data]", "[a, b]"), "return [a.data, b.data]"),
    ("zero", STEP.replace("    loss.backward()", "    loss.backward()\n    loss.backward()"), "is called twice"),
    ("zero", STEP.replace("range(", "range(1, "), "one step too few"),
    # a and b are shown as they were given, not as the steps have left them
    ("zero", STEP.replace("[a.data, b.data]", "[b.data, a.data]"), "a = Value(0.5, grad=0), b = Value(0, grad=0)"),
    ("dual", HORNER.replace("slope * x", "slope"), "it is multiplied by x"),
    ("dual", HORNER.replace("value = slope = 0.0", "value, slope = coefficients[0], 0.0"), "is used twice"),
    ("dual", HORNER.replace("value, slope", "value"), "only the value comes back"),
    ("dual", """
n = len(coefficients) - 1
value = sum(c * x ** (n - k) for k, c in enumerate(coefficients))
return value, sum(c * x ** (n - k - 1) for k, c in enumerate(coefficients[:-1]))
""", "with powers: c · k · x**(k − 1)"),
    ("dual", """
def f(x):
    return sum(c * x**n for n, c in enumerate(reversed(coefficients)))
return f(x), (f(x + 1e-6) - f(x)) / 1e-6
""", "the slope seems to be that of a small step"),
    ("log_of_zero", """
m = logits.max()
return m + (logits - m).exp().sum(1).log() - logits[torch.arange(len(right)), right]
""", "one largest logit is taken for the whole batch"),
    ("log_of_zero", "return -(logits.softmax(1)[torch.arange(len(right)), right] + 1e-5).log()",
     "surprises of 200 and 3,000 nats all come out as 11.5"),
    ("log_of_zero", """
z = logits.clamp(-40, 40)
return z.logsumexp(1) - z[torch.arange(len(right)), right]
""", "surprises of 200 and 3,000 nats all come out as 40.0"),
    ("log_of_zero", "return [-math.log(row.softmax(0)[t]) for row, t in zip(logits.double(), right)]",
     "the logarithm of 0 or less"),
    ("log_of_zero", """
return [math.log(sum(map(math.exp, row))) - row[t] for row, t in zip(logits.tolist(), right.tolist())]
""", "beyond what a float holds"),
    ("p_minus_y", """
p = logits.softmax(1)
p[torch.arange(len(right)), right] = -1
return p / len(right)
""", "set to −1"),
    ("p_minus_y", """
p = logits.exp() / logits.exp().sum(1)
p[torch.arange(len(right)), right] -= 1
return p / len(right)
""", "keepdim=True"),
    ("over_batch", """
p = logits.softmax(1)
return -(p * p.log()).sum() / len(right)
""", "never looks at what came"),
    ("fresh_state", """
states = []
for words in lists:
    h = torch.zeros_like(b)
    states.append(h)
    for x in words:
        h = torch.tanh(W @ x + U @ h + b)
return torch.stack(states)
""", "every row is 0"),
    ("fresh_state", ROWS.replace("NEW", "h = torch.zeros_like(b)").replace("OLD", "h.zero_()"), "every row is 0"),
    ("fresh_state", ROWS.replace("NEW", "h *= 0").replace("OLD", "pass"), "every row but the last is 0"),
    ("fresh_state", """
states = []
for words in lists:
    h = torch.zeros_like(b)
    for x in words:
        new = torch.tanh(W @ x + U @ h + b)
    states.append(new)
return torch.stack(states)
""", "h is zeros at every word (set anew, or never replaced)"),
    ("shared", WALK.replace("total += ", "total = ").replace("total = 0\n", ""), "`=` writes over the others"),
    ("shared", WALK.replace("total += ", "total = "), "`=` writes over the others"),
    ("shared", WALK.replace("    slope =", "slope ="), "all steps get the same slope"),
    ("shared", WALK.replace("return total", "return total / (len(states) - 1)"), "uses of one value add up"),
    ("shared", WALK.replace("U.T @ inner", "U.T @ slope * (1 - states[t] ** 2)"), "the bend comes before U"),
    ("shared", WALK.replace("U.T @ inner", "U.T @ inner * (1 - states[t] ** 2)"), "passes the same bend twice"),
    ("shared", "slope = torch.ones(len(U))\n" + WALK, "ones stand in its place"),
    ("shared", WALK.replace("total = 0", "total = []").replace("total += ", "total += [").replace("1])", "1])]"),
     "the parts come back, one for each step"),
    ("shared", """
U = U.clone().requires_grad_()
(states[-1] @ slope).backward()
return U.grad
""", "PyTorch has no record of them"),
    ("shared", "return torch.autograd.grad(states[-1], U, slope)[0]", "PyTorch has no record of them"),
    ("shared", """
U.requires_grad_()
return torch.autograd.grad((states[-1] * slope).sum(), [U])[0]
""", "PyTorch has no record of them"),
    ("adam", ADAM.replace("beta1", "0.9").replace("beta2", "0.999"), "the betas are 0.9 and 0.999"),
    ("adam", ADAM.replace("- rate", "- 0.1"), "the rate is 0.1"),
    ("adam", ADAM.replace("eps", "1e-8"), "a number of its own stands in its place"),
    ("adam", ADAM.replace(" + eps", ""), "eps is missing"),
    ("adam", ADAM.replace("beta1", "0.9").replace("beta2", "0.999").replace("eps", "1e-8").replace("- rate", "- 0.1"),
     "those of the ravine"),
    ("adam", """
p = torch.nn.Parameter(params.clone())
steps = torch.optim.Adam([p], lr=rate)
for g in gradients:
    p.grad = g.clone()
    steps.step()
return p.detach()
""", "PyTorch's Adam takes betas=(beta1, beta2), eps=eps"),
    ("adam", ADAM.replace("(vh.sqrt() + eps)", "vh.sqrt() + eps"), "m / (√v + eps), with parentheses"),
    ("adam", ADAM.replace("p = p -", "p = params -"), "every step begins at the params that were given"),
    ("adam", ADAM.replace("p = params\n", "").replace("p = p -", "p = params -"), "every step begins at the params"),
    ("adam", ADAM.replace("beta2", "beta1"), "beta1 is used for both averages"),
    ("adam", ADAM.replace("beta1", "beta2"), "beta2 is used for both averages"),
    ("adam", ADAM.replace("m / (1", "m * (1").replace("v / (1", "v * (1"), "the averages are multiplied by"),
    ("adam", ADAM.replace("    m =", "    m = v = torch.zeros_like(params)\n    m ="), "set to 0 at every step"),
    ("adam", ADAM.replace("g**2", "(g**2).sum()"), "v is one number for all parameters"),
    ("adam", ADAM.replace("g**2", "(g**2).mean()"), "v is one number for all parameters"),
    ("clip", CLIP.replace("max_norm / n if n > max_norm else 1.0", "1 / n"), "together they get the length 1"),
    ("clip", """
limit = max_norm / len(gradients)
return [g * min(1.0, limit / (g.norm() + 1e-12)) for g in gradients]
""", "the limit is divided among the tensors"),
    ("clip", CLIP.replace("n = ", "n = torch.stack([g.norm() for g in gradients]).mean() or "), "the mean of the tens"),
    ("clip", CLIP.replace("n = ", "n = gradients[0].norm()\nm = "), "that of the first tensor alone"),
    ("clip", CLIP.replace("n > max_norm", "any(g.norm() > max_norm for g in gradients)"),
     "unless one tensor by itself is too long"),
    ("clip", CLIP.replace("[f * g for g in gradients]", "f * torch.cat([g.flatten() for g in gradients])"),
     "one joined tensor comes back"),
    ("clip", CLIP.replace("f = max_norm", "f = 0.5 * max_norm"), "expected [[2.7], [3.6]], got [[1.35], [1.8]]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "said"), SLOPES)
def test_what_is_said_of_an_answer_on_gradients_is_true(name, body, said):
    exercise = catalog.find("exercise", f"gradients.{name}")
    head = f"def {exercise.function}({', '.join(exercise.parameters)}):\n"
    assert said in judge(exercise, define(head + indent(body, "    "), "answer")).reason


def test_a_list_in_the_place_of_a_gradient_is_a_crash_at_the_learners_line():
    exercise = catalog.find("exercise", "gradients.zero")
    source = "def fit_line(xs, ys, a, b, rate, n_steps):\n" + indent(STEP.replace("= 0.0", "= []"), "    ")
    verdict = judge(exercise, define(source, "answer"))
    assert verdict.status == "crashed" and "loss.backward()" in verdict.line


@pytest.mark.parametrize(
    "refusal", ["raise ValueError('an even number, please')", "raise ValueError", "assert d % 2 == 0"]
)
@pytest.mark.parametrize(
    ("speeds", "said"),
    [
        ("base ** (-torch.arange(d // 2) / d)", "the 2 of the exponent −2j/d is missing"),
        ("base ** (torch.arange(0, d, 2) / d)", "the minus in the exponent is missing"),
    ],
)
def test_a_mistake_is_named_in_whatever_words_the_answer_refuses_what_it_should(speeds, said, refusal):
    source = (
        f"def angles(positions, d, base):\n    import torch\n    if d % 2:\n        {refusal}\n"
        f"    return positions[:, None] * {speeds}\n"
    )
    reason = judge(catalog.find("exercise", "rope.angles"), define(source, "answer")).reason
    if refusal.startswith("raise"):
        assert reason.startswith(said) and "Also refuse an odd d" not in reason
    else:  # another kind of error than the one that is asked for
        assert said not in reason


def test_a_mistake_that_refuses_too_much_is_named_in_whatever_words_it_does():
    source = (
        "def append(buffer, length, new):\n    end = length + new.shape[1]\n    if end >= buffer.shape[1]:\n"
        "        raise ValueError(f'no room for {end}')\n    buffer[:, length:end] = new\n    return buffer[:, :end]\n"
    )
    exercise = catalog.find("exercise", "kv_cache.append")
    assert judge(exercise, define(source, "answer")).reason.startswith("rows that fit exactly are refused")


def test_an_error_of_the_answers_own_is_not_taken_for_one_of_the_models():
    """Of one kind, and with all inputs, but the mistake "the list gives the model no batch" fails in other words."""
    exercise = catalog.find("exercise", "welcome.write")
    source = f"def write({', '.join(exercise.parameters)}):\n    raise ValueError('not today')\n"
    verdict = judge(exercise, define(source, "answer"))
    assert verdict.status == "wrong" and verdict.reason.startswith("here nothing should be raised; it raised ValueErr")


def test_a_dictionary_is_shown_with_its_first_entries_and_their_number():
    assert shown({}) == "{}"
    assert shown({(b"a", b"b"): 2, "n": 1.5}) == "{(b'a', b'b'): 2, n: 1.5}"
    many = {id: bytes([id]) for id in range(65, 71)}
    assert shown(many) == "{65: b'A', 66: b'B', 67: b'C', 68: b'D', 69: b'E', 70: b'F'}"
    many |= {n: b"" for n in range(2000, 4000)}
    assert shown(many).endswith("70: b'F', … (2,006 in all)}")


MEASURED = """
from llmlab.tokenization import BPETokenizer
t = BPETokenizer.train(train, vocab_size)
return sum(len(x.encode()) for x in test) / sum(len(t.encode(x)) for x in test)
"""
COSTS = [  # (exercise, body of the function, what is said)
    ("bits_per_byte", "return round(loss * n_tokens / math.log(2) / len(text.encode()), 3)",
     "expected 1.4427, got 1.443: it is close, but some number was rounded too early"),
    ("bits_per_byte", "return -loss * n_tokens / math.log(2) / len(text.encode())",
     "got -1.44: the sign is turned round"),
    ("bits_per_byte", "return 1.0", "expected 1.44, got 1. It gives the same for every input"),
    ("bits_per_byte", "return None", "a `return` was reached, but what it gives back is None"),
    ("bits_per_byte", "return loss / math.ln(2)", "The module math has nothing called `ln`."),
    ("bits_per_byte", "return loss * n_tokens / math.log(2) * len(text.encode())", "a / b * c divides by b alone"),
    ("bits_per_byte", "return loss * n_tokens / (math.log(2) * len(text.strip().encode()))",
     "spaces and line ends are bytes too"),
    ("bits_per_byte", "return loss * n_tokens / math.log10(2) / len(text.encode())",
     "that is a logarithm to the base 10; ln 2 is math.log(2)"),
    ("tokens_per_character", """
n = 0
for text in texts:
    n += len(tokenizer.encode(text))
return n / len(text)
""", "only the characters of the last text are counted"),
    ("tokens_per_character", """
texts = set(texts)
return sum(len(tokenizer.encode(t)) for t in texts) / len("".join(texts))
""", "a text that comes twice is counted once"),
    ("tokens_per_character", """
return sum(len(tokenizer.encode(t, allowed_special="all")) for t in texts) / len("".join(texts))
""", "counts as one special token"),
    ("fit", """
for n in range(len(text), -1, -1):
    if len(tokenizer.encode(text[:n])) <= n_tokens:
        return text[:n]
""", "a shorter text may be cut otherwise"),
    ("fit", """
ids = tokenizer.encode(text)[:n_tokens]
while True:
    try:
        return tokenizer.decode_bytes(ids).decode()
    except UnicodeDecodeError:
        ids.pop()
""", "a token can hold whole characters and a part of one"),
    ("fit", """
raw = tokenizer.decode_bytes(tokenizer.encode(text)[:n_tokens])
while raw and raw[-1] >= 128:
    raw = raw[:-1]
return raw.decode()
""", "a whole character at the end is lost too"),
    ("fit", """
ids = tokenizer.encode(text, allowed_special="all")[:n_tokens]
return tokenizer.decode_bytes(ids).decode(errors="ignore")
""", "</s> in the text is taken for the special token"),
    ("fit", """
ids = tokenizer.encode(text.strip())[:n_tokens]
return tokenizer.decode_bytes(ids).decode(errors="ignore")
""", "the spaces and line ends at the ends are lost"),
    ("fit", """
ids = tokenizer.encode(text)[:n_tokens - 1]
return tokenizer.decode_bytes(ids).decode(errors="ignore")
""", "one token too few"),
    ("fit", "return text.encode()[:n_tokens]", "bytes come back"),
    ("read_prompts", """
for part in text.split("\\n---\\n"):
    yield part
""", "expected 2 values, got a value of type generator; make a list of it: list(…)"),
    ("read_prompts", """
return text.split("\\n---\\n") if "---" in text else []
""", "expected 1 value, got 0: []"),
    ("read_prompts", """return text.split(r"\\n---\\n")""", "With an r in front"),
    ("read_prompts", """return [part.strip("\\n ") for part in text.split("\\n---\\n")]""",
     "the parts are right; strip still takes"),
    ("read_prompts", """return text.strip().split("\\n---\\n")""", "the text is stripped before it is parted"),
    ("read_prompts", """
prompts = []
for part in text.split("---"):
    prompts += part.strip()
return prompts
""", "prompts += part adds each letter of it"),
    ("compression", """
n = len(texts) // 5
train, test = texts[: 4 * n], texts[4 * n :]
""", "a fifth is rounded up"),
    ("compression", """
n = int(len(texts) / 5) + 1
train, test = texts[:-n], texts[-n:]
""", "a fifth of ten texts is two, not three"),
    ("compression", """
n = -(-len(texts) // 5)
train, test = texts[:n], texts[n:]
""", "it is trained on the first fifth and measured on the others"),
    ("compression", """
train, test = [text for n, text in enumerate(texts) if n % 5 < 4], texts[4::5]
""", "every fifth text is put aside"),
    ("compression", """
n = -(-len(texts) // 5)
train, test = "".join(texts[:-n]), texts[-n:]
""", "the texts are joined, so that merges cross"),
    ("compression", """
n = -(-len(texts) // 5)
train, test = texts[:-n], ["\\n".join(texts[-n:])]
""", "the texts are joined with line ends"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "said"), COSTS)
def test_what_is_said_of_an_answer_on_costs_is_true(name, body, said):
    exercise = catalog.find("exercise", f"tokenization.{name}")
    body += MEASURED if name == "compression" else ""
    head = f"def {name}({', '.join(exercise.parameters)}):\n"
    assert said in judge(exercise, define(head + indent(body, "    "), "answer")).reason


def on_training(name, body):
    """An exercise of the chapter on training, and the answer of this body to it."""
    exercise = catalog.find("exercise", f"training.{name}")
    head = f"def {exercise.function}({', '.join(exercise.parameters)}):\n"
    return exercise, define(head + indent(body, "    "), "answer")


TRAINING_LOSS = [
    ("shift", """
targets = torch.roll(tokens, -1)
targets[documents != torch.roll(documents, -1)] = -100
return targets
""", "in a row of one document too, roll brings the first token to the end"),
    ("shift", """
t = tokens.roll(-1, 1)
t[documents != documents.roll(-1, 1)] = -100
t[:, 0] = -100
return t
""", "the first place is emptied"),
    ("shift", """
targets = torch.full_like(tokens, -100)
targets[:, :-1] = torch.where(tokens[:, 1:] != tokens[:, :-1], tokens[:, 1:], -100)
return targets
""", "two neighboring *tokens* are compared"),
    ("shift", """
targets = torch.roll(tokens, -1)
targets[documents != torch.roll(documents, -1)] = -100
targets[-1, -1] = -100
return targets
""", "a target is taken from the next row"),
    ("shift", """
targets = torch.full_like(tokens, -100)
for d in documents.unique():
    mine = documents == d
    found = tokens[mine]
    targets[mine] = torch.cat([found[1:], torch.tensor([-100])])
return targets
""", "a target is taken from the next row"),
    ("shift", """
out = torch.full_like(tokens, -100)
for n in documents.unique():
    place = documents == n
    out[place] = tokens[place].roll(-1)
return out
""", "as if the document were a ring"),
    ("shift", """
targets = torch.full_like(tokens, -100)
targets[:, :-1] = tokens[:, 1:]
for b in range(len(tokens)):
    for t in range(1, tokens.shape[1]):
        if documents[b, t] != documents[b, t - 1]:
            targets[b, t] = -100
return targets
""", "is one too late"),
    ("shift", """
out = torch.full_like(tokens, -100)
for b in range(len(tokens)):
    for t in range(tokens.shape[1] - 1):
        if documents[b, t] != documents[b, t + 1]:
            break
        out[b, t] = tokens[b, t + 1]
return out
""", "all of a document that is not the row's first is left out"),
    ("counted", """
keep = targets != -100
if not keep.any():
    raise ValueError("none")
z, y = logits[keep], targets[keep]
return (z.exp().sum(-1).log() - z[range(len(y)), y]).mean()
""", "exp of a large logit is infinite"),
    ("counted", """
rows, right = logits.flatten(0, 1), targets.flatten()
counted = right != -100
if not counted.any():
    raise ValueError("no target counts")
p = rows.exp() / rows.exp().sum(-1, keepdim=True)
return -p[counted].gather(-1, right[counted][:, None]).log().mean()
""", "exp of a large logit is infinite"),
    ("counted", """
if (targets == -100).all():
    raise ValueError
return F.cross_entropy(logits.softmax(-1).flatten(0, 1), targets.flatten())
""", "cross_entropy takes the softmax itself"),
    ("counted", """
keep = targets != -100
if not keep.any():
    raise ValueError
return -logits.log_softmax(1)[keep].gather(-1, targets[keep][:, None]).mean()
""", "the softmax runs over the places"),
    ("counted", """
if (targets == -100).all():
    raise ValueError
return F.cross_entropy(logits.flatten(0, 1), targets.flatten()).exp()
""", "that is the perplexity, exp of the loss"),
    ("counted", """
if (targets == -100).all():
    raise ValueError
keep = targets != -100
p = logits.softmax(-1)[keep].gather(-1, targets[keep][:, None])[:, 0]
return -p.mean().log()
""", "the probabilities are averaged before the log"),
    ("counted", """
if (targets == -100).all():
    raise ValueError
return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
""", "they are shifted once more"),
    ("counted", """
rows, right = logits.flatten(0, 1), targets.flatten()
counted = right != -100
if not counted.any():
    raise ValueError("no target counts")
at_right = rows.gather(-1, right.clamp(min=0)[:, None])[:, 0]
surprises = (rows.logsumexp(-1) - at_right) * counted
return surprises.sum() / (surprises > 0).sum()
""", "a surprise that is exactly 0 is not counted"),
    ("counted", """
rows, right = logits.flatten(0, 1), targets.flatten()
counted = right != -100
if not counted.any():
    raise ValueError("no target counts")
at_right = rows.gather(-1, right.clamp(min=0)[:, None])[:, 0]
surprises = rows.logsumexp(-1) - at_right
return (surprises * counted).mean() * counted.sum()
""", "is multiplied by how many count"),
    ("counted", """
if (targets == -100).all():
    raise ValueError
return sum(F.cross_entropy(z, y) for z, y in zip(logits, targets)) / len(logits)
""", "a row without targets gives NaN"),
    ("counted", """
found = [F.cross_entropy(z, y) for z, y in zip(logits, targets) if (y != -100).any()]
if not found:
    raise ValueError("no target counts")
return sum(found) / len(found)
""", "each row's mean is taken first"),
    ("counted", """
if (targets == -100).all():
    raise ValueError
return torch.stack([F.cross_entropy(z, y) for z, y in zip(logits, targets)])
""", "one number for each row comes back"),
    ("apart", """
mask = documents[:, :, None] == documents[:, None, :]
return mask.sum(-1) - 1, mask.tril()
""", "before the mask is made causal"),
    ("apart", """
T = documents.shape[1]
mask = (documents[:, :, None] == documents[:, None, :]) * torch.ones(T, T).tril()
return mask.sum(-1) - 1, mask
""", "the mask is a float matrix"),
    ("apart", """
T = documents.shape[1]
mask = torch.eye(T, dtype=torch.bool).repeat(len(documents), 1, 1)
for b in range(len(documents)):
    for t in range(1, T):
        if documents[b, t] == documents[b, t - 1]:
            mask[b, t, t - 1] = True
positions = torch.zeros_like(documents)
for b in range(len(documents)):
    for t in range(1, T):
        if documents[b, t] == documents[b, t - 1]:
            positions[b, t] = positions[b, t - 1] + 1
return positions, mask
""", "sees itself and the one before"),
    ("apart", """
positions = torch.zeros_like(documents)
for b in range(len(documents)):
    n = 0
    for t in range(1, documents.shape[1]):
        if documents[b, t] != documents[b, t - 1]:
            n = 0
        n += 1
        positions[b, t] = n
mask = (documents[:, :, None] == documents[:, None, :]).tril()
return positions, mask
""", "each later one from 1"),
    ("apart", """
mask = (documents[:, :, None] == documents[:, None, :]).tril()
return mask.sum(-1) - 1, mask[:, None]
""", "has a dimension for the heads"),
    ("apart", """
mask = (documents[:, :, None] >= documents[:, None, :]).tril()
same = (documents[:, :, None] == documents[:, None, :]).tril()
return same.sum(-1) - 1, mask
""", "whose numbers are smaller"),
    ("apart", """
seen, positions = {}, torch.zeros_like(documents)
for b in range(documents.shape[0]):
    for t in range(documents.shape[1]):
        d = int(documents[b, t])
        positions[b, t] = seen.get(d, 0)
        seen[d] = seen.get(d, 0) + 1
return positions, (documents[:, :, None] == documents[:, None, :]).tril()
""", "count on from another row"),
    ("apart", """
positions, n, last = torch.zeros_like(documents), 0, None
for b in range(len(documents)):
    for t in range(documents.shape[1]):
        n = n + 1 if documents[b, t] == last else 0
        positions[b, t] = n
        last = documents[b, t]
return positions, (documents[:, :, None] == documents[:, None, :]).tril()
""", "count on from another row"),
    ("apart", """
flat = documents.flatten()
positions = torch.tensor([(flat[:n] == d).sum() for n, d in enumerate(flat)]).view_as(documents)
return positions, (documents[:, :, None] == documents[:, None, :]).tril()
""", "count on from another row"),
    ("apart", """
mask = (documents[:, :, None] == documents[:, None, :]).triu()
return mask.sum(-2) - 1, mask
""", "the mask is turned round"),
    ("stops", """
targets = rows[:, 1:].clone()
for b in range(len(targets)):
    for t in range(1, targets.shape[1]):
        if targets[b, t - 1] == end:
            targets[b, t] = -100
return targets
""", "every second end of the filling stays"),
    ("stops", """
targets = rows.clone()
for b in range(len(targets)):
    for t in range(1, targets.shape[1]):
        if targets[b, t - 1] == end and targets[b, t] == end:
            targets[b, t] = -100
return targets[:, 1:]
""", "every second end of the filling stays"),
    ("stops", """
targets = rows[:, 1:].clone()
targets[rows[:, 1:] == rows[:, :-1]] = -100
return targets
""", "a word that is said twice is taken for filling"),
    ("stops", """
targets = rows[:, 1:].clone()
targets[targets != end] = -100
return targets
""", "the words are taken out, and ends stay"),
    ("stops", """
targets = rows[:, :-1].clone()
targets[rows[:, :-1] == end] = -100
return targets
""", "the inputs come back"),
    ("stops", """
targets = rows[:, 1:].clone()
targets[0][rows[0, :-1] == end] = -100
return targets
""", "only the first row is mended"),
    ("stops", """
targets = rows[:, 1:].clone()
seen = False
for b in range(len(targets)):
    for t in range(targets.shape[1]):
        if targets[b, t] == end:
            if seen:
                targets[b, t] = -100
            seen = True
return targets
""", "the first end of the whole batch stays"),
    ("stops", """
targets = rows[:, 1:].clone()
for n in range(len(targets)):
    at = (targets[n] == end).nonzero()[0, 0]
    targets[n, at + 1:] = -100
return targets
""", "where a document is its end token alone"),
    ("stops", """
targets = rows[:, 1:].clone()
targets[:, 1:][rows[:, :-2] == end] = -100
return targets
""", "one end token too many stays"),
    ("perplexity", """
return ((losses * counts).sum() / counts.sum()).exp()
""", "NaN times 0 is NaN"),
    ("perplexity", """
return losses.mean().exp()
""", "mean of the batches' means, spoiled by NaN"),
    ("perplexity", """
return torch.exp(losses[~losses.isnan()].mean())
""", "that is the mean of the batches' means"),
    ("perplexity", """
return losses.nan_to_num().mean().exp()
""", "counted among the batches, with the loss 0"),
    ("perplexity", """
each = [math.exp(x) for x, n in zip(losses.tolist(), counts.tolist()) if n]
return sum(each) / len(each)
""", "each batch's perplexity is taken"),
    ("perplexity", """
return (losses.exp() * counts).nansum() / counts.sum()
""", "the perplexities of the batches are weighted by their counts"),
    ("perplexity", """
return (losses * counts).nansum() / counts.sum()
""", "that is the cross-entropy"),
    ("perplexity", """
some = counts > 0
return ((losses * counts)[some].sum() / len(losses[some])).exp()
""", "divided by the number of batches"),
    ("perplexity", """
return (losses.nansum() / counts.sum()).exp()
""", "a mean times its count is the sum"),
    ("perplexity", """
return math.prod(math.exp(x) for x in losses.tolist() if x == x)
""", "the batches' perplexities are multiplied"),
    ("perplexity", """
total = 0
for loss, n in zip(losses, counts):
    if n > 0:
        total += loss * n
        return (total / n).exp()
""", "only the first batch counts"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "said"), TRAINING_LOSS)
def test_what_is_said_of_an_answer_on_the_training_loss_is_true(name, body, said):
    assert said in judge(*on_training(name, body)).reason


TEXT = """
text = format(pattern, f"0{1 + n_exponent + n_fraction}b")
s, e, f = text[0], int(text[1 : 1 + n_exponent], 2), text[1 + n_exponent :]
bias = 2 ** (n_exponent - 1) - 1
x = sum(2.0 ** -(i + 1) for i, bit in enumerate(f) if bit == "1")
value = x * 2.0 ** (1 - bias) if e == 0 else (1 + x) * 2.0 ** (e - bias)
return -value if s == "1" else value
"""
STEPS = """
m, k = 2**n_fraction, 2**n_exponent
rest, f = divmod(pattern, m)
s, e = divmod(rest, k)
bias = k // 2 - 1
value = (f if e == 0 else m + f) * 2.0 ** (max(e, 1) - bias - n_fraction)
return (-1) ** s * value
"""
NEAREST = """
bits = x.view(torch.int32).long()
low, kept = bits & 0xFFFF, bits - (bits & 0xFFFF)
up = (low > 0x8000) | ((low == 0x8000) & ((kept >> 16) % 2 == 1))
return (kept + up * 0x10000).to(torch.int32).view(torch.float32)
"""
CANDIDATES = """
down = (x.view(torch.int32) >> 16 << 16).view(torch.float32)
up = ((x.view(torch.int32) + 0x10000) >> 16 << 16).view(torch.float32)
wide = x.double()
nearer = (up.double() - wide).abs() < (down.double() - wide).abs()
same = (up.double() - wide).abs() == (down.double() - wide).abs()
odd = (down.view(torch.int32) >> 16) & 1 == 1
return torch.where(nearer | (same & odd), up, down)
"""
SCALED = """
if not all(math.isfinite(g) for g in scaled.tolist()):
    return weights, scale * 0.5, 0
g = scaled.double() / scale
g = g * min(1.0, max_norm / max(float(g.norm()), 1e-12))
n_good += 1
return weights - rate * g, scale * (2 if n_good == patience else 1), 0 if n_good == patience else n_good
"""
MEMORY = """
per_parameter = {"weight": 2, "gradient": 2, "master": 4, "m": 4, "v": 4}
inputs, rerun = n_layers * d_model, numbers_per_token - d_model
left = n_bytes - n_parameters * sum(per_parameter.values())
row = (inputs + rerun) * seq_len * 2
return left // row if left > 0 else 0
"""

FORMATS_RIGHT = [  # (exercise, body of the function)
    ("decode", TEXT),
    ("decode", STEPS),
    ("decode", STEPS.replace("(-1) ** s", "[1, -1][s]")),
    ("decode", "import numpy as np" + STEPS.replace("* 2.0 **", "* np.float64(2.0) **")),
    ("decode", STEPS.replace("(-1) ** s * value", "torch.tensor(value * (1 - 2 * s), dtype=torch.float64)")),
    ("to_bfloat16", NEAREST),
    ("to_bfloat16", CANDIDATES),
    ("to_bfloat16", "return x.bfloat16().float()"),
    ("to_bfloat16",
     "b = x.view(torch.int32)\nb = b + 0x7FFF + ((b >> 16) & 1)\nreturn (b & -0x10000).view(torch.float32)"),
    ("to_bfloat16", "m, e = torch.frexp(x.double())\nreturn (torch.ldexp((m * 256).round(), e - 8)).float()"),
    ("mean_square", "return (x.double() ** 2).mean(-1).sqrt()"),
    ("mean_square", "return x.float().norm(dim=1) / x.shape[1] ** 0.5"),
    ("mean_square", "w = x.float()\nreturn torch.einsum('bd,bd->b', w, w).div(w.shape[1]).pow(0.5)"),
    ("mean_square", "import numpy as np\nreturn np.sqrt((x.numpy().astype(np.float64) ** 2).mean(1))"),
    ("mean_square", "return torch.stack([(row.float() @ row.float() / len(row)) ** 0.5 for row in x])"),
    ("loss_scale", SCALED),
    ("loss_scale", SCALED.replace("not all(math.isfinite(g) for g in scaled.tolist())", "not scaled.sum().isfinite()")),
    ("loss_scale", SCALED.replace("g = scaled.double() / scale", "g = scaled * (1 / scale)")),
    ("loss_scale",
     SCALED.replace("if not all(math.isfinite(g) for g in scaled.tolist())", "if (scaled - scaled != 0).any()")),
    ("loss_scale", SCALED.replace("weights - rate * g", "torch.add(weights, g, alpha=-rate)")),
    ("most_rows", MEMORY),
    ("most_rows", """
taken = 16 * n_parameters
rows = 0
per = sum([2 * seq_len * d_model] * (n_layers - 1)) + 2 * seq_len * numbers_per_token
while taken + per <= n_bytes:
    taken, rows = taken + per, rows + 1
return rows
"""),
    ("most_rows", """
row = 2 * seq_len * ((n_layers - 1) * d_model + numbers_per_token)
return max(math.floor((n_bytes - 16 * n_parameters) / row), 0)
"""),
    ("most_rows", """
row = 16 * seq_len * (n_layers * d_model + numbers_per_token - d_model)
bits = range(128 * n_parameters, 8 * n_bytes + 1, row)
return max(len(bits) - 1, 0)
"""),
    ("most_rows", """
left = max(n_bytes / 2 - 8 * n_parameters, 0)
return left // (seq_len * (d_model * (n_layers - 1) + numbers_per_token))
"""),
]  # fmt: skip

FORMATS_WRONG = [  # (exercise, body of the function, what is said)
    ("decode", TEXT.replace("if e == 0 else", "if False else"), "an exponent of 0 is decoded like the others"),
    ("decode", TEXT.replace("x * 2.0 ** (1 - bias) if", "x * 2.0 ** (0 - bias) if"), "the power is 2**(1 − bias)"),
    ("decode", TEXT.replace("x * 2.0 ** (1 - bias) if", "0.0 if"), "only the fraction 0 is zero"),
    ("decode", TEXT.replace("enumerate(f)", "enumerate(f[::-1])"), "read from the right"),
    ("decode", TEXT.replace('if s == "1"', 'if s == "0"'), "the sign is turned around"),
    ("decode", TEXT.replace("- 1\n", "\n", 1), "the bias is 2**(n_exponent − 1) − 1"),
    ("decode", TEXT.replace("bias = 2 ** (n_exponent - 1) - 1", "bias = 127"), "127 is the bias for 8 exponent bits"),
    ("decode", TEXT.replace("(1 + x)", "x"), "the leading 1 is missing"),
    ("decode", STEPS.replace("m + f", "m * (1 + f)").replace("f if", "m * f if"), "divide it by 2**n_fraction"),
    ("decode", STEPS.replace("return (-1) ** s * value", "return value"), "the sign is not used"),
    ("to_bfloat16", NEAREST.replace("low > 0x8000", "low >= 0x8000"), "it always goes away from zero"),
    ("to_bfloat16", NEAREST.replace("== 1)", "== 5)"), "it always goes towards zero"),
    ("to_bfloat16", NEAREST.replace("== 1)", "== 0)"), "that with the last bit 1 wins"),
    ("to_bfloat16", NEAREST.replace("low > 0x8000", "low > 0"), "a whole step is added before cutting"),
    ("to_bfloat16", NEAREST.replace("low > 0x8000", "low >= 0"), "even to numbers that are exact"),
    ("to_bfloat16", "return x.half().float()", "that is float16"),
    ("to_bfloat16", "return x", "the numbers come back as they are"),
    ("to_bfloat16", "return (x * 128).round() / 128", "the step is the same for all sizes"),
    ("to_bfloat16", "y = x.clone()\ny.view(torch.int16)[..., ::2] = 0\nreturn y", "the right half is cut off"),
    ("to_bfloat16", NEAREST.replace("up = (", "up = (x > 0) & ((").replace("== 1)", "== 1))"), "towards plus infinity"),
    ("mean_square", "return (x * x).mean(1).sqrt()", "all is done in float16"),
    ("mean_square", "return (x * x).float().mean(1).sqrt()", "the squares are taken in float16"),
    ("mean_square", "return ((x.float() ** 2).mean(1)).half().sqrt()", "the mean of the squares is put back"),
    ("mean_square", "return (x.float() ** 2).mean(1).sqrt().to(x.dtype)", "the result is rounded to float16"),
    ("mean_square", "return (x.float() ** 2).mean(1)", "the root is missing"),
    ("mean_square", "return x.float().abs().mean(1)", "the mean of the sizes"),
    ("mean_square", "return (x.float() ** 2).mean().sqrt()", "one number for all rows"),
    ("mean_square", "return x.float().norm(dim=1)", "not divided by their number"),
    ("mean_square", "return x.float().var(1, correction=0).sqrt()", "the standard deviation"),
    ("mean_square", "return x.float().abs().max(1).values", "the size of the largest number"),
    ("mean_square", "s = x.abs().amax(1, keepdim=True)\nreturn ((x / s) ** 2).mean(1).sqrt() * s[:, 0]", ""),
    ("loss_scale", SCALED.replace(" / scale\n", "\n", 1), "not divided by the scale"),
    ("loss_scale", SCALED.replace("max_norm / max(", "max_norm / scale / max("), ""),
    ("loss_scale", SCALED.replace("max(float(g.norm())", "max(float(scaled.norm())"),
     "it is clipped before it is unscaled"),
    ("loss_scale", SCALED.replace("min(1.0, max_norm / max(float(g.norm()), 1e-12))", "1"), "clipping is missing"),
    ("loss_scale", SCALED.replace("scale * 0.5", "scale"), "the scale stays"),
    ("loss_scale", SCALED.replace("scale * 0.5", "scale * 2"), "the scale is doubled where it was too large"),
    ("loss_scale", SCALED.replace("scale * 0.5, 0", "scale * 0.5, n_good"), "they are to be in a row"),
    ("loss_scale", SCALED.replace("all(math.isfinite(g)", "all(g == g"), "only nan is looked for"),
    ("loss_scale", SCALED.replace("math.isfinite(g)", "not math.isinf(g)"), "only inf is looked for"),
    ("loss_scale", SCALED.replace("weights - rate", "weights + rate"), "uphill"),
    ("loss_scale", SCALED.replace("scale * (2 if n_good == patience else 1)", "scale"),
     "at the `patience`-th good step in a row the scale is not doubled"),
    # what was accepted before numbers were compared exactly, or was told a false reason
    ("decode", STEPS.replace("return (-1) ** s", "return 0.0 if abs(value) < 6e-8 else (-1) ** s"), "got 0. A float"),
    ("decode", STEPS.replace("* value", "* float(torch.tensor(value).half()) if value < 6e4 else (-1) ** s * value"),
     "exactly, small ones too"),
    ("decode", STEPS.replace("* value", "* round(value, 6)"), "exactly, small ones too"),
    ("decode", STEPS.replace("* value", "* value * (1.0001 if value > 1000 else 1)"), "exactly, small ones too"),
    ("decode", STEPS.replace("(-1) ** s * value", "-1 ** s * value"), "every number is negative"),
    ("decode", STEPS.replace("s, e = divmod(rest, k)", "s, e = rest // k, rest"), "stays in the exponent"),
    ("decode", TEXT.replace('format(pattern, f"0{1 + n_exponent + n_fraction}b")', "bin(pattern)[2:]")
     .replace("x = sum(", 'x = int(f, 2) / 2**n_fraction or sum('), "bin leaves out the zeros"),
    ("decode", STEPS.replace("e == 0", "e <= 1"), "the exponent 1 is read as 0 is"),
    ("decode", STEPS.replace("e == 0", "e == f == 0"), "only 0 itself is treated apart"),
    ("decode", "n_exponent, n_fraction = 5, 10" + STEPS, "are those of float16"),
    ("to_bfloat16", "y = x.bfloat16().float()\nreturn torch.where(x.abs() < 1e-6, -y, y)", "a number is not the near"),
    ("to_bfloat16", "y = x.bfloat16().float()\nreturn torch.where(x.abs() < 1e-6, x, y)", "a number is not the near"),
    ("to_bfloat16", "y = x.bfloat16().float()\nreturn torch.where(x.abs() < 1e-6, 0.0, y)", "a number is not the near"),
    ("to_bfloat16", "return x.bfloat16()", "the tensor is bfloat16"),
    ("to_bfloat16", "return x.abs().bfloat16().float()", "the sign is lost"),
    ("to_bfloat16", NEAREST.replace(".view(torch.float32)", ".float()"), "the pattern came back as a number"),
    ("to_bfloat16", NEAREST.replace(".to(torch.int32)", ""), "two numbers come back for each"),
    ("to_bfloat16", "p = x.to(torch.int32)\nreturn (p + 0x7FFF + (p >> 16 & 1) >> 16 << 16).view(torch.float32)",
     "x.to(torch.int32) would do that"),
    ("to_bfloat16", "p = x.view(torch.int32)\nreturn (p + 0x7FFF + p >> 16 & 1 << 16).view(torch.float32)",
     "or an order of operations"),
    ("to_bfloat16", "p = x.view(torch.int32)\nreturn (p + 0x7FFF + (p >> 16 & 1) >> 16).view(torch.float32)",
     "shift them back"),
    ("mean_square", "return (x.float() ** 2).mean(1).half().sqrt().float()", "the mean of the squares is put back"),
    ("mean_square", "return F.rms_norm(x.float(), x.shape[-1:]) / x.float()", "expected a tensor of shape (B)"),
    ("mean_square", "return torch.sqrt(x.float().pow(2).mean(-1) + 1e-5)", "an ε is added"),
    ("mean_square", "return torch.linalg.vector_norm(x, dim=1).float() / math.sqrt(x.shape[1])", "comes back rounded"),
    ("mean_square", "return torch.linalg.vector_norm(x.float(), dim=1) / math.sqrt(x.shape[1] - 1)",
     "divided by D − 1"),
    ("loss_scale", SCALED.replace("min(1.0, ", "(").replace("1e-12))", "1e-12))"), "brought to the limit's length too"),
    ("loss_scale", SCALED.replace("scaled.double() / scale", "(scaled.half() / scale).float()"), "unscaled in float16"),
    ("loss_scale", SCALED.replace("scale * 0.5", "scale // 2"), "half of 1 is then 0"),
    ("loss_scale", SCALED.replace("scale * 0.5", "max(scale / 2, 1.0)"), "held at 1 at least"),
    ("loss_scale", SCALED.replace("scale * (2 if n_good == patience else 1)",
                                  "min(scale * (2 if n_good == patience else 1), 65536)"), "held at 65,536"),
    ("loss_scale", SCALED.replace("== patience", "> patience"), "at the `patience`-th good step"),
    ("loss_scale", SCALED.replace("g = g * min(1.0, max_norm / max(float(g.norm()), 1e-12))",
                                  "g = g.clamp(-max_norm, max_norm)"), "which turns the arrow"),
    ("loss_scale", SCALED.replace("return weights, scale", "return weights * 0, scale"), "zeros come back"),
    ("loss_scale", SCALED.replace("n_good += 1", "n_good = 1"), "the n_good that comes in is not used"),
    ("loss_scale", """
good = scaled.isfinite().all()
g = scaled / scale
g = g * min(1, max_norm / g.norm())
new = weights - rate * g * good
n_good += 1
if not good:
    return new, scale / 2, 0
return (new, scale * 2, 0) if n_good == patience else (new, scale, n_good)
""", "multiplying a step by 0 does not leave it out"),
    ("most_rows", MEMORY.replace('"gradient": 2, ', ""), "2 bytes a parameter are missing"),
    ("most_rows", MEMORY.replace(', "v": 4', ""), "4 bytes a parameter are missing"),
    ("most_rows", MEMORY.replace('"m": 4, "v": 4', '"m": 2, "v": 2'), "4 bytes a parameter are missing"),
    ("most_rows", MEMORY.replace(', "m": 4, "v": 4', ""), "8 bytes a parameter are missing"),
    ("most_rows", MEMORY.replace('"gradient": 2', '"gradient": 4'), "2 bytes a parameter are too many"),
    ("most_rows", MEMORY.replace('"m": 4', '"m": 4, "weight again": 2'), "or the weights of the passes twice"),
    ("most_rows", MEMORY.replace("(inputs + rerun)", "n_layers * numbers_per_token"), "that is without checkpointing"),
    ("most_rows", MEMORY.replace("(inputs + rerun)", "inputs"), "the layer that is rerun is forgotten"),
    ("most_rows", MEMORY.replace("- d_model", ""), "counted twice"),
    ("most_rows", MEMORY.replace("n_layers * d_model", "d_model"), "all n_layers keep theirs"),
    ("most_rows", MEMORY.replace(" * seq_len * 2", " * 2"), "each of the seq_len tokens"),
    ("most_rows", MEMORY.replace(" * seq_len * 2", " * seq_len * 4"), "counted with 4 bytes"),
    ("most_rows", MEMORY.replace(" * seq_len * 2", " * seq_len"), "counted as numbers"),
    ("most_rows", MEMORY.replace(" if left > 0 else 0", ""), "give back 0"),
    ("most_rows", MEMORY.replace("left // row", "round(left / row)"), "rounded to the nearest"),
    ("most_rows", MEMORY.replace("left // row", "-(-left // row)"), "it is rounded up"),
    ("most_rows", "row = (n_layers * d_model + numbers_per_token - d_model) * seq_len * 2\n"
     "return n_bytes // (16 * n_parameters + row)", "the rows share them"),
    ("most_rows", MEMORY.replace("left = n_bytes -", "left = n_bytes + 0 *"), "not taken away from n_bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), FORMATS_RIGHT)
def test_a_right_answer_on_training_in_another_form_passes(name, body):
    verdict = judge(*on_training(name, body))
    assert verdict.status == "right", verdict


@pytest.mark.parametrize(("name", "body", "said"), FORMATS_WRONG)
def test_what_is_said_of_an_answer_on_training_is_true(name, body, said):
    verdict = judge(*on_training(name, body))
    assert verdict.status == "wrong" and said in verdict.reason, verdict


# Training, the optimizers ---------------------------------------------------------------------------------------------

OPTIMIZERS_RIGHT = [  # (exercise, body of the function)
    ("late", """
places = [torch.nn.Parameter(p.clone()) for p in params]
matrices, vectors = [p for p in places if p.dim() > 1], [p for p in places if p.dim() < 2]
groups = [{"params": part, "weight_decay": w} for part, w in ((matrices, decay), (vectors, 0.0)) if part]
steps = torch.optim.AdamW(groups, lr=rate, betas=betas, eps=eps)
for step in gradients:
    for p, g in zip(places, step):
        p.grad = g
    steps.step()
return places
"""),
    ("late", """
state = [[p.clone(), 0, 0, 0] for p in params]
for step in gradients:
    for n, g in enumerate(step):
        if g is not None:
            p, m, v, t = state[n]
            m, v, t = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g, t + 1
            p -= rate * decay * p * (p.ndim > 1)
            p -= rate * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
            state[n] = [p, m, v, t]
return tuple(one[0] for one in state)
"""),
    ("late", """
import llmlab.training
places = [p.clone().requires_grad_() for p in params]
groups = [{"params": [p], "weight_decay": decay if len(p.shape) > 1 else 0.0} for p in places]
steps = llmlab.training.AdamW(groups, rate, betas=betas, eps=eps)
for step in gradients:
    for p, p.grad in zip(places, step):
        pass
    steps.step()
return [p.detach() for p in places]
"""),
    ("late", """
moved = []
for p, *own in zip(params, *gradients):
    g = [one for one in own if one is not None]
    for t in range(1, len(g) + 1):
        past = torch.stack(g[:t][::-1])
        w1, w2 = (torch.tensor([b ** k for k in range(t)]).double() for b in betas)
        m = (w1.view(-1, *[1] * p.dim()) * past).sum(0) / w1.sum()
        v = (w2.view(-1, *[1] * p.dim()) * past ** 2).sum(0) / w2.sum()
        p = p - (rate * decay * p if p.dim() >= 2 else 0) - rate * m / (v ** 0.5 + eps)
    moved.append(p)
return moved
"""),
    ("late", """
moved = []
for number in range(len(params)):
    p, m, v, t = params[number].numpy().copy(), 0.0, 0.0, 0
    for step in gradients:
        if step[number] is None:
            continue
        g, t = step[number].numpy(), t + 1
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g ** 2
        p = p * (1 - rate * decay * (p.ndim >= 2))
        p = p - rate * m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)) ** 0.5 + eps)
    moved.append(torch.from_numpy(p))
return moved
"""),
    ("groups", """
first = {}
for name, p in named:
    first.setdefault(p, name)
return [n for p, n in first.items() if p.dim() > 1], [n for p, n in first.items() if p.dim() < 2]
"""),
    ("groups", """
decayed, plain = [], []
for n, (name, p) in enumerate(named):
    if any(p is other for _, other in named[:n]):
        continue
    if len(p.shape) < 2:
        plain.append(name)
    else:
        decayed.append(name)
return [decayed, plain]
"""),
    ("groups", """
ids = [id(p) for _, p in named]
once = [pair for n, pair in enumerate(named) if ids.index(ids[n]) == n]
return tuple([name for name, p in once if (p.ndim > 1) == which] for which in (True, False))
"""),
    ("groups", """
own = {p.data_ptr(): (name, p) for name, p in reversed(named)}.values()
matrices = [name for name, p in named if p.dim() >= 2]
kept = [name for name, _ in own]
return [n for n in matrices if n in kept], [n for n, _ in named if n in kept and n not in matrices]
"""),
    ("groups", """
seen, lists = [], ([], [])
for name, p in named:
    if id(p) not in seen:
        lists[p.dim() < 2].append(name)
        seen += [id(p)]
return lists
"""),
    ("schedule", """
if step >= n_steps:
    return floor
if step < warmup:
    return (step + 1) * peak / warmup
share = (step - warmup) / (n_steps - warmup)
return floor + (peak - floor) * math.cos(math.pi * share / 2) ** 2
"""),
    ("schedule", """
import llmlab.training
return llmlab.training.cosine_schedule(step, n_steps=n_steps, peak=peak, warmup=warmup, floor=floor)
"""),
    ("schedule", """
import numpy as np
if step < min(warmup, n_steps):
    return float(np.linspace(0, peak, warmup + 1)[step + 1])
turn = min(1.0, (step - warmup) / max(1, n_steps - warmup)) if step < n_steps else 1.0
return 0.5 * (peak + floor) + 0.5 * (peak - floor) * np.cos(np.pi * turn)
"""),
    ("schedule", """
if step < warmup and step < n_steps:
    rate = 0.0
    for _ in range(step + 1):
        rate += peak / warmup
    return rate
if step >= n_steps:
    return floor
share = (step - warmup) / (n_steps - warmup)
return torch.tensor(floor + (peak - floor) * (1 - math.sin(math.pi * (share - 0.5))) / 2)
"""),
    ("schedule", """
at = min(step, n_steps)
if at < n_steps and at + 1 <= warmup:
    return peak * ((at + 1) / warmup)
left = (n_steps - at) / (n_steps - warmup) if at < n_steps else 0
return floor + (peak - floor) * (1 - math.cos(math.pi * left)) / 2
"""),
    ("accumulate", """
weights = torch.tensor(counts).double() / sum(counts)
total = []
for tensors in zip(*gradients):
    total.append((torch.stack(tensors).double() * weights.view(-1, *[1] * tensors[0].dim())).sum(0))
norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in total]))
return [g * max_norm / norm for g in total] if norm > max_norm else total
"""),
    ("accumulate", """
total = [torch.zeros_like(g) for g in gradients[0]]
for part, n in zip(gradients, counts):
    for old, g in zip(total, part):
        old += n * g
for old in total:
    old /= sum(counts)
size = sum(g.pow(2).sum().item() for g in total) ** 0.5
for old in total:
    old *= min(1, max_norm / (size + 1e-12))
return total
"""),
    ("accumulate", """
places = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients[0]]
for n, place in enumerate(places):
    place.grad = sum(part[n] * c for part, c in zip(gradients, counts)) / sum(counts)
torch.nn.utils.clip_grad_norm_(places, max_norm)
return [place.grad for place in places]
"""),
    ("accumulate", """
seen, mean = 0, None
for part, n in zip(gradients, counts):
    if n == 0:
        continue
    seen += n
    mean = part if mean is None else [old + (g - old) * n / seen for old, g in zip(mean, part)]
norm = sum(float((g * g).sum()) for g in mean) ** 0.5
return [g / max(1.0, norm / max_norm) for g in mean]
"""),
    ("accumulate", """
import numpy as np
total = [np.average([g.numpy() for g in tensors], axis=0, weights=counts) for tensors in zip(*gradients)]
norm = np.sqrt(sum((g ** 2).sum() for g in total))
return [torch.from_numpy(np.asarray(g * (max_norm / norm if norm > max_norm else 1))) for g in total]
"""),
    ("dropout", """
return x + torch.where(uniform < p, 0.0, update / (1 - p)) if training else x + update
"""),
    ("dropout", """
if training:
    out = update.clone()
    out[uniform < p] = 0
    return out / (1 - p) + x
return update + x
"""),
    ("dropout", """
keep = 1 - p * training
return torch.add(x, update.masked_fill((uniform < p) & training, 0) / keep)
"""),
    ("dropout", """
import numpy as np
return x.numpy() + np.where((uniform.numpy() >= p) | (not training), update.numpy() / (1 - p if training else 1), 0)
"""),
    ("dropout", """
out = x.clone()
if training is False:
    out += update
else:
    stay = ~(uniform < p)
    out[stay] += update[stay] / (1.0 - p)
return out
"""),
]  # fmt: skip

ADAMW = """
b1, b2 = betas
out = []
for n, p in enumerate(params):
    m = v = torch.zeros_like(p)
    t = 0
    for step in gradients:
        g = step[n]
        if g is None:
            continue
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g ** 2
        if p.dim() >= 2:
            p = p * (1 - rate * decay)
        p = p - rate * (m / (1 - b1 ** t)) / ((v / (1 - b2 ** t)) ** 0.5 + eps)
    out.append(p)
return out
"""
ACCUMULATE = """
total = [torch.zeros_like(g) for g in gradients[0]]
for part, n in zip(gradients, counts):
    for old, g in zip(total, part):
        old += n * g / sum(counts)
norm = sum((g ** 2).sum() for g in total) ** 0.5
return [g * (max_norm / norm) if norm > max_norm else g for g in total]
"""
GROUPS = """
a, b, seen = [], [], set()
for name, p in named:
    if id(p) not in seen:
        seen.add(id(p))
        (a if p.dim() >= 2 else b).append(name)
return a, b
"""
RATE = """
if step >= n_steps:
    return floor
if step < warmup:
    return peak * (step + 1) / warmup
x = (step - warmup) / (n_steps - warmup)
return floor + (peak - floor) * (1 + math.cos(math.pi * x)) / 2
"""
DROPOUT = """
if not training:
    return x + update
return x + update * (uniform >= p) / (1 - p)
"""

# (exercise, a right body, what is changed in it, into what, what is said)
OPTIMIZERS_WRONG = [
    ("late", ADAMW, "        t += 1\n", "", "something is divided by 0"),
    ("late", ADAMW, "for step in gradients:", "for t, step in enumerate(gradients):", "counts all steps"),
    ("late", ADAMW, "            continue", "            g = torch.zeros_like(p)", "taken for zeros"),
    ("late", ADAMW, "            continue", "            break", "expected"),
    ("late", ADAMW, "t += 1\n", "t += 1\n        g = g + decay * p * (p.dim() >= 2)\n", "expected"),
    ("late", ADAMW, "if p.dim() >= 2:", "if p.dim() > 2:", "more than two dimensions"),
    ("late", ADAMW, "if p.dim() >= 2:", "if p.dim() == 2:", "exactly two dimensions"),
    ("late", ADAMW, "if p.dim() >= 2:", "if True:", "vectors decay as well"),
    ("late", ADAMW, "(1 - rate * decay)", "(1 - decay)", "not multiplied by the rate"),
    ("late", ADAMW, "p = p * (1 - rate * decay)", "p *= 1 - rate * decay", "`params` must stay"),
    ("late", ADAMW, "b1, b2 = betas", "b1, b2 = 0.9, 0.999", "other betas are taken"),
    ("late", ADAMW, "    t = 0", "    t = 0 if n == 0 else t", "expected"),
    ("late", ADAMW, "** 0.5 + eps)", "+ eps) ** 0.5", "eps is within the root"),
    ("late", ADAMW, "        t += 1\n", "        t += 1\n        m = v = torch.zeros_like(p)\n",
     "begin anew in each step"),
    ("late", ADAMW, "            continue", "            m, v = b1 * m, b2 * v\n            continue",
     "the averages fade"),
    ("late", ADAMW, "            continue", "            m, v, t = 0, 0, 0\n            continue",
     "begin again after a step"),
    ("late", ADAMW, "if p.dim", "m, v = m / (1 - b1 ** t), v / (1 - b2 ** t)\n        if p.dim", "expected"),
    ("groups", GROUPS, "if id(p) not in seen:", "if True:", "under both names"),
    ("groups", GROUPS, "p.dim() >= 2", "'norm' not in name", "told by their name"),
    ("groups", GROUPS, "p.dim() >= 2", "p.dim() == 2", "exactly two dimensions"),
    ("groups", GROUPS, "p.dim() >= 2", "'bias' not in name and 'norm' not in name", "which may mislead"),
    ("groups", GROUPS, "return a, b", "return b, a", "exchanged"),
    ("groups", GROUPS, "append(name)", "append(p)", "names are asked"),
    ("groups", GROUPS, "for name, p in named:", "for name, p in named[::-1]:", "expected"),
    ("groups", GROUPS, "id(p)", "tuple(p.shape)", "same shape"),
    ("groups", GROUPS, "id(p)", "str(p)", "equal numbers"),
    ("groups", GROUPS, "    if id(p)", "    if name != 'head.weight' and id(p)", "left out by its name"),
    ("groups", GROUPS, "p.dim() >= 2", "p.dim()", "vectors decay too"),
    ("schedule", RATE, "(step + 1) / warmup", "step / warmup", "step 0 has the rate 0"),
    ("schedule", RATE, "if step >= n_steps:", "step += 1\nif step > n_steps:", "expected"),
    ("schedule", RATE, "(step + 1) / warmup", "step / max(1, warmup - 1)", "only moves the peak"),
    ("schedule", RATE, "(step + 1) / warmup", "(step + 1) / (warmup + 1)", "warmup + 1"),
    ("schedule", RATE, "(step + 1) / warmup", "max(step, 1) / warmup", "step 0 is set right alone"),
    ("schedule", RATE, "(step + 1) / warmup", "max(step / warmup, 1e-3)", "expected"),
    ("schedule", RATE, "step < warmup", "step <= warmup", "one step too many"),
    ("schedule", RATE, "(step - warmup) / (n_steps - warmup)", "step / n_steps", "jumps where the warm-up ends"),
    ("schedule", RATE, "(step - warmup) / (n_steps - warmup)", "(step + 1 - warmup) / (n_steps - warmup)",
     "one step ahead"),
    ("schedule", RATE, "    return floor\n", "    return 0.0\n", "expected"),
    ("schedule", RATE, "floor + (peak - floor) *", "floor + peak *", "added to the whole peak"),
    ("schedule", RATE, "math.pi * x", "math.pi / 2 * x", "expected"),
    ("schedule", RATE, "(1 + math.cos(math.pi * x)) / 2", "(1 - x)", "a straight line"),
    ("accumulate", ACCUMULATE, "n * g / sum(counts)", "g / len(counts)", "mean of the parts' means"),
    ("accumulate", ACCUMULATE, "n * g / sum(counts)", "g", "added and not divided"),
    ("accumulate", ACCUMULATE, "n * g / sum(counts)", "n * g", "not divided by the number of all targets"),
    ("accumulate", ACCUMULATE, "n * g / sum(counts)", "n * g / len(counts)", "divided by the number of parts"),
    ("accumulate", ACCUMULATE, "        old += n", "        old *= 0\n        old += n", "only the last part"),
    ("accumulate", ACCUMULATE, "(max_norm / norm) if norm > max_norm else g", "(max_norm / norm)",
     "made longer"),
    ("accumulate", ACCUMULATE, "total = [torch.zeros_like(g) for g in gradients[0]]", "total = gradients[0]",
     "`gradients` must stay"),
    ("accumulate", ACCUMULATE, "** 0.5", "", "the root is left out"),
    ("accumulate", ACCUMULATE, "norm = sum((g ** 2).sum() for g in total) ** 0.5",
     "norm = sum(g.norm() for g in total)", "norms are added up"),
    ("accumulate", ACCUMULATE, "(max_norm / norm) if norm > max_norm else g", "min(1, max_norm / max(norm, 1))",
     "expected"),
    ("accumulate", ACCUMULATE, "g * (max_norm / norm) if norm > max_norm else g", "g.clamp(-max_norm, max_norm)",
     "cut off at max_norm"),
    ("accumulate", ACCUMULATE, "norm = sum((g ** 2).sum() for g in total) ** 0.5",
     "norm = max(g.norm() for g in total)", "expected"),
    ("accumulate", ACCUMULATE, "if norm > max_norm else g for", "if norm > max_norm else 0 * g for", "expected"),
    ("accumulate", ACCUMULATE, "return [", "return 1 * [g for g in total] or [", "nothing is clipped"),
    ("dropout", DROPOUT, " / (1 - p)", "", "the scale is missing"),
    ("dropout", DROPOUT, " / (1 - p)", " / p", "divided by p"),
    ("dropout", DROPOUT, " / (1 - p)", " * (1 - p)", "multiplied by 1 − p"),
    ("dropout", DROPOUT, "if not training:", "if training:", "turned round"),
    ("dropout", DROPOUT, "    return x + update\n", "    return (x + update) * (1 - p)\n",
     "in use something is scaled"),
    ("dropout", DROPOUT, "if not training:\n    return x + update\n", "", "dropped in use as well"),
    ("dropout", DROPOUT, "x + update * (uni", "(x + update) * (uni", "the stream is dropped, too"),
    ("dropout", DROPOUT, "x + update * (uni", "update + x * (uni", "the update is not"),
    ("dropout", DROPOUT, "x + update * (uniform >= p)", "(x + update * (uniform >= p))", "both divided by 1 − p"),
    ("dropout", DROPOUT, "x + update * (uni", "update * (uni", "without x"),
    ("dropout", DROPOUT, "uniform >= p", "uniform < p", "what is drawn below p goes"),
    ("dropout", DROPOUT, "uniform >= p", "uniform > p", "drawn to be just p"),
    ("dropout", DROPOUT, "uniform >= p", "uniform[0] >= p", "expected"),
    ("dropout", DROPOUT, "uniform >= p", "torch.rand(x.shape) >= p", "of its own are drawn"),
    ("dropout", DROPOUT, "x + update * (", "x + update.mul_(", "`update`"),
    ("dropout", DROPOUT, "uniform >= p", "uniform.mean(-1, keepdim=True) >= p", "expected"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), OPTIMIZERS_RIGHT)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_answer_on_optimizers_passes(name, body, seed):
    verdict = judge(*on_training(name, body), seed=seed)
    assert verdict.status == "right", verdict


@pytest.mark.parametrize(("name", "right", "was", "now", "said"), OPTIMIZERS_WRONG)
def test_what_is_said_of_an_answer_on_optimizers_is_true(name, right, was, now, said):
    assert was in right
    assert judge(*on_training(name, right)).status == "right"
    verdict = judge(*on_training(name, right.replace(was, now)))
    assert verdict.status in ("wrong", "crashed") and said in verdict.reason, verdict


# Shared heads ---------------------------------------------------------------------------------------------------------


def on_sharing(name, body):
    """An exercise on shared heads, and the answer of this body to it."""
    exercise = catalog.find("exercise", f"gqa.{name}")
    head = f"def {exercise.function}({', '.join(exercise.parameters)}):\n"
    return exercise, define("import numpy as np\n" + head + indent(body, "    "), "answer")


ROWS_OF_A_GROUP = """
B, H, d = q.shape
G = keys.shape[1]
out = torch.empty(B, H, d)
for g in range(G):
    mine = slice(g * (H // G), (g + 1) * (H // G))
    scores = q[:, mine] @ keys[:, g].mT / d ** 0.5
    out[:, mine] = scores.softmax(-1) @ values[:, g]
return out
"""
KEPT_IN_LISTS = """
ks, vs, out = [], [], []
n = q.shape[1] // k.shape[1]
for t in range(q.shape[2]):
    ks.append(k[:, :, t])
    vs.append(v[:, :, t])
    keys, values = torch.stack(ks, 2), torch.stack(vs, 2)
    rows = q[:, :, t].unflatten(1, (k.shape[1], n))
    w = (rows @ keys.mT / q.shape[-1] ** 0.5).softmax(-1)
    out.append((w @ values).flatten(1, 2))
return torch.stack(out, 2), keys, values
"""
REPEATED_FIRST = """
size = q.shape[1] // k.shape[1]
k, v = k.repeat_interleave(size, dim=1), v.repeat_interleave(size, dim=1)
keys, values, outputs = k[:, :, :0], v[:, :, :0], []
for t in range(q.shape[2]):
    keys = torch.cat((keys, k[:, :, t : t + 1]), dim=2)
    values = torch.cat((values, v[:, :, t : t + 1]), dim=2)
    scores = q[:, :, t : t + 1] @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5
    outputs.append(scores.softmax(-1) @ values)
return torch.cat(outputs, dim=2), keys, values
"""
REPEATED_IN_THE_LOOP = REPEATED_FIRST.replace(
    "k, v = k.repeat_interleave(size, dim=1), v.repeat_interleave(size, dim=1)\n", ""
).replace(
    "    scores =",
    "    keys, values = keys.repeat_interleave(size, dim=1), values.repeat_interleave(size, dim=1)\n    scores =",
)
CONTEXT = """
kv_heads = n_heads // group_size
token = 2 * n_layers * kv_heads * head_dim * number_bytes
left = memory - n_weights * number_bytes
return max(0, left // (n_rows * token))
"""
TIED = """
h = gradient.view(-1, head_dim, gradient.shape[1])
n = len(h) // n_kv_heads
return torch.cat([h[g * n : (g + 1) * n].sum(0) for g in range(n_kv_heads)])
"""

SHARING_RIGHT = [  # (exercise, body of the function)
    ("share", "return x[:, torch.arange(n_heads) * x.shape[1] // n_heads]"),
    ("share", "B, G, S, d = x.shape\nreturn x[:, :, None].expand(B, G, n_heads // G, S, d).reshape(B, n_heads, S, d)"),
    ("share", "return np.repeat(x.numpy(), n_heads // x.shape[1], axis=1)"),
    ("share", "return torch.stack([x[:, h // (n_heads // x.shape[1])] for h in range(n_heads)], dim=1)"),
    ("share", "n = n_heads // x.shape[1]\nreturn torch.cat([g.repeat(1, n, 1, 1) for g in x.split(1, dim=1)], 1)"),
    ("share", "return torch.kron(x.transpose(0, 1).flatten(1), torch.ones(n_heads // x.shape[1], 1))"
     ".view(n_heads, len(x), *x.shape[2:]).transpose(0, 1)"),
    ("attend", ROWS_OF_A_GROUP),
    ("attend", ROWS_OF_A_GROUP.replace("torch.empty(B, H, d)", "torch.empty(B, H, d, dtype=torch.float64)")),
    ("attend", "r = q.unflatten(1, (keys.shape[1], -1))\n"
     "return F.scaled_dot_product_attention(r, keys, values).flatten(1, 2)"),
    ("attend", "r = q.unflatten(1, (keys.shape[1], -1))\n"
     "w = torch.einsum('bgnd,bgsd->bgns', r, keys).div(q.shape[-1] ** 0.5).softmax(3)\n"
     "return torch.einsum('bgns,bgsd->bgnd', w, values).flatten(1, 2)"),
    ("attend", "return F.scaled_dot_product_attention(q[:, :, None], keys, values, enable_gqa=True).squeeze(2)"),
    ("keep_groups", KEPT_IN_LISTS),
    ("keep_groups", KEPT_IN_LISTS.replace("torch.stack(out, 2)", "torch.stack(out, 2).numpy()")),
    ("keep_groups", "return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), k, v"),
    ("keep_groups", """
n = q.shape[1] // k.shape[1]
keys, values = k.new_zeros(k.shape), v.new_zeros(v.shape)
out = torch.zeros_like(q)
for t in range(q.shape[2]):
    keys[:, :, t], values[:, :, t] = k[:, :, t], v[:, :, t]
    for h in range(q.shape[1]):
        w = (keys[:, h // n, : t + 1] @ q[:, h, t, :, None] / q.shape[-1] ** 0.5).softmax(1)
        out[:, h, t] = (w * values[:, h // n, : t + 1]).sum(1)
return [out, keys, values]
"""),
    ("keep_groups", KEPT_IN_LISTS.replace("keys, values = torch", "keys, values = both = torch").replace(
     "torch.stack(ks, 2), torch.stack(vs, 2)", "torch.stack((torch.stack(ks, 2), torch.stack(vs, 2)))")),
    ("keep_groups", KEPT_IN_LISTS.replace(", keys, values\n", ", keys.numpy(), values.double().numpy()\n")),
    ("keep_groups", """
from llmlab.attention import causal_mask, scaled_dot_product_attention
return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2])), k.clone(), v.clone()
"""),
    ("fits", CONTEXT),
    ("fits", CONTEXT.replace("n_heads // group_size", "n_heads / group_size").replace("return max", "return 1 * max")),
    ("fits", """
rest = memory // number_bytes - n_weights
each = n_rows * 2 * n_layers * head_dim * (n_heads // group_size)
return rest // each if rest > 0 else 0
"""),
    ("fits", """
each = n_rows * number_bytes * sum(2 * head_dim for layer in range(n_layers) for head in range(0, n_heads, group_size))
return len(range(n_weights * number_bytes + each, memory + 1, each))
"""),
    ("fits", """
import math
kept = np.int64(2) * n_layers * head_dim * number_bytes * n_rows * (n_heads // group_size)
return math.floor(max(memory - n_weights * number_bytes, 0) // kept)
"""),
    ("fits", """
each, left = 2 * n_layers * n_heads // group_size * head_dim * number_bytes * n_rows, memory - n_weights * number_bytes
tokens = 0
while (tokens + 1) * each <= left:
    tokens += 1
return tokens
"""),
    ("tied", TIED),
    ("tied", "return torch.einsum('gndk->gdk', gradient.unflatten(0, (n_kv_heads, -1, head_dim))).flatten(0, 1)"),
    ("tied", "g = gradient.numpy().reshape(n_kv_heads, -1, head_dim, gradient.shape[1])\n"
     "return g.sum(axis=1).reshape(n_kv_heads * head_dim, -1)"),
    ("tied", """
out = torch.zeros(n_kv_heads * head_dim, gradient.shape[1])
size = len(gradient) // len(out)
for row in range(len(gradient)):
    head, number = divmod(row, head_dim)
    out[head // size * head_dim + number] += gradient[row]
return out
"""),
    ("tied", """
h = gradient.double().unflatten(0, (-1, head_dim))
to = torch.arange(len(h)) * n_kv_heads // len(h)
out = torch.zeros(n_kv_heads, *h.shape[1:], dtype=torch.float64)
return out.index_add(0, to, h).flatten(0, 1)
"""),
]  # fmt: skip

SHARING_WRONG = [  # (exercise, body of the function, what is said)
    ("share", "return torch.cat([x] * (n_heads // x.shape[1]), dim=1)", "stand in turn"),
    ("share", "return x.tile(1, n_heads // x.shape[1], 1, 1)", "stand in turn"),
    ("share", "return x[:, torch.arange(n_heads) % x.shape[1]]", "stand in turn"),
    ("share", "return x.repeat_interleave(n_heads // x.shape[1], 2)", "keys are repeated instead of heads"),
    ("share", "return torch.repeat_interleave(x, x.shape[1], dim=1)", "G is the number of groups"),
    ("share", "return torch.repeat_interleave(x, n_heads, dim=1)", "H / G query heads share it"),
    ("share", "return x[:, [0] * n_heads]", "all heads read kv head 0"),
    ("share", "return x[:, torch.arange(n_heads) * x.shape[1] // n_heads].flip(1)", "wrong order"),
    ("share", "return x.repeat_interleave(n_heads // x.shape[1])", "one long row"),
    ("share", "return x.unsqueeze(2).expand(-1, -1, n_heads // x.shape[1], -1, -1)", "a dimension of their own"),
    ("share", "return x[:, torch.arange(n_heads) * x.shape[1] // n_heads].mT", "expected"),
    ("attend", ROWS_OF_A_GROUP.replace("mine = slice(g * (H // G), (g + 1) * (H // G))", "mine = slice(g, None, G)"),
     "h mod G"),
    ("attend", ROWS_OF_A_GROUP.replace(" / d ** 0.5", ""), "not divided by √d"),
    ("attend", ROWS_OF_A_GROUP.replace(" / d ** 0.5", " / d"), "divided by d"),
    ("attend", ROWS_OF_A_GROUP.replace("softmax(-1)", "softmax(1)"), "over the heads of a group"),
    ("attend", ROWS_OF_A_GROUP.replace("keys[:, g]", "keys[:, 0]").replace("values[:, g]", "values[:, 0]"),
     "read kv head 0"),
    ("attend", ROWS_OF_A_GROUP.replace("values[:, g]", "values[:, 0]"), "take the values of kv head 0"),
    ("attend", ROWS_OF_A_GROUP.replace("values[:, g]", "keys[:, g]"), "the keys are mixed"),
    ("attend", "k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (keys, values))\n"
     "return F.scaled_dot_product_attention(q[:, :, None], k, v)[:, :, 0]", "repeat"),
    ("attend", "r = q.unflatten(1, (keys.shape[1], -1))\nreturn F.scaled_dot_product_attention(r, keys, values)",
     "still apart"),
    ("attend", "r = q.unflatten(1, (keys.shape[1], -1))\n"
     "return F.scaled_dot_product_attention(r, keys, values).transpose(1, 2).flatten(1, 2)", "in the wrong order"),
    ("attend", "r = q.unflatten(1, (keys.shape[1], -1))\n"
     "return F.scaled_dot_product_attention(r, keys, values, is_causal=True).flatten(1, 2)", "treated as tokens"),
    ("attend", "n = q.shape[1] // keys.shape[1]\n"
     "k, v = (x[:, :, None].expand(-1, -1, n, -1, -1).flatten(1, 2) for x in (keys, values))\n"
     "return F.scaled_dot_product_attention(q[:, :, None], k, v)[:, :, 0]", "`expand` of PyTorch is used"),
    ("attend", "to = (torch.arange(q.shape[1]) * keys.shape[1] // q.shape[1])\n"
     "k, v = keys.index_select(1, to), values.index_select(1, to)\n"
     "return F.scaled_dot_product_attention(q[:, :, None], k, v)[:, :, 0]", "`index_select` of PyTorch is used"),
    ("attend", ROWS_OF_A_GROUP.replace(".softmax(-1)", ""), "softmax over the keys is missing"),
    ("attend", ROWS_OF_A_GROUP.replace("scores.softmax(-1)", "scores.exp() / scores.exp().sum(-1, keepdim=True)"),
     "exp of large scores overflows"),
    ("attend", ROWS_OF_A_GROUP.replace("q[:, mine]", "q[:, g::G]"), "stay in that order"),
    ("attend", ROWS_OF_A_GROUP.replace("keys[:, g]", "keys.mean(1)").replace("values[:, g]", "values.mean(1)"),
     "the mean of all kv heads"),
    ("keep_groups", REPEATED_FIRST.replace("dim=2), keys, values", "dim=2), keys[:, ::size], values[:, ::size]"),
     "mended and not the memory"),
    ("keep_groups", REPEATED_FIRST.replace("dim=2), keys, values",
     "dim=2), keys.numpy()[:, ::size], values.numpy()[:, ::size]"), "mended and not the memory"),
    ("keep_groups", REPEATED_FIRST.replace("dim=2), keys, values",
     "dim=2), keys[:, : keys.shape[1] // size], values[:, : values.shape[1] // size]"), "the first G"),
    ("keep_groups", REPEATED_IN_THE_LOOP, "a name of its own"),
    ("keep_groups", KEPT_IN_LISTS.replace("ks.append(k[:, :, t])", "ks = [k[:, :, t]]")
     .replace("vs.append(v[:, :, t])", "vs = [v[:, :, t]]"), "each token reads itself only"),
    ("keep_groups", KEPT_IN_LISTS.replace("ks.append(k[:, :, t])", "ks.append(k[:, :1, t].expand_as(k[:, :, t]))")
     .replace("vs.append(v[:, :, t])", "vs.append(v[:, :1, t].expand_as(v[:, :, t]))"), "in the place of all"),
    ("keep_groups", KEPT_IN_LISTS.replace("return torch.stack(out, 2), keys, values",
     "return torch.stack(out, 2), keys.repeat_interleave(n, 1), values.repeat_interleave(n, 1)"),
     "repeated before they are kept"),
    ("keep_groups", KEPT_IN_LISTS.replace(", keys, values\n", ", keys, values.repeat_interleave(n, 1)\n"),
     "the values are still repeated"),
    ("keep_groups", KEPT_IN_LISTS.replace(", keys, values\n", ", keys.repeat_interleave(n, 1), values\n"),
     "the keys are still repeated"),
    ("keep_groups", KEPT_IN_LISTS.replace("q[:, :, t].unflatten(1, (k.shape[1], n))",
     "q[:, :, t].unflatten(1, (n, k.shape[1])).transpose(1, 2)")
     .replace("(w @ values)", "(w @ values).transpose(1, 2)"), "h mod G"),
    ("keep_groups", KEPT_IN_LISTS.replace(", keys, values\n", ", values, keys\n"), "exchanged"),
    ("keep_groups", KEPT_IN_LISTS.replace(", keys, values\n", ", keys[:, :, :-1], values[:, :, :-1]\n"),
     "last token is not kept"),
    ("keep_groups", KEPT_IN_LISTS.replace(", keys, values\n", ", k[:, :, -1:], v[:, :, -1:]\n"), "only the last token"),
    ("keep_groups", "return F.scaled_dot_product_attention(q, k, v, enable_gqa=True), k, v", "look at later ones"),
    ("keep_groups", KEPT_IN_LISTS.replace("return torch.stack(out, 2)", "return out[-1][:, :, None]"),
     "only the last token's output"),
    ("fits", CONTEXT.replace("n_heads // group_size", "group_size"), "for the number of kv heads"),
    ("fits", CONTEXT.replace("n_heads // group_size", "n_heads"), "all query heads are counted"),
    ("fits", CONTEXT.replace("n_heads // group_size", "1"), "as in MQA"),
    ("fits", CONTEXT.replace("2 * n_layers", "n_layers"), "keys alone are counted"),
    ("fits", CONTEXT.replace("2 * n_layers", "3 * n_layers"), "queries are counted too"),
    ("fits", CONTEXT.replace("n_rows * token", "token"), "n_rows conversations share it"),
    ("fits", CONTEXT.replace("n_weights * number_bytes", "n_weights"), "counted in numbers; each takes"),
    ("fits", CONTEXT.replace("max(0, left // (n_rows * token))", "left // (n_rows * token)"), "it should be 0"),
    ("fits", CONTEXT.replace("left // (n_rows", "left / (n_rows"), "a part of one does not fit"),
    ("fits", CONTEXT.replace("left // (n_rows * token)", "-(-left // (n_rows * token))"), "rounded up"),
    ("fits", CONTEXT.replace("memory - n_weights * number_bytes", "memory"), "the weights are left out"),
    ("fits", CONTEXT.replace("max(0, left // (n_rows * token))", "int(left / (n_rows * token))"), "it should be 0"),
    ("fits", CONTEXT.replace("max(0, left //", "(abs(left) //"), "counted as room"),
    ("fits", CONTEXT.replace("n_weights * number_bytes", "n_weights * number_bytes * n_rows"), "all share them"),
    ("tied", TIED.replace("h[g * n : (g + 1) * n].sum(0)", "h[g * n : (g + 1) * n].sum((0, 1))[None]"),
     "the rows of one head stay apart"),
    ("tied", TIED.replace(".sum(0)", ".mean(0)"), "the mean of the heads"),
    ("tied", TIED.replace("h[g * n : (g + 1) * n].sum(0)", "h[g * n]"), "only the first head"),
    ("tied", TIED.replace("h[g * n : (g + 1) * n].sum(0)", "h[g * n + n - 1]"), "only the last head"),
    ("tied", TIED.replace("h[g * n : (g + 1) * n]", "h[g::n_kv_heads]"), "h mod G"),
    ("tied", TIED.replace("torch.cat", "torch.stack"), "four or three dimensions"),
    ("tied", TIED.replace(".sum(0)", ".amax(0)"), "the largest of the group"),
    ("tied", TIED.replace("h[g * n : (g + 1) * n].sum(0)", "h[g]"), "the first G heads"),
    ("tied", "return gradient", "come back as they were"),
    ("tied", "return gradient.unflatten(0, (-1, head_dim)).sum(0)", "the groups are added up too"),
    ("tied", "return gradient.unflatten(0, (n_kv_heads * head_dim, -1)).sum(1)", "neighboring rows"),
    ("tied", TIED.replace("return torch.cat", "return -torch.cat"), "the signs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), SHARING_RIGHT)
def test_a_right_answer_on_shared_heads_in_another_form_passes(name, body):
    verdict = judge(*on_sharing(name, body))
    assert verdict.status == "right", verdict


@pytest.mark.parametrize(("name", "body", "said"), SHARING_WRONG)
def test_what_is_said_of_an_answer_on_shared_heads_is_true(name, body, said):
    verdict = judge(*on_sharing(name, body))
    assert verdict.status in ("wrong", "crashed") and said in verdict.reason, verdict


LATENT = {
    "pool_heads": "def pool_heads(weight, n_kv_heads, head_dim):",
    "absorb": "def absorb(q, latents, w_k, w_v):",
    "latent_step": "def latent_step(q, q_rope, new, new_shared, latents, shared, w_k, w_v):",
    "latent_rope": "def to_cache(x, w_latent, w_shared, cos, sin):",
    "window_cache": "def attend_in_window(q, keys, values, k, v, window):",
}


def on_latents(name, body):
    return catalog.find("exercise", f"gqa.{name}"), define(f"{LATENT[name]}\n{indent(body.strip(), '    ')}", "answer")


POOL = """
heads = weight.unflatten(0, (-1, head_dim))
size = len(heads) // n_kv_heads
rows = []
for g in range(n_kv_heads):
    rows.append(sum(heads[g * size + i] for i in range(size)) / size)
return torch.cat(rows)
"""
ABSORB = """
asked, mixed, out = [], [], []
for h in range(len(q)):
    a = w_k[h].T @ q[h]
    weights = F.softmax(latents @ a / math.sqrt(q.shape[1]), dim=0)
    m = (weights[:, None] * latents).sum(0)
    asked.append(a)
    mixed.append(m)
    out.append(w_v[h] @ m)
return torch.stack(asked), torch.stack(mixed), torch.stack(out)
"""
MLA = """
B, H, d = q.shape
dr = q_rope.shape[-1]
latents = torch.cat([latents, new.unsqueeze(1)], dim=1)
shared = torch.cat([shared, new_shared.unsqueeze(1)], dim=1)
out = torch.zeros(B, H, d)
for b in range(B):
    for h in range(H):
        a = q[b, h] @ w_k[h]
        s = latents[b] @ a + shared[b] @ q_rope[b, h]
        p = torch.softmax(s / math.sqrt(d + dr), 0)
        out[b, h] = w_v[h] @ (p @ latents[b])
return out, latents, shared
"""
CACHED = """
latent = x @ w_latent.T
key = x @ w_shared.T
half = key.shape[-1] // 2
first, second = key[:, :half], key[:, half:]
key = torch.cat((first * cos - second * sin, first * sin + second * cos), 1)
return latent, key
"""
IN_WINDOW = """
S = len(keys)
all_keys = torch.cat((keys, k))
all_values = torch.cat((values, v))
out = []
for t in range(len(q)):
    end = S + t + 1
    start = max(0, end - window)
    p = torch.softmax(all_keys[start:end] @ q[t] / math.sqrt(q.shape[1]), 0)
    out.append(p @ all_values[start:end])
return torch.stack(out), all_keys[-window:], all_values[-window:]
"""

LATENT_RIGHT = [
    ("pool_heads", POOL),
    ("pool_heads", "return weight.view(n_kv_heads, -1, head_dim, weight.shape[1]).mean(1).view(-1, weight.shape[1])"),
    ("pool_heads", """
import numpy as np
w = weight.double().numpy()
blocks = w.reshape(n_kv_heads, len(w) // head_dim // n_kv_heads, head_dim, -1)
return np.concatenate(list(blocks.mean(axis=1)))
"""),
    ("pool_heads", """
H = weight.shape[0] // head_dim
mix = torch.kron(torch.eye(n_kv_heads), torch.ones(1, H // n_kv_heads) * n_kv_heads / H)
return torch.kron(mix, torch.eye(head_dim)) @ weight
"""),
    ("pool_heads", """
size = weight.shape[0] // n_kv_heads
return torch.cat([sum(c.split(head_dim)) / (size // head_dim) for c in weight.split(size)])
"""),
    ("absorb", ABSORB),
    ("absorb", """
asked = torch.bmm(q[:, None], w_k)[:, 0]
mixed = F.scaled_dot_product_attention(asked[:, None], latents.expand(len(q), -1, -1),
                                       latents.expand(len(q), -1, -1), scale=q.shape[-1] ** -0.5)[:, 0]
return asked, mixed, torch.bmm(w_v, mixed[:, :, None])[:, :, 0]
"""),
    ("absorb", """
q, latents, w_k, w_v = q.double(), latents.double(), w_k.double(), w_v.double()
asked = (q[:, :, None] * w_k).sum(1)
scores = torch.einsum("hr,sr->hs", asked, latents) / q.size(1) ** 0.5
mixed = torch.einsum("hs,sr->hr", scores.softmax(1), latents)
return asked, mixed, (w_v * mixed[:, None]).sum(2)
"""),
    ("absorb", """
import numpy as np
q, c, k, v = (t.double().numpy() for t in (q, latents, w_k, w_v))
asked = np.einsum("hd,hdr->hr", q, k)
e = np.exp(asked @ c.T / np.sqrt(q.shape[1]))
mixed = e / e.sum(1, keepdims=True) @ c
return [asked, mixed, np.einsum("hr,hdr->hd", mixed, v)]
"""),
    ("absorb", """
asked = (w_k.mT @ q[..., None]).squeeze(-1)
weights = torch.softmax((asked / math.sqrt(q.shape[-1])) @ latents.mT, -1)
mixed = weights @ latents
return asked, mixed, (w_v @ mixed[..., None]).squeeze(-1)
"""),
    ("latent_step", MLA),
    ("latent_step", """
latents = torch.cat((latents, new[:, None]), 1)
shared = torch.cat((shared, new_shared[:, None]), 1)
asked = torch.einsum("bhd,hdr->bhr", q, w_k)
queries = torch.cat((asked, q_rope), -1)
keys = torch.cat((latents, shared), -1)
weights = (queries @ keys.transpose(1, 2) / (q.shape[-1] + q_rope.shape[-1]) ** 0.5).softmax(-1)
return torch.einsum("bhs,bsr,hdr->bhd", weights, latents, w_v), latents, shared
"""),
    ("latent_step", """
latents = torch.cat((latents, new[:, None]), 1)
shared = torch.cat((shared, new_shared[:, None]), 1)
k = torch.einsum("bsr,hdr->bhsd", latents, w_k)
v = torch.einsum("bsr,hdr->bhsd", latents, w_v)
k = torch.cat((k, shared[:, None].expand(-1, k.shape[1], -1, -1)), -1)
out = F.scaled_dot_product_attention(torch.cat((q, q_rope), -1)[:, :, None], k, v)
return out[:, :, 0], latents, shared
"""),
    ("latent_step", """
latents = torch.hstack((latents, new[:, None]))
shared = torch.hstack((shared, new_shared[:, None]))
scale = (q.size(2) + q_rope.size(2)) ** -0.5
a = (q[:, :, None] @ w_k)[:, :, 0]
s = a * scale @ latents.mT + q_rope * scale @ shared.mT
e = torch.exp(s - s.amax(-1, keepdim=True))
m = (e / e.sum(-1, keepdim=True)) @ latents
return (w_v @ m[..., None])[..., 0], latents, shared
"""),
    ("latent_step", """
import numpy as np
c = np.concatenate((latents.numpy(), new.numpy()[:, None]), 1)
s = np.concatenate((shared.numpy(), new_shared.numpy()[:, None]), 1)
a = np.einsum("bhd,hdr->bhr", q.numpy(), w_k.numpy())
z = (np.einsum("bhr,bsr->bhs", a, c) + np.einsum("bhr,bsr->bhs", q_rope.numpy(), s))
z = z / np.sqrt(q.shape[-1] + q_rope.shape[-1])
e = np.exp(z - z.max(-1, keepdims=True))
m = np.einsum("bhs,bsr->bhr", e / e.sum(-1, keepdims=True), c)
return np.einsum("bhr,hdr->bhd", m, w_v.numpy()), c, s
"""),
    ("latent_rope", CACHED),
    ("latent_rope", """
kept = F.linear(x, torch.cat((w_latent, w_shared)))
r = len(w_latent)
a, b = kept[:, r:].chunk(2, -1)
return kept[:, :r], torch.hstack((a * cos - b * sin, a * sin + b * cos))
"""),
    ("latent_rope", """
key = x @ w_shared.T
half = key.shape[1] // 2
other = torch.cat((-key[:, half:], key[:, :half]), -1)
return x @ w_latent.T, key * torch.cat((cos, cos), -1) + other * torch.cat((sin, sin), -1)
"""),
    ("latent_rope", """
import numpy as np
key = x.double().numpy() @ w_shared.double().numpy().T
a, b = np.split(key, 2, axis=1)
c, s = cos.numpy(), sin.numpy()
return x @ w_latent.T, np.hstack([a * c - b * s, b * c + a * s])
"""),
    ("latent_rope", """
from llmlab.rope import rotate
key = x @ w_shared.T
return x @ w_latent.T, rotate(key, torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1), "half")
"""),
    ("window_cache", IN_WINDOW),
    ("window_cache", """
from llmlab.attention import sliding_window_mask
keys, values = torch.cat((keys, k)), torch.cat((values, v))
mask = sliding_window_mask(len(q), window, len(keys))
out = F.scaled_dot_product_attention(q[None, None], keys[None], values[None], attn_mask=mask)[0, 0]
return out, keys[-window:], values[-window:]
"""),
    ("window_cache", """
keys, values = torch.cat((keys, k)), torch.cat((values, v))
n, S = len(q), len(keys)
age = torch.arange(S - n, S)[:, None] - torch.arange(S)[None]
scores = q @ keys.T / math.sqrt(q.shape[1])
scores[(age < 0) | (age >= window)] = -math.inf
return scores.softmax(1) @ values, keys[max(0, S - window):], values[max(0, S - window):]
"""),
    ("window_cache", """
out = []
for i in range(len(q)):
    keys, values = torch.cat((keys, k[i:i+1]))[-window:], torch.cat((values, v[i:i+1]))[-window:]
    out.append(torch.softmax(q[i] @ keys.T / q.shape[1] ** 0.5, -1) @ values)
return torch.stack(out), keys, values
"""),
    ("window_cache", """
keys, values = torch.vstack((keys, k)), torch.vstack((values, v))
allowed = torch.ones(len(q), len(keys)).tril(len(keys) - len(q)).triu(len(keys) - len(q) - window + 1)
e = torch.exp(q @ keys.T / q.shape[1] ** 0.5) * allowed
return (e / e.sum(1, keepdim=True)) @ values, keys[-window:], values[-window:]
"""),
]  # fmt: skip

# (exercise, a right body, what is changed in it, into what, what is said)
ONE_BY_ONE = """
out = []
for t in range(len(q)):
    before = slice(max(0, len(keys) - window + 1), None)
    keys = torch.cat((keys[before], k[t : t + 1]))
    values = torch.cat((values[before], v[t : t + 1]))
    out.append((keys @ q[t] / q.shape[1] ** 0.5).softmax(0) @ values)
return torch.stack(out), keys, values
"""
MASKED = """
keys, values = torch.cat((keys, k)), torch.cat((values, v))
places = torch.arange(len(keys))
own = torch.arange(len(keys) - len(q), len(keys))[:, None]
mask = (places <= own) & (places > own - window)
scores = (q @ keys.T / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
return scores.softmax(dim=-1) @ values, keys[-window:], values[-window:]
"""
TO_CACHE = """
kept = torch.cat((x @ w_latent.T, x @ w_shared.T), dim=-1)
n = 2 * cos.shape[-1]
a, b = kept[:, -n:].chunk(2, dim=-1)
kept[:, -n:] = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
return kept[:, :-n], kept[:, -n:]
"""
LATENT_WRONG = [
    ("pool_heads", POOL, "g * size + i", "g + i * n_kv_heads", "dealt out in turn"),
    ("pool_heads", POOL, " / size)", ")", "added up"),
    ("pool_heads", POOL, "sum(heads[g * size + i] for i in range(size)) / size", "heads[g * size]",
     "first head of each"),
    ("pool_heads", POOL, "sum(heads[g * size + i] for i in range(size)) / size", "heads[g]", "first G heads"),
    ("pool_heads", POOL, "sum(heads[g * size + i] for i in range(size)) / size", "heads.mean(0)", "came out alike"),
    ("pool_heads", POOL, "torch.cat(rows)", "torch.stack(rows)", "a dimension of their own"),
    ("pool_heads", POOL, " / size)", " / n_kv_heads)", "number of groups"),
    ("pool_heads", POOL, " / size)", " / len(heads))", "number of all heads"),
    ("pool_heads", POOL, "sum(heads[g * size + i] for i in range(size)) / size",
     "heads[g * size : (g + 1) * size].amax(0)", "the largest number"),
    ("pool_heads", POOL, "rows.append(sum(heads[g * size + i] for i in range(size)) / size)",
     "m = heads[g * size]\n    for i in range(1, size):\n        m = (m + heads[g * size + i]) / 2\n    rows.append(m)",
     "later heads count more"),
    ("pool_heads", POOL, "rows = []", "weight *= 1.0\nrows = []\nweight /= 2", "`weight` must stay"),
    ("pool_heads", POOL, " / size)", " / size ** 0.5)", "root of the number"),
    ("pool_heads", POOL, "torch.cat(rows)", "torch.cat([r for r in rows for _ in range(size)])", "as many heads as"),
    ("pool_heads", POOL, "range(size)) /", "range(1, size)) /", "expected"),
    ("pool_heads", POOL, "for i in range(size)) / size", "for i in range(size)) // size", "expected"),
    ("absorb", ABSORB, "w_k[h].T @ q[h]", "w_v[h].T @ q[h]", "moved by w_v"),
    ("absorb", ABSORB, "w_v[h] @ m", "w_k[h] @ m", "go through w_k"),
    ("absorb", ABSORB, "q.shape[1])", "latents.shape[1])", "divided by √r"),
    ("absorb", ABSORB, " / math.sqrt(q.shape[1])", "", "not divided by √d"),
    ("absorb", ABSORB, "math.sqrt(q.shape[1])", "q.shape[1]", "divided by d"),
    ("absorb", ABSORB, "w_k[h]", "w_k[0]", "matrices of head 0"),
    ("absorb", ABSORB, "w_v[h]", "w_v[0]", "matrices of head 0"),
    ("absorb", ABSORB, "asked.append(a)", "asked.append(a / math.sqrt(q.shape[1]))", "come back divided"),
    ("absorb", ABSORB, "mixed.append(m)", "mixed.append(weights)", "is the weights"),
    ("absorb", ABSORB, "return torch.stack(asked), torch.stack(mixed), ", "return ", "only what the heads read"),
    ("absorb", ABSORB, "asked, mixed", "w_k, w_v = w_v, w_k\nasked, mixed", "keys and values are exchanged"),
    ("absorb", ABSORB, "return torch.stack(asked), torch.stack(mixed), torch.stack(out)",
     "return torch.stack(out), torch.stack(mixed), torch.stack(asked)", "in another order"),
    ("absorb", ABSORB, "asked.append(a)", "asked.append(latents @ a)", "the first is the scores"),
    ("absorb", ABSORB, "a = w_k[h].T @ q[h]", "a = w_k[h].T @ q[h] / math.sqrt(q.shape[1])",
     "and the scores once more"),
    ("absorb", ABSORB, "w_k[h].T @ q[h]", "w_k.sum(0).T @ q[h]", "added up"),
    ("absorb", ABSORB, "mixed.append(m)", "mixed.append(w_v[h] @ m)", "made of values"),
    ("absorb", ABSORB, "q.shape[1])", "len(q))", "divided by √H"),
    ("absorb", ABSORB, "return torch", "q /= q.shape[1] ** 0.5\nreturn torch", "`q` must stay"),
    ("absorb", ABSORB, "return torch", "w_k *= 2\nreturn torch", "`w_k` must stay"),
    ("absorb", ABSORB, "mixed.append(m)", "mixed.append(latents.mean(0))", "numbers differ"),
    ("absorb", ABSORB, "asked.append(a)", "asked.append(q[h])", "expected"),
    ("latent_step", MLA, "d + dr", "d", "divided by √d"),
    ("latent_step", MLA, "d + dr", "latents.shape[-1] + dr", "√(r + dr)"),
    ("latent_step", MLA, "math.sqrt(d + dr)", "(d ** 0.5 + dr ** 0.5)", "two roots are added"),
    ("latent_step", MLA, "latents[b] @ a + shared[b] @ q_rope[b, h]", "latents[b] @ a", "RoPE part is missing"),
    ("latent_step", MLA, "latents[b] @ a + shared[b] @ q_rope[b, h]", "shared[b] @ q_rope[b, h]",
     "only the RoPE part"),
    ("latent_step", MLA, "p = torch", "s[-1] = -torch.inf\n        p = torch", "numbers differ"),
    ("latent_step", MLA, "latents[b] @ a", "latents[0] @ a", "only the first is right"),
    ("latent_step", MLA, "return out, latents, shared", "return out", "only what the heads read"),
    ("latent_step", MLA, "return out, latents, shared", "return out, latents[:, :-1], shared[:, :-1]", "as it was"),
    ("latent_step", MLA, "[latents, new.unsqueeze(1)]", "[new.unsqueeze(1), latents]", "another token's key"),
    ("latent_step", MLA, "[shared, new_shared.unsqueeze(1)]", "[new_shared.unsqueeze(1), shared]",
     "another token's key"),
    ("latent_step", MLA, "p = torch.softmax(s / math.sqrt(d + dr), 0)", "p = s / math.sqrt(d + dr)",
     "softmax is missing"),
    ("latent_step", MLA, "math.sqrt(d + dr)", "math.sqrt(d * dr)", "two roots are multiplied"),
    ("latent_step", MLA, "@ a + shared[b] @ q_rope[b, h]", "@ a / math.sqrt(d + dr) + shared[b] @ q_rope[b, h]",
     "numbers differ"),
    ("latent_step", MLA, "s / math.sqrt(d + dr)", "latents[b] @ a / math.sqrt(d + dr) + shared[b] @ q_rope[b, h]",
     "only the content part"),
    ("latent_step", MLA, "s / math.sqrt(d + dr)", "latents[b] @ a + shared[b] @ q_rope[b, h] / math.sqrt(d + dr)",
     "only the RoPE part is divided"),
    ("latent_step", MLA, "latents[b] @ a + shared[b] @",
     "latents[b] @ a * (shared[b] @ q_rope[b, h]) + 0 * shared[b] @",
     "are multiplied"),
    ("latent_step", MLA, "latents = torch.cat([latents, new.unsqueeze(1)], dim=1)\n"
     "shared = torch.cat([shared, new_shared.unsqueeze(1)], dim=1)\n", "", "nothing is appended"),
    ("latent_step", MLA, "latents = torch.cat([latents, new.unsqueeze(1)], dim=1)\n"
     "shared = torch.cat([shared, new_shared.unsqueeze(1)], dim=1)\n",
     "latents[:, -1] = new\nshared[:, -1] = new_shared\n", "is overwritten"),
    ("latent_step", MLA, "return out, latents, shared", "return out, latents, shared[:, :-1]",
     "one of the two caches"),
    ("latent_step", MLA, "return out, latents, shared", "return out, shared, latents", "exchanged in what comes back"),
    ("latent_step", MLA, "return out, latents", "q /= 2\nreturn out, latents", "`q` must stay"),
    ("latent_step", MLA, "return out, latents", "return out.view(B, -1), latents", "expected"),
    ("latent_rope", CACHED, "key = torch.cat((first * cos - second * sin, first * sin + second * cos), 1)", "pass",
     "nothing is turned now"),
    ("latent_rope", CACHED, "first * cos - second * sin, first * sin + second * cos",
     "first * cos + second * sin, second * cos - first * sin", "the other way round"),
    ("latent_rope", CACHED, "return latent, key", "return key, latent", "exchanged in what comes back"),
    ("latent_rope", CACHED, "return latent, key", "return torch.cat((latent, key), 1)", "still one tensor"),
    ("latent_rope", CACHED, "return latent, key", "return latent", "only the latents"),
    ("latent_rope", CACHED, "key[:, :half], key[:, half:]", "key[:, ::2], key[:, 1::2]", "numbers differ"),
    ("latent_rope", TO_CACHE, "kept[:, -n:] = ", "kept[:, :n] = ", "mend the write too"),
    ("latent_rope", TO_CACHE, "kept[:, -n:].chunk", "kept[:, :n].chunk", "mend the read too"),
    ("latent_rope", TO_CACHE, "-n:", "n:", "the last n numbers"),
    ("latent_rope", TO_CACHE, "return kept[:, :-n], kept[:, -n:]",
     "kept = torch.cat((x @ w_latent.T, x @ w_shared.T), dim=-1)\na, b = kept[:, :n].chunk(2, dim=-1)\n"
     "kept[:, :n] = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)\nreturn kept[:, n:], kept[:, :n]",
     "where the two are cut"),
    ("latent_rope", TO_CACHE, "kept[:, -n:] = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)",
     "a *= cos\na -= b * sin\nb *= cos\nb += a * sin", "turned already"),
    ("latent_rope", CACHED, "return latent", "x *= 2\nreturn latent", "`x` must stay"),
    ("latent_rope", CACHED, "half = ", "cos, sin = cos[:1], sin[:1]\nhalf = ", "turned as the first one"),
    ("latent_rope", CACHED, "half = ", "cos, sin = sin, cos\nhalf = ", "cosine and sine are exchanged"),
    ("latent_rope", CACHED, "half = ", "cos, sin = cos[:, :1], sin[:, :1]\nhalf = ", "by the first angle"),
    ("latent_rope", CACHED, "first * cos - second * sin, first * sin + second * cos",
     "first * cos - second * sin, second * cos", "expected"),
    ("latent_rope", CACHED, "first * cos - second * sin, first * sin + second * cos",
     "first * sin + second * cos, first * cos - second * sin", "expected"),
    ("window_cache", IN_WINDOW, "end - window)", "end - window + 1)", "oldest token of the window is lost"),
    ("window_cache", IN_WINDOW, "end - window)", "end - window - 1)", "one token too many is seen"),
    ("window_cache", IN_WINDOW, "max(0, end - window)", "0", "no window in the mask"),
    ("window_cache", IN_WINDOW, "max(0, end - window)", "end - window", "numbers differ"),
    ("window_cache", IN_WINDOW, "end = S + t + 1", "end = len(all_keys)", "expected"),
    ("window_cache", ONE_BY_ONE, "slice(max(0, len(keys) - window + 1), None)", "slice(-(window - 1), None)",
     "−0 is 0"),
    ("window_cache", MASKED, "torch.cat((keys, k)), torch.cat((values, v))",
     "torch.cat((keys, k))[-window - 1:], torch.cat((values, v))[-window - 1:]", "enough for one new token more"),
    ("window_cache", MASKED, "torch.cat((keys, k)), torch.cat((values, v))",
     "torch.cat((keys, k))[-window:], torch.cat((values, v))[-window:]", "the cache is trimmed before"),
    ("window_cache", MASKED, "(places <= own) & ", "", "only the window's lower end"),
    ("window_cache", MASKED, "~mask", "mask", "wrong way round"),
    ("window_cache", MASKED, "places <= own", "places < own", "does not see itself"),
    ("window_cache", MASKED, "values[-window:]", "values", "not trimmed"),
    ("window_cache", MASKED, "keys[-window:], values[-window:]", "values[-window:], keys[-window:]", "exchanged"),
    ("window_cache", MASKED, "torch.cat((keys, k)), torch.cat((values, v))",
     "torch.cat((k, keys)), torch.cat((v, values))", "before the old ones"),
    ("window_cache", MASKED, " / q.shape[-1] ** 0.5", "", "not divided by √d"),
    ("window_cache", MASKED, "return scores", "q /= 2\nreturn scores", "`q` must stay"),
    ("window_cache", IN_WINDOW, "all_keys[-window:], all_values[-window:]", "all_keys, all_values",
     "nothing is forgotten"),
    ("window_cache", IN_WINDOW, "all_keys[-window:], all_values[-window:]", "all_keys[:window], all_values[:window]",
     "first `window` tokens are held"),
    ("window_cache", IN_WINDOW, "all_keys[-window:], all_values[-window:]",
     "all_keys[1 - window:], all_values[1 - window:]",
     "one token too few is held"),
    ("window_cache", IN_WINDOW, "all_keys[-window:], all_values[-window:]", "keys, values", "new tokens are not held"),
    ("window_cache", IN_WINDOW, "all_keys[-window:], all_values[-window:]", "k, v", "only the new tokens are held"),
    ("window_cache", IN_WINDOW, "all_keys = ", "keys, values = keys[:0], values[:0]\nS = 0\nall_keys = ",
     "numbers differ"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), LATENT_RIGHT)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_answer_on_latents_passes(name, body, seed):
    verdict = judge(*on_latents(name, body), seed=seed)
    assert verdict.status == "right", verdict


def test_a_step_on_latents_names_the_dimensions_of_the_caches_it_is_given():
    named = dimensions(catalog.find("exercise", "gqa.latent_step").answer)
    assert (named["latents"], named["shared"]) == ("B, S, r", "B, S, dr")


@pytest.mark.parametrize(("name", "right", "was", "now", "said"), LATENT_WRONG)
def test_what_is_said_of_an_answer_on_latents_is_true(name, right, was, now, said):
    assert was in right
    verdict = judge(*on_latents(name, right.replace(was, now)))
    assert verdict.status in ("wrong", "crashed") and said in verdict.reason, verdict


def on_quantization(name, body):
    exercise = catalog.find("exercise", f"quantization.{name}")
    head = "def {}({}):\n".format(exercise.function, ", ".join(exercise.parameters))
    return exercise, define(head + indent(body, "    "), exercise)


CODES = """
codes = torch.round(x / scale)
codes = codes + zero_point
codes = codes.clamp(min=-128, max=127)
return codes.to(torch.int8)
"""
IN_GROUPS = """
highest, codes, scales = 2 ** (bits - 1) - 1, torch.zeros_like(w), []
for start in range(0, w.shape[1], group_size):
    group = w[:, start:start + group_size]
    scale = group.abs().max(dim=1).values / highest
    scale[scale == 0] = 1
    codes[:, start:start + group_size] = torch.round(group / scale[:, None])
    scales.append(scale)
return codes, torch.stack(scales, dim=1)
"""
IN_PARTS = """
m = 2 ** (bits - 1) - 1
codes, scales = [], []
for part in w.split(group_size, dim=1):
    s = part.abs().amax(1, keepdim=True) / m
    s = torch.where(s == 0, torch.ones_like(s), s)
    scales.append(s)
    codes.append((part / s).round())
return torch.cat(codes, 1).to(torch.int8), torch.cat(scales, 1)
"""
GUARD = "torch.where(s == 0, torch.ones_like(s), s)"
PRODUCT = """
centered = x.to(torch.int32) - zero_point
sums = centered @ w.to(torch.int32).T
return sums * x_scale * w_scale[None]
"""
UNPACK = """
low, high = packed % 16, packed // 16
both = torch.empty(len(packed), 2 * packed.shape[1], dtype=torch.int8)
both[:, 0::2], both[:, 1::2] = low, high
both = both[:, :n]
return both - 16 * (both >= 8)
"""

QUANTIZATION_RIGHT = [  # (exercise, body of the function)
    ("to_codes", CODES),
    ("to_codes", "import numpy as np\nq = np.rint(x.double().numpy() / scale) + zero_point\n"
     "return torch.from_numpy(np.clip(q, -128, 127).astype(np.int8))"),
    ("to_codes", "codes = [max(-128, min(127, round(v / scale) + zero_point)) for v in x.flatten().tolist()]\n"
     "return torch.tensor(codes, dtype=torch.int8).view(x.shape)"),
    ("to_codes", "low, high = (-128 - zero_point), (127 - zero_point)\n"
     "return ((x / scale).clamp(low, high).round() + zero_point).char()"),
    ("to_codes", "q = (x.double() / scale).round() + zero_point\nq[q > 127] = 127\nq[q < -128] = -128\n"
     "return q.char()"),
    ("to_codes", "import numpy as np\n"
     "return np.clip(np.rint(np.asarray(x) / scale) + zero_point, -128, 127).astype(np.int8)"),
    ("in_groups", IN_GROUPS),
    ("in_groups", IN_PARTS),
    ("in_groups", IN_PARTS.replace(".to(torch.int8)", ".to(torch.int16)")),
    ("in_groups", "import math\nn_groups = math.ceil(w.shape[1] / group_size)\nhighest = 2 ** (bits - 1) - 1\n"
     "full = torch.zeros(len(w), n_groups * group_size)\nfull[:, :w.shape[1]] = w\n"
     "parts = full.view(len(w), n_groups, -1)\n"
     "s = torch.maximum(parts.amax(2), -parts.amin(2)) / highest\ns = s.masked_fill(s == 0, 1)\n"
     "return (parts / s[:, :, None]).round().view(len(w), -1)[:, :w.shape[1]].to(torch.int8), s"),
    ("in_groups", "s = torch.stack([g.abs().amax(1) for g in w.split(group_size, dim=1)], 1) / (2 ** (bits - 1) - 1)\n"
     "s = torch.where(s > 0, s, torch.ones_like(s))\n"
     "return [torch.round(w / s.repeat_interleave(group_size, 1)[:, :w.shape[1]]), s]"),
    ("in_groups", "s = torch.ones(len(w), -(-w.shape[1] // group_size))\ncodes = w.clone()\nfor i in range(len(w)):\n"
     "    for j in range(s.shape[1]):\n        g = w[i, j * group_size:(j + 1) * group_size]\n"
     "        if g.any():\n            s[i, j] = g.abs().max() / (2 ** (bits - 1) - 1)\n"
     "        codes[i, j * group_size:(j + 1) * group_size] = (g / s[i, j]).round()\nreturn codes.int(), s"),
    ("in_groups", "parts = [g.double() for g in torch.split(w, group_size, -1)]\nhighest = 2 ** (bits - 1) - 1\n"
     "s = [torch.linalg.vector_norm(g, float('inf'), dim=-1, keepdim=True) / highest for g in parts]\n"
     "s = [each + (each == 0) for each in s]\n"
     "return torch.cat([(g / each).round() for g, each in zip(parts, s)], -1), torch.cat(s, -1)"),
    ("product", PRODUCT),
    ("product", "return ((x.double() - zero_point) * x_scale) @ (w.double() * w_scale[:, None]).T"),
    ("product", "raw = x.long() @ w.long().T\nreturn x_scale * w_scale * (raw - zero_point * w.long().sum(dim=1))"),
    ("product", "return torch.einsum('ti,oi,o->to', x.double() - zero_point, w.double(), w_scale.double()) * x_scale"),
    ("product", "out = torch.zeros(len(x), len(w))\nfor t in range(len(x)):\n    for r in range(len(w)):\n"
     "        out[t, r] = ((x[t].int() - zero_point) * w[r].int()).sum() * x_scale * w_scale[r]\nreturn out"),
    ("unpack4", UNPACK),
    ("unpack4", "low, high = (packed << 4).view(torch.int8) >> 4, packed.view(torch.int8) >> 4\n"
     "return torch.stack((low, high), 2).reshape(len(packed), -1)[:, :n]"),
    ("unpack4", "from llmlab.quantization import unpack\nreturn unpack(packed, 4, n, signed=True)"),
    ("unpack4", "rows = [[c for b in row for c in (b & 15, b >> 4)][:n] for row in packed.tolist()]\n"
     "return [[c - 16 if c > 7 else c for c in row] for row in rows]"),
    ("unpack4", "both = torch.stack([packed & 0xF, packed >> 4], dim=-1).view(len(packed), -1).to(torch.int8)\n"
     "return ((both ^ 8) - 8)[:, :n]"),
]  # fmt: skip

QUANTIZATION_WRONG = [  # (exercise, a right body, what is changed in it, into what, what is said)
    ("to_codes", CODES, "codes = torch.round(x / scale)", "codes = (x / scale).trunc()", "cut off"),
    ("to_codes", CODES, "torch.round(x / scale)", "x // scale", "always down"),
    ("to_codes", CODES, "torch.round(x / scale)", "torch.floor(x / scale + 0.5)", "halves go up"),
    ("to_codes", CODES, "+ zero_point", "- zero_point", "subtracted"),
    ("to_codes", CODES, "codes = codes + zero_point\n", "", "not used"),
    ("to_codes", CODES, "min=-128, max=127", "min=-127, max=127", "±127"),
    ("to_codes", CODES.replace("codes.to(torch.int8)", "codes.int().to(torch.int8)"), "min=-128, max=127", "max=127",
     "only the upper end"),
    ("to_codes", CODES.replace("codes.to(torch.int8)", "codes.int().to(torch.int8)"), "min=-128, max=127", "min=-128",
     "only the lower end"),
    ("to_codes", CODES, "min=-128, max=127", "min=0, max=255", "expected"),
    ("to_codes", CODES, "codes.to(torch.int8)", "codes", "not in int8"),
    ("to_codes", CODES, "x / scale", "x * scale", "multiplied"),
    ("to_codes", CODES, "codes = codes.clamp(min=-128, max=127)\nreturn codes.to(torch.int8)",
     "return codes.int().to(torch.int8)", "wraps around"),
    ("to_codes", CODES, "return codes.to(torch.int8)", "return (codes - zero_point) * scale", "the numbers come back"),
    ("in_groups", IN_GROUPS, "2 ** (bits - 1) - 1", "2 ** (bits - 1)", "as if there were a code for it"),
    ("in_groups", IN_GROUPS, "2 ** (bits - 1) - 1", "2 ** bits - 1", "the number of all steps"),
    ("in_groups", IN_GROUPS, "group.abs().max(dim=1).values", "group.max(dim=1).values", "not the largest size"),
    ("in_groups", IN_GROUPS, "    scale[scale == 0] = 1\n", "", "not a number"),
    ("in_groups", IN_GROUPS, "scale[scale == 0] = 1", "scale[scale < 0.1] = 1", "has the scale 1"),
    ("in_groups", IN_GROUPS, "group.abs().max(dim=1).values", "w.abs().max(dim=1).values", "one scale for each row"),
    ("in_groups", IN_GROUPS, "group.abs().max(dim=1).values", "w.abs().max().expand(len(w)).clone()",
     "one scale for the whole matrix"),
    ("in_groups", IN_GROUPS, "group.abs().max(dim=1).values", "group.abs().max().expand(len(w)).clone()",
     "all rows share"),
    ("in_groups", IN_GROUPS, "torch.round(group / scale[:, None])", "(group / scale[:, None]).trunc()", "cut off"),
    ("in_groups", IN_GROUPS, "torch.stack(scales, dim=1)", "torch.stack(scales)", "the shape"),
    ("in_groups", IN_GROUPS, "return codes, torch.stack(scales, dim=1)", "return torch.stack(scales, dim=1), codes",
     "the codes come first"),
    ("in_groups", IN_GROUPS, "range(0, w.shape[1], group_size)",
     "range(0, w.shape[1] // group_size * group_size, group_size)", "rows of 3 scales"),
    ("in_groups", IN_PARTS, GUARD, "s", "zeros"),
    ("in_groups", IN_PARTS, GUARD, "s + 1e-8", "zeros alone has the scale 1e-08"),
    ("in_groups", IN_PARTS, GUARD, "s.clamp(min=1e-8)", "zeros alone has the scale 1e-08"),
    ("in_groups", IN_PARTS.replace(".round()", ".nan_to_num(0).round()"), GUARD, "s", "zeros alone has the scale 0"),
    ("in_groups", IN_PARTS, "s == 0", "part.sum(1, keepdim=True) == 0", "has the scale 1"),
    ("in_groups", IN_PARTS, "s == 0", "s < 1e-4", "has the scale 1, so that"),
    ("in_groups", IN_PARTS, "s == 0", "s < 2e-6", "has the scale 1, so that"),
    ("in_groups", IN_PARTS, "2 ** (bits - 1) - 1", "2 ** (bits - 1)", "as if there were a code for it"),
    ("in_groups", IN_PARTS, "2 ** (bits - 1) - 1", "2 ** bits - 1", "the number of all steps"),
    ("in_groups", IN_PARTS, "part.abs().amax", "part.amax", "not the largest size"),
    ("in_groups", IN_PARTS, "part.abs().amax", "part.abs().mean", "the mean size"),
    ("in_groups", IN_PARTS, "part.abs().amax(1, keepdim=True) / m",
     "(part.amax(1, keepdim=True) - part.amin(1, keepdim=True)) / (2 ** bits - 1)", "from the smallest to the largest"),
    ("in_groups", IN_PARTS, "part.abs().amax(1, keepdim=True) / m",
     "(part.amax(1, keepdim=True) - part.amin(1, keepdim=True)) / (2 * m)", "from the smallest to the largest"),
    ("in_groups", IN_PARTS, ".round()", ".floor()", "always down"),
    ("in_groups", "made = quantization.quantize(w, bits, group_size=group_size)\nreturn made.codes, made.scale",
     "made =", "from llmlab import quantization\nmade =", "takes their size as the scale"),
    ("product", PRODUCT, " - zero_point", "", "forgotten"),
    ("product", PRODUCT, "centered @ w.to(torch.int32).T", "x.int() @ w.int().T - zero_point * w.int().sum()",
     "the sum of all weights"),
    ("product", PRODUCT, "centered @ w.to(torch.int32).T",
     "x.int() @ w.int().T - zero_point * x.int().sum(1, keepdim=True)", "the sum of x's codes"),
    ("product", PRODUCT, "w.to(torch.int32)", "w.to(torch.uint8).int()", "w became uint8"),
    ("product", PRODUCT, " - zero_point", " + zero_point", "is added"),
    ("product", PRODUCT, "x.to(torch.int32) - zero_point", "(x - zero_point).int()", "nothing below 0"),
    ("product", PRODUCT, "x.to(torch.int32)", "x.to(torch.int8).int()", "became int8"),
    ("product", PRODUCT, "return sums", "return sums.to(torch.int8)", "eight bits"),
    ("product", PRODUCT, "return sums", "return sums.short()", "16 bits"),
    ("product", PRODUCT, " * x_scale", "", "the scale of x"),
    ("product", PRODUCT, " * w_scale[None]", "", "the scales of w"),
    ("product", PRODUCT, "* w_scale[None]", "* w_scale.mean()", "mean"),
    ("product", PRODUCT, "* x_scale * w_scale[None]", "", "whole sums"),
    ("product", PRODUCT, "centered = x.to(torch.int32) - zero_point\nsums = centered @ w.to(torch.int32).T",
     "sums = x.int() @ w.int().T - zero_point", "subtracted from the sum"),
    ("unpack4", UNPACK, "both[:, 0::2], both[:, 1::2] = low, high", "both[:, 0::2], both[:, 1::2] = high, low",
     "wrong order"),
    ("unpack4", UNPACK, "both - 16 * (both >= 8)", "both", "not extended"),
    ("unpack4", UNPACK, "(both >= 8)", "(both > 8)", "8 stays 8"),
    ("unpack4", UNPACK, "(both >= 8)", "(both >= 7)", "7 is taken"),
    ("unpack4", UNPACK, "16 * (both >= 8)", "8 * (both >= 8)", "highest bit is worth"),
    ("unpack4", UNPACK, "16 * (both >= 8)", "8", "from every code"),
    ("unpack4", UNPACK, "16 * (both >= 8)", "15 * (both >= 8)", "there are 16 codes"),
    ("unpack4", UNPACK, "both = both[:, :n]\n", "", "one code too many"),
    ("unpack4", UNPACK, "both[:, :n]", "both[:, -n:]", "last n codes"),
    ("unpack4", UNPACK, "return both - 16 * (both >= 8)", "return both.byte() - 16 * (both >= 8).byte()", "in uint8"),
    ("unpack4", UNPACK, "both[:, 0::2], both[:, 1::2] = low, high", "both = torch.cat((low, high), 1).char()",
     "all low nibbles"),
]  # fmt: skip


# Rounding, solved -----------------------------------------------------------------------------------------------------

OFF = """
e = weight - rounded
return float(torch.einsum("oi,ij,oj->", e, hessian, e)) / 2
"""
BY_ROWS = """
total = 0
for w, r in zip(weight, rounded):
    e = (w - r).numpy()
    total += e @ hessian.numpy() @ e
return total / 2
"""
BEST = """
import itertools
best, found = None, None
low = torch.floor(weight / scale)
for ups in itertools.product([0, 1], repeat=len(weight)):
    codes = low + torch.tensor(ups)
    error = ((inputs @ (weight - codes * scale)) ** 2).sum().item()
    if best is None or error < best:
        best, found = error, codes
return found
"""
BY_BITS = """
n = len(weight)
H = inputs.T @ inputs
ups = (torch.arange(2 ** n)[:, None] >> torch.arange(n)) & 1
codes = (weight / scale).floor() + ups
e = weight - codes * scale
return codes[torch.einsum("ki,ij,kj->k", e, H, e).argmin()]
"""
MOVE = """
inverse = torch.linalg.inv(hessian)
factor = (weight[column] - q) / inverse[column, column]
new = weight.clone()
for i in range(len(weight)):
    new[i] -= factor * inverse[i, column]
return new
"""
SOLVE = """
free = [i for i in range(len(weight)) if i != column]
new = weight.clone()
new[column] = q
if free:
    H = hessian[free][:, free]
    new[free] += torch.linalg.solve(H, hessian[free, column]) * (weight[column] - q)
return new
"""
LOOP = """
scale = weight.abs().max() / highest
w, done = weight.clone(), []
for j in range(len(w)):
    code = torch.round(w[j] / scale).clamp(-highest, highest)
    done.append(code)
    inverse = torch.inverse(hessian[j:, j:])
    w[j:] -= (w[j] - code * scale) / inverse[0, 0] * inverse[0]
return torch.stack(done), scale
"""
FACTOR = """
U = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
scale = weight.abs().amax() / highest
w, codes = weight.clone(), torch.zeros(len(weight), dtype=torch.int8)
for j in range(len(w)):
    codes[j] = (w[j] / scale).round().clamp(-highest, highest).to(torch.int8)
    w[j:] -= (w[j] - codes[j] * scale) / U[j, j] * U[j, j:]
return codes, scale.item()
"""
THROUGH = """
codes = torch.round(x / scale)
inside = (codes >= -highest) & (codes <= highest)
return torch.where(inside, gradient, torch.zeros_like(gradient))
"""

BY_PAIRS = """
low = (weight / scale).floor()
codes = torch.cartesian_prod(*[torch.tensor([a, a + 1]) for a in low.tolist()]).to(weight)
off = (weight - codes * scale) @ inputs.T
return codes[(off ** 2).sum(1).argmin()]
"""
ONE_FLIP = """
low = (weight / scale).floor()
codes = START
for i in range(len(weight)):
    for c in (low[i], low[i] + 1):
        other = codes.clone()
        other[i] = c
        if ((inputs @ (weight - other * scale)) ** 2).sum() < ((inputs @ (weight - codes * scale)) ** 2).sum():
            codes = other
return codes
"""
SOLVED_RIGHT = [
    ("output_error", OFF),
    ("output_error", BY_ROWS),
    ("output_error", "e = weight - rounded\nreturn torch.trace(e @ hessian @ e.T) / 2"),
    ("output_error", "e = (rounded - weight).float()\nreturn (e @ (hessian.float() / 2) * e).sum()"),
    ("output_error", "from llmlab import quantization\nreturn quantization.output_error(weight, rounded, hessian)"),
    ("best_rounding", BEST),
    ("best_rounding", BY_BITS),
    ("best_rounding", BEST.replace("found = error, codes", "found = error, codes.int()")),
    ("best_rounding", BEST.replace("return found", "return found.tolist()")),
    ("best_rounding", BEST.replace("low = torch.floor(weight / scale)", "low = torch.ceil(weight / scale) - 1")),
    ("best_rounding", BY_PAIRS),
    ("best_rounding", "from itertools import product\npairs = [(math.floor(w / scale), math.ceil(w / scale)) for w in "
     "weight.tolist()]\nmissed = lambda c: float(((inputs @ (torch.tensor(c).to(weight) * scale - weight)) ** 2)"
     ".sum())\n"
     "return torch.tensor(min(product(*pairs), key=missed))"),
    ("compensate", MOVE),
    ("compensate", SOLVE),
    ("compensate", MOVE.replace("linalg.inv(hessian)", "cholesky_inverse(torch.linalg.cholesky(hessian))")),
    ("compensate", "u = torch.zeros_like(weight)\nu[column] = 1\nd = torch.linalg.solve(hessian, u)\n"
     "return weight + d * (q - weight[column]) / d[column]"),
    ("compensate", "import numpy as np\nw, h = weight.numpy().copy(), np.linalg.inv(hessian.numpy())\n"
     "return w - (w[column] - q) / h[column, column] * h[column]"),
    ("fresh_scale", LOOP),
    ("fresh_scale", FACTOR),
    ("fresh_scale", LOOP.replace("torch.stack(done), scale", "[int(c) for c in done], float(scale)")),
    ("fresh_scale", LOOP.replace("w[j:] -=", "w[j:] = w[j:] -")),
    ("fresh_scale", LOOP.replace("inverse[0]\n", "inverse[:, 0]\n").replace("torch.inverse", "torch.linalg.pinv")),
    ("straight_through", THROUGH),
    ("straight_through", "return gradient * ((x / scale).round().abs() <= highest).float()"),
    ("straight_through", "inside = (x / scale).round().abs() <= highest\nreturn gradient * inside"),
    ("straight_through", "c = (x / scale).round()\nreturn gradient * (c == c.clamp(-highest, highest))"),
    ("straight_through", "new = gradient.clone()\nnew[(x / scale).round().abs() > highest] = 0\nreturn new"),
    ("straight_through", "x = x.clone().requires_grad_()\n"
     "y = torch.fake_quantize_per_tensor_affine(x, scale, 0, -highest, highest)\n"
     "return torch.autograd.grad(y, x, gradient)[0]"),
]  # fmt: skip
SOLVED_WRONG = [
    ("output_error", OFF, " / 2", "", "so halve"),
    ("output_error", OFF, " / 2", " / 4", ""),
    ("output_error", OFF, "e, hessian, e", "e, torch.eye(len(hessian)).double() * 2, e", "error of the weights"),
    ("output_error", OFF, "e, hessian, e", "e, torch.diag(hessian.diagonal()), e", "diagonal"),
    ("output_error", OFF, "weight - rounded", "(weight - rounded).abs()", "signs"),
    ("output_error", OFF, "weight - rounded", "rounded", "not of the difference"),
    ("output_error", OFF, '"oi,ij,oj->"', '"oi,ij,pj->"', "all pairs of rows"),
    ("output_error", OFF, "e = weight - rounded", "e = (weight - rounded)[:1]", "first row"),
    ("output_error", OFF, " / 2", " / 2 / len(weight)", "number of outputs"),
    ("output_error", BY_ROWS, "total / 2", "(total / 2) ** 0.5", "root"),
    ("output_error", "return ((weight - rounded) @ hessian * (weight - rounded)).sum() / 2",
     "return ((weight - rounded) @ hessian * (weight - rounded)).sum() / 2",
     "return (weight - rounded) @ hessian @ (weight - rounded).T / 2", "all pairs of rows; each row"),
    ("best_rounding", BEST, "torch.floor(weight / scale)", "torch.trunc(weight / scale)", "toward 0"),
    ("best_rounding", BEST, "torch.floor(weight / scale)", "torch.floor(weight)", "the scale is left out"),
    ("best_rounding", BEST, "weight - codes * scale", "weight - codes", "the scale is left out"),
    ("best_rounding", ONE_FLIP, "START", "(weight / scale).round()", "one after another"),
    ("best_rounding", ONE_FLIP, "START", "low.clone()", "one after another"),
    ("best_rounding", BEST.replace("torch.floor(", "torch.round("), "[0, 1]", "[-1, 0, 1]", "further than the next"),
    ("best_rounding", BEST.replace("codes = low + torch.tensor(ups)", "codes = shared.copy_(low + torch.tensor(ups))"),
     "best, found = None, None", "best, found, shared = None, None, weight.clone()", "clone it"),
    ("best_rounding", BEST, "error < best", "error > best", "worst"),
    ("best_rounding", BEST, "return found", "return found * scale", "before the scale"),
    ("best_rounding", BEST, "return found", "return torch.tensor(best)", "asked are its codes"),
    ("best_rounding", BEST, "** 2).sum()", ".abs()).sum()", "least squares squares"),
    ("best_rounding", BEST, "(inputs @ (weight - codes * scale)) ** 2", "inputs @ (weight - codes * scale)", ""),
    ("best_rounding", BEST, "inputs @ (weight - codes * scale)", "weight - codes * scale", "nearest code"),
    ("best_rounding", BEST, "weight / scale", "weight", ""),
    ("best_rounding", BEST, "** 2).sum()", "** 2).amax()", "largest error"),
    ("best_rounding", BY_BITS, "(weight / scale).floor() + ups", "(weight / scale).round() + ups", ""),
    ("compensate", MOVE, "-= factor", "+= factor", "Mind the sign"),
    ("compensate", MOVE, " / inverse[column, column]\n", "\n", "not divided by the diagonal"),
    ("compensate", MOVE.replace("new[i] -= factor *", "new[i] -= (weight[column] - q) / inverse[column, column] *"),
     "inverse[column, column] * ", "inverse[i, i] * ", "the whole diagonal"),
    ("compensate", MOVE, "factor = (weight[column] - q) / inverse[column, column]",
     "factor = (weight[column] - q) / hessian[column, column]", "it is that of the inverse"),
    ("compensate", MOVE.replace("torch.linalg.inv(hessian)", "torch.linalg.pinv(hessian[column:, column:])")
     .replace("inverse[column, column]", "inverse[0, 0]"),
     "range(len(weight)):\n    new[i] -= factor * inverse[i, column]",
     "range(column, len(weight)):\n    new[i] -= factor * inverse[i - column, 0]", "only later columns"),
    ("compensate", MOVE, "torch.linalg.inv(hessian)", "hessian", "H itself"),
    ("compensate", MOVE, "/ inverse[column", "* inverse[column", ""),
    ("compensate", MOVE, "range(len(weight))", "range(column, len(weight))", "only later columns"),
    ("compensate", MOVE, "range(len(weight))", "[column]", "make up for nothing"),
    ("compensate", MOVE, "weight.clone()", "weight", "is changed"),
    ("compensate", MOVE, "return new", "return new - weight", "that is the move"),
    ("compensate", SOLVE, "H = hessian[free][:, free]", "H = torch.diag(hessian.diagonal()[free])", "together they do"),
    ("compensate", SOLVE, "* (weight[column] - q)", "* (q - weight[column])", "wrong way"),
    ("fresh_scale", LOOP, "for j in range(len(w)):", "for j in range(len(w)):\n    scale = w.abs().max() / highest",
     "made anew in each step"),
    ("fresh_scale", LOOP, "for j in range(len(w)):", "for j in range(len(w)):\n    scale = w[j:].abs().max() / highest",
     "still free"),
    ("fresh_scale", LOOP, "torch.stack(done), scale", "torch.stack(done), w.abs().max() / highest", "which may reach"),
    ("fresh_scale", LOOP.replace("scale = weight.abs().max() / highest\n", "first = weight.abs().max() / highest\n", 1)
     .replace("torch.stack(done), scale", "torch.stack(done), first"),
     "for j in range(len(w)):", "for j in range(len(w)):\n    scale = w.abs().max() / highest",
     "is right, but in the loop"),
    ("fresh_scale", LOOP, "for j in range(len(w)):", "for j in range(len(w)):\n    scale = w[j].abs() / highest",
     "a scale of its own"),
    ("fresh_scale", LOOP, "w[j] - code * scale", "w[j] - code", "the number that it stands for"),
    ("fresh_scale", LOOP, " / inverse[0, 0]", "", "the corner of the inverse"),
    ("fresh_scale", LOOP, ".clamp(-highest, highest)", "", "not clamped"),
    ("fresh_scale", LOOP, "torch.round(", "torch.floor(", "rounded down"),
    ("fresh_scale", LOOP, "-= (w[j]", "+= (w[j]", "wrong way"),
    ("fresh_scale", LOOP, "torch.inverse(hessian[j:, j:])", "torch.inverse(hessian)[j:, j:]", "one inverse"),
    ("fresh_scale", LOOP, "torch.inverse(hessian[j:, j:])", "hessian[j:, j:]", "H itself"),
    ("fresh_scale", LOOP, "torch.stack(done), scale", "torch.stack(done) * scale, scale", "asked are codes"),
    ("fresh_scale", LOOP, "weight.abs().max()", "weight.max()", "largest size"),
    ("straight_through", THROUGH, "inside = ", "if codes.abs().max() <= highest:\n    return gradient\n"
     "return torch.zeros_like(gradient)\ninside = ", ""),
    ("straight_through", THROUGH, "(codes >= -highest) & ", "", "too small"),
    ("straight_through", THROUGH, " & (codes <= highest)", "", "too large"),
    ("straight_through", THROUGH, "gradient, torch.zeros_like(gradient))", "0.0, gradient)", "other way around"),
    ("straight_through", THROUGH, "torch.round(x / scale)", "x", "highest times the scale"),
    ("straight_through", THROUGH, "torch.round(x / scale)", "x / scale", "half a scale"),
    ("straight_through", THROUGH, "torch.round(x / scale)", "torch.round(x)", "divided by nothing"),
    ("straight_through", THROUGH, ">= -highest) & (codes <= highest", "> -highest) & (codes < highest", "last code"),
    ("straight_through", THROUGH, "gradient, torch", "gradient / scale, torch", "divided by the scale"),
    ("straight_through", THROUGH, "return torch.where(inside, gradient, torch.zeros_like(gradient))", "return inside",
     "asked is the gradient"),
    ("straight_through", THROUGH, "gradient, torch.zeros_like(gradient)", "gradient, gradient", "stays the same"),
]  # fmt: skip


S_OF_SMOOTH = "s = x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)\nreturn x / s, w * s"
INTEGER_LAYER = """
sums = codes.int() @ w.int().T
step = s_w * s_x
b = (bias / step).round().int()
return sums + b, step
"""
BARE_LEVELS = """
g = x.unflatten(1, (-1, group_size))
s = g.abs().amax(-1, keepdim=True)
u = g / s
i = (u[..., None] - levels).abs().argmin(-1)
return (levels[i] * s).flatten(1)
"""
STEP_BYTES = "return (weights * bits / 8 + weights / group_size * 2) / batch + cached"
FAST_RIGHT = [  # (exercise, body of the function)
    ("fold", "inv = s.reciprocal()\nscaled = map(lambda m: torch.einsum('on,n->on', m, s), readers)\n"
     "return gain.mul(inv), shift.mul(inv), list(scaled)"),
    ("fold", "return gain / s, shift / s, [(m.T * s[:, None]).T for m in readers]"),
    ("smooth", S_OF_SMOOTH),
    ("smooth", "s = torch.exp(alpha * x.abs().amax(0).log() - (1 - alpha) * w.abs().amax(0).log())\n"
     "return x @ torch.diag(1 / s), w @ torch.diag(s)"),
    ("integer_layer", INTEGER_LAYER),
    ("integer_layer", "step = s_w.double() * float(s_x)\nsums = codes.long() @ w.long().T\n"
     "return sums + torch.round(bias.double() / step).long(), step"),
    ("integer_layer", "step = s_w * s_x\nsums = codes.double() @ w.double().T\n"
     "return sums + (bias / step).round(), step"),
    ("to_levels", BARE_LEVELS),  # argmin of NaN is 0, and levels[0] times the scale 0 is 0
    ("to_levels", "g = x.reshape(-1, group_size)\ns = g.abs().amax(1, keepdim=True)\n"
     "i = (g[..., None] - s[..., None] * levels).abs().argmin(-1)\nreturn (levels[i] * s).reshape(x.shape)"),
    ("bytes_a_token", STEP_BYTES),
    ("bytes_a_token", "per_weight = bits / 8 + 2 / group_size\nreturn weights * per_weight / batch + cached"),
    ("bytes_a_token", "whole = weights * bits // 8 + 2 * (weights // group_size) + batch * cached\n"
     "return whole / batch"),
]  # fmt: skip

FAST_WRONG = [  # (exercise, a right body, what is changed in it, into what, what is said)
    ("fold", "return gain / s, shift / s, [m * s for m in readers]", "[m * s for m in readers]",
     "torch.cat(readers) * s", "readers are a list of matrices"),
    ("smooth", S_OF_SMOOTH, ".abs()", "", "largest numbers of x and w"),
    ("smooth", S_OF_SMOOTH, ".abs().amax(0)", ".amax(0).abs()", "largest numbers of x and w"),
    ("smooth", S_OF_SMOOTH, "amax(0)", "mean(0)", "mean sizes, as AWQ"),
    ("smooth", S_OF_SMOOTH, "amax(0)", "max()", "one size for all of x and one for all of w"),
    ("smooth", S_OF_SMOOTH, "** (1 - alpha)", "** 1 - alpha", "binds before"),
    ("integer_layer", INTEGER_LAYER, "codes.int() @ w.int().T", "codes.short() @ w.short().T",
     "sums are kept in too few"),
    ("integer_layer", INTEGER_LAYER.replace("w.int()", "w.short()"),
     "sums = codes.int() @ w.short().T\nstep = s_w * s_x\nb = (bias / step).round().int()",
     "sums = codes.short() @ w.short().T\nstep = s_w * s_x\nb = (bias / step).round().int().short()",
     "sums are kept in too few"),
    ("integer_layer", INTEGER_LAYER, "round().int()", "round().int().short()", "bias is squeezed into too few"),
    ("integer_layer", INTEGER_LAYER, "round().int()", "round().int().char()", "bias is squeezed into too few"),
    ("integer_layer", INTEGER_LAYER, "b = (bias / step).round().int()\nreturn sums + b, step",
     "return sums * step + bias, step", "these are the numbers"),
    ("to_levels", BARE_LEVELS, "levels[i] * s", "levels[i]", "not multiplied by the scale again"),
    ("to_levels", BARE_LEVELS, "(levels[i] * s)", "i", "numbers of the levels"),
    ("to_levels", BARE_LEVELS, "(u[..., None] - levels).abs().argmin(-1)",
     "((u + 1) / 2 * (len(levels) - 1)).round().long().clamp(0, len(levels) - 1)", "as if steps were equal"),
    ("to_levels", BARE_LEVELS, "x.unflatten(1, (-1, group_size))", "x.reshape(len(x), group_size, -1)",
     "group_size groups are made"),
    ("bytes_a_token", STEP_BYTES, "return (weights * bits / 8 + weights / group_size * 2) / batch",
     "return (weights * bits // 8 + 2 * weights // group_size) // batch", "cut to whole bytes"),
    ("bytes_a_token", STEP_BYTES, "return (weights * bits / 8 + weights / group_size * 2) / batch + cached",
     "return int((weights * bits / 8 + weights / group_size * 2) / batch + cached)", "cut to whole bytes"),
    ("bytes_a_token", STEP_BYTES, "return (weights * bits / 8 + weights / group_size * 2) / batch",
     "return weights * bits // 8 // batch + 2 * weights // group_size // batch", "cut to whole bytes"),
    ("bytes_a_token", STEP_BYTES, "cached", "cached * batch", "once for each sequence of the batch"),
    ("bytes_a_token", STEP_BYTES, "(weights * bits / 8 + weights / group_size * 2)",
     "weights * (bits + 2 / group_size) / 8", "taken for bits"),
]  # fmt: skip


def test_how_outputs_are_compared_is_not_taken_for_dimensions():
    """A crash names the sizes of the inputs by what the docstring calls them."""
    answer = catalog.find("exercise", "quantization.best_rounding").answer
    assert set(dimensions(answer).values()) == {"n", "N, n"}


def test_sizes_of_errors_are_refused_whatever_is_drawn():
    """Squares choose (2, 1) on one input that is not drawn, 0.75 against 1.0; sizes (2, 2), 1.0 against 1.5."""
    exercise, answer = on_quantization("best_rounding", BEST.replace("** 2).sum()", ".abs()).sum()"))
    assert {judge(exercise, answer, seed=seed).status for seed in range(6)} == {"wrong"}


def test_all_or_nothing_is_not_called_zero_everywhere():
    body = "return torch.zeros_like(gradient) if (x / scale).round().abs().max() > highest else gradient"
    verdict = judge(*on_quantization("straight_through", body))
    assert verdict.status == "wrong" and "0 everywhere" not in verdict.reason, verdict


# All sittings on quantization -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "body"), [*QUANTIZATION_RIGHT, *SOLVED_RIGHT, *FAST_RIGHT])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_answer_on_quantization_passes(name, body, seed):
    verdict = judge(*on_quantization(name, body), seed=seed)
    assert verdict.status == "right", verdict


@pytest.mark.parametrize(("name", "right", "was", "now", "said"), [*QUANTIZATION_WRONG, *SOLVED_WRONG, *FAST_WRONG])
def test_what_is_said_of_an_answer_on_quantization_is_true(name, right, was, now, said):
    assert was in right
    verdict = judge(*on_quantization(name, right.replace(was, now)))
    assert verdict.status in ("wrong", "crashed") and said in verdict.reason, verdict
