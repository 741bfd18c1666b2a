"""The same on every machine: what notebooks draw is perturbed while they are tested, and outputs are compared by eye.

The perturbation runs in processes of their own, as in a kernel; the same code without it gives what is expected.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from nbformat.v4 import new_output

from llmlab import notebooks, offline
from llmlab.config import ModelConfig
from llmlab.notebooks import machines
from llmlab.notebooks.comparing import differences, same_text
from llmlab.training import new_model, portable_model

# ------------------------------------------------------------ the comparison


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("loss 0.123", "loss 0.124"),
        ("-0.00", "0.00"),
        ("−0.01", "0.00"),
        ("9.99", "10.00"),
        ("9.99", "10.0"),
        ("1,234.5", "1,234.6"),
        ("1e-05", "1.1e-05"),
        ("9.9e-06", "1e-05"),
        ("99.9%", "100.0%"),
        ("27 % of all", "28 % of all"),
        ("[0.3, 0.2]", "[0.31, 0.2]"),
        ("a rate of 0.5.", "a rate of 0.6."),
        ("<td>9.99</td>", "<td>10.00</td>"),
        ("1.5 ms", "1.6 ms"),
    ],
)
def test_numbers_that_end_one_unit_apart_are_the_same(one, other):
    assert same_text(one, other) and same_text(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("loss 0.123", "loss 0.125"),
        ("-0.01", "0.01"),
        ("1e-05", "3e-05"),
        ("27%", "29%"),
        ("12 tokens", "13 tokens"),
        ("1,024", "1,025"),
        ("[1. 0.]", "[0. 1.]"),
        ("[1.0, 0.0]", "[0.0, 1.0]"),
        ("nan", "0.0"),
        ("inf", "-inf"),
        ("0.5", "0.5%"),
        ("0.5 nats", "0.5 bits"),
        ("0.5", "0.5 0.5"),
        ("v0.5", "v0.6"),
        ("2.13.0", "2.13.1"),
        ("x = 0x3e5", "x = 0x3e6"),
        ("9e8f71", "9e8f72"),
        ("blocks.0.attention", "blocks.1.attention"),
        ("a b", "ab"),
        ("words\n", "words"),
    ],
)
def test_numbers_two_units_apart_counts_names_and_words_are_not(one, other):
    assert not same_text(one, other) and not same_text(other, one)


@pytest.mark.parametrize("values", [[9.994, 0.5], [-0.0055, 1.0], [0.304, -0.2], [0.0, 99.994]])
def test_columns_may_follow_the_width_of_a_rounded_number(values):
    """numpy pads its columns: a number that rounds otherwise moves all that stands beside it."""
    before, after = np.round(values, 2), np.round(np.array(values) + 0.0011, 2)
    table = "\n".join(f"{value:>8.2f} |" for value in before), "\n".join(f"{value:>8.2f} |" for value in after)
    assert str(before) != str(after) and same_text(str(before), str(after)) and same_text(*table)


def test_outputs_are_compared_by_kind_and_order():
    def stream(text):
        return new_output("stream", name="stdout", text=text)

    def shown(**data):
        return new_output("display_data", data={kind.replace("_", "/"): value for kind, value in data.items()})

    assert differences([stream("a 0.5\n")], [stream("a "), stream("0.6\n")]) == []
    assert differences([shown(image_png="one", text_plain="a")], [shown(image_png="two", text_plain="a")]) == []
    assert differences([shown(text_html="<td>1.5</td>")], [shown(text_html="<td>1.6</td>")]) == []
    drawn, redrawn, retold = (
        shown(text_html=f'<img alt="{alt}" src="data:image/png;base64,{data}">')
        for alt, data in (("a 1.5", "iVBO+/="), ("a 1.6", "abcd"), ("b 1.5", "iVBO+/="))
    )
    assert differences([drawn], [redrawn]) == [] and differences([drawn], [retold])
    (found,) = differences([stream("a\nb 0.5\n")], [stream("a\nb 0.7\n")])
    assert "-b 0.5" in found and "+b 0.7" in found and "a" not in found.splitlines()
    assert "['stdout']" in differences([stream("a")], [])[0]
    assert differences([stream("a"), shown(text_plain="b")], [shown(text_plain="b"), stream("a")])
    error, elsewhere, other = (
        new_output("error", ename="E", evalue=value, traceback=[file])
        for value, file in (("no", "File a"), ("no", "File b"), ("yes", "File a"))
    )
    assert differences([error], [elsewhere]) == [] and differences([error], [other])


# ------------------------------------------------------------ the perturbation


DRAWS = {
    "a layer": "torch.manual_seed(0); out = nn.Linear(20, 20).weight.flatten()",
    "an embedding": "torch.manual_seed(0); out = nn.Embedding(20, 20).weight.flatten()",
    "our model": "from llmlab import training\n"
    "from llmlab.config import ModelConfig\n"
    "model = training.new_model(ModelConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2))\n"
    "out = model.embedding.weight.flatten()",
    "by hand": "g = torch.Generator().manual_seed(0)\n"
    "out = torch.randn(20, 20, generator=g, requires_grad=True).flatten()",
    "by numpy": "w = np.random.default_rng(0).normal(size=(20, 20))\n"
    "out = nn.Parameter(torch.tensor(w, dtype=torch.float32)).flatten()",
    "by numpy, scaled, then narrowed": "w = 0.1 * np.random.default_rng(0).normal(size=(20, 20)).T\n"
    "out = torch.from_numpy(w).float().requires_grad_().flatten()",
    "by numpy, narrowed there": "w = np.random.default_rng(0).random((20, 20)).astype(np.float32)\n"
    "out = torch.from_numpy(w).flatten()",
    "by numpy, put into a layer": "layer = nn.Linear(20, 20)\n"
    "with torch.no_grad(): layer.weight.copy_(torch.from_numpy(np.random.default_rng(0).normal(size=(20, 20))))\n"
    "out = layer.weight.flatten()",
    "a portable model, narrowed": "from llmlab import training\n"
    "from llmlab.config import ModelConfig\n"
    "model = training.portable_model(ModelConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2))\n"
    "out = model.float().embedding.weight.flatten()",
}
IN_FLOAT64 = {
    "a portable model": "from llmlab import training\n"
    "from llmlab.config import ModelConfig\n"
    "model = training.portable_model(ModelConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2))\n"
    "out = model.embedding.weight.flatten()",
    "numpy": "out = np.random.default_rng(0).uniform(-1, 1, 400)",
    "torch": "torch.manual_seed(0); out = torch.randn(400, dtype=torch.float64)",
}


KEPT = {
    "loaded": "from llmlab import load_model; model, _ = load_model(); out = of(model)",
    "copied": "import copy; from llmlab import load_model; model, _ = load_model(); out = of(copy.deepcopy(model))",
    "copied into a new model": "from llmlab import load_model; model, _ = load_model()\n"
    "fresh = type(model)(model.config); fresh.load_state_dict(model.state_dict()); out = of(fresh)",
    "loaded over drawn ones": "from llmlab import load_model, training; model, _ = load_model()\n"
    "drawn = training.portable_model(model.config)\n"
    "drawn.load_state_dict(model.double().state_dict()); out = of(drawn.float())",
    "an order": "w = np.random.default_rng(0).normal(size=9)\n"
    "out = [*torch.tensor(w.argsort(), dtype=torch.float32), *(w > 0).astype(np.float32)]",
    "set by hand": "out = torch.tensor(np.array([0.1, 2.5])).float().tolist()\n"
    "out += nn.Parameter(torch.full((3,), 0.1)).tolist()",
    "norms": "out = of(nn.LayerNorm(4))",
    "the next random numbers": "torch.manual_seed(3); torch.randn(7); out = torch.randint(1000, (5,)).tolist()\n"
    "rng = np.random.default_rng(1); rng.normal(size=9); out += rng.integers(1000, size=5).tolist()",
    "equality of equal seeds": "a, b = (torch.randn(7, generator=torch.Generator().manual_seed(1)) for _ in 'ab')\n"
    "c, d = (torch.tensor(np.random.default_rng(1).normal(size=4), dtype=torch.float32) for _ in 'cd')\n"
    "out = [torch.equal(a, b), torch.equal(c, d)]",
    "how arrays print": "w = np.random.default_rng(1).normal(size=4)\n"
    "out = [len(repr(w)), repr(w).startswith('array('), type(w.sum()) is np.float64, isinstance(w, np.ndarray)]",
}
TRAINED = {
    "weights": IN_FLOAT64["a portable model"],
    "losses": """
