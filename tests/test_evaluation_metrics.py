import subprocess
import sys

import numpy as np
import pytest
import torch

from howto100m.evaluation.metrics import Ties, chance, ranks, standings, summary
from howto100m.evaluation.retrieval import rank


def measure(scores: np.ndarray, ties: Ties = Ties.MEAN) -> dict[str, float]:
    return summary(ranks(standings(scores, np.arange(len(scores))), ties))


@pytest.mark.parametrize("ties", list(Ties))
def test_the_golden_matrix(ties):
    scores = np.random.RandomState(0).randn(1000, 1000)
    expected = {"R@1": 0.001, "R@5": 0.004, "R@10": 0.011, "median_rank": 517}
    assert measure(scores, ties) == pytest.approx(expected)


def test_the_official_rule_counts_every_tie():
    official = measure(np.zeros((4, 4)), Ties.OFFICIAL)
    assert official == {"R@1": 0.25, "R@5": 1.0, "R@10": 1.0, "median_rank": 2.5}


def test_a_collapsed_model_is_chance_by_default_and_worst_when_strict():
    scores = np.full((1000, 1000), 0.3)
    assert measure(scores)["R@10"] == 0
    assert measure(scores)["median_rank"] == chance(1000)["median_rank"] == 500.5
    assert measure(scores, Ties.STRICT)["median_rank"] == 1000


def test_edges_of_the_recalls():
    scores = np.zeros((1, 12))
    scores[0, 1:] = 1
    for better, expected in [(0, (1, 1, 1)), (1, (0, 1, 1)), (4, (0, 1, 1)), (5, (0, 0, 1))]:
        scores[0, 0] = 0
        scores[0, 1 : 1 + better], scores[0, 1 + better :] = 1, -1
        got = measure(scores)
        assert (got["R@1"], got["R@5"], got["R@10"]) == expected
        assert got["median_rank"] == better + 1


def test_nan_is_an_error():
    scores = np.eye(3)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 9 scores are NaN"):
        standings(scores, np.arange(3))
    rows = torch.eye(3)
    rows[0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of the candidate embeddings 0 to 3"):
        rank(torch.eye(3), rows, torch.arange(3))


def test_chance_of_the_papers_sets():
    assert chance(3350)["median_rank"] == 1675.5
    assert chance(1000)["R@10"] == 0.01
    assert chance(5)["R@10"] == 1


@pytest.mark.parametrize("block", [(512, 65_536), (3, 4), (1, 1), (7, 23), (20, 50)])
def test_ranking_in_blocks_is_ranking_at_once(block):
    random = np.random.default_rng(0)
    # Small whole numbers: sums are exact, and ties abound.
    queries = random.integers(-2, 3, (20, 6)).astype(np.float32)
    candidates = random.integers(-2, 3, (50, 6)).astype(np.float32)
    targets = random.permutation(50)[:20]
    scores = queries @ candidates.T
    expected = standings(scores, targets)
    got = rank(*map(torch.from_numpy, (queries, candidates, targets)), block=block)
    assert (rank(queries, candidates, targets, block=block).hits == got.hits).all()
    assert (got.standings.better == expected.better).all()
    assert (got.standings.equal == expected.equal).all()
    best = np.sort(scores, axis=1)[:, ::-1][:, :10]
    assert (np.take_along_axis(scores, got.hits, axis=1) == best).all()


@pytest.mark.parametrize("ties", list(Ties))
def test_a_collapsed_model_ranked_in_blocks_is_as_bad(ties):
    rows = torch.full((1000, 64), 0.1)
    figures = summary(ranks(rank(rows, rows, torch.arange(1000), block=(64, 100)).standings, ties))
    assert figures["median_rank"] == (1000 if ties is Ties.STRICT else 500.5)
    assert figures["R@10"] == (0.01 if ties is Ties.OFFICIAL else 0)


def test_candidates_may_be_a_memory_map_of_halves(tmp_path):
    random = np.random.default_rng(0)
    rows = random.integers(-2, 3, (300, 8)).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    got = rank(rows[:50], mapped, np.arange(50), block=(16, 70))
    expected = standings(rows[:50].astype(float) @ rows.T.astype(float), np.arange(50))
    assert (got.standings.better == expected.better).all()
    assert (got.standings.equal == expected.equal).all()


def test_fewer_candidates_than_hits():
    got = rank(torch.eye(3), torch.eye(3), torch.arange(3))
    assert got.hits.shape == (3, 3)
    assert list(got.hits[:, 0]) == [0, 1, 2]


MANY = """
import resource, sys
import numpy as np, torch
from howto100m.evaluation.retrieval import rank

torch.set_num_threads(1)
rank(torch.eye(3), torch.eye(3), torch.arange(3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = np.load(sys.argv[1], mmap_mode="r")
right = np.random.default_rng(1).permutation(len(rows))[:2500]
got = rank(rows[right].astype(np.float32), rows, right)
assert not got.standings.better.any() and (got.hits[:, 0] == right).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.heavy
def test_many_candidates_are_ranked_in_bounded_memory(tmp_path):
    """100,000 x 2,500 scores are 1 GB; the file itself, 13 MB, may count as it is mapped."""
    rows = np.random.default_rng(0).standard_normal((100_000, 64), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(tmp_path / "rows.npy", rows.astype(np.float16))
    command = [sys.executable, "-c", MANY, str(tmp_path / "rows.npy")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 300
