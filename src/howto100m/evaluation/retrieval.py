"""Ranking candidates for queries by dot product, in blocks that fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from howto100m.evaluation.metrics import Counts, Standings

QUERIES, CANDIDATES, HITS = 1024, 8192, 10

Rows = Tensor | npt.NDArray[np.floating]
"""Embeddings [n, d]: a tensor, or an array, which may be a memory map and of half precision."""


@dataclass(frozen=True)
class Ranking:
    """Where the right candidates stand, and each query's best candidates [Q, up to 10]."""

    standings: Standings
    hits: Counts


def rank(
    queries: Rows,
    candidates: Rows,
    targets: Rows | Counts,
    device: torch.device | str = "cpu",
    block: tuple[int, int] = (QUERIES, CANDIDATES),
) -> Ranking:
    """Rank candidates [C, d] for queries [Q, d]; the right one of query q is `targets[q]`.

    On `device` are, in float32, all queries, `block[1]` candidates, and the scores of `block` =
    (queries, candidates) pairs; the candidates are read twice, a block at a time. Raises ValueError
    when an embedding is NaN or infinite.
    """
    # The right candidate's score is taken from the very block that the others are compared in: a
    # product of its own rounds differently, and a tie would be missed. In the order of the targets
    # only a few blocks have right candidates of a block of queries, and few are computed twice.
    wanted = torch.as_tensor(targets, device=device)
    order = wanted.argsort()
    asked = torch.cat([rows for _, rows in _blocks(queries, len(queries), device, "query")])
    state = _Standing.start(asked[order], wanted[order], len(candidates), block[0])
    for first, rows in _blocks(candidates, block[1], device, "candidate"):
        state.find_own(first, rows)
    for first, rows in _blocks(candidates, block[1], device, "candidate"):
        state.compare(first, rows)
    back = order.argsort()
    better, equal, hits = (
        part[back].cpu().numpy() for part in (state.better, state.equal, state.hits)
    )
    return Ranking(Standings(better, equal), np.asarray(hits))


def _blocks(
    rows: Rows, size: int, device: torch.device | str, what: str
) -> Iterator[tuple[int, Tensor]]:
    """Where each block begins, and its rows in float32 on the device, checked."""
    for first in range(0, len(rows), max(size, 1)):
        part = rows[first : first + size]
        if not isinstance(part, Tensor):
            part = torch.from_numpy(np.array(part))
        part = part.to(device, torch.float32)
        bad = int((~part.isfinite().all(dim=1)).sum())
        if bad:
            last = first + len(part)
            raise ValueError(
                f"{bad} of the {what} embeddings {first} to {last} are NaN or infinite"
            )
        yield first, part


@dataclass
class _Standing:
    """What is known of each query so far, in the order of their targets."""

    queries: Tensor
    targets: Tensor
    parts: list[slice]
    own: Tensor
    better: Tensor
    equal: Tensor
    best: Tensor
    hits: Tensor
    done: set[tuple[int, int]] = field(default_factory=set)
    """Where a block of queries and one of candidates begin that have been compared."""

    @classmethod
    def start(cls, queries: Tensor, targets: Tensor, candidates: int, size: int) -> "_Standing":
        number, width = len(queries), min(HITS, candidates)
        return cls(
            queries,
            targets,
            [slice(first, min(first + size, number)) for first in range(0, number, size)],
            own=queries.new_empty(number),
            better=torch.zeros_like(targets),
            equal=-torch.ones_like(targets),
            best=queries.new_full((number, width), -torch.inf),
            hits=targets.new_zeros(number, width),
        )

    def find_own(self, first: int, rows: Tensor) -> None:
        """The scores of the right candidates among `rows`, which begin at `first`."""
        for part in self.parts:
            places = self.targets[part] - first
            here = ((places >= 0) & (places < len(rows))).nonzero()[:, 0]
            if len(here):
                scores = self.queries[part] @ rows.T
                self.own[part][here] = scores[here, places[here]]
                if len(here) == len(places):
                    self._count(part, first, scores)

    def compare(self, first: int, rows: Tensor) -> None:
        """Compare with the candidates `rows`, which begin at `first`, where that is not done."""
        for part in self.parts:
            if (part.start, first) not in self.done:
                self._count(part, first, self.queries[part] @ rows.T)

    def _count(self, part: slice, first: int, scores: Tensor) -> None:
        own = self.own[part, None]
        self.better[part] += (scores > own).sum(dim=1)
        self.equal[part] += (scores == own).sum(dim=1)
        width = self.best.shape[1]
        top, places = scores.topk(min(width, scores.shape[1]), dim=1)
        found = torch.cat((self.hits[part], places + first), dim=1)
        self.best[part], chosen = torch.cat((self.best[part], top), dim=1).topk(width, dim=1)
        self.hits[part] = found.gather(1, chosen)
        self.done.add((part.start, first))
