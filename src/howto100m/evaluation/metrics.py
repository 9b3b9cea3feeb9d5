"""Recall at K and the median rank, and how ties count in them."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Counts = npt.NDArray[np.int64]

RECALLS = (1, 5, 10)


class Ties(StrEnum):
    """Which rank the right candidate has among others of the same score."""

    MEAN = "mean"
    """The mean of the ranks it could have: a model that scores all alike is as good as chance."""
    STRICT = "strict"
    """The worst of them."""
    OFFICIAL = "official"
    """All of them, each counted as a query of its own, as the official code does: it flatters."""


@dataclass(frozen=True)
class Standings:
    """For each query, how many wrong candidates score better than the right one, or the same."""

    better: Counts
    equal: Counts


def standings(scores: Floats, targets: Counts) -> Standings:
    """Compare scores [Q, C] with that of the right candidate, column `targets[q]` of row q.

    Raises ValueError when a score is NaN: it compares with nothing and would look like rank 1.
    """
    check_scores(scores)
    own = scores[np.arange(len(scores)), targets][:, None]
    return Standings((scores > own).sum(axis=1), (scores == own).sum(axis=1) - 1)


def check_scores(scores: Floats) -> None:
    """Raises ValueError when a score is NaN."""
    bad = int(np.isnan(scores).sum())
    if bad:
        raise ValueError(f"{bad} of {scores.size} scores are NaN: the ranks would mean nothing")


def ranks(standing: Standings, ties: Ties) -> Floats:
    """The rank of each query, 1 the best; `official` gives a rank for every tie, so maybe more."""
    best = standing.better + 1.0
    if ties is Ties.MEAN:
        return best + standing.equal / 2
    if ties is Ties.STRICT:
        return best + standing.equal
    ways = [b + np.arange(n + 1) for b, n in zip(best, standing.equal, strict=True)]
    return np.concatenate([np.empty(0), *ways])


def summary(ranked: Floats) -> dict[str, float]:
    """R@1, R@5, R@10 (shares of 0 to 1) and the median rank of the ranks of all queries."""
    recalls = {f"R@{k}": float((ranked <= k).mean()) for k in RECALLS}
    return recalls | {"median_rank": float(np.median(ranked))}


def chance(candidates: int) -> dict[str, float]:
    """What `summary` gives on average when candidates are drawn by lot."""
    recalls = {f"R@{k}": min(k / candidates, 1.0) for k in RECALLS}
    return recalls | {"median_rank": (candidates + 1) / 2}
