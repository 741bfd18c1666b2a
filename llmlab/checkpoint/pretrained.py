"""The folders that Hugging Face's models come in: their configs and names of tensors, translated into ours."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..rope import OPTIONAL, SCALINGS
from ..transformer import Transformer
from .files import filled, load_tensors

_LLAMA_NAMES = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_LLAMA_BLOCK_NAMES = {
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    **{
        f"attention.{part}_proj.{kind}": f"self_attn.{part}_proj.{kind}"
        for part in "qkvo"
        for kind in ("weight", "bias")
    },
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "ffn.gate.weight": "mlp.gate_proj.weight",
    "ffn.up.weight": "mlp.up_proj.weight",
    "ffn.down.weight": "mlp.down_proj.weight",
    "ffn.router.weight": "block_sparse_moe.gate.weight",
}
_EXPERT_NAMES = {"gate": "w1", "down": "w2", "up": "w3"}


def _llama_name(ours: str) -> str:
    """What a Llama-like checkpoint calls our parameter."""
    if ours in _LLAMA_NAMES:
        return _LLAMA_NAMES[ours]
    _, layer, rest = ours.split(".", 2)
    if rest.startswith("ffn.experts."):
        _, _, number, part, kind = rest.split(".")
        return f"model.layers.{layer}.block_sparse_moe.experts.{number}.{_EXPERT_NAMES[part]}.{kind}"
    return f"model.layers.{layer}.{_LLAMA_BLOCK_NAMES[rest]}"


def _from_llama(config: ModelConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.device("meta"):
        names = list(Transformer(config).state_dict())
    if config.tie_embeddings:
        names.remove("head.weight")
        theirs.pop("lm_head.weight", None)
    return {name: theirs.pop(_llama_name(name)) for name in names}


def _from_gpt2(config: ModelConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """GPT-2 keeps its matrices transposed (input × output) and the q, k, v projections side by side in one."""
    prefix = "transformer." if "transformer.wte.weight" in theirs else ""

    def take(name: str) -> Tensor:
        return theirs.pop(prefix + name)

    ours = {
        "embedding.weight": take("wte.weight"),
        "position_embedding.weight": take("wpe.weight"),
        "norm.weight": take("ln_f.weight"),
        "norm.bias": take("ln_f.bias"),
    }
    if config.tie_embeddings:
        theirs.pop("lm_head.weight", None)
    else:
        ours["head.weight"] = theirs.pop("lm_head.weight")
    for layer in range(config.n_layers):
        old, new = f"h.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias"):
            ours[f"{new}attention_norm.{kind}"] = take(f"{old}ln_1.{kind}")
            ours[f"{new}ffn_norm.{kind}"] = take(f"{old}ln_2.{kind}")
            fused = take(f"{old}attn.c_attn.{kind}").t()  # (3D, D), or (3D,) for the bias
            for part, piece in zip("qkv", fused.tensor_split(3), strict=True):
                ours[f"{new}attention.{part}_proj.{kind}"] = piece
            ours[f"{new}attention.o_proj.{kind}"] = take(f"{old}attn.c_proj.{kind}").t()
            ours[f"{new}ffn.up.{kind}"] = take(f"{old}mlp.c_fc.{kind}").t()
            ours[f"{new}ffn.down.{kind}"] = take(f"{old}mlp.c_proj.{kind}").t()
    return ours


_NO_WEIGHTS = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")  # buffers that older files hold
_GPT2_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}


def _gpt2_config(hf: Mapping[str, Any]) -> ModelConfig:
    activation = hf.get("activation_function", "gelu_new")
    if activation not in _GPT2_ACTIVATIONS:
        raise ValueError(f"expected activation_function {', '.join(_GPT2_ACTIVATIONS)}, got {activation!r}")
    return ModelConfig(
        vocab_size=hf["vocab_size"],
        d_model=hf["n_embd"],
        n_layers=hf["n_layer"],
        n_heads=hf["n_head"],
        d_ff=hf.get("n_inner") or 4 * hf["n_embd"],
        max_seq_len=hf["n_positions"],
        position="learned",
        norm="layernorm",
        norm_eps=hf.get("layer_norm_epsilon", 1e-5),
        ffn=_GPT2_ACTIVATIONS[activation],
        bias="all",
        tie_embeddings=hf.get("tie_word_embeddings", True),
    )


def _llama_config(hf: Mapping[str, Any], **family: Any) -> ModelConfig:
    if hf.get("hidden_act", "silu") != "silu":
        raise ValueError(f"expected hidden_act silu, got {hf['hidden_act']!r}")
    if hf.get("mlp_bias"):
        raise ValueError("expected a model without biases in its feed-forward layers, got mlp_bias=true")
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}  # the newer and the older name
    kind = rope.get("rope_type", rope.get("type", "default"))
    return ModelConfig(
        vocab_size=hf["vocab_size"],
        d_model=hf["hidden_size"],
        n_layers=hf["num_hidden_layers"],
        n_heads=hf["num_attention_heads"],
        n_kv_heads=hf.get("num_key_value_heads"),
        head_dim=hf.get("head_dim"),
        d_ff=hf["intermediate_size"],
        max_seq_len=hf["max_position_embeddings"],
        rope_theta=rope.get("rope_theta", hf.get("rope_theta", 10_000.0)),
        rope_scaling=_rope_scaling(hf, rope, kind),
        norm_eps=hf.get("rms_norm_eps", 1e-6),
        tie_embeddings=hf.get("tie_word_embeddings", False),
        **family,
    )


def _rope_scaling(hf: Mapping[str, Any], rope: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """The scaling in our words, with the defaults that transformers has.

    The original length may stand beside the scaling instead of in it, or be the model's own. DeepSeek's `mscale` and
    `mscale_all_dim` make YaRN's factor on queries and keys: the quotient of what each of them makes of it.
    """
    if kind == "default":
        return None
    names = (*SCALINGS.get(kind, ()), *OPTIONAL.get(kind, ()))
    scaling = {"rope_type": kind} | {name: rope[name] for name in names if rope.get(name) is not None}
    if kind in ("llama3", "yarn"):
        inside = rope.get("original_max_position_embeddings") or hf["max_position_embeddings"]
        scaling["original_max_position_embeddings"] = hf.get("original_max_position_embeddings") or inside
    if kind == "yarn":
        if rope.get("truncate") is False:
            raise ValueError("expected a yarn scaling with whole bounds of its ramp, got truncate=false")
        original = scaling["original_max_position_embeddings"]
        factor = scaling.setdefault("factor", hf["max_position_embeddings"] / original)
        mscale, of_all = rope.get("mscale"), rope.get("mscale_all_dim")
        if "attention_factor" not in scaling and mscale and of_all:
            grown = math.log(max(1.0, factor))
            scaling["attention_factor"] = (0.1 * mscale * grown + 1.0) / (0.1 * of_all * grown + 1.0)
    return scaling


def _plain_llama(hf: Mapping[str, Any]) -> ModelConfig:
    return _llama_config(hf, bias="attention" if hf.get("attention_bias") else "none")


def _qwen2(hf: Mapping[str, Any]) -> ModelConfig:
    return _llama_config(hf, bias="qkv", sliding_window=_window(hf) if hf.get("use_sliding_window") else None)


def _qwen3(hf: Mapping[str, Any]) -> ModelConfig:
    return _llama_config(hf, qk_norm=True, sliding_window=_window(hf) if hf.get("use_sliding_window") else None)


def _mistral(hf: Mapping[str, Any]) -> ModelConfig:
    return _llama_config(hf, sliding_window=_window(hf))


def _mixtral(hf: Mapping[str, Any]) -> ModelConfig:
    experts = {"n_experts": hf["num_local_experts"], "n_experts_per_token": hf["num_experts_per_tok"]}
    return _llama_config(hf, sliding_window=_window(hf), **experts)


def _window(hf: Mapping[str, Any]) -> int | None:
    kinds = hf.get("layer_types") or []
    if len(set(kinds)) > 1:
        raise ValueError("expected layers of one kind, got a mixture of full and sliding-window attention")
    return hf.get("sliding_window") if not kinds or kinds[0] == "sliding_attention" else None


_FAMILIES: dict[str, tuple[Callable[[Mapping[str, Any]], ModelConfig], Callable[..., dict[str, Tensor]]]] = {
    "gpt2": (_gpt2_config, _from_gpt2),
    "llama": (_plain_llama, _from_llama),
    "mistral": (_mistral, _from_llama),
    "mixtral": (_mixtral, _from_llama),
    "qwen2": (_qwen2, _from_llama),
    "qwen3": (_qwen3, _from_llama),
}


def load_pretrained(folder_or_hub_id: str | Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """Open a Hugging Face GPT-2, Llama, Mistral, Mixtral, Qwen2 or Qwen3 model, in evaluation mode.

    Takes a folder with `config.json` and safetensors, or a name on the Hugging Face hub such as
    "openai-community/gpt2", which is downloaded once. Raises ValueError for other families, FileNotFoundError where
    there are only pickled weights, ConnectionError with what to do where the hub cannot be reached.
    """
    folder = Path(folder_or_hub_id)
    if not folder.is_dir():
        folder = _download(str(folder_or_hub_id))
    config, convert = _read_config(folder / "config.json")
    theirs = _folder_tensors(folder)
    try:
        ours = convert(config, theirs)  # which takes out what it uses
    except KeyError as error:
        raise ValueError(f"the weights in {folder} lack {error.args[0]}, which its config asks for") from None
    except ValueError as error:
        raise ValueError(f"{folder} has a config that makes no model: {error}") from error
    if left := sorted(name for name in theirs if not name.endswith(_NO_WEIGHTS)):
        raise ValueError(f"{folder} has weights that its config does not explain: {', '.join(left[:4])}")
    return filled(config, ours, str(folder), dtype)


def _read_config(file: Path) -> tuple[ModelConfig, Callable[..., dict[str, Tensor]]]:
    """Our config of a `config.json`, and what converts the weights of its family. Raises ValueError naming the file."""
    if not file.is_file():
        raise FileNotFoundError(f"no config.json in {file.parent}")
    try:
        hf = json.loads(file.read_text(encoding="utf-8"))
        family = hf.get("model_type")
        if family not in _FAMILIES:
            raise ValueError(f"expected a model of type {', '.join(_FAMILIES)}, got {family!r}")
        read_config, convert = _FAMILIES[family]
        return read_config(hf), convert
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # what values of other types lead to
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{file} is not the config of a model that can be opened: {reason}") from error


def _folder_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one safetensors file or from the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{index} does not say which files hold the weights: {error!r}") from error
    else:
        shards = ["model.safetensors"]
    if not (folder / shards[0]).is_file():
        pickled = sorted(file.name for file in folder.glob("*.bin"))
        why = f"; {pickled[0]} is a pickle, which is not opened because it can run code" if pickled else ""
        raise FileNotFoundError(f"no {shards[0]} in {folder}{why}")
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= load_tensors(folder / shard)[0]
    return tensors


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        patterns = ["*.json", "*.safetensors", "*.txt"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except HFValidationError as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a name on the Hugging Face hub") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(f"the Hugging Face hub has no model named {name}, or it is private") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise ConnectionError(
            f"{name} is not on this machine and the Hugging Face hub cannot be reached: connect to the internet once, "
            "or give the path of a downloaded folder"
        ) from error
