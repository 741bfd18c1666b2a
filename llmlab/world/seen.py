"""What the model has read in training: `seen` finds the steps whose documents contain a text.

The documents are not kept but written again, since each follows from its number. A small index, `stream.npz`, made once
by `llmlab stream` with the model's tokenizer, tells which of them were read: how many documents each row of each step
took, how much of a row's last one was read before the row was full, and which skill each is of. It also holds the words
of each skill's documents and which of them follow one another, so that most texts need the documents of a few skills
only, or of none, and a checksum of the documents, so that a world that writes other ones than the model has read is
noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from .. import data_path
from ..tokenization import check_text
from .documents import document

LIST = 255  # the skill of a document that is a list of tokens
FIRST = ("n_steps", "batch_size", "seq_len", "seed", "lists_first")  # the settings of training that decide what is read
LATER = ("n_steps", "batch_size", "seq_len", "seed", "token_lists", "pairs_first")  # the same for later readings
NAMES = ("training", "second", "third")  # of the readings, among the settings
PAIRS = 12_000  # of words in a group, at most, that are noted: those of lists of any words are many and tell little
MAKE = "make it again with `llmlab stream`"

_WORD = re.compile(r"\w+|[^\w ]", re.ASCII)  # a run of Latin letters and digits, or any other character but the space


# Asking --------------------------------------------------------------------------------------------------------------


def seen(text: str, *, stream: str | Path | None = None) -> list[int]:
    """The steps of training that read a text, in ascending order: [] if it was never read.

    Steps are those of the log and of the snapshots: the first is 1, and those of a later reading count on from the
    last one before it. The weights after step n are the first that step n has changed.

    - The text must stand in one document exactly as given: capitals, spaces and line ends count, and nothing is cut
      off at its ends. It may begin or end inside a word: "at sat" is found where "The cat sat" was read.
    - Of a document that crosses the end of its row, the rest was not read and does not count, nor does a character of
      which only some bytes were. The last token of a row counts: it was never read on from, but asked for.
    - What stands in two documents in a row, one part in each, was not read as one text. `<s>` and `</s>` are no
      characters of a document.
    - Lists of tokens, which replace some documents of the later readings, are no texts and do not count, though their
      tokens may spell a word, or by chance two in a row.

    A text with a word that was never read, or with two that never followed one another, is answered at once. Else the
    documents of the skills in which all of them do are written again, which takes seconds; they are kept in memory,
    compressed, and the next text of these skills is fast.

    `stream`: another index than the shipped one, with `model.safetensors` and `tokenizer.json` beside it.

    Raises ValueError for an empty text and for one with a lone surrogate; for an index that is damaged or was made for
    another model than the one beside it, naming what differs; and where the world now writes other documents than then.
    Raises TypeError for what is no text, and FileNotFoundError for a file that is missing.
    """
    return seen_all([text], stream=stream)[text]


def seen_all(texts: Iterable[str], *, stream: str | Path | None = None) -> dict[str, list[int]]:
    """The steps of training that read each of some texts, {text: steps}, as `seen` finds them; faster than one by one.

    Raises what `seen` raises, and TypeError for a single text.
    """
    if isinstance(texts, str):
        raise TypeError("expected texts, got a single one; ask for it with `seen`")
    texts = list(texts)
    for text in texts:
        check_text(text)
        if not text:
            raise ValueError("expected a text of at least one character: an empty one stands everywhere")
    return _opened(Path(data_path("stream.npz") if stream is None else stream)).find(texts)


def _opened(path: Path) -> Stream:
    files = path, path.with_name("model.safetensors"), path.with_name("tokenizer.json")
    return _checked(path, tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@lru_cache(maxsize=2)
def _checked(path: Path, files: tuple[tuple[int, int], ...]) -> Stream:
    """The index of a file that fits the model beside it; `files` tells whether one of them has changed since."""
    stream = Stream.load(path)
    theirs, ours = _flat(stream.made_from), _flat(made_from(path.parent))
    if wrong := next((name for name in sorted(ours | theirs) if theirs.get(name) != ours.get(name)), None):
        what = f"{wrong}={theirs.get(wrong)!r}; the model beside it has {ours.get(wrong)!r}"
        raise ValueError(f"{path} was made for {what}: {MAKE}")
    return stream


def made_from(folder: str | Path) -> dict[str, Any]:
    """What decides which documents the model in a folder has read, and how much of each: the settings of its readings,
    from the header of `model.safetensors`, and a digest of `tokenizer.json`. Another digest, of the model's file, parts
    it from a model that was trained in the same way on what the world wrote then.

    A reading that there was not is None. Raises ValueError if the header does not tell all of that.
    """
    from .. import checkpoint

    file, tokenizer = Path(folder) / "model.safetensors", Path(folder) / "tokenizer.json"
    _, metadata = checkpoint.load_tensors(file)
    readings = [metadata.get("training") or {}, *(metadata.get("later") or ())]
    made: dict[str, Any] = dict.fromkeys(NAMES)
    for name, reading, needed in zip(NAMES, readings, (FIRST, LATER, LATER), strict=False):
        if missing := [setting for setting in needed if setting not in reading]:
            raise ValueError(
                f"expected a model that `llmlab train` has written; its header in {file} has no {missing[0]}"
            )
        made[name] = {setting: reading[setting] for setting in needed}
    text = tokenizer.read_text(encoding="utf-8")  # line ends may differ from one system to the other
    return {
        **made,
        "tokenizer": hashlib.sha256(text.encode()).hexdigest()[:16],
        "weights": hashlib.sha256(file.read_bytes()).hexdigest()[:16],
    }


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"second": {"seed": 0}} as {"second.seed": 0}, to name a single setting."""
    flat = {}
    for name, value in settings.items():
        inner = value if isinstance(value, Mapping) else None
        flat |= {name: value} if inner is None else {f"{name}.{key}": entry for key, entry in inner.items()}
    return flat


