"""The words of the captions and their vectors: what turns a caption into numbers."""

import gzip
import logging
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from howto100m import tables
from howto100m.fetch import fetch_file, is_url
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Outcome, read_table, write_status, write_table

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]

TRAIN = "train"
"""The setting `vectors` that asks for vectors learned from the captions themselves."""

_WORD = re.compile(r"[\w']+")
_NORM = 2.0
_TOKENS_SEEN = 2_000_000
_PIECE = 1 << 20
_LONGEST_WORD = 4096
"""Bytes of a word of a word2vec file; more without a blank means that the file is damaged."""
_FOLD_CASE = b"fold_case"
_DICTIONARIES = ("dict.npy", "s3d_dict.npy")


def tokenize(text: str) -> list[str]:
    """The words of a caption, case kept, as the official loader cuts them: `[\\w']+`."""
    return _WORD.findall(text)


def _folder(fold_case: bool) -> Callable[[str], str]:
    """How words are written in a vocabulary."""
    return str.lower if fold_case else str


@dataclass(frozen=True)
class Vocabulary:
    """Word ids 1..n and the vectors [n + 1, 300] they point to; row 0 is zeros, the padding."""

    ids: Mapping[str, int]
    vectors: Vectors
    fold_case: bool = False
    """Whether the words stand in lower case, and every text is put so before it is looked up."""

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a vocabulary table. Raises UserError when it is missing or damaged."""
        table = read_table(path).combine_chunks()
        words = table["word"].to_pylist()
        vectors = np.zeros((len(words) + 1, tables.WORD_DIM), np.float32)
        stored = b"".join(table["vector"].to_pylist())
        vectors[1:] = np.frombuffer(stored, "<f4").reshape(len(words), tables.WORD_DIM)
        fold_case = (table.schema.metadata or {}).get(_FOLD_CASE) == b"true"
        return cls({word: i for i, word in enumerate(words, 1)}, vectors, fold_case)

    def encode(self, text: str, max_words: int) -> list[int]:
        """The ids of a text's words; unknown words go first, then what is beyond `max_words`."""
        known = map(self.ids.get, tokenize(_folder(self.fold_case)(text)))
        return [i for i in known if i is not None][:max_words]


def vocabulary_of(path: Path, texts: Iterable[str]) -> Vocabulary:
    """A vocabulary table (.parquet), or what a file of word vectors has of the texts' words.

    Raises UserError when the file is missing or damaged, or knows none of the words.
    """
    if path.suffix == ".parquet":
        return Vocabulary.load(path)
    wanted = Counter(word for text in texts for word in tokenize(text))
    found = _read_vectors(path, wanted)
    if not found:
        raise UserError(f"{path} has a vector for none of the {len(wanted)} words")
    vectors = np.stack([np.zeros(tables.WORD_DIM, np.float32), *found.values()])
    return Vocabulary({word: i for i, word in enumerate(found, 1)}, vectors)


def build_vocabulary(
    clips: Sequence[Path],
    output: Path,
    status: Path,
    *,
    vectors: str,
    min_count: int,
    seed: int,
    workers: int,
    fold_case: bool = False,
) -> None:
    """Write the words of the clip tables that have a vector, the most frequent first.

    A word's id is its row + 1. `vectors` is "train" (Word2Vec on the captions) or a file's path or
    URL:
    word2vec's binary form (.bin, .bin.gz), its text form (.txt, .vec, also .gz), the MIL-NCE
    authors' tensor (.pth, with dict.npy or s3d_dict.npy beside it) or a gensim file.
    With `fold_case` all words are put in lower case, and one whose lower case the file does not
    have takes the vector of the first that differs from it by case alone; without, case tells
    words apart, as in the official code. The table's metadata keeps it for those who look up.
    Words rarer than `min_count`, and words the file does not have, are skipped as no_vector.
    `workers` processes count; the result does not depend on their number.
    Raises UserError when the file is missing or damaged, or no word is left.
    """
    fold = _folder(fold_case)
    counts = _count(clips, workers, fold)
    frequent = {word: n for word, n in counts.items() if n >= min_count}
    log.info("%d distinct words, %d at least %d times", len(counts), len(frequent), min_count)
    if not frequent:
        raise UserError(f"no word occurs {min_count} times: lower vocabulary.min_count")
    if vectors == TRAIN:
        found = _train(clips, frequent, seed, fold)
    else:
        found = _read_vectors(_at_hand(vectors, output.parent), frequent, fold)
        if not found:
            raise UserError(f"{vectors} has a vector for none of the {len(frequent)} words")
    rows = [
        {"word": word, "count": n, "vector": found[word].astype("<f4").tobytes()}
        for word, n in frequent.items()
        if word in found
    ]
    log.info("%d words with a vector, from %s", len(rows), vectors)
    schema = tables.VOCABULARY.with_metadata({_FOLD_CASE: str(fold_case).lower()})
    write_table(output, rows, schema)
    write_status(status, (_outcome(w, n, min_count, w in found) for w, n in counts.items()))


