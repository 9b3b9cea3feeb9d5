from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howto100m.evaluation.benchmarks import Segment
from howto100m.evaluation.localization import (
    Found,
    assign,
    expect,
    ground_truth,
    random_chances,
    recall,
    recall_pooled,
    score,
    uniform,
)


def test_the_golden_assignment():
    second, step = np.arange(12)[:, None], np.arange(4)[None, :]
    costs = np.sin(3 * second + 5 * step + 1).astype(np.float32)
    chosen = assign(costs)
    assert list(chosen) == [1, 4, 6, 11]
    assert costs[chosen, np.arange(4)].sum() == pytest.approx(-3.1251762, abs=1e-6)


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_no_other_order_costs_less(steps, extra, seed):
    costs = np.random.default_rng(seed).integers(-3, 4, (steps + extra, steps)).astype(float)
    chosen = assign(costs)
    assert (np.diff(chosen) > 0).all()
    cheapest = min(
        costs[list(frames), range(steps)].sum()
        for frames in combinations(range(steps + extra), steps)
    )
    assert costs[chosen, range(steps)].sum() == cheapest


def test_as_many_seconds_as_steps_leave_one_way_and_fewer_none():
    assert list(assign(np.random.default_rng(0).normal(size=(5, 5)))) == [0, 1, 2, 3, 4]
    assert list(assign(np.zeros((2, 3)))) == [-1, -1, -1]
    assert list(uniform(2, 3)) == [-1, -1, -1]
    assert not random_chances(2, 3).any()
    truth = np.ones((2, 3), bool)
    assert score("task", assign(np.zeros((2, 3))), truth) == Found("task", 0, 3)


def test_of_several_ways_the_last_step_is_early():
    assert list(assign(np.zeros((5, 2)))) == [0, 1]


def test_nan_costs_are_an_error():
    with pytest.raises(ValueError, match="NaN"):
        assign(np.full((4, 2), np.nan))


def test_a_segment_covers_floor_of_start_to_ceil_of_end():
    truth = ground_truth([Segment(0, 1.9, 3.1), Segment(1, 4.0, 5.0)], 6, 3)
    assert list(np.flatnonzero(truth[:, 0])) == [1, 2, 3]
    assert list(np.flatnonzero(truth[:, 1])) == [4]
    assert not truth[:, 2].any()


def test_a_step_after_the_last_second_is_there_and_missed():
    truth = ground_truth([Segment(0, 0, 2), Segment(1, 8, 9)], 4, 2)
    assert score("task", np.array([1, 3]), truth) == Found("task", 1, 2)
    assert expect("task", random_chances(4, 2), truth).present == 2


def test_absent_steps_do_not_count():
    truth = ground_truth([Segment(1, 2, 4)], 5, 3)
    assert score("task", np.array([0, 2, 4]), truth) == Found("task", 1, 1)


def test_uniform_takes_the_middles_of_equal_parts():
    assert list(uniform(12, 3)) == [2, 6, 10]
    assert list(uniform(3, 3)) == [0, 1, 2]


@pytest.mark.parametrize(("seconds", "steps"), [(6, 3), (5, 1), (4, 4)])
def test_random_chances_are_those_of_all_draws(seconds, steps):
    draws = list(combinations(range(seconds), steps))
    counts = np.zeros((seconds, steps))
    for draw in draws:
        counts[list(draw), range(steps)] += 1
    assert random_chances(seconds, steps) == pytest.approx(counts / len(draws))


def test_random_chances_of_a_long_video_sum_to_one():
    assert random_chances(2000, 12).sum(axis=0) == pytest.approx(np.ones(12))


def test_both_recalls():
    found = [Found("a", 1, 1), Found("a", 1, 4), Found("b", 0, 2)]
    assert recall(found) == pytest.approx((0.625 + 0) / 2)
    assert recall_pooled(found, seed=0) == pytest.approx((2 / 5 + 0) / 2)


def test_thirty_videos_of_a_large_task_are_set_aside_by_the_seed():
    found = [Found("a", i % 2, 1) for i in range(40)]
    pooled = recall_pooled(found, seed=0)
    assert pooled == recall_pooled(found, seed=0) != recall_pooled(found, seed=1)
    assert pooled * 20 * 10 == pytest.approx(round(pooled * 20 * 10))
    assert abs(pooled - 0.5) < 0.1
