"""Finding a task's steps in a video: one second for each step, in order (CrossTask's protocol)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from statistics import fmean

import numpy as np
import numpy.typing as npt

from howto100m.evaluation.benchmarks import Segment

Floats = npt.NDArray[np.floating]
Seconds = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]

BASELINES = ("uniform", "random", "narration")
"""Names that stand for a baseline where a run is named."""
SPLITS, TRAINING_VIDEOS = 20, 30


def ground_truth(segments: Sequence[Segment], seconds: int, steps: int) -> Truth:
    """Which seconds [T, K] show which step: floor(start) ... ceil(end) - 1 of each segment.

    A segment beyond `seconds` makes it longer, so that a step after the features' end counts as
    there, and as missed.
    """
    truth = np.zeros((max([seconds, *(ceil(s.end) for s in segments)]), steps), np.bool_)
    for segment in segments:
        truth[floor(segment.start) : ceil(segment.end), segment.step] = True
    return truth


def assign(costs: Floats) -> Seconds:
    """One second for each step, in order, at the least sum of costs [T, K].

    The dynamic programme D[t, k] = min(D[t - 1, k], D[t - 1, k - 1] + C[t, k]), background free; of
    several ways the one with the earliest seconds, from the last step on. T == K leaves one way,
    second k for step k; T < K leaves none, and every step is -1. (CrossTask's own code gives the
    same seconds for T > K without ties, and is not reliable for T <= K.)
    Raises ValueError when a cost is NaN.
    """
    seconds, steps = costs.shape
    if np.isnan(costs).any():
        raise ValueError("a cost of the step localization is NaN")
    if seconds < steps:
        return np.full(steps, -1)
    totals = np.empty((steps, seconds))
    best = np.zeros(seconds)
    for step in range(steps):
        totals[step] = best + costs[:, step]
        best = np.concatenate(([np.inf], np.minimum.accumulate(totals[step])[:-1]))
    chosen, end = np.empty(steps, np.int64), seconds
    for step in reversed(range(steps)):
        chosen[step] = end = int(totals[step, :end].argmin())
    return chosen


def narrated(windows: Truth) -> Seconds:
    """The narration's baseline: each step in its windows [T, K], as far as their order allows."""
    return assign(-windows.astype(np.float64))


def uniform(seconds: int, steps: int) -> Seconds:
    """The uniform baseline: the middles of K equal parts of the video."""
    if seconds < steps:
        return np.full(steps, -1)
    return np.floor((np.arange(steps) + 0.5) * seconds / steps).astype(np.int64)


def random_chances(seconds: int, steps: int) -> Floats:
    """The random baseline, exactly: chances [T, K] that a step gets a second.

    K different seconds are drawn by lot and sorted; second t goes to step k in
    (t over k) * (T - 1 - t over K - 1 - k) of all (T over K) draws. Zeros for T < K.
    """
    if seconds < steps:
        return np.zeros((seconds, steps))
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, seconds + 1)))))

    def ways(n: Seconds, k: Seconds) -> Floats:
        """The logarithm of n over k, -inf for k > n."""
        return np.where(k > n, -np.inf, logs[n] - logs[k] - logs[np.maximum(n - k, 0)])

    second, step = np.arange(seconds)[:, None], np.arange(steps)
    around = ways(second, step) + ways(seconds - 1 - second, steps - 1 - step)
    return np.asarray(np.exp(around - ways(np.array(seconds), np.array(steps))))


@dataclass(frozen=True)
class Found:
    """One video's result: steps found (or their expected number), and steps that are there."""

    task: str
    hits: float
    present: int


def score(task: str, chosen: Seconds, truth: Truth) -> Found:
    """Count the steps whose second [K] is true; steps that are not there do not count."""
    there = truth.any(axis=0)
    steps = np.arange(truth.shape[1])
    return Found(task, int((truth[chosen, steps] & (chosen >= 0))[there].sum()), int(there.sum()))


def expect(task: str, chances: Floats, truth: Truth) -> Found:
    """The expected number of steps found, by chances [T, K] of each second."""
    there = truth.any(axis=0)
    return Found(task, float((chances * truth[: len(chances)]).sum()), int(there.sum()))


def recalls(found: Sequence[Found]) -> dict[str, float]:
    """By task, the recall of a video, averaged over the task's videos."""
    return {
        task: fmean(v.hits / v.present for v in videos) for task, videos in _by_task(found).items()
    }


def recalls_pooled(found: Sequence[Found], seed: int) -> dict[str, float]:
    """By task, CrossTask's own recall: hits over steps of all its test videos.

    Averaged over 20 random splits that set 30 videos a task aside for training; of a task with no
    more than 30 all are test videos, as nothing is trained here.
    """
    random = np.random.default_rng(seed)
    return {
        task: fmean(_pooled(videos, random) for _ in range(SPLITS))
        for task, videos in _by_task(found).items()
    }


def recall(found: Sequence[Found]) -> float:
    """The headline: recall of a video, averaged over a task's videos, then over tasks."""
    return fmean(recalls(found).values())


def recall_pooled(found: Sequence[Found], seed: int) -> float:
    """CrossTask's own, averaged over tasks; see `recalls_pooled`."""
    return fmean(recalls_pooled(found, seed).values())


def _pooled(videos: Sequence[Found], random: np.random.Generator) -> float:
    aside = TRAINING_VIDEOS if len(videos) > TRAINING_VIDEOS else 0
    test = [videos[i] for i in random.permutation(len(videos))[aside:]]
    return float(sum(v.hits for v in test) / sum(v.present for v in test))


def _by_task(found: Sequence[Found]) -> dict[str, list[Found]]:
    tasks: dict[str, list[Found]] = {}
    for video in found:
        tasks.setdefault(video.task, []).append(video)
    return tasks
