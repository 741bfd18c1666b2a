"""What `HeadSharing` shows: each model with its steps from MHA to MLA, the recorded quality, and a timed step."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from .. import checkpoint, costs, data_path, studies
from ..config import ModelConfig
from ..published import OUTLINES, PUBLISHED
from ..studies.laboratory import MODEL
from .costs import GIB, GIVEN, SHIPPED

SIBLING, LABORATORY = "its multi-head sibling", "the laboratory model"
STUDY = "kv_heads"
N_KEYS = 4096  # of the decoding step that is timed
MEMORIES = (2**22, 2**24, 80 * GIB, 640 * GIB)  # bytes, the usual ones: two for small models, one accelerator, eight
# DeepSeek's heads, their width, the latent and the RoPE key: DeepSeek-V2, 2024, section 3.1.2; V3, 2024, section 4.2.
LATENTS = {"DeepSeek-V2": (128, 128, 512, 64), "DeepSeek-V3": (128, 128, 512, 64)}


def shapes_and_name(config: str | ModelConfig) -> tuple[dict[str, dict[str, Any]], str]:
    """All models to choose from, by name, and the name of the given one, which may be no model's."""
    known = {SHIPPED: _saved("model"), SIBLING: _saved("mha"), LABORATORY: MODEL}
    known |= {name: model.config for name, model in PUBLISHED.items()}
    name = config
    if isinstance(config, ModelConfig):
        name = next((name for name, one in known.items() if one == config), GIVEN)
        known[name] = config
    models = [_shape(name, one) for name, one in known.items()] + [_outline(name) for name in LATENTS]
    return {shape["name"]: shape for shape in models}, name


def _saved(name: str) -> ModelConfig:
    """The config of a model that ships with the course."""
    return ModelConfig.from_dict(checkpoint.load_tensors(data_path(f"{name}.safetensors"))[1]["config"])


def divisors(n: int) -> list[int]:
    """The divisors of n, the greatest first."""
    return [size for size in range(n, 0, -1) if n % size == 0]


def _shape(name: str, config: ModelConfig) -> dict[str, Any]:
    """What the browser needs of a config: sizes, and a step for each number of kv heads and, with RoPE, for MLA.

    A step has the `numbers` that one layer keeps of a token and all `parameters` of the model.
    """
    latent = config.attention == "mla"
    plain = {"attention": "gqa", "kv_latent_dim": None, "rope_head_dim": None, "q_latent_dim": None}
    configs = [replace(config, **plain, n_kv_heads=n_kv_heads) for n_kv_heads in divisors(config.n_heads)]
    if latent or (config.position == "rope" and config.head_dim % 4 == 0):  # RoPE turns pairs of half of a head
        other = {"attention": "mla", "n_kv_heads": config.n_heads, "bias": "none", "qk_norm": False}
        configs.append(config if latent else replace(config, **other))
    steps = []
    for one in configs:
        sizes = (one.kv_latent_dim, one.rope_head_dim) if one.attention == "mla" else ()
        steps.append(_step(one.n_kv_heads, _numbers(one), costs.n_parameters(one), *sizes))
    own = len(steps) - 1 if latent else divisors(config.n_heads).index(config.n_kv_heads)
    source = PUBLISHED[name].source if name in PUBLISHED else ""
    sizes = {key: getattr(config, key) for key in ("n_layers", "n_heads", "head_dim", "max_seq_len")}
    more = {"window": config.sliding_window or 0, "memory": _memory(costs.n_parameters(config))}
    return {"name": name, "source": source, **sizes, **more, "own": own, "steps": steps}


def _numbers(config: ModelConfig) -> int:
    """How many numbers one layer keeps of a token."""
    return costs.kv_cache_bytes(config, 1, dtype="int8") // config.n_layers


def _outline(name: str) -> dict[str, Any]:
    """A model whose own step is MLA. Of steps that it has not its weights are counted as they are."""
    n_heads, head_dim, latent, rope = LATENTS[name]
    known = OUTLINES[name]
    (layers,) = known.cache
    steps = [_step(n_kv_heads, 2 * n_kv_heads * head_dim, known.n_parameters) for n_kv_heads in divisors(n_heads)]
    steps.append(_step(n_heads, layers.numbers, known.n_parameters, latent, rope))
    sizes = {"n_layers": layers.n_layers, "n_heads": n_heads, "head_dim": head_dim, "max_seq_len": known.context}
    more = {"window": 0, "memory": _memory(known.n_parameters), "own": len(steps) - 1, "steps": steps}
    return {"name": name, "source": known.source, **sizes, **more}


def _memory(n_parameters: int) -> int:
    """The least of the usual memories that holds the weights in bfloat16."""
    return next((memory for memory in MEMORIES if 2 * n_parameters < memory), MEMORIES[-1])


def _step(n_kv_heads: int, numbers: int, parameters: int, latent: int = 0, rope: int = 0) -> dict[str, Any]:
    sizes = {"numbers": numbers, "parameters": parameters, "latent": latent, "rope": rope}
    return {"attention": "mla" if latent else "gqa", "n_kv_heads": n_kv_heads, **sizes}


def quality() -> dict[str, Any]:
    """The recorded settings, those that keep most first: mean, paired difference with its interval, and verdict."""
    recorded = studies.load(STUDY)
    reference, settings = recorded.study.reference, []
    measures = [row[0] for row in recorded.table().rows]
    for name, setting in recorded.study.full.items():
        if len(recorded.runs[name]) < 2:  # no interval yet
            continue
        model, found = setting.model, {}
        for measure in measures:
            one = recorded.difference(name, measure)
            verdict = "compared with" if name == reference else one.verdict
            found[measure] = [recorded.mean(name, measure).mean, one.mean, one.low, one.high, verdict]
        known = {"numbers": _numbers(model), "n_heads": model.n_heads, "attention": model.attention}
        settings.append({"name": name, **known, "found": found})
    settings.sort(key=lambda one: -one["numbers"])
    n = len(recorded.study.seeds)
    return {"model": LABORATORY, "reference": reference, "measures": measures, "seeds": n, "settings": settings}


@torch.inference_mode()
def timed(n_heads: int, head_dim: int, *, repeats: int) -> dict[int, float]:
    """{kv heads: median of the seconds}, as `HeadSharing.measure` says."""
    generator = torch.Generator().manual_seed(0)  # PyTorch's own is the reader's
    q = torch.randn(1, n_heads, 1, head_dim, generator=generator)  # (1, H, 1, d)
    k, v = torch.randn(2, 1, n_heads, N_KEYS, head_dim, generator=generator)  # (1, H, S, d) each
    other = torch.zeros(2**24)  # what is read in between, 64 MiB
    taken: dict[int, list[float]] = {n_kv_heads: [] for n_kv_heads in divisors(n_heads)}
    for again in range(repeats + 1):  # the first round warms up
        for n_kv_heads, times in taken.items():
            rows = q.reshape(1, n_kv_heads, n_heads // n_kv_heads, head_dim)  # (1, G, H/G, d)
            keys, values = k[:, :n_kv_heads], v[:, :n_kv_heads]  # (1, G, S, d)
            other.add_(1)
            start = time.perf_counter()
            F.scaled_dot_product_attention(rows, keys, values)
            if again:
                times.append(time.perf_counter() - start)
    return {n_kv_heads: median(times) for n_kv_heads, times in taken.items()}
