"""Status: what is done, what is lost, how fast, and how long it still takes."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from howto100m import tables
from howto100m.cli import app
from howto100m.embedding.curve import Curve
from howto100m.embedding.resume import Resume
from howto100m.embedding.resume import Standing as TrainingStanding
from howto100m.kinds import ItemError, Kind, Status, UserError
from howto100m.shards import Journal, Outcome, shard_path, status_path, write_shard, write_status
from howto100m.status import duration, lines, standings

NOW = 1_000_000.0
GONE = Outcome.of("x", ItemError(Kind.PRIVATE), seconds=2.0)
FAILED = Outcome.of("y", ItemError(Kind.NETWORK), seconds=2.0)


def finish(results: Path, stage: str, shard: int, outcomes: Sequence[Outcome], at: float) -> None:
    path = status_path(shard_path(results / stage, shard))
    write_status(path, outcomes)
    os.utime(path, (at, at))


def oks(number: int, seconds: float = 2.0) -> list[Outcome]:
    return [Outcome(f"v{i}", seconds=seconds) for i in range(number)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Four shards of videos; of their subtitles two are done and a third is begun."""
    for shard in range(4):
        finish(tmp_path, "videos", shard, oks(10), NOW - 5000)
    finish(tmp_path, "subtitles", 0, [*oks(8), GONE, FAILED], NOW - 200)
    finish(tmp_path, "subtitles", 1, [*oks(9), GONE], NOW - 100)
    journal = Journal(tmp_path / "subtitles" / "00002.journal.jsonl", {})
    for outcome in oks(5):
        journal.add(outcome, [{"vtt": "WEBVTT"}])
    os.utime(journal.path, (NOW - 50, NOW - 50))
    return tmp_path


def test_shards_items_and_losses_are_counted_with_those_of_a_journal(results: Path) -> None:
    found = {s.stage: s for s in standings(results)}
    subtitles = found["subtitles"]
    assert (len(subtitles.done), subtitles.shards, len(subtitles.begun)) == (2, 4, 1)
    assert subtitles.items == 25
    assert subtitles.of(Status.OK).total() == 22
    assert subtitles.of(Status.SKIPPED) == {"private": 2}
    assert subtitles.of(Status.FAILED) == {"network": 1}
    assert (len(found["media"].done), found["media"].shards) == (0, 4)


def test_the_rate_is_that_between_the_ends_of_shards(results: Path) -> None:
    subtitles = {s.stage: s for s in standings(results)}["subtitles"]
    # From the end of shard 0, 150 s: the 10 items of shard 1 and 5 of the journal.
    assert subtitles.rate == pytest.approx(15 / 150)
    # Two shards of 10 are not done, 5 of their items are.
    assert subtitles.left == pytest.approx(15 / 0.1)


def test_a_pause_long_ago_does_not_lower_the_rate(results: Path) -> None:
    finish(results, "subtitles", 3, oks(10), NOW - 500_000)
    subtitles = {s.stage: s for s in standings(results)}["subtitles"]
    assert subtitles.rate == pytest.approx(15 / 150)


def test_a_first_shard_is_measured_by_the_seconds_of_its_items(tmp_path: Path) -> None:
    finish(tmp_path, "search", 0, oks(10, seconds=3.0), NOW)
    assert {s.stage: s for s in standings(tmp_path)}["search"].rate == pytest.approx(1 / 3)


def test_shards_that_one_job_writes_have_no_rate(results: Path) -> None:
    finish(results, "videos", 3, oks(10), NOW)
    videos = {s.stage: s for s in standings(results)}["videos"]
    assert (videos.stage, videos.rate, videos.left) == ("videos", None, 0.0)


def test_a_stage_that_is_done_has_nothing_left(results: Path) -> None:
    found = {s.stage: s for s in standings(results)}
    assert found["videos"].left == 0.0
    assert found["clips"].left is None


def test_a_line_that_is_being_written_is_left_for_later(results: Path) -> None:
    path = results / "subtitles" / "00002.journal.jsonl"
    whole = path.read_bytes()
    entry = json.dumps({"outcome": asdict(Outcome("late")), "rows": []}).encode() + b"\n"
    for cut in (1, 12, 40, len(entry) - 1):
        path.write_bytes(whole + entry[:cut])
        assert {s.stage: s for s in standings(results)}["subtitles"].items == 25
    path.write_bytes(whole + entry)
    assert {s.stage: s for s in standings(results)}["subtitles"].items == 26


def test_answers_of_wikihow_are_no_items(tmp_path: Path) -> None:
    Journal(tmp_path / "tasks" / "wikihow.journal.jsonl", {}).add(Outcome("0"), [{"n": 1}])
    tasks = standings(tmp_path)[0]
    assert (tasks.stage, len(tasks.begun), tasks.items, tasks.shards) == ("tasks", 1, 0, None)