# The index -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The steps of one reading, of `batch_size` rows each.

    `seed` and `reading` are those of `world.document`. The first document of a step has the number `apart` times the
    steps before it.
    """

    n_steps: int
    batch_size: int
    seed: int
    reading: int
    apart: int


class Group(NamedTuple):
    """The documents of one skill in a part: their words, a checksum of what was read of them, one after another, and
    each two words that follow one another in a document, whatever spaces are between them; no pairs where there are
    more than `PAIRS`."""

    words: frozenset[str]
    checksum: int
    pairs: frozenset[tuple[str, str]]


class _Texts(NamedTuple):
    """What was read of a group's documents, written again: UTF-8, one after another, compressed. Document i stands in
    the bytes from starts[i] to starts[i + 1] (n + 1,) and was read in step steps[i] (n,)."""

    compressed: bytes
    starts: np.ndarray
    steps: np.ndarray


@dataclass(frozen=True, eq=False)
class Stream:
    """Which documents a model has read: R rows of batches with N documents, in the order of reading.

    `made_from`: the settings it holds for. `n_documents` (R,): how many documents a row has. `n_characters` (R,): how
    many characters were read of the last one. `skills` (N,): of which of `names` each document is, or `LIST`.
    `groups`: by the number of a part and the name of a skill.
    """

    made_from: dict[str, Any]
    parts: tuple[Part, ...]
    names: tuple[str, ...]
    n_documents: np.ndarray
    n_characters: np.ndarray
    skills: np.ndarray
    groups: dict[tuple[int, str], Group]
    _texts: dict[tuple[int, str], _Texts] = field(default_factory=dict, repr=False)

    def find(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """The steps that read each text, as `seen_all` gives them."""
        found: dict[str, set[int]] = {text: set() for text in texts}
        words = {text: _placed(text) for text in found}
        for key, group in self.groups.items():
            wanted = [text for text in found if _may_stand_in(words[text], group)]
            if not wanted:
                continue
            texts_read = self._texts_of(key)
            whole = zlib.decompress(texts_read.compressed)
            for text in wanted:
                found[text] |= _steps_with(text.encode(), whole, texts_read)
        return {text: sorted(steps) for text, steps in found.items()}

    def _texts_of(self, key: tuple[int, str]) -> _Texts:
        if key not in self._texts:
            self._texts[key] = self._written(*key)
        return self._texts[key]

    def _written(self, part_number: int, skill: str) -> _Texts:
        """The documents of a group, written again. Raises ValueError if they are not those that were read."""
        part, (steps, numbers, lengths, skills) = self.parts[part_number], self._documents_of(part_number)
        here = skills == self.names.index(skill)
        texts = [
            document(part.seed, number, skills=skill, reading=part.reading).text[:length].encode()
            for number, length in zip(numbers[here].tolist(), lengths[here].tolist(), strict=True)
        ]
        whole = b"".join(texts)
        if zlib.crc32(whole) != self.groups[part_number, skill].checksum:
            raise ValueError(
                f"expected the documents of {skill} that the model has read (reading {part.reading}); the world writes "
                f"other ones now: train the model on these, and {MAKE}"
            )
        starts = np.cumsum([0, *map(len, texts)])
        return _Texts(zlib.compress(whole, 1), starts, steps[here])

    def _documents_of(self, part_number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each of a part's n documents the step, counted from 1, the number, the characters read, and the skill:
        (n,) each. The characters are None, as the end of a slice, where the document is not the last one of a row."""
        part, before = self.parts[part_number], self.parts[:part_number]
        start = sum(other.n_steps * other.batch_size for other in before)
        in_rows = self.n_documents[start : start + part.n_steps * part.batch_size].astype(np.int64)
        in_steps = in_rows.reshape(part.n_steps, part.batch_size).sum(1)
        steps = np.repeat(np.arange(part.n_steps), in_steps)
        places = np.arange(len(steps)) - np.repeat(np.cumsum(in_steps) - in_steps, in_steps)
        lengths = np.full(len(steps), None)
        lengths[np.cumsum(in_rows) - 1] = self.n_characters[start : start + len(in_rows)]
        first = int(self.n_documents[:start].sum(dtype=np.int64))
        skills = self.skills[first : first + len(steps)]
        n_before = sum(other.n_steps for other in before)
        return n_before + steps + 1, part.apart * steps + places, lengths, skills

    def save(self, path: str | Path) -> None:
        """Write it to one file, atomically."""
        groups = self.groups.values()
        vocabulary = sorted(set().union(*(group.words for group in groups)))
        number = {word: n for n, word in enumerate(vocabulary)}
        pairs = sorted(set().union(*(group.pairs for group in groups)))  # in the order of their codes
        codes = np.array([number[one] * len(vocabulary) + number[other] for one, other in pairs], dtype=np.int64)
        about = {
            "made_from": self.made_from,
            "parts": [asdict(part) for part in self.parts],
            "names": self.names,
            "vocabulary": vocabulary,
            "groups": [[*key, group.checksum] for key, group in self.groups.items()],
        }
        holds = [word in group.words for group in groups for word in vocabulary]
        follow = [pair in group.pairs for pair in pairs for group in groups]
        arrays = {
            "about": np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), dtype=np.uint8),
            "words": np.packbits(np.array(holds, dtype=bool).reshape(len(groups), len(vocabulary)), axis=1),
            "pairs": _small(np.diff(codes, prepend=0)),
            "follow": np.packbits(np.array(follow, dtype=bool).reshape(len(pairs), len(groups)), axis=1),
            "n_documents": _small(self.n_documents),
            "n_characters": _small(self.n_characters),
            "skills": self.skills.astype(np.uint8),
        }
        path = Path(path)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(part, "wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Stream:
        """Open what `save` wrote. A file that is damaged or none of these raises ValueError that names it."""
        try:
            with np.load(path) as file:
                arrays = dict(file)
            about = json.loads(arrays["about"].tobytes())
            vocabulary = np.array(about["vocabulary"], dtype=object)
            rows = np.unpackbits(arrays["words"], axis=1, count=len(vocabulary)).astype(bool)
            ones, others = np.divmod(np.cumsum(arrays["pairs"], dtype=np.int64), max(1, len(vocabulary)))
            pairs = np.fromiter(zip(vocabulary[ones], vocabulary[others], strict=True), dtype=object, count=len(ones))
            follow = np.unpackbits(arrays["follow"], axis=1, count=len(rows)).astype(bool).T
            groups = {
                (part, skill): Group(frozenset(vocabulary[row]), checksum, frozenset(pairs[those]))
                for (part, skill, checksum), row, those in zip(about["groups"], rows, follow, strict=True)
            }
            parts = tuple(Part(**part) for part in about["parts"])
            counts = arrays["n_documents"], arrays["n_characters"], arrays["skills"]
            return cls(about["made_from"], parts, tuple(about["names"]), *counts, groups)
        except (BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no index of a training stream ({error}): {MAKE}") from error


def words_of(text: str) -> list[str]:
    """The words of a text in their order: runs of the letters a to z, digits and _, and each other character but the
    space alone."""
    return _WORD.findall(text)


class _Word(NamedTuple):
    """A word of a text that is asked for, and whether it may be cut off, as the text's first and last one may be."""

    word: str
    cut_before: bool
    cut_after: bool

    def may_be(self, whole: str) -> bool:
        """Whether it may be a part of this word of a document."""
        if self.cut_before and self.cut_after:
            return self.word in whole
        if self.cut_before:
            return whole.endswith(self.word)
        return whole.startswith(self.word) if self.cut_after else whole == self.word


def _placed(text: str) -> list[_Word]:
    return [_Word(match[0], match.start() == 0, match.end() == len(text)) for match in _WORD.finditer(text)]


def _may_stand_in(words: list[_Word], group: Group) -> bool:
    """False if no document whose words, and pairs of them, are those of the group contains a text of these words."""
    inside = [word for word, *cut in words if not any(cut)]
    if not group.words.issuperset(inside) or (group.pairs and not group.pairs.issuperset(pairwise(inside))):
        return False
    wholes = [[word.word] if not any(word[1:]) else [w for w in group.words if word.may_be(w)] for word in words]
    if not group.pairs:
        return all(wholes)
    return all(wholes) and all(
        any((one, other) in group.pairs for one in ones for other in others) for ones, others in pairwise(wholes)
    )


def _steps_with(text: bytes, whole: bytes, texts: _Texts) -> set[int]:
    """The steps of the documents in `whole` that contain a text."""
    found, starts = set(), texts.starts
    place = whole.find(text)
    while place >= 0:
        number = int(np.searchsorted(starts, place, side="right")) - 1  # skips documents of which nothing was read
        end = int(starts[number + 1])
        if place + len(text) <= end:
            found.add(int(texts.steps[number]))
            place = whole.find(text, end)
        else:
            place = whole.find(text, place + 1)
    return found


def _small(numbers: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest type that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
