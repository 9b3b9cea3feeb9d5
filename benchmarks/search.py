"""The search for clips: exact and through FAISS's cells; latency, recall, and the plain way beside.

    python benchmarks/search.py /tmp/search --clips 1000000 --dim 4096

Writes vectors of length 1 (2 bytes a number: 8.2 GB for the above) and FAISS's index into the
folder, and removes them at the end. The vectors are drawn in 256 numbers, in groups, and brought to
the width by a random map: real embeddings, too, fill few of their dimensions.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from howto100m.find.index import open_vectors
from howto100m.find.nearest import Cells, Exact, Hits, agreement, build_cells

LATENT, GROUPS, BLOCK = 256, 5000, 16384


def draw(
    number: int, random: np.random.Generator, world: tuple[np.ndarray, np.ndarray]
) -> torch.Tensor:
    groups, wide = world
    near = groups[random.integers(len(groups), size=number)]
    points = near + 0.7 * random.standard_normal((number, LATENT), np.float32)
    return F.normalize(torch.from_numpy(points @ wide), dim=1)


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
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--plain", action="store_true", help="the plain way too; needs the memory")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path, cells = given.folder / "vectors.f16", given.folder / "cells.faiss"
    random = np.random.default_rng(1)
    world = (
        random.standard_normal((GROUPS, LATENT), np.float32),
        random.standard_normal((LATENT, given.dim), np.float32),
    )
    try:
        with path.open("wb") as file:
            for first in range(0, given.clips, BLOCK):
                number = min(BLOCK, given.clips - first)
                file.write(draw(number, random, world).half().numpy().tobytes())
        vectors = open_vectors(path, given.clips, given.dim)
        queries = draw(given.queries, random, world)
        exact = Exact(vectors)
        print(
            "| search | queries at once | median ms | 95 % ms | recall at 10 |\n" + 5 * "|---" + "|"
        )
        right = measure("exact", lambda q: exact.search(q, 10), queries, 1, None)
        measure("exact", lambda q: exact.search(q, 10), queries, 32, right)
        if given.plain:
            measure("plain numpy", lambda q: plain(vectors, q, 10), queries[:8], 1, right[:8])
        started = time.perf_counter()
        build_cells(vectors, cells, 1)
        took, size = time.perf_counter() - started, cells.stat().st_size / 1e6
        indexed = Cells.open(cells, vectors)
        measure("FAISS, then exact", lambda q: indexed.search(q, 10), queries, 1, right)
        measure("FAISS, then exact", lambda q: indexed.search(q, 10), queries, 32, right)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"FAISS's index: built in {took:.0f} s, {size:.0f} MB; largest memory {memory:.0f} MiB"
        )
    finally:
        path.unlink(missing_ok=True)
        cells.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