def test_stages_that_the_release_replaces_are_left_out(tmp_path: Path) -> None:
    for stage in ("videos", "captions", "features"):
        finish(tmp_path, stage, 0, oks(1), NOW)
    shown = [s.stage for s in standings(tmp_path)]
    assert shown[:5] == ["videos", "captions", "clips", "features", "vocabulary"]


def resumable(path: Path, seconds: Sequence[float], total: int, at: float) -> None:
    """What a training run leaves that wrote behind its last step `at`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    curve = Curve("run", total)
    for second in seconds:
        curve.add(1, torch.tensor(0.5), 0.1, 8)
        curve.columns["seconds"][-1] = second
    state = {"w": torch.zeros(1)}
    standing = TrainingStanding(1, len(seconds), state, state, torch.get_rng_state(), curve.state())
    Resume(path, {"epochs": 1}).save(standing)
    os.utime(path, (at, at))


def test_training_says_its_steps_while_it_goes_on(tmp_path: Path) -> None:
    finish(tmp_path, "embedding", 0, oks(10), NOW - 9000)
    seconds = [*range(0, 1000, 10), *range(5000, 9000, 100)]  # 100 steps, then 40 slower ones
    resumable(tmp_path / "embedding" / "max_margin-2.resume.pt", seconds, 500, NOW - 300)
    found = {s.stage: s for s in standings(tmp_path)}
    embedding = found["embedding"]
    assert (len(embedding.done), embedding.shards, len(embedding.runs)) == (1, 2, 1)
    assert embedding.rate == pytest.approx(1 / 100)  # of the last hour
    assert embedding.left == pytest.approx(360 * 100)
    shown = list(lines(list(found.values()), NOW))
    row = next(line for line in shown if line.startswith("embedding "))
    assert row.split() == "embedding 1/2 1 10 10 0 0 36/h 10 h 0 min 5 min ago".split()
    assert "embedding max_margin-2: step 140 of 500" in shown


def test_a_run_of_a_study_that_has_one_step_is_shown(tmp_path: Path) -> None:
    resumable(tmp_path / "studies" / "loss" / "a=1-1.resume.pt", [1.0], 9, NOW)
    (studies,) = [s for s in standings(tmp_path) if s.stage == "studies"]
    assert (studies.shards, studies.rate, studies.left) == (1, None, None)
    assert "studies a=1-1: step 1 of 9" in list(lines([studies], NOW))


def test_evaluation_is_a_job_a_benchmark_and_run(tmp_path: Path) -> None:
    for run in (1, 2):
        write_status(tmp_path / "embedding" / f"max_margin-{run}.status.parquet", oks(10))
    for benchmark, run, age in (("msrvtt", 1, 300), ("msrvtt", 2, 200), ("lsmdc", 1, 100)):
        path = tmp_path / "evaluation" / benchmark / f"max_margin-{run}.status.parquet"
        write_status(path, oks(50))
        os.utime(path, (NOW - age, NOW - age))
    evaluation = {s.stage: s for s in standings(tmp_path)}["evaluation"]
    assert (len(evaluation.done), evaluation.shards) == (3, 4)
    assert (evaluation.rate, evaluation.left) == (pytest.approx(0.5), pytest.approx(100))


def test_a_damaged_table_is_named_and_the_rest_is_shown(results: Path) -> None:
    path = results / "subtitles" / "00001.status.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    found = standings(results)
    assert {s.stage: s for s in found}["subtitles"].items == 15
    assert any(line.startswith(f"{path}: no whole status table") for line in lines(found, NOW))


def test_the_table_says_it_all_on_a_line_a_stage(results: Path) -> None:
    shown = list(lines(standings(results), NOW))
    row = next(line for line in shown if line.startswith("subtitles "))
    assert row.split() == "subtitles 2/4 1 25 22 2 1 0.1/s 2 min 50 s ago".split()
    assert "subtitles skipped: 2 private" in shown
    assert "subtitles failed: 1 network" in shown
    assert any(line.split() == ["clips", "0/4"] for line in shown)


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (45, "45 s"),
        (99.9, "100 s"),
        (720, "12 min"),
        (3599, "1 h 0 min"),
        (11100, "3 h 5 min"),
        (700_000, "8 d 2 h"),
    ],
)
def test_durations_are_said_in_two_units(seconds: float, says: str) -> None:
    assert duration(seconds) == says


def test_the_command_names_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no stage's tables"):
        standings(tmp_path)
    write_shard(shard_path(tmp_path / "videos", 0), [], tables.VIDEOS, [])
    run = CliRunner().invoke(app, ["status", "--results", str(tmp_path)])
    assert run.exit_code == 0
    assert run.output.splitlines()[1].split()[:2] == ["videos", "1/1"]
