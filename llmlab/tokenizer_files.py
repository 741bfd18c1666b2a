"""The files that byte-level BPE tokenizers come in: Hugging Face's `tokenizer.json` and GPT-2's pair of files.

What is read comes back as the arguments of `llmlab.tokenization.BPETokenizer`. In these files each byte is written as a
printable character, so that a token is a string.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def byte_alphabet() -> str:
    """The character that stands for each byte in these files: itself if it prints, else one from U+0100 on.

    >>> byte_alphabet()[ord("A")], byte_alphabet()[ord(" ")]
    ('A', 'Ġ')
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


_ALPHABET = byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_ALPHABET)}


def _to_string(token: bytes) -> str:
    return "".join(_ALPHABET[byte] for byte in token)


def _to_bytes(token: str) -> bytes:
    try:
        return bytes(map(_BYTE_OF.__getitem__, token))
    except KeyError as error:
        raise ValueError(f"token {token!r} is not byte-level: {error} stands for no byte") from None


def write(
    path: str | os.PathLike,
    *,
    ids: Mapping[bytes, int],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Mapping[str, int],
    pattern: str,
    normalization: str | None,
    ignore_merges: bool,
) -> None:
    """Write a `tokenizer.json`, whole or not at all. `ids`: of the ordinary tokens."""
    tokens = {_to_string(token): id for token, id in ids.items()}
    for token, id in special_tokens.items():
        if tokens.setdefault(token, id) != id:
            raise ValueError(f"the file format cannot tell {token!r} as token {id} from token {tokens[token]}")
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": id, "content": token, **off, "special": True} for token, id in special_tokens.items()]
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    pairs = [f"{_to_string(first)} {_to_string(second)}" for first, second in merges]
    data = {
        "version": "1.0",
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": {"type": normalization} if normalization else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, to_bytes]},
        "decoder": to_bytes,
        "model": {"type": "BPE", "ignore_merges": ignore_merges, "vocab": tokens, "merges": pairs},
    }
    unfinished = Path(f"{os.fspath(path)}.part")  # if the disk is full, an older file stays as it was
    try:
        unfinished.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The arguments of a BPETokenizer from a `tokenizer.json`; ValueError if it is not one of a byte-level BPE."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        special = {token["content"]: token["id"] for token in data.get("added_tokens") or []}
        return _read_options(data) | _arguments(data["model"]["vocab"], data["model"]["merges"], special)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a tokenizer.json of a byte-level BPE: {reason}") from error


def read_gpt2(vocab_json: str | os.PathLike, merges_txt: str | os.PathLike) -> dict[str, Any]:
    """The arguments of a BPETokenizer from GPT-2's two files."""
    tokens, merges = json.loads(Path(vocab_json).read_text(encoding="utf-8")), _merges(merges_txt)
    ordinary = set(_ALPHABET) | {merge.replace(" ", "") for merge in merges}
    return _arguments(tokens, merges, {token: id for token, id in tokens.items() if token not in ordinary})


def read_gpt2_merges(merges_txt: str | os.PathLike, special_tokens: Sequence[str]) -> dict[str, Any]:
    """The arguments of a BPETokenizer from GPT-2's merges alone; its ids follow from them.

    First come the bytes, those that print before the others, then what each merge makes, then the special tokens.
    """
    merges = _merges(merges_txt)
    tokens = sorted(_ALPHABET, key=lambda character: (character != chr(_BYTE_OF[character]), character))
    tokens += [merge.replace(" ", "") for merge in merges]
    special = {token: len(tokens) + i for i, token in enumerate(special_tokens)}
    return _arguments({token: id for id, token in enumerate(tokens)}, merges, special)


def _merges(merges_txt: str | os.PathLike) -> list[str]:
    lines = Path(merges_txt).read_text(encoding="utf-8").split("\n")
    return [line for i, line in enumerate(lines) if line and not (i == 0 and line.startswith("#version"))]


def _arguments(tokens: dict[str, int], merges: list, special: dict[str, int]) -> dict[str, Any]:
    vocab: dict[int, bytes] = {}
    for token, id in (tokens | special).items():
        if id in vocab or tokens.get(token, id) != id:
            raise ValueError(f"expected one id for each token and one token for each id, got {token!r}: {id}")
        vocab[id] = token.encode("utf-8") if token in special else _to_bytes(token)
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    if bad := [pair for pair in pairs if len(pair) != 2]:
        raise ValueError(f"expected merges of two tokens, got {bad[0]}")
    known = {token: vocab[id] for token, id in tokens.items() if token not in special}  # parts of merges are tokens

    def part(token: str) -> bytes:
        return known[token] if token in known else _to_bytes(token)

    return {
        "vocab": vocab,
        "merges": [(part(first), part(second)) for first, second in pairs],
        "special_tokens": special,
    }


def _read_options(data: dict) -> dict:
    """The options of a tokenizer.json as keyword arguments, or ValueError if one is not supported.

    The pattern is that of a `Split` in front of `ByteLevel`; without one it is GPT-2's own, and left out here.
    """
    model, added, pre = data["model"], data.get("added_tokens") or [], data.get("pre_tokenizer") or {}
    steps = pre["pretokenizers"] if pre.get("type") == "Sequence" else [pre]
    kinds, cut, last = [step.get("type") for step in steps], steps[0], steps[-1]
    normalization = (data.get("normalizer") or {"type": None})["type"]
    unsupported = {
        f"a {model.get('type')} model": model.get("type", "BPE") != "BPE",
        "byte_fallback": model.get("byte_fallback"),
        "dropout": model.get("dropout"),
        "prefixes or suffixes": model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"),
        f"the normalizer {normalization}": normalization not in (None, "NFC", "NFD", "NFKC", "NFKD"),
        f"the pre-tokenizer {kinds}": kinds not in (["ByteLevel"], ["Split", "ByteLevel"]),
        "add_prefix_space": last.get("add_prefix_space"),
        f"use_regex={len(steps) > 1} in {kinds}": last.get("use_regex", True) != (len(steps) == 1),
        f"a Split such as {cut}": len(steps) == 2 and (cut.get("behavior") != "Isolated" or cut.get("invert")),
        "added tokens with lstrip, rstrip or single_word": any(
            token.get("lstrip") or token.get("rstrip") or token.get("single_word") for token in added
        ),
    }
    if found := [what for what, is_found in unsupported.items() if is_found]:
        raise ValueError(f"{found[0]} is not supported")
    options = {"normalization": normalization, "ignore_merges": bool(model.get("ignore_merges"))}
    return options | ({"pattern": cut["pattern"]["Regex"]} if len(steps) == 2 else {})
