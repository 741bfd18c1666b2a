"""`KVCacheStepper`: one generation run twice, recomputing everything and appending one column, step by step.

The first step is the prefill, which runs the whole prompt; each later one decodes one token (Pope et al. 2022, section
2). Without a cache every step computes the keys and values of all tokens again; with one, of the newest token only.

A prompt can be edited after its run. A key and a value depend on the tokens up to their own, so the cached columns
before the first changed token are still right, and all later ones must be computed again, also those of words that
stayed as they were. Services that reuse the cache of a shared beginning rest on this (Kwon et al. 2023, section 4.4;
Zheng et al. 2024, section 3).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from .. import costs, trace
from ..kv_cache import KVCache
from ..plots import token_label, visible
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from .base import Array, LabWidget, Table

N_CANDIDATES = 5
N_TIMED = 3  # runs of each lane; a step's time is the fastest, the one that other work disturbed least
LONGEST = 48  # tokens, prompt and new ones: what fits on a screen
AGREE = 1e-5  # of the largest logit: what two ways of computing the same may differ by


@dataclass(frozen=True)
class Step:
    """What one step did, in both lanes: first without the cache, then with it.

    `computed`: keys per layer and kv head, counted in the recorded tensors. `cache_bytes`: in use after the step.
    `difference`: the largest between the two lanes' logits; `relative`: the same, as a share of the largest logit.
    `key_difference`: the largest between keys and values computed again and the ones kept. `agree`: both lanes choose
    the same token.
    """

    computed: tuple[int, int]
    flops: tuple[int, int]
    cache_bytes: int
    milliseconds: tuple[float, float]
    difference: float
    relative: float
    key_difference: float
    agree: bool


@dataclass(frozen=True)
class Before:
    """The run before an edit: its token ids, and keys and values (L, G, T, d) of all of them but the last."""

    ids: list[int]
    keys: Tensor
    values: Tensor

    def shared_with(self, prompt: list[int]) -> int:
        """The columns that survive: those before the first token that differs, and before the prompt's last one,
        which is run for its logits in any case."""
        pairs = zip(prompt[:-1], self.ids[:-1], strict=False)
        return next((at for at, (new, old) in enumerate(pairs) if new != old), min(len(prompt), len(self.ids)) - 1)

    def moved(self, keys: Tensor, values: Tensor) -> Tensor:
        """The largest change of a number of each column: (L, G, T), −1 where the cache held no column."""
        both = min(keys.shape[2], self.keys.shape[2])
        changes = [
            (new[:, :, :both] - old[:, :, :both]).abs().amax(-1)  # (L, G, both)
            for new, old in ((keys, self.keys), (values, self.values))
        ]
        return F.pad(torch.maximum(*changes), (0, keys.shape[2] - both), value=-1.0)


class KVCacheStepper(LabWidget):
    """Step through a greedy generation without a cache and with one, on the real tensors of the model.

    Read and set from Python: `prompt`, `max_new_tokens`, `step` (0 is the prefill), `layer`, `head` (a kv head),
    `playing`, `predicting`; `guess` and `revealed` hold what the reader predicted. `steps` has the exact counts.

    `edited` is the prompt as the reader changed it after the run, or "" for none. Its run begins with the cache of the
    first run, cut to the `n_kept` columns before the first changed token; the last token of a prompt is always run, for
    its logits. Another `prompt` takes the edit back.

    Raises ValueError for a prompt that is too long, for max_new_tokens below 1, and for a model in training mode.
    """

    js = "kv_cache.js"
    prompt = traitlets.Unicode(help="the text that the reader typed").tag(sync=True)
    edited = traitlets.Unicode("", help="the prompt as it was edited after its run; empty: it was not").tag(sync=True)
    max_new_tokens = traitlets.Int(12, help="how many tokens to generate; </s> ends earlier").tag(sync=True)
    step = traitlets.Int(0, help="the step that is shown; 0 is the prefill").tag(sync=True)
    layer = traitlets.Int(0, help="the layer whose keys and values are shown").tag(sync=True)
    head = traitlets.Int(0, help="the kv head whose keys and values are shown").tag(sync=True)
    playing = traitlets.Bool(False, help="whether the steps advance by themselves").tag(sync=True)
    token = traitlets.Int(-1, help="the token whose vectors a click holds in view; -1: none").tag(sync=True)
    predicting = traitlets.Bool(False, help="whether each next step is to be predicted").tag(sync=True)
    guess = traitlets.List(traitlets.Int(), help="keys without and with the cache, as predicted").tag(sync=True)
    revealed = traitlets.Int(-1, help="the step that `guess` was about; -1 before the first").tag(sync=True)

    n_prompt = traitlets.Int(0, help="tokens of the prompt, <s> included").tag(sync=True)
    ids = traitlets.List(traitlets.Int(), help="token ids: the prompt and what was generated").tag(sync=True)
    labels = traitlets.List(traitlets.Unicode(), help="the tokens as text").tag(sync=True)
    n_kept = traitlets.Int(0, help="cached columns of the run before the edit that survive it").tag(sync=True)
    n_held = traitlets.Int(0, help="columns that the cache held before the edit").tag(sync=True)
    labels_before = traitlets.List(traitlets.Unicode(), help="their tokens as text").tag(sync=True)
    moved = Array(help="(L, G, T) float32: largest change of a key or value by the edit; −1 where none was cached")
    key_vectors = Array(help="(L, G, T, d) float32: after RoPE; T leaves out the last token, which never ran")
    value_vectors = Array(help="(L, G, T, d) float32")
    computed = Array(help="(2, steps) int32: keys computed per layer and kv head")
    flops = Array(help="(2, steps) float32: floating-point operations; exact in `steps`")
    milliseconds = Array(help="(2, steps) float32: the fastest of 3 runs, without recording")
    cache_bytes = Array(help="(steps,) int32: in use after the step")
    difference = Array(help="(2, steps) float32: largest between the lanes' logits, and its share of the largest logit")
    difference_at = traitlets.List(traitlets.Unicode(), help="the token whose logit differs most").tag(sync=True)
    key_difference = traitlets.Float(0.0, help="largest between kept and recomputed keys and values").tag(sync=True)
    agree = traitlets.List(traitlets.Bool(), help="whether both lanes choose the same token").tag(sync=True)
    candidates = traitlets.List(help="labels of the likeliest next tokens, [step][rank]").tag(sync=True)
    logits = Array(help="(2, steps, 5) float32: of the candidates")
    probabilities = Array(help="(2, steps, 5) float32: of the candidates")
    revision = traitlets.Int(0, help="counts runs; the picture follows it").tag(sync=True)

    def __init__(
        self,
        model: Transformer,
        tokenizer: BPETokenizer,
        prompt: str = "The capital of France is",
        max_new_tokens: int = 12,
        *,
        edited: str = "",
        **traits: Any,
    ):
        if model.config.attention != "gqa":
            raise ValueError(
                f"expected a model whose cache holds keys and values, got one with attention={model.config.attention!r}"
            )
        self._model, self._tokenizer = model, tokenizer
        self.steps: list[Step] = []
        super().__init__(prompt=prompt, max_new_tokens=max_new_tokens, **traits)
        self._run()
        if edited:
            self.edited = edited
            self._run()
        if "step" in traits:
            self.step = traits["step"]
        self.observe(lambda change: self._attempt(self._new_prompt), "prompt")
        self.observe(lambda change: self._attempt(self._run), ["edited", "max_new_tokens"])

    @traitlets.validate("step", "layer", "head")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        counts = {"layer": self._model.config.n_layers, "head": self._model.config.n_kv_heads, "step": len(self.steps)}
        if counts[name] and not 0 <= value < counts[name]:
            raise traitlets.TraitError(f"expected a {name} from 0 to {counts[name] - 1}, got {value}")
        return value

    def __repr__(self) -> str:
        without, with_it = (sum(step.computed[lane] for step in self.steps) for lane in (0, 1))
        text = self._tokenizer.decode(self.ids[1 : self.n_prompt])
        edit = f"edited, {self.n_kept} of {self.n_held} columns kept, " if self.n_held else ""
        return (
            f"KVCacheStepper({text!r}, {edit}{_count(len(self.steps), 'new token')}, "
            f"keys computed {without} without a cache, {with_it} with one)"
        )

    # The two lanes --------------------------------------------------------------------------------------------------

    def _new_prompt(self) -> None:
        if self.edited:
            self.edited = ""  # runs the new prompt
        else:
            self._run()

    def _run(self) -> None:
        """Run both lanes anew; nothing changes when the prompt is refused."""
        prompt = self._prompt_ids(self.prompt)
        if not self.edited or self.edited == self.prompt:
            self._show(prompt, None)
            return
        edited = self._prompt_ids(self.edited)
        before = self._before(prompt)
        self._show(edited, before)

    def _before(self, prompt: list[int]) -> Before:
        """The run of the prompt before the edit, with the cache that it leaves: of all its tokens but the last."""
        ids = prompt + self._generate(prompt, 0, None)[0]
        keys, values, _, _ = self._record(ids, len(prompt), 0, None)
        return Before(ids, keys, values)

    def _show(self, prompt: list[int], before: Before | None) -> None:
        n_kept = 0 if before is None else before.shared_with(prompt)
        new, logits, times = self._generate(prompt, n_kept, before)
        ids = prompt + new
        recorded = self._record(ids, len(prompt), n_kept, before)
        self._publish(ids, len(prompt), logits, recorded, times, n_kept, before)
        self._time_again(ids, len(prompt), n_kept, before)  # when the picture is already on its way

    def _prompt_ids(self, text: str) -> list[int]:
        if self._model.training:
            raise ValueError("the model is in training mode, where dropout is on; call model.eval() first")
        if self.max_new_tokens < 1:
            raise ValueError(f"expected max_new_tokens of at least 1, got {self.max_new_tokens}")
        ids = [self._tokenizer.special_tokens["<s>"], *self._tokenizer.encode(text)]
        longest = min(LONGEST, self._model.config.max_seq_len)
        if len(ids) + self.max_new_tokens > longest:
            raise ValueError(
                f"the prompt has {len(ids)} tokens and {self.max_new_tokens} are to follow; "
                f"expected at most {longest} together"
            )
        if max(ids) >= self._model.config.vocab_size:
            raise ValueError(
                f"the tokenizer gave token {max(ids)}; the model knows {self._model.config.vocab_size} tokens"
            )
        return ids

    @torch.inference_mode()
    def _generate(
        self, prompt: list[int], n_kept: int, before: Before | None
    ) -> tuple[list[int], Tensor, list[list[float]]]:
        """Greedy tokens of the cached lane, both lanes' logits (2, steps, V), and milliseconds [lane][step]."""
        end, new = self._tokenizer.special_tokens["</s>"], []
        logits: list[list[Tensor]] = [[], []]
        times: list[list[float]] = [[], []]
        cache = self._cache(len(prompt) + self.max_new_tokens, n_kept, before)
        while len(new) < self.max_new_tokens and (not new or new[-1] != end):
            ids = prompt + new
            for lane in (0, 1):
                taken, row = self._timed(ids, cache if lane else None)  # (V,)
                times[lane].append(taken)
                logits[lane].append(row)
            new.append(int(logits[1][-1].argmax()))
        return new, torch.stack([torch.stack(lane) for lane in logits]).float().cpu(), times

    @torch.inference_mode()
    def _record(
        self, ids: list[int], n_prompt: int, n_kept: int, before: Before | None
    ) -> tuple[Tensor, Tensor, list[tuple[int, int]], list[float]]:
        """Keys and values as the cached lane computed them, each (L, G, T, d); how many each step computed in both
        lanes; and the largest difference from the ones that the lane without a cache computed again."""
        names = [f"blocks.{layer}.attention.{x}" for layer in range(self._model.config.n_layers) for x in ("k", "v")]
        cache, computed, differences = self._cache(len(ids), n_kept, before), [], []
        layers = range(self._model.config.n_layers)
        held = [x[0] for layer in layers for x in (cache.keys(layer), cache.values(layer))]  # (G, kept, d) each
        kept = torch.stack(held).float().cpu()  # (2L, G, kept, d), what survives of the run before the edit
        for n_tokens in range(n_prompt, len(ids)):
            lanes = []
            for lane in (0, 1):
                with trace.record(self._model, names) as seen:
                    self._forward(ids[:n_tokens], cache if lane else None)
                lanes.append(torch.stack([seen[name][0] for name in names]).float().cpu())  # (2L, G, new, d)
            again, new = lanes
            kept = torch.cat((kept[:, :, : n_tokens - new.shape[2]], new), dim=2)  # (2L, G, T, d)
            computed.append((again.shape[2], new.shape[2]))
            differences.append(float((again - kept).abs().max()))
        return kept[0::2], kept[1::2], computed, differences

    @torch.inference_mode()
    def _time_again(self, ids: list[int], n_prompt: int, n_kept: int, before: Before | None) -> None:
        """Run both lanes again without recording; each step keeps its fastest time."""
        times = self.milliseconds.tolist()  # [lane][step]
        for _ in range(N_TIMED - 1):
            for lane in (0, 1):
                cache = self._cache(len(ids), n_kept, before) if lane else None
                for index, n_tokens in enumerate(range(n_prompt, len(ids))):
                    times[lane][index] = min(times[lane][index], self._timed(ids[:n_tokens], cache)[0])
        self.steps = [
            replace(step, milliseconds=both) for step, both in zip(self.steps, zip(*times, strict=True), strict=True)
        ]
        self.milliseconds = torch.tensor(times)

    def _timed(self, ids: list[int], cache: KVCache | None) -> tuple[float, Tensor]:
        """The milliseconds of a forward pass, and its logits (V,)."""
        wait = torch.cuda.synchronize if self._device.type == "cuda" else lambda: None
        wait()
        start = time.perf_counter()
        logits = self._forward(ids, cache)  # (V,)
        wait()
        return 1000 * (time.perf_counter() - start), logits

    def _forward(self, ids: list[int], cache: KVCache | None) -> Tensor:
        """Logits (V,) after the last token. With a cache only the tokens that it does not hold are run."""
        seen = 0 if cache is None else int(cache.lengths[0])
        tokens = torch.tensor([ids[seen:]], device=self._device)  # (1, T): all, or those not seen yet
        return self._model.head(self._model.hidden(tokens, cache=cache)[0, -1])  # (V,)

    @property
    def _device(self) -> torch.device:
        return self._model.embedding.weight.device

    def _cache(self, n_tokens: int, n_kept: int, before: Before | None) -> KVCache:
        """An empty cache; after an edit, the one that the run before left, cut to the columns that survive."""
        weight, room = self._model.embedding.weight, max(n_tokens, 0 if before is None else len(before.ids))
        cache = KVCache(self._model.config, 1, room, dtype=weight.dtype, device=weight.device)
        if before is not None:
            for layer in range(self._model.config.n_layers):
                cache.update(layer, before.keys[layer][None].to(weight), before.values[layer][None].to(weight))
            cache.advance(before.keys.shape[2])
            cache.truncate(n_kept)
        return cache

    # What the browser draws -----------------------------------------------------------------------------------------

    def _publish(
        self,
        ids: list[int],
        n_prompt: int,
        logits: Tensor,
        recorded: Any,
        times: list[list[float]],
        n_kept: int,
        before: Before | None,
    ) -> None:
        keys, values, computed, key_differences = recorded
        apart = (logits[0] - logits[1]).abs()  # (steps, V)
        largest = logits.abs().amax(dim=(0, 2))  # (steps,)
        chosen = logits.argmax(-1).tolist()  # (2, steps)
        best = logits[1].topk(N_CANDIDATES, dim=-1).indices  # (steps, 5)
        config, dtype = self._model.config, self._model.embedding.weight.dtype
        self.steps = [
            Step(
                computed=computed[index],
                flops=tuple(
                    costs.flops(config, new, n_past=n_prompt + index - new, n_logits=1).total for new in computed[index]
                ),
                cache_bytes=costs.kv_cache_bytes(config, n_prompt + index, dtype=dtype),
                milliseconds=(times[0][index], times[1][index]),
                difference=float(apart[index].max()),
                relative=float(apart[index].max() / largest[index]),
                key_difference=key_differences[index],
                agree=chosen[0][index] == chosen[1][index],
            )
            for index in range(len(computed))
        ]

        def by_lane(name: str) -> Tensor:  # (2, steps)
            return torch.tensor([getattr(step, name) for step in self.steps]).T

        with self.hold_sync():
            self.n_prompt, self.ids, self.labels = n_prompt, ids, [token_label(self._tokenizer, token) for token in ids]
            self.n_kept, self.n_held = n_kept, 0 if before is None else before.keys.shape[2]
            self.labels_before = (
                [] if before is None else [token_label(self._tokenizer, token) for token in before.ids[:-1]]
            )
            self.moved = torch.zeros(0) if before is None else before.moved(keys, values)
            self.key_vectors, self.value_vectors = keys, values
            self.computed, self.flops = by_lane("computed"), by_lane("flops").float()
            self.milliseconds = by_lane("milliseconds")
            self.cache_bytes = torch.tensor([step.cache_bytes for step in self.steps])
            self.difference = torch.tensor([[step.difference, step.relative] for step in self.steps]).T
            self.difference_at = [token_label(self._tokenizer, token) for token in apart.argmax(-1).tolist()]
            self.key_difference = max(key_differences)
            self.agree = [step.agree for step in self.steps]
            self.candidates = [[token_label(self._tokenizer, token) for token in row] for row in best.tolist()]
            self.logits = logits.gather(2, best.expand(2, -1, -1))
            self.probabilities = logits.softmax(-1).gather(2, best.expand(2, -1, -1))
            self.step = len(self.steps) - 1 if before is None else 0  # the whole run with its totals, or the edit
            self.playing, self.token, self.guess, self.revealed = False, -1, [], -1
            self.revision += 1

    # As text --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The run step by step, and what the shown step did with each token. Nothing in them depends on the machine:
        no milliseconds, and a verdict in place of a rounding error."""
        columns = [
            "step", "phase", "keys without a cache", "keys with one", "FLOPs without", "FLOPs with",
            "bytes cached", "logits agree", "next token",
        ]  # fmt: skip
        rows = [
            [
                str(index),
                "decode" if index else "edit" if self.n_held else "prefill",
                *map(str, step.computed),
                *(_with_unit(n, 1000, "FLOP") for n in step.flops),
                _with_unit(step.cache_bytes, 1024, "B"),
                "yes" if step.agree and step.relative <= AGREE else "no",
                visible(self.labels[self.n_prompt + index]),
            ]
            for index, step in enumerate(self.steps)
        ]
        totals = [
            [sum(getattr(s, name)[lane] for s in self.steps) for lane in (0, 1)] for name in ("computed", "flops")
        ]
        flops = [_with_unit(n, 1000, "FLOP") for n in totals[1]]
        rows.append(["all", "", *map(str, totals[0]), *flops, "", "", ""])
        run = f"{self.prompt_text}: keys computed per layer and head, work and cache of each step"
        status = [
            [visible(self.labels[index]), *(self._status(lane, index) for lane in (0, 1))]
            for index in range(self.n_prompt + self.step)
        ]
        shown = f"step {self.step}: each token's key and value"
        return [
            Table(run, columns, rows),
            Table(shown, ["token", "without a cache", "with one"], status),
            *self._edit(),
        ]

    def _edit(self) -> list[Table]:
        """What an edit left of the cache, column by column."""
        if not self.n_held:
            return []
        length = max(self.n_held, self.n_prompt)
        moved = self.moved.max(axis=(0, 1))  # (T,)
        rows = [
            [
                str(at),
                visible(self.labels_before[at]) if at < self.n_held else "",
                visible(self.labels[at]) if at < self.n_prompt else "",
                "kept" if at < self.n_kept else "computed again" if at < self.n_prompt else "dropped",
                f"{moved[at]:.2f}" if at < self.n_prompt and moved[at] >= 0 else "",
            ]
            for at in range(length)
        ]
        caption = (
            f"the edit: {self.n_kept} of {self.n_held} cached columns survive, {self.n_prompt - self.n_kept} keys are "
            f"computed, without a cache {self.n_prompt}"
        )
        return [Table(caption, ["column", "before", "after", "in the cache", "largest change, all layers"], rows)]

    def _status(self, lane: int, index: int) -> str:
        """What the shown step did with a token's key and value: computed them new or again, or kept them."""
        count = self.n_prompt + self.step
        if index < count - self.steps[self.step].computed[lane]:
            return "kept"
        if not self.step:
            return "again" if index < self.n_kept else "new"
        return "again" if index < count - 1 else "new"

    @property
    def prompt_text(self) -> str:
        """The prompt that was run last, as text."""
        return self._tokenizer.decode(self.ids[1 : self.n_prompt])


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _with_unit(value: float, base: int, unit: str) -> str:
    """Three significant digits with a prefix: 46300000, 1000, "FLOP" -> "46.3 MFLOP"; 1024 gives KiB, MiB, …"""
    power = 0
    while abs(value) >= base and power < 4:
        value, power = value / base, power + 1
    if not power:
        return f"{value:.0f} {unit}"
    prefix = "kMGT"[power - 1] if base == 1000 else "KMGT"[power - 1] + "i"
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {prefix}{unit}"
