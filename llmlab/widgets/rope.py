"""`RoPERotator`: the pairs of a query and a key as hands of clocks, turned by their positions.

Two tokens of a sentence give the query and the key of one head of the model, recorded before they are rotated. Each of
the d/2 pairs is a dial: its hands are the pair of the query, turned by m·θ_j, and that of the key, turned by n·θ_j
(Su et al. 2021, section 3.2). What a pair adds to the score is the product of the hands' lengths with the cosine of the
angle between them; the sum over the pairs, over √d, is the score, and only m − n counts.

The kernel records the vectors and computes the frequencies of every base, method and factor that can be chosen, with
the functions of `llmlab.rope`; the browser turns the hands. Another sentence asks the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from .. import load_model, trace
from ..plots import token_label, visible
from ..rope import attention_factor, rope_frequencies
from ..tokenization import BPETokenizer, check_text
from ..transformer import Transformer
from .base import Array, LabWidget, Table

TEXT = "Anna had a dog. The dog"
LONGEST = 32  # tokens of a sentence
REACH = 1024  # positions
BASES = (100.0, 1_000.0, 10_000.0, 100_000.0, 500_000.0)
METHODS = ("none", "linear", "ntk", "llama3", "yarn")
FACTORS = (2, 4, 8)
LAYOUTS = ("half", "interleaved")
DISTANCES = (0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 255, 256, 512, 1023)  # those of the table


def scaling_of(method: str, factor: float, trained: int) -> dict[str, Any] | None:
    """What `rope_frequencies` is told of a method that stretches `trained` positions `factor` times; none: None."""
    if method == "none":
        return None
    told = {"rope_type": method, "factor": float(factor)}
    if method == "llama3":
        told |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if method in ("llama3", "yarn"):
        told["original_max_position_embeddings"] = trained
    return told


def frequency_table(head_dim: int, bases: Sequence[float], trained: int) -> tuple[Tensor, Tensor]:
    """The radians a token of each pair for every base, method and factor, and by what each multiplies the scores.

    Returns (bases, methods, factors, d/2) and (bases, methods, factors), float64. Only YaRN multiplies the scores: by
    the square of its factor on queries and keys.
    """
    choices = [[scaling_of(method, factor, trained) for factor in FACTORS] for method in METHODS]
    freqs = [[[rope_frequencies(head_dim, base, told) for told in row] for row in choices] for base in bases]
    gains = torch.tensor([[attention_factor(told) ** 2 for told in row] for row in choices], dtype=torch.float64)
    table = torch.stack([torch.stack([torch.stack(row) for row in rows]) for rows in freqs])
    return table, gains.expand(len(bases), -1, -1)


class RoPERotator(LabWidget):
    """A dial for each pair of a head's query and key, and the score of the two at every distance up to 1,023.

    `model` and `tokenizer` are the course's, if not given; another model must have RoPE without a scaling. Read and set
    from Python:
    - `text`, a sentence of at most 32 tokens; `layer` and `head`, from 0; `query` and `key`, two tokens of the sentence
      by their places (`<s>` is 0), the key not after the query;
    - `m` and `n`, the positions of the query and of the key, from 0 to 1,023, n not above m: one that is moved past the
      other takes it along; a new token starts from its place in the sentence; `together`: the reader moves both;
    - `theta` (100, 1,000, 10,000, 100,000, 500,000 or the model's base), `scaling` ("none", "linear", "ntk", "llama3",
      "yarn") with `factor` (2, 4 or 8), and `rope_layout`, which numbers form a pair ("half": j and j + d/2,
      "interleaved": 2j and 2j + 1); `pair`, the pair that is looked at (−1: none).
    Only to be read: `tokens`, `frequencies` and `wavelengths` (d/2,), `contributions` (d/2,) and their sum `score`,
    `curve` (1024,), the score at each distance, and `model_score`, what the model itself computed for the two tokens.

    Raises TraitError for a token, layer, position or choice that is not there; ValueError for a model without RoPE, and
    for a sentence that is empty or too long. What is wrong with a later one is said in `error`; the picture stays.
    """

    js = "rope.js"
    text = traitlets.Unicode(TEXT, help="the sentence").tag(sync=True)
    layer = traitlets.Int(0, help="the layer, from 0").tag(sync=True)
    head = traitlets.Int(0, help="the head of the layer, from 0").tag(sync=True)
    query = traitlets.Int(0, help="the token that asks").tag(sync=True)
    key = traitlets.Int(0, help="the token that is asked").tag(sync=True)
    m = traitlets.Int(0, min=0, max=REACH - 1, help="the position of the query").tag(sync=True)
    n = traitlets.Int(0, min=0, max=REACH - 1, help="the position of the key").tag(sync=True)
    together = traitlets.Bool(False, help="whether moving one moves both").tag(sync=True)
    theta = traitlets.Float(10_000.0, help="the base of the frequencies").tag(sync=True)
    scaling = traitlets.Enum(METHODS, "none", help="how positions beyond the trained length are met").tag(sync=True)
    factor = traitlets.Enum(FACTORS, 4, help="how many times the trained length").tag(sync=True)
    rope_layout = traitlets.Enum(LAYOUTS, "half", help="which numbers form a pair").tag(sync=True)
    pair = traitlets.Int(-1, help="the pair that is looked at, −1 for none").tag(sync=True)

    # What the browser draws: L layers, H heads, G heads of keys, T tokens, P = d/2 pairs.
    tokens = traitlets.List(traitlets.Unicode(), help="labels of the T tokens").tag(sync=True)
    trained = traitlets.Dict(help="how the model was trained: length, theta, layout").tag(sync=True)
    bases = traitlets.List(traitlets.Float(), help="the bases that can be chosen").tag(sync=True)
    methods = traitlets.List(traitlets.Unicode(), list(METHODS), help="the methods").tag(sync=True)
    factors = traitlets.List(traitlets.Int(), list(FACTORS), help="the factors").tag(sync=True)
    table = Array(help="(bases, methods, factors, P) float32: radians a token")
    gains = Array(help="(bases, methods, factors) float32: what the method multiplies the score by")
    q = Array(help="(L, H, T, d) float32: the queries before they are rotated")
    k = Array(help="(L, G, T, d) float32: the keys before they are rotated")
    scores = Array(help="(L, H, T, T) float32: the model's own scores, q·k/√d")
    revision = traitlets.Int(0, help="counts sentences; the picture follows it").tag(sync=True)

    def __init__(
        self,
        model: Transformer | None = None,
        tokenizer: BPETokenizer | None = None,
        text: str = TEXT,
        *,
        layer: int = 0,
        head: int = 1,
        query: int | None = None,
        key: int | None = None,
        m: int | None = None,
        n: int | None = None,
        theta: float | None = None,
        rope_layout: str | None = None,
        **traits: Any,
    ):
        own_model, own_tokenizer = load_model() if model is None or tokenizer is None else (model, tokenizer)
        self._model = own_model if model is None else model
        self._tokenizer = own_tokenizer if tokenizer is None else tokenizer
        config = self._model.config
        if config.position != "rope" or config.rope_scaling:
            told = f"position {config.position!r}" + (" with a scaling" if config.rope_scaling else "")
            raise ValueError(f"expected a model with RoPE and no scaling, whose positions can be turned; got {told}")
        if config.attention != "gqa":
            raise ValueError(f"expected a model that turns whole heads, got attention={config.attention!r}")
        bases = tuple(sorted({*BASES, float(config.rope_theta)}))
        table, gains = frequency_table(config.head_dim, bases, config.max_seq_len)
        super().__init__(
            text=text,
            trained={"length": config.max_seq_len, "theta": float(config.rope_theta), "layout": config.rope_layout},
            bases=list(bases),
            table=table,
            gains=gains,
            theta=float(config.rope_theta if theta is None else theta),
            rope_layout=config.rope_layout if rope_layout is None else rope_layout,
            layer=layer,
            head=head,
            **traits,
        )
        self._read()
        self.observe(lambda change: self._attempt(self._read), "text")
        self.observe(self._on_token, ["query", "key"])
        self.observe(self._on_position, ["m", "n"])
        for name, value in (("query", query), ("key", key), ("m", m), ("n", n)):
            if value is not None:
                setattr(self, name, value)

    # What the traits may be -----------------------------------------------------------------------------------------

    @traitlets.validate("layer", "head", "query", "key", "pair")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        config = self._model.config
        count = {"layer": config.n_layers, "head": config.n_heads, "pair": config.head_dim // 2}
        count = count.get(name, max(1, len(self.tokens)))
        least = -1 if name == "pair" else 0
        if not least <= value < count:
            raise traitlets.TraitError(f"expected {name} from {least} to {count - 1}, got {value}".replace("-", "−"))
        return value

    @traitlets.validate("theta")
    def _a_base(self, proposal: Any) -> float:
        if proposal["value"] not in self.bases:
            choices = ", ".join(f"{base:,.0f}" for base in self.bases)
            raise traitlets.TraitError(f"expected theta to be one of {choices}; got {proposal['value']:,}")
        return proposal["value"]

    def _on_token(self, change: Any) -> None:
        """A token starts from its place in the sentence; the key is never after the query."""
        if self.key > self.query:
            setattr(self, "key" if change["name"] == "query" else "query", change["new"])
        self._go_back()

    def _on_position(self, change: Any) -> None:
        if self.n > self.m:
            setattr(self, "n" if change["name"] == "m" else "m", change["new"])

    def _go_back(self) -> None:
        self.m, self.n = max(self.m, self.query), self.key  # n is never above m on the way
        self.m = self.query

    # What follows from them -----------------------------------------------------------------------------------------

    @property
    def _choice(self) -> tuple[int, int, int]:
        return self.bases.index(self.theta), METHODS.index(self.scaling), FACTORS.index(self.factor)

    @property
    def frequencies(self) -> np.ndarray:
        """(P,) the radians that each pair turns by in one token, the fastest first."""
        return self.table[self._choice].astype(np.float64)

    @property
    def wavelengths(self) -> np.ndarray:
        """(P,) the tokens that each pair takes for a whole turn."""
        return 2 * math.pi / self.frequencies

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of the query and of the key, before they are turned: (P,) complex numbers each."""
        group = self.q.shape[1] // self.k.shape[1]
        q = self.q[self.layer, self.head, self.query].astype(np.float64)  # (d,)
        k = self.k[self.layer, self.head // group, self.key].astype(np.float64)  # (d,)
        if self.rope_layout == "half":
            half = len(q) // 2
            return q[:half] + 1j * q[half:], k[:half] + 1j * k[half:]
        return q[0::2] + 1j * q[1::2], k[0::2] + 1j * k[1::2]

    def _products(self, m: np.ndarray, n: np.ndarray) -> np.ndarray:
        """What each pair adds at the positions m and n, arrays of one shape (...): (..., P)."""
        q, k = self._pairs()
        turned_q = q * np.exp(1j * np.asarray(m)[..., None] * self.frequencies)  # (..., P)
        turned_k = k * np.exp(1j * np.asarray(n)[..., None] * self.frequencies)  # (..., P)
        return (turned_q * turned_k.conj()).real * self._gain / math.sqrt(2 * len(q))

    @property
    def _gain(self) -> float:
        return float(self.gains[self._choice])

    @property
    def contributions(self) -> np.ndarray:
        """(P,) what each pair adds to the score with the query at m and the key at n."""
        return self._products(self.m, self.n)

    @property
    def score(self) -> float:
        """q·k/√d of the two tokens with the query at m and the key at n."""
        return float(self.contributions.sum())

    @property
    def curve(self) -> np.ndarray:
        """(1024,) the score of this query and this key at every distance m − n from 0."""
        distances = np.arange(REACH)
        return self._products(distances, np.zeros(REACH)).sum(-1)

    @property
    def model_score(self) -> float:
        """The score that the model itself computed for the two tokens, at their places in the sentence."""
        return float(self.scores[self.layer, self.head, self.query, self.key])

    @property
    def weight(self) -> float:
        """The attention weight that the model's query gives to the key, of all that it may look at."""
        row = self.scores[self.layer, self.head, self.query, : self.query + 1].astype(np.float64)
        powers = np.exp(row - row.max())
        return float(powers[self.key] / powers.sum())

    def _peaks(self) -> tuple[tuple[int, float], tuple[int, float] | None]:
        """Where the curve is highest up to the trained length, and beyond it: a distance and the score there."""
        curve, length = self.curve, self.trained["length"]
        within = int(curve[:length].argmax())
        beyond = length + int(curve[length:].argmax()) if length < REACH else None
        return (within, float(curve[within])), None if beyond is None else (beyond, float(curve[beyond]))

    # The sentence ---------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Run the model on the sentence; nothing changes when it is refused."""
        check_text(self.text)
        if self._model.training:
            raise ValueError("the model is in training mode, where dropout is on; call model.eval() first")
        ids = [self._tokenizer.special_tokens["<s>"], *self._tokenizer.encode(self.text)]
        if not 2 <= len(ids) <= LONGEST + 1:
            raise ValueError(f"expected a sentence of 1 to {LONGEST} tokens, got {len(ids) - 1}")
        q, k, scores = recorded(self._model, torch.tensor([ids], device=next(self._model.parameters()).device))
        with self.hold_sync():
            self.tokens = [token_label(self._tokenizer, token) for token in ids]
            self.q, self.k, self.scores = q, k, scores
            self.query, self.key = len(ids) - 1, len(ids) - 2
            self._go_back()
            self.revision += 1

    # As text --------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        q, k = (visible(self.tokens[at]) for at in (self.query, self.key))
        return (
            f"RoPERotator(head {self._name}, q of {q!r} at {self.m}, k of {k!r} at {self.n}: score {self.score:.3g}; "
            f"{self._settings})"
        )

    @property
    def _name(self) -> str:
        return f"{self.layer + 1}.{self.head + 1}"

    @property
    def _settings(self) -> str:
        scaled = "no scaling" if self.scaling == "none" else f"{self.scaling} {self.factor}"
        times = "" if self._gain == 1 else f", scores × {_three(self._gain)}"
        return f"base {self.theta:,.0f}, {scaled}{times}, layout {self.rope_layout}"

    def tables(self) -> list[Table]:
        """The pairs at these positions, and the score by distance; the browser says the same."""
        q, k = self._pairs()
        d, half = 2 * len(q), len(q)
        turns = [[_degrees(at * freq) for freq in self.frequencies] for at in (self.m, self.n)]
        rows = [
            [
                str(j),
                f"{j}, {j + half}" if self.rope_layout == "half" else f"{2 * j}, {2 * j + 1}",
                _plain(self.wavelengths[j]),
                turns[0][j],
                turns[1][j],
                _three(abs(q[j])),
                _three(abs(k[j])),
                _three(each),
            ]
            for j, each in enumerate(self.contributions)
        ]
        names = [f"“{visible(self.tokens[at])}”" for at in (self.query, self.key)]
        curve = self.curve
        distances = sorted({*(at for at in DISTANCES if at < REACH), self.m - self.n, self.trained["length"] - 1})
        columns = ["pair", "numbers", "wavelength, tokens", "m·θ mod 360°", "n·θ mod 360°", "|q|", "|k|", "adds"]
        return [
            Table(
                f"Head {self._name}: the {half} pairs of q of {names[0]} at {self.m} and k of {names[1]} at {self.n}; "
                f"score {_three(self.score)}, over √{d}; {self._settings}",
                columns,
                rows,
            ),
            Table(
                f"The score by distance; the model itself has {_three(self.model_score)} "
                f"at {self.query - self.key}, weight {_three(self.weight)}",
                ["distance", "score", "trained"],
                [[str(at), _three(curve[at]), "yes" if at < self.trained["length"] else "no"] for at in distances],
            ),
        ]


@torch.inference_mode()
def recorded(model: Transformer, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The queries and keys of every head before they are rotated, and the model's own scores.

    tokens (1, T) -> q (L, H, T, d), k (L, G, T, d), scores (L, H, T, T), float32. Queries and keys are taken as they
    leave their projection, or its norm where the model has one (Qwen3).
    """
    kept: dict[tuple[str, int], Tensor] = {}

    def keeps(name: str, layer: int) -> Any:
        def keep(module: nn.Module, inputs: Any, out: Tensor) -> None:
            out = out[0]  # (T, H·d), or (H, T, d) after a norm
            kept[name, layer] = (
                out if out.dim() == 3 else out.unflatten(-1, (-1, model.config.head_dim)).transpose(0, 1)
            )

        return keep

    handles = []
    for layer, block in enumerate(model.blocks):
        for name in ("q", "k"):
            last = getattr(block.attention, f"{name}_norm")
            last = getattr(block.attention, f"{name}_proj") if last is None else last
            handles.append(last.register_forward_hook(keeps(name, layer)))
    layers = range(len(model.blocks))
    names = [f"blocks.{layer}.attention.scores" for layer in layers]
    try:
        with trace.record(model, names) as seen:
            model(tokens)
    finally:
        for handle in handles:
            handle.remove()
    q, k = (torch.stack([kept[name, layer] for layer in layers]).float().cpu() for name in ("q", "k"))
    return q, k, torch.stack([seen[name][0] for name in names]).float().cpu()


def _three(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _degrees(radians: float) -> str:
    return f"{math.degrees(radians) % 360:.1f}"


def _plain(size: float) -> str:
    """A length in tokens: three digits, or whole from 100 on."""
    return f"{size:,.0f}" if size >= 100 else f"{size:.1f}" if size >= 10 else f"{size:.2f}"
