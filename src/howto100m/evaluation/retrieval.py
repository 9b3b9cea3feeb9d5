"""Ranking candidates for queries by dot product, in blocks that fit in memory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howto100m.evaluation.metrics import Counts, Standings

QUERIES, CANDIDATES, HITS = 512, 65_536, 10


@dataclass(frozen=True)
class Ranking:
    """Where the right candidates stand, and each query's best candidates [Q, up to 10]."""

    standings: Standings
    hits: Counts


def rank(
    queries: Tensor,
    candidates: Tensor,
    targets: Tensor,
    block: tuple[int, int] = (QUERIES, CANDIDATES),
) -> Ranking:
    """Rank candidates [C, d] for queries [Q, d]; the right one of query q is `targets[q]`.

    Holds no more than `block` = (queries, candidates) scores at once, on the device of the
    embeddings. Raises ValueError when an embedding is NaN or infinite.
    """
    for what, rows in (("query", queries), ("candidate", candidates)):
        bad = int((~rows.isfinite().all(dim=1)).sum())
        if bad:
            raise ValueError(f"{bad} of {len(rows)} {what} embeddings are NaN or infinite")
    parts = [
        _rank_some(queries[i : i + block[0]], candidates, targets[i : i + block[0]], block[1])
        for i in range(0, len(queries), block[0])
    ]
    better, equal, hits = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Ranking(Standings(better, equal), np.asarray(hits))


def _rank_some(
    queries: Tensor, candidates: Tensor, targets: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts of better and equal candidates, and the best ones, for one block of queries.

    The right candidate's score is taken from the very block that the others are compared in: a
    product of its own rounds differently, and a tie would be missed.
    """
    rows = torch.arange(len(queries), device=queries.device)
    starts = range(0, len(candidates), width)
    own = torch.empty(len(queries), device=queries.device)
    for first in starts:
        here = (targets >= first) & (targets < first + width)
        if here.any():
            scores = queries @ candidates[first : first + width].T
            own[here] = scores[rows[here], targets[here] - first]
    better = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    equal = -torch.ones_like(better)
    best = torch.empty(len(queries), 0, device=queries.device)
    hits = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for first in starts:
        if len(starts) > 1:
            scores = queries @ candidates[first : first + width].T
        better += (scores > own[:, None]).sum(dim=1)
        equal += (scores == own[:, None]).sum(dim=1)
        top, places = scores.topk(min(HITS, scores.shape[1]), dim=1)
        best, hits = torch.cat((best, top), dim=1), torch.cat((hits, places + first), dim=1)
        best, order = best.topk(min(HITS, best.shape[1]), dim=1)
        hits = hits.gather(1, order)
    return better, equal, hits
