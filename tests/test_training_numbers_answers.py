"""Answers to the exercises on number formats in other styles: right ones, and wrong ones with their reason."""

from textwrap import indent

import pytest

from llmlab.exercises import catalog
from llmlab.exercises.judge import judge
from llmlab.exercises.sources import define

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
BYTES = """
per_parameter = {"weight": 2, "gradient": 2, "master": 4, "m": 4, "v": 4}
per_row = seq_len * n_layers * numbers_per_token * 2
return n_parameters * sum(per_parameter.values()) + batch_size * per_row
"""

RIGHT = [
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
    ("bytes", BYTES),
    ("bytes", "return 2 * (8 * n_parameters + batch_size * seq_len * n_layers * numbers_per_token)"),
    ("bytes", "return n_parameters * (2 + 2 + 4 + 4 + 4) + n_layers * numbers_per_token * 2 * seq_len * batch_size"),
    ("bytes",
     "a = sum(numbers_per_token for _ in range(n_layers))\nreturn 16 * n_parameters + a * batch_size * seq_len * 2"),
    ("bytes", "bits = 128 * n_parameters + 16 * batch_size * seq_len * n_layers * numbers_per_token\nreturn bits // 8"),
]  # fmt: skip

WRONG = [  # (exercise, body of the function, what is said)
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
    ("mean_square", "return ((x.float() ** 2).mean(1)).half().sqrt()", ""),
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
    ("loss_scale", SCALED.replace("scale * (2 if n_good == patience else 1)", "scale"), ""),
    ("bytes", BYTES.replace('"gradient": 2, ', ""), "2 bytes a parameter are missing"),
    ("bytes", BYTES.replace(', "v": 4', ""), "4 bytes a parameter are missing"),
    ("bytes", BYTES.replace('"m": 4, "v": 4', '"m": 2, "v": 2'), "4 bytes a parameter are missing"),
    ("bytes", BYTES.replace(', "m": 4, "v": 4', ""), "8 bytes a parameter are missing"),
    ("bytes", BYTES.replace("batch_size * per_row", "per_row"), "each row of the batch keeps its own"),
    ("bytes", BYTES.replace("n_layers * ", ""), "all n_layers keep theirs"),
    ("bytes", BYTES.replace("= seq_len * ", "= "), "each of the seq_len tokens keeps its own"),
    ("bytes", BYTES.replace("numbers_per_token * 2", "numbers_per_token * 4"), "counted with 4 bytes"),
    ("bytes", BYTES.replace("numbers_per_token * 2", "numbers_per_token"), "counted as numbers"),
    ("bytes", BYTES.replace("n_parameters *", "batch_size * n_parameters *"), "all rows share the weights"),
    ("bytes", BYTES.replace(" + batch_size * per_row", ""), "the activations are forgotten"),
]  # fmt: skip


def judged(name, body):
    exercise = catalog.find("exercise", f"training.{name}")
    head = f"def {exercise.function}({', '.join(exercise.parameters)}):\n"
    return judge(exercise, define(head + indent(body, "    "), "answer"))


@pytest.mark.parametrize(("name", "body"), RIGHT)
def test_a_right_answer_in_another_form_passes(name, body):
    verdict = judged(name, body)
    assert verdict.status == "right", verdict


@pytest.mark.parametrize(("name", "body", "said"), WRONG)
def test_a_wrong_answer_is_refused_with_its_reason(name, body, said):
    verdict = judged(name, body)
    assert verdict.status == "wrong" and said in verdict.reason, verdict
