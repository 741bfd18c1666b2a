"""Generation: predict the next token, append it, repeat.

`generate` is an iterator, so a notebook, a widget and the command line stream from the same loop; what it yields says
which token came, from which logits, and how long it took.
"""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .config import Cache, whole
from .decoding import Decoder, fits
from .kv_cache import KVCache
from .sampling import check_choice, choose, token_ids
from .tap import tapped
from .transformer import Transformer

Processor = Callable[[Tensor, list[int]], Tensor]
AUTO: Final = "auto"


class ContextWarning(UserWarning):
    """A model reads tokens at positions that it never saw in training. Said once for each model."""


@dataclass(frozen=True)
class Step:
    """One generated token: the logits (V,) that it was chosen from, before any filter, and the seconds it took."""

    token: int
    logits: Tensor
    seconds: float


def generate(
    model: Transformer,
    prompt_ids: Sequence[int] | Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    processors: Sequence[Processor] = (),
    stop: int | Iterable[int] = (),
    cache: Cache | str | None = AUTO,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Yield up to `max_new_tokens` steps that continue `prompt_ids`; a token of `stop` is yielded and ends it.

    `temperature` 0 is greedy. `processors` are functions from (logits (V,), ids so far) to logits, applied first.
    `stop`: an id or several, as a list, set, tensor or array.
    `cache`: by default a `KVCache` of the right size; None recomputes all tokens at every step; a cache that already
    holds the first tokens of the prompt (all but one at most) is continued.
    Raises ValueError at the call, before any step, where an argument is wrong, and where the model has fewer learned
    positions than prompt and new tokens need. A model without learned positions reads on past the context that it was
    trained with; a `ContextWarning` says so once. Raises ValueError at a step whose logits are NaN.
    """
    choice = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator}
    ids, stop, max_new_tokens = _checked(model, prompt_ids, stop, max_new_tokens, choice)
    processors = _checked_processors(processors)
    if isinstance(cache, str):
        if cache != AUTO:
            raise ValueError(f"expected cache to be a cache, None or {AUTO!r}, got {cache!r}")
        cache = _cache_for(model, 1, len(ids) + max_new_tokens)
    elif cache is not None:
        _check_cache(model, cache, len(ids), max_new_tokens)
    return _steps(model, ids, max_new_tokens, processors=processors, stop=stop, cache=cache, choice=choice)


def _steps(model, ids, max_new_tokens, *, processors, stop, cache, choice) -> Iterator[Step]:
    device = model.embedding.weight.device
    decoder = Decoder(model) if cache is not None and fits(model) else None
    seen = 0 if cache is None else int(cache.lengths[0])
    for _ in range(max_new_tokens):
        start = time.perf_counter()
        _tell_of_context(model, len(ids))
        with torch.inference_mode():
            if decoder is not None and len(ids) - seen == 1 and not (tapped() or is_in_torch_dispatch_mode()):
                if decoder.stale():
                    decoder = Decoder(model)
                hidden = decoder.hidden(ids[-1], cache)  # (D,)
            else:  # listeners, and counters of operations, see the model itself
                new = torch.tensor([ids[seen:]], device=device)  # (1, T): the whole prompt at first, then one token
                hidden = model.hidden(new, cache=cache)[0, -1]  # (D,)
            logits = model.head(hidden)  # (V,)
        with torch.no_grad():
            logits = logits.clone()  # outside of inference mode: a tensor that the caller may change
            shaped = logits.clone() if processors else logits
            for processor in processors:
                shaped = processor(shaped, list(ids))
                if not isinstance(shaped, Tensor) or shaped.shape != logits.shape:
                    shape = tuple(shaped.shape) if isinstance(shaped, Tensor) else type(shaped).__name__
                    raise ValueError(f"expected a processor to return logits {tuple(logits.shape)}, got {shape}")
            token = int(choose(shaped, **choice))
        seen = 0 if cache is None else len(ids)
        ids.append(token)
        yield Step(token, logits, time.perf_counter() - start)
        if token in stop:
            return


def generate_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int] | Tensor],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | Iterable[int] = (),
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Continue many prompts of unequal lengths at once; returns the new tokens of each, the stop token included.

    Prompts are padded on the right; after the prefill the cache is cut back to each row's own length, so that no row
    ever sees padding. Greedily this gives the same tokens as `generate` on each prompt alone. Arguments and errors are
    those of `generate`.
    """
    choice = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator}
    rows = [_checked(model, prompt, stop, max_new_tokens, choice) for prompt in prompts]
    if not rows:
        return []
    prompts, (_, stop, max_new_tokens) = [ids for ids, _, _ in rows], rows[0]
    device = model.embedding.weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts])  # (B,)
    longest = int(lengths.max())
    padded = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts], device=device)  # (B, T)
    cache = _cache_for(model, len(prompts), longest + max_new_tokens)
    new: list[list[int]] = [[] for _ in prompts]
    running = [max_new_tokens > 0] * len(prompts)
    with torch.inference_mode():
        _tell_of_context(model, longest)
        hidden = model.hidden(padded, cache=cache)[torch.arange(len(prompts)), lengths - 1]  # (B, D)
        cache.truncate(lengths)
        while any(running):
            tokens = choose(model.head(hidden), **choice)  # (B,)
            for row, token in enumerate(tokens.tolist()):
                if running[row]:
                    new[row].append(token)
                    running[row] = token not in stop and len(new[row]) < max_new_tokens
            if any(running):
                _tell_of_context(model, int(cache.lengths.max()) + 1)
                hidden = model.hidden(tokens[:, None], cache=cache)[:, -1]  # (B, D)
    return new


