"""The search for clips: exact and through FAISS's cells; latency, recall, and the plain way beside.

    python benchmarks/search.py /tmp/search --clips 1000000 --dim 4096

Writes vectors of length 1 (2 bytes a number: 8.2 GB for the above) and FAISS's index into the
folder, and removes them at the end. The vectors are made up, after what a trained embedding looks
like: clips stand in groups of unequal size, and the variance falls off over the dimensions (as
(1 + i / 16) to the power -1.5), so that part of it lies beyond the 256 that FAISS keeps. A query
lies some way off from the clips that it means, as a sentence does.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from howto100m.find.index import open_vectors
from howto100m.find.nearest import REDUCED, Cells, Exact, Hits, agreement, build_cells

GROUPS, BLOCK = 5000, 4096
SPREAD, OFF = 0.7, 1.5
"""How far a clip is from its group's middle, and a query from a clip: noise to signal."""


class World:
    """Where clips and sentences lie."""

    def __init__(self, dim: int, seed: int = 1):
        self.random = np.random.default_rng(seed)
        self.widths = ((1 + np.arange(dim) / 16) ** -0.75).astype(np.float32)
        self.middles = self._noise(GROUPS)

    @property
    def kept(self) -> float:
        """The share of the variance in the dimensions that FAISS keeps."""
        return float((self.widths[:REDUCED] ** 2).sum() / (self.widths**2).sum())

    def clips(self, number: int) -> torch.Tensor:
        """So many clips' vectors."""
        group = (GROUPS * self.random.random(number) ** 2).astype(np.int64)
        return _unit(self.middles[group] + SPREAD * self._noise(number))

    def queries(self, number: int) -> torch.Tensor:
        """So many sentences' vectors."""
        clips = self.clips(number)
        return _unit(clips.numpy() + OFF * _unit(self._noise(number)).numpy())

    def _noise(self, number: int) -> np.ndarray:
        found = self.random.standard_normal((number, len(self.widths)), np.float32)
        found *= self.widths
        return found


def _unit(vectors: np.ndarray) -> torch.Tensor:
    return F.normalize(torch.from_numpy(vectors), dim=1)


class Memory:
    """The most memory of its own that the process has held; mapped pages of files do not count."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            held = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.most = max(self.most, held // 1024)
            time.sleep(0.05)


def forget(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain(vectors: np.ndarray, queries: torch.Tensor, k: int) -> list[Hits]:
    """All of it in float32, one product, sorted."""
    scores = queries.numpy() @ np.asarray(vectors).astype(np.float32).T
    best = np.argsort(-scores, axis=1)[:, :k]
    return [Hits(rows, of[rows]) for rows, of in zip(best, scores, strict=True)]


def measure(what: str, search: Callable[[torch.Tensor], list[Hits]], queries: torch.Tensor,
            batch: int, right: list[Hits] | None) -> list[Hits]:  # fmt: skip
    search(queries[:batch])
    found, seconds = [], []
    for first in range(0, len(queries), batch):
        started = time.perf_counter()
        found += search(queries[first : first + batch])
        seconds.append(time.perf_counter() - started)
    recall = f"{agreement(found, right):.3f}" if right else "1"
    middle, late = np.quantile(seconds, [0.5, 0.95])
    print(f"| {what} | {batch} | {1000 * middle:.1f} | {1000 * late:.1f} | {recall} |", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--queries", type=int, default=256, help="to FAISS")
    parser.add_argument("--exact-queries", type=int, default=64, help="those that all are compared")
    parser.add_argument("--plain", action="store_true", help="the plain way too; needs the memory")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path, cells = given.folder / "vectors.f16", given.folder / "cells.faiss"
    world, memory = World(given.dim), Memory()
    try:
        with path.open("wb") as file:
            for first in range(0, given.clips, BLOCK):
                number = min(BLOCK, given.clips - first)
                file.write(world.clips(number).half().numpy().tobytes())
        forget(path)
        vectors = open_vectors(path, given.clips, given.dim)
        print(f"{world.kept:.0%} of the variance is in {REDUCED} dimensions")
        queries = world.queries(given.queries)
        few = queries[: given.exact_queries]
        exact = Exact(vectors)
        started = time.perf_counter()
        exact.search(few[:1], 10)
        print(
            f"the first search, with the file not in memory: {time.perf_counter() - started:.1f} s"
        )
        print(
            "| search | queries at once | median ms | 95 % ms | recall at 10 |\n" + 5 * "|---" + "|"
        )
        right = measure("exact", lambda q: exact.search(q, 10), few, 1, None)
        all_right = measure("exact", lambda q: exact.search(q, 10), queries, 32, None)
        if given.plain:
            measure("plain numpy", lambda q: plain(vectors, q, 10), queries[:8], 1, right[:8])
        searched = memory.most
        started = time.perf_counter()
        build_cells(vectors, cells, 1)
        took, size = time.perf_counter() - started, cells.stat().st_size / 1e6
        indexed = Cells.open(cells, vectors)
        measure("FAISS, then exact", lambda q: indexed.search(q, 10), queries, 1, all_right)
        measure("FAISS, then exact", lambda q: indexed.search(q, 10), queries, 32, all_right)
        print(
            f"FAISS's index: built in {took:.0f} s, {size:.0f} MB; most memory of its own"
            f" {searched} MiB in the exact searches, {memory.most} MiB in all"
        )
    finally:
        path.unlink(missing_ok=True)
        cells.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
