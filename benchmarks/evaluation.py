"""Time the protocols behind the similarities: CrossTask at its real size, retrieval in blocks.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --candidates 1000000 --queries 10000 --dim 512 --folder /tmp/e

The second line also ranks so many candidates from a memory map of half precision in that folder.
Each line has the plain way beside it, where that fits: one loop over seconds and steps a video, one
matrix of all scores.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from howto100m.evaluation import localization
from howto100m.evaluation.benchmarks import Segment
from howto100m.evaluation.metrics import Ties, ranks, standings, summary
from howto100m.evaluation.retrieval import rank

VIDEOS, SECONDS, STEPS, TASKS = 2750, 300, 8, 18
CLIPS, DIM = 3500, 6144


def timed(what: str, work: Callable[[], object]) -> object:
    started, processor = time.perf_counter(), time.process_time()
    found = work()
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {what} | {seconds:.2f} | {used:.2f} | {peak:.2f} |", flush=True)
    return found


def crosstask() -> None:
    random = np.random.default_rng(1)
    scores = [random.random((SECONDS, STEPS)) for _ in range(VIDEOS)]
    spans = [
        [Segment(step, *np.sort(random.uniform(0, SECONDS, 2))) for step in range(STEPS)]
        for _ in range(VIDEOS)
    ]

    def evaluate() -> list[float]:
        found: dict[str, list[localization.Found]] = {"": [], "uniform": [], "random": []}
        for number, (score, segments) in enumerate(zip(scores, spans, strict=True)):
            task, size = str(number % TASKS), score.shape
            truth = localization.ground_truth(segments, *size)
            chosen = localization.assign(-score)
            evenly, by_lot = localization.uniform(*size), localization.random_chances(*size)
            found[""].append(localization.score(task, chosen, truth))
            found["uniform"].append(localization.score(task, evenly, truth))
            found["random"].append(localization.expect(task, by_lot, truth))
        return [
            figure
            for results in found.values()
            for figure in (localization.recall(results), localization.recall_pooled(results, 1))
        ]

    def plain() -> list[list[int]]:
        return [plain_assignment((-score).tolist()) for score in scores]

    size = f"{VIDEOS:,} videos x {SECONDS} s x {STEPS} steps"
    timed(f"CrossTask, {size}: assignment, both recalls, baselines", evaluate)
    ours = timed("the assignment alone", lambda: [localization.assign(-s) for s in scores])
    loops = timed("the assignment, two loops a video", plain)
    assert isinstance(ours, list) and [list(chosen) for chosen in ours] == loops


def plain_assignment(costs: list[list[float]]) -> list[int]:
    """D[t][k] = min(D[t-1][k], D[t-1][k-1] + C[t][k]), as it is written down."""
    seconds, steps = len(costs), len(costs[0])
    totals = [[0.0] + [float("inf")] * steps for _ in range(seconds + 1)]
    for t in range(1, seconds + 1):
        for k in range(1, steps + 1):
            totals[t][k] = min(totals[t - 1][k], totals[t - 1][k - 1] + costs[t - 1][k - 1])
    chosen, t = [0] * steps, seconds
    for k in range(steps, 0, -1):
        while totals[t][k] == totals[t - 1][k]:
            t -= 1
        t -= 1
        chosen[k - 1] = t
    return chosen


def retrieval() -> None:
    clips = torch.nn.functional.normalize(torch.randn(CLIPS, DIM), dim=1)
    texts = torch.nn.functional.normalize(clips + 0.1 * torch.randn(CLIPS, DIM), dim=1)
    right = torch.arange(CLIPS)
    size = f"{CLIPS:,} x {CLIPS:,}, {DIM} numbers"
    ours = timed(f"retrieval, {size}: ranks and ten best", lambda: rank(texts, clips, right))
    whole = timed(
        "one matrix, sorted whole, as the official code",
        lambda: (-(texts @ clips.T).numpy()).argsort(axis=1),
    )
    plain = standings((texts @ clips.T).numpy(), right.numpy())
    figures = [summary(ranks(s, Ties.MEAN)) for s in (getattr(ours, "standings"), plain)]  # noqa: B009
    assert figures[0] == figures[1] and len(np.asarray(whole)) == CLIPS


def many(candidates: int, queries: int, dim: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, random = folder / "candidates.npy", np.random.default_rng(1)
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (candidates, dim))
    for first in range(0, candidates, 50_000):
        part = rows[first : first + 50_000]
        part[:] = random.standard_normal(part.shape, np.float32)
    rows.flush()
    right = random.permutation(candidates)[:queries]
    texts = rows[right].astype(np.float32) + random.standard_normal((queries, dim), np.float32)
    del rows
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    mapped = np.load(path, mmap_mode="r")
    size = f"{queries:,} queries x {candidates:,} candidates, {dim} numbers"
    print(f"| (before it the process held) | | | {before:.2f} |")
    found = timed(f"retrieval, {size}, from a memory map", lambda: rank(texts, mapped, right))
    print(f"figures: {summary(ranks(getattr(found, 'standings'), Ties.MEAN))}")  # noqa: B009
    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=0)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=Path("evaluation-benchmark"))
    arguments = parser.parse_args()
    print("| what | s | processor s | GiB so far |\n|---|---|---|---|")
    if arguments.candidates:
        many(arguments.candidates, arguments.queries, arguments.dim, arguments.folder)
    else:
        crosstask()
        retrieval()


if __name__ == "__main__":
    main()