def _cache_for(model: Transformer, batch_size: int, n_tokens: int) -> KVCache:
    weight = model.embedding.weight
    return KVCache(model.config, batch_size, n_tokens, dtype=weight.dtype, device=weight.device)


# What is checked at the call ----------------------------------------------------------------------------------------


def _checked(
    model: Transformer, prompt: Any, stop: Any, max_new_tokens: Any, choice: dict[str, Any]
) -> tuple[list[int], frozenset[int], int]:
    """The prompt's ids, the ids that end it and the number of new tokens, all of them as they should be."""
    config = model.config
    if model.training:
        raise ValueError("the model is in training mode, where dropout is on; call model.eval() first")
    ids = token_ids(prompt, "the prompt", config.vocab_size)
    if not ids:
        raise ValueError("expected a prompt of at least one token; to start from nothing, begin with <s>")
    n_new = whole(max_new_tokens, "max_new_tokens")
    if n_new < 0:
        raise ValueError(f"expected max_new_tokens of at least 0, got {n_new}")
    n_read = len(ids) + n_new - 1 if n_new else 0  # the last new token is not read
    if config.position == "learned" and n_read > config.max_seq_len:
        raise ValueError(
            f"this model has {config.max_seq_len} learned positions; a prompt of {len(ids)} tokens and {n_new} new "
            f"ones need {n_read}. After this prompt it can make {max(0, config.max_seq_len - len(ids) + 1)} at most"
        )
    _check_generator(choice["generator"], model)
    check_choice(**{name: value for name, value in choice.items() if name != "generator"})
    if isinstance(stop, int) or getattr(stop, "ndim", None) == 0:
        stop = [stop]
    return ids, frozenset(token_ids(stop, "stop", config.vocab_size)), n_new


def _check_generator(generator: Any, model: Transformer) -> None:
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        made = "torch.Generator().manual_seed(0)"
        raise ValueError(f"expected a generator such as {made}, got {type(generator).__name__} {generator!r:.60}")
    device = model.embedding.weight.device
    if generator.device.type != device.type:
        raise ValueError(f"the model is on {device}, so draws need a generator there; got one on {generator.device}")


def _checked_processors(processors: Any) -> tuple[Processor, ...]:
    if callable(processors):
        raise ValueError("expected a list of processors, got one function; put it into a list")
    processors = tuple(processors)
    for processor in processors:
        if not callable(processor):
            raise ValueError(f"expected processors to be functions, got {type(processor).__name__} {processor!r:.60}")
    return processors


def _check_cache(model: Transformer, cache: Cache, n_prompt: int, max_new_tokens: int) -> None:
    """Raise ValueError unless the cache has one row, room for what will be read, and the numbers of this model."""
    lengths = cache.lengths
    if len(lengths) != 1:
        raise ValueError(
            f"expected a cache of one row, got one of {len(lengths)}; for several rows, use generate_batch"
        )
    if lengths[0] >= n_prompt:
        raise ValueError(f"the cache already holds {lengths[0]} tokens of a prompt of {n_prompt}; cut it back first")
    room = getattr(cache, "max_seq_len", None)  # a cache that grows has none
    n_read = n_prompt + max_new_tokens - 1
    if room is not None and max_new_tokens and n_read > room:
        raise ValueError(
            f"the cache holds at most {room} tokens; a prompt of {n_prompt} and {max_new_tokens} new ones need {n_read}"
        )
    config, weight = model.config, model.embedding.weight
    if room is None and not lengths[0]:
        return  # it has nothing yet that could differ
    kept = cache.keys(0)  # (1, G, S, d)
    heads, wanted = (kept.shape[1], kept.shape[3], cache.values(0).shape[3]), config.cache_shape()
    if heads != wanted or kept.dtype != weight.dtype or kept.device != weight.device:
        raise ValueError(
            f"the cache keeps {kept.dtype} on {kept.device}, {heads[0]} kv heads of {_wide(heads)}; "
            f"the model gives it keys in {weight.dtype} on {weight.device}, {wanted[0]} of {_wide(wanted)}. Make it "
            f"by KVCache(model.config, 1, {n_read}, dtype={weight.dtype}, device={str(weight.device)!r})"
        )


def _wide(shape: tuple[int, int, int]) -> str:
    return f"width {shape[1]}" + (f" and {shape[2]}" if shape[2] != shape[1] else "")


_told: weakref.WeakSet[Transformer] = weakref.WeakSet()


def _tell_of_context(model: Transformer, n_tokens: int) -> None:
    """Warn once for each model that reads more tokens than it was trained with."""
    if n_tokens > model.config.max_seq_len and model not in _told:
        _told.add(model)
        warnings.warn(
            f"the model was trained with {model.config.max_seq_len} tokens at most and now reads {n_tokens}: "
            "at positions that it never saw, expect it to get worse",
            ContextWarning,
            stacklevel=3,
        )