def _at_hand(vectors: str, folder: Path) -> Path:
    """The file of the vectors; one that a URL names is downloaded into `folder` once."""
    if not is_url(vectors):
        return Path(vectors)
    path = folder / vectors.rsplit("/", 1)[-1]
    if not path.exists():
        fetch_file(vectors, path)
    return path


def _outcome(word: str, count: int, min_count: int, found: bool) -> Outcome:
    if found:
        return Outcome(word)
    rare = f"occurs {count} times, fewer than {min_count}"
    reason = rare if count < min_count else "not among the vectors"
    return Outcome.of(word, ItemError(Kind.NO_VECTOR, reason))


def _count(clips: Sequence[Path], workers: int, fold: Callable[[str], str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    if workers > 1 and len(clips) > 1:
        with ProcessPoolExecutor(workers) as pool:
            for counts in pool.map(_count_shard, clips, repeat(fold)):
                total.update(counts)
    else:
        for path in clips:
            total.update(_count_shard(path, fold))
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _count_shard(path: Path, fold: Callable[[str], str]) -> Counter[str]:
    texts = read_table(path, ["text"])["text"].to_pylist()
    return Counter(word for text in texts for word in tokenize(fold(text)))


@dataclass(frozen=True)
class _Narrations:
    """The known words of each video, in order: a corpus that is read anew at every pass.

    A whole narration is one sentence, for a caption alone (4 words on average) is hardly a context.
    """

    clips: Sequence[Path]
    known: Mapping[str, int]
    fold: Callable[[str], str]
    longest: int = 10_000
    """Words gensim takes of one sentence; it drops the rest without a word."""

    def __iter__(self) -> Iterator[list[str]]:
        for path in self.clips:
            table = read_table(path, ["video_id", "text"])
            lines = zip(table["video_id"].to_pylist(), table["text"].to_pylist(), strict=True)
            for _, of_video in groupby(lines, key=lambda line: line[0]):
                texts = (self.fold(text) for _, text in of_video)
                words = [w for text in texts for w in tokenize(text) if w in self.known]
                for first in range(0, len(words), self.longest):
                    yield words[first : first + self.longest]


def _crc32(text: str) -> int:
    """A hash that does not change from process to process, unlike Python's own."""
    return zlib.crc32(text.encode())


def _train(
    clips: Sequence[Path], counts: dict[str, int], seed: int, fold: Callable[[str], str]
) -> dict[str, Vectors]:
    """Skip-gram vectors of the captions, the same at every run with the same seed.

    One worker, for the order of updates must not depend on threads; more passes over a small
    corpus. The vectors are centred, since those of a small corpus share one large component that
    tells no word from another, and scaled to the length that GoogleNews vectors have (about 2), so
    that the text layer meets inputs of one size whatever they come from.
    """
    from gensim.models import Word2Vec

    total = sum(counts.values())
    epochs = min(max(_TOKENS_SEEN // total, 5), 100)
    log.info("training word vectors on %d words, %d passes", total, epochs)
    model = Word2Vec(
        vector_size=tables.WORD_DIM,
        sg=1,
        window=5,
        negative=10,
        sample=0,
        min_count=1,
        workers=1,
        seed=seed,
        hashfxn=_crc32,
    )
    model.build_vocab_from_freq(counts, corpus_count=total)
    model.train(_Narrations(clips, counts, fold), total_words=total, epochs=epochs)
    vectors = np.stack([model.wv[word] for word in counts])
    vectors -= vectors.mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1).mean()
    vectors *= _NORM / max(float(lengths), 1e-12)
    return dict(zip(counts, vectors, strict=True))


def _read_vectors(
    path: Path, wanted: Mapping[str, int], fold: Callable[[str], str] = str
) -> dict[str, Vectors]:
    """The vectors of the wanted words, out of a file that may be larger than memory."""
    endings = [suffix for suffix in path.suffixes if suffix != ".gz"][-1:]
    readers: dict[str, Callable[[BinaryIO], Iterator[tuple[str, Vectors]]]] = {
        ".bin": _read_binary,
        ".txt": _read_text,
        ".vec": _read_text,
    }
    reader = readers.get("".join(endings))
    try:
        if path.suffix == ".pth":
            return _wanted(_read_mil_nce(path), wanted, fold)
        if reader is None:
            return _wanted(_read_gensim(path), wanted, fold)
        door = gzip.open if path.suffix == ".gz" else Path.open
        with cast("BinaryIO", door(path, "rb")) as file:
            return _wanted(reader(file), wanted, fold)
    except FileNotFoundError as error:
        missing = error.filename or path
        raise UserError(f"word vectors {missing} do not exist: set vocabulary.vectors") from None
    except UserError:
        raise
    except Exception as error:  # damage shows in the decompressor, the header, the unpickler ...
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(f"{path} holds no whole table of word vectors ({reason})") from None


def _wanted(
    entries: Iterable[tuple[str, Vectors]], wanted: Mapping[str, int], fold: Callable[[str], str]
) -> dict[str, Vectors]:
    """A copy of each wanted word's vector: of the word itself, else of the first that folds to it.

    Raises ValueError where it is not finite.
    """
    found: dict[str, Vectors] = {}
    exact: set[str] = set()
    for word, vector in entries:
        folded = fold(word)
        if folded not in wanted or folded in exact or (folded in found and word != folded):
            continue
        if word == folded:
            exact.add(word)
        found[folded] = np.array(vector, np.float32)
        if not np.isfinite(found[folded]).all():
            raise ValueError(f"the vector of {word} holds NaN or infinity")
    return found


def _read_binary(file: BinaryIO) -> Iterator[tuple[str, Vectors]]:
    """Words and vectors in pieces of a mebibyte; a vector is a view, good until the next one."""
    words, dim = _header(file)
    buffer, start = b"", 0
    for number in range(words):
        while (blank := buffer.find(b" ", start)) < 0 or len(buffer) <= blank + 4 * dim:
            if blank < 0 and len(buffer) - start > _LONGEST_WORD:
                raise ValueError(f"no blank behind word {number + 1}")
            piece = file.read(_PIECE)
            if not piece:
                raise EOFError(f"it ends within word {number + 1} of {words}")
            buffer, start = buffer[start:] + piece, 0
        word = buffer[start:blank].strip().decode(errors="replace")
        start = blank + 1 + 4 * dim
        yield word, np.frombuffer(buffer, "<f4", dim, blank + 1)


def _read_text(file: BinaryIO) -> Iterator[tuple[str, Vectors]]:
    words, dim = _header(file)
    for _ in range(words):
        word, *numbers = file.readline().decode(errors="replace").rstrip().split(" ")
        if len(numbers) != dim:
            raise EOFError(f"a line of {len(numbers)} numbers, {dim} were announced")
        yield word, np.array(numbers, np.float32)


def _header(file: BinaryIO) -> tuple[int, int]:
    words, dim = (int(number) for number in file.readline(64).split())
    _check_dim(dim)
    return words, dim


def _read_gensim(path: Path) -> Iterator[tuple[str, Vectors]]:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors.load(str(path), mmap="r")
    vectors = getattr(vectors, "wv", vectors)
    _check_dim(vectors.vector_size)
    return ((word, vectors[word]) for word in vectors.index_to_key)


def _read_mil_nce(path: Path) -> Iterator[tuple[str, Vectors]]:
    """The MIL-NCE authors' vectors: a tensor whose row i + 1 is of word i of the dictionary."""
    import torch

    beside = [path.with_name(name) for name in _DICTIONARIES if path.with_name(name).exists()]
    if not beside:
        raise UserError(f"{path} needs its words beside it, in {' or '.join(_DICTIONARIES)}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    rows = content if isinstance(content, torch.Tensor) else _word_layer(content)
    words = np.load(beside[0])
    if len(rows) != len(words) + 1:
        raise ValueError(f"{len(rows)} rows, but {len(words)} words in {beside[0].name}")
    _check_dim(rows.shape[1])
    return zip(map(str, words), rows[1:].float().numpy(), strict=True)


def _word_layer(state: dict[str, "Tensor"]) -> "Tensor":
    """The word vectors among a whole network's weights."""
    return next(value for name, value in state.items() if name.endswith("word_embd.weight"))


def _check_dim(dim: int) -> None:
    if dim != tables.WORD_DIM:
        raise UserError(f"word vectors of {dim} numbers: the model takes {tables.WORD_DIM}")
