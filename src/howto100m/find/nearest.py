"""The nearest clips to sentences: through all vectors, or through those of FAISS's likely cells.

Either way the last word is the product in float32 of the vectors that came into question, so that
a clip's score depends on the clip and the sentence alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from howto100m.kinds import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

Halves = npt.NDArray[np.float16]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

BLOCK = 4096
"""Vectors that are scored at once."""
FEW = 4
"""Queries up to which float16 products, one query at a time, are faster than float32 ones."""
HALF_ERROR = 2e-3
"""More than a float16 product of two vectors of length 1 can be off: the query's rounding (2^-11 of
each number), the result's (2^-11), and room for the sum, which is taken in float32."""
SINGLE_ERROR = 1e-5
SHORTLIST = 20
"""Clips that FAISS proposes for each that is wanted."""


@dataclass(frozen=True)
class Hits:
    """The nearest rows to one query, the nearest first, and their scores (cosines)."""

    rows: Rows
    scores: npt.NDArray[np.float32]


class Nearest(Protocol):
    """A way to the nearest vectors."""

    def search(self, queries: Tensor, k: int, allowed: Mask | None = None) -> list[Hits]:
        """The `k` nearest of the allowed vectors to each query [Q, d] (fewer where there are)."""
        ...


@dataclass(frozen=True)
class Exact:
    """Through all vectors [N, d] (float16, each of length 1), which may be a memory map."""

    vectors: Halves

    @torch.inference_mode()
    def search(self, queries: Tensor, k: int, allowed: Mask | None = None) -> list[Hits]:
        """As `Nearest`: no nearer vector is missed.

        Holds a score for every query and vector. Where the scores are coarse, all vectors are
        looked at again that could be among the nearest by their greatest error.
        """
        few = len(queries) <= FEW
        error = HALF_ERROR if few else SINGLE_ERROR
        scores = torch.empty(len(queries), len(self.vectors))
        for first, rows in self._blocks():
            part = scores[:, first : first + len(rows)]
            if few:
                for query, into in zip(queries.half(), part, strict=True):
                    into.copy_(rows @ query)
            else:
                part.copy_(queries @ rows.float().T)
        if allowed is not None:
            scores[:, torch.from_numpy(~allowed)] = -torch.inf
        return [
            rescored(self.vectors, query, _within(of_query, k, 2 * error), k)
            for query, of_query in zip(queries, scores, strict=True)
        ]

    def _blocks(self) -> "Iterator[tuple[int, Tensor]]":
        for first in range(0, len(self.vectors), BLOCK):
            yield first, torch.from_numpy(self.vectors[first : first + BLOCK])


@dataclass(frozen=True)
class Cells:
    """Through the cells of FAISS's index next to each query, then exactly through what it finds."""

    index: Any
    vectors: Halves

    @classmethod
    def open(cls, path: Path, vectors: Halves) -> "Cells":
        """Raises UserError when the file is damaged, or FAISS is not installed."""
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"{path} cannot be read ({reason}): build the index again") from None
        if index.ntotal != len(vectors):
            raise UserError(f"{path} has {index.ntotal} clips, not {len(vectors)}: build it again")
        return cls(index, vectors)

    @torch.inference_mode()
    def search(self, queries: Tensor, k: int, allowed: Mask | None = None) -> list[Hits]:
        """As `Nearest`, but for those that FAISS does not propose; the scores are exact."""
        faiss, parameters = _faiss(), {}
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            parameters = {"sel": faiss.IDSelectorBitmap(bits)}
        inner = faiss.SearchParametersIVF(nprobe=PROBES, **parameters)
        asked = queries.numpy()
        if isinstance(self.index, faiss.IndexPreTransform):
            inner = faiss.SearchParametersPreTransform(index_params=inner)
        _, found = self.index.search(asked, SHORTLIST * k, params=inner)
        return [
            rescored(self.vectors, query, rows[rows >= 0], k)
            for query, rows in zip(queries, found, strict=True)
        ]


PROBES = 256
"""Cells that a search looks into."""
REDUCED = 256
"""Numbers to which longer vectors are projected before they are quantised."""
TRAINED_ON = 100_000
"""Vectors, drawn at random, that cells and codes are learned from."""


def build_cells(vectors: Halves, output: Path, seed: int) -> None:
    """Write FAISS's index of the vectors [N, d]: 256 directions, cells, a byte a number.

    Raises UserError when FAISS is not installed, or there are fewer than 4,096 vectors.
    """
    faiss = _faiss()
    number, dim = vectors.shape
    if number < 4096:
        raise UserError(f"{number} clips are too few for FAISS: raise --exact-up-to")
    random = np.random.default_rng(seed)
    sample = np.sort(random.choice(number, min(number, TRAINED_ON), replace=False))
    # About four times the root of the number; 39 vectors a cell are FAISS's least to learn from.
    cells = 1 << int(np.log2(min(4 * number**0.5, len(sample) / 39)))
    width = min(dim, REDUCED)
    index = faiss.index_factory(width, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    learned_from = vectors[sample].astype(np.float32)
    if width < dim:
        index = faiss.IndexPreTransform(_projection(learned_from, width, seed), index)
    index.train(learned_from)
    for first in range(0, number, 4 * BLOCK):
        index.add(vectors[first : first + 4 * BLOCK].astype(np.float32))
    faiss.write_index(index, str(output))


def _projection(vectors: npt.NDArray[np.float32], width: int, seed: int) -> Any:
    """FAISS's transform of vectors [N, d] to their `width` strongest directions.

    Around the origin, not the mean as a PCA: products of vectors must stay what they are. FAISS's
    own decomposes [d, d] on one core, which takes minutes at d = 4096.
    """
    faiss = _faiss()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        directions = torch.pca_lowrank(torch.from_numpy(vectors), width, center=False)[2]
    transform = faiss.LinearTransform(vectors.shape[1], width, False)
    faiss.copy_array_to_vector(directions.T.contiguous().numpy().ravel(), transform.A)
    transform.is_trained = True
    return transform


def rescored(vectors: Halves, query: Tensor, rows: Rows, k: int) -> Hits:
    """The `k` best of some rows by the product in float32; on a tie the first row."""
    rows = np.sort(rows)
    parts = [
        (torch.from_numpy(vectors[rows[i : i + BLOCK]]).float() * query).sum(dim=1)
        for i in range(0, len(rows), BLOCK)
    ]
    scores = torch.cat([torch.empty(0), *parts]).numpy()
    best = np.argsort(-scores, kind="stable")[:k]
    return Hits(rows[best], scores[best])


def _within(scores: Tensor, k: int, margin: float) -> Rows:
    """The rows whose scores are at most `margin` below the k-th best; of -inf none."""
    bound = scores.topk(min(k, len(scores))).values[-1].item() - margin if len(scores) else 0.0
    near = (scores >= bound) & scores.isfinite()
    return np.asarray(near.nonzero()[:, 0].numpy())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError("FAISS is not installed: pip install 'howto100m[serve]'") from None
    return faiss


def agreement(found: Sequence[Hits], right: Sequence[Hits]) -> float:
    """The share of the right rows that were found: recall at k."""
    both = sum(len(np.intersect1d(f.rows, r.rows)) for f, r in zip(found, right, strict=True))
    return both / max(sum(len(r.rows) for r in right), 1)