from llmlab import training
from llmlab.config import ModelConfig
model = training.portable_model(ModelConfig(vocab_size=5, d_model=8, n_layers=2, n_heads=1, head_dim=4, d_ff=16))
phrase = torch.tensor([[0, 1, 1, 2, 3, 4]])
optimizer = training.AdamW(model.parameters(), lr=0.01)
out = []
for step in range(200):
    optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 200)
    loss = training.cross_entropy(model(phrase[:, :-1]), phrase[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    out.append(loss)
""",
}
SCRIPT = """
import json, sys, torch, numpy as np
from torch import nn
def of(module):
    weighed = (p.detach().double().flatten() * torch.arange(1, p.numel() + 1) for p in module.parameters())
    return [float(w.sum()) for w in weighed]
found = {}
for name, code in json.load(sys.stdin).items():
    names = {"torch": torch, "np": np, "nn": nn, "of": of}
    exec(code, names)
    found[name] = [float(number) for number in names["out"]]
print(json.dumps(found))
"""


def left_by(codes: dict[str, str], env: dict[str, str]) -> dict[str, np.ndarray]:
    """What each code leaves in `out`, in a new Python with these environment variables."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=env, input=json.dumps(codes), capture_output=True, text=True, check=True)
    return {name: np.array(numbers) for name, numbers in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> list[dict[str, np.ndarray]]:
    """What each code leaves as a kernel would run it: without and with perturbation."""
    scratch, codes = tmp_path_factory.mktemp("kernel"), DRAWS | IN_FLOAT64 | KEPT | TRAINED
    return [
        left_by(codes, offline.kernel_environment(scratch, os.environ, perturbed=perturbed))
        for perturbed in (False, True)
    ]


@pytest.mark.parametrize("name", [*DRAWS, *IN_FLOAT64])
def test_newly_drawn_weights_are_moved_by_up_to_eight_epsilon_and_come_from_the_same_stream(name, drawn):
    eps = torch.finfo(torch.float32 if name in DRAWS else torch.float64).eps
    plain, moved = (found[name] for found in drawn)
    change = np.abs(moved / plain - 1) / eps
    assert change.mean() > 2 and (change > 0).mean() > 0.9
    assert change.max() < 9.5  # 8, and what rounding adds
    assert (np.abs(moved) <= np.abs(plain)).all()  # never out of the interval that it was drawn from


@pytest.mark.parametrize("name", KEPT)
def test_nothing_else_is_moved_by_a_bit(name, drawn):
    plain, perturbed = (found[name].tolist() for found in drawn)
    assert plain == perturbed


def test_nothing_is_moved_unless_it_is_asked_for(drawn, tmp_path):
    expected = torch.randn(20, 20, generator=torch.Generator().manual_seed(0)).flatten()
    assert drawn[0]["by hand"].tolist() == expected.tolist()
    assert offline.PERTURBED not in offline.kernel_environment(tmp_path, {offline.PERTURBED: "1"})


# ------------------------------------------------------------ training that is shown live

TINY = ModelConfig(vocab_size=5, d_model=8, n_layers=2, n_heads=2, d_ff=16, max_seq_len=8)


def test_a_portable_model_has_numpys_numbers_in_the_sizes_that_a_model_starts_with():
    model, usual = portable_model(TINY, seed=4), new_model(TINY)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    rng = np.random.default_rng(4)
    expected = rng.normal(size=(5, 8)) * TINY.init_std  # the embedding comes first
    np.testing.assert_allclose(model.embedding.weight.detach(), expected, rtol=1e-12)
    big = ModelConfig(vocab_size=300, d_model=128, n_layers=2, n_heads=2)
    for (name, ours), (_, theirs) in zip(
        portable_model(big).named_parameters(), new_model(big).named_parameters(), strict=True
    ):
        assert ours.std(correction=0).item() == pytest.approx(theirs.std(correction=0).item(), rel=0.05), name
    assert not model.training and usual.config == model.config


def test_a_portable_model_starts_and_ends_alike_with_other_vectors_and_other_last_bits(drawn, tmp_path):
    narrow = left_by(TRAINED, machines.Machine(vectors="default", path="COMPATIBLE").environment(str(tmp_path)))
    assert narrow["weights"].tolist() == drawn[1]["weights"].tolist()  # both perturbed
    assert drawn[0]["losses"][0] > 1 and drawn[0]["losses"][-1] < 0.01
    for found in (drawn[1], narrow):
        np.testing.assert_allclose(found["losses"], drawn[0]["losses"], rtol=1e-9)


# ------------------------------------------------------------ other machines

MACHINE = f"""import os
variables = "ATEN_CPU_CAPABILITY", "MKL_CBWR", "OMP_NUM_THREADS", "{offline.PERTURBED}"
[os.environ.get(name) for name in variables]"""


def test_other_machines_differ_in_one_thing_each_and_all_machines_in_every_combination():
    single = machines.single_changes()
    assert all(sum([m.vectors is not None, m.path is not None, m.threads != 1]) == 1 for m in single)
    everything = machines.all_machines()
    assert len(set(everything)) == len(everything) == 4 * len({m.vectors for m in everything})
    assert {(m.path, m.threads) for m in everything} == {(p, n) for p in ("COMPATIBLE", "AVX2") for n in (1, 2)}


def test_a_machine_is_what_its_kernel_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX")
    env = machines.Machine(vectors="avx2", threads=2).environment(str(tmp_path))
    assert (env["ATEN_CPU_CAPABILITY"], env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("avx2", "2", "2")
    assert "MKL_CBWR" not in env and env[offline.PERTURBED]


def test_check_on_other_machines_names_the_cells_that_differ_and_writes_nothing(tmp_path, capsys, monkeypatch):
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    monkeypatch.setattr(machines, "_widths", lambda: machines.VECTORS[:1])
    sources = ["0.1234", MACHINE, "os.getpid()"]
    cells = [new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
    cells[2].metadata = {"tags": ["nbval-ignore-output"]}
    path = tmp_path / "where.ipynb"
    path.write_text(json.dumps(new_notebook(cells=[new_markdown_cell("# Where", id="title"), *cells])))
    assert notebooks.main(["run", str(path)]) == 0
    before = path.read_bytes()
    capsys.readouterr()
    assert notebooks.main(["check", "--other-machines", str(path)]) == 1
    told = capsys.readouterr().out
    assert told.count("differs in code cells 2\n") == 3  # narrower vectors, another library path, two threads
    assert "-[None, None, '1', None]" in told  # `run` perturbs nothing
    for line in ("['default', None, '1', '1']", "[None, 'COMPATIBLE', '1', '1']", "[None, None, '2', '1']"):
        assert f"+{line}\n" in told
    assert "3 of 3 runs differ" in told
    assert path.read_bytes() == before
