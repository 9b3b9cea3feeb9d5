"""Snakemake over a crawl that was retried, changed, or shared out over machines."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howto100m import tables
from howto100m.sample.sites import sites
from howto100m.sample.world import make_world
from howto100m.shards import (
    read_table,
    shard_of,
    shard_path,
    shard_paths,
    status_path,
    write_table,
)
from howto100m.videos.search import search_tasks
from howto100m.videos.select import Limits, select_videos
from howto100m.videos.youtube import YouTube

ROOT = Path(__file__).parents[1]
SHARDS = 2

pytestmark = pytest.mark.heavy


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--profile", "none", "--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--cores", "2", "--directory", folder, *arguments]
    run = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return run.stdout + run.stderr


def planned(folder: Path, *targets: str) -> dict[str, int]:
    lines = snakemake(folder, *targets, "-n", "--quiet", "rules").splitlines()
    pairs = [line.split() for line in lines]
    jobs = {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdigit()}
    return {rule: n for rule, n in jobs.items() if rule not in ("total", *targets)}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample world that is crawled up to the videos table."""
    folder = tmp_path_factory.mktemp("searched")
    results = folder / "results"
    known = make_world(3, 10)
    (results / "sample" / "media").mkdir(parents=True)
    for video in known.videos.values():
        if video.media:
            (results / "sample" / "media" / f"{video.video_id}.mp4").write_bytes(b"no video")
    known.save(results / "sample" / "world.json")
    rows: list[dict[str, Any]] = [
        {"task_id": str(n), "title": query.removeprefix("how to "), "visual": True}
        | {"category_1": "Food", "category_2": "", "verb": "make", "reason": ""}
        for n, query in enumerate(known.searches)
    ]
    with sites(results / "sample") as door:
        for shard in range(SHARDS):
            mine = [row for row in rows if shard_of(row["task_id"], SHARDS) == shard]
            table, status = shard_path(results / "tasks", shard), []
            status = [{"id": row["task_id"], "status": "ok", "message": ""} for row in mine]
            numbers = {"kind": None, "attempts": 1, "seconds": 0.0, "bytes": 0}
            write_table(table, mine, tables.TASKS)
            write_table(status_path(table), [row | numbers for row in status], tables.STATUS)
            output = shard_path(results / "search", shard)
            search_tasks(table, output, YouTube(proxy=door.proxy), results=200, max_failed=0.0)
    limits = Limits(max_rank=200, min_views=100, max_duration=2000)
    paths = [shard_paths(results / stage) for stage in ("search", "tasks")]
    select_videos(*paths, results / "videos", SHARDS, limits)
    shutil.copyfile(ROOT / "config.yaml", folder / "config.yaml")
    return folder


def bytes_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in shard_paths(folder / "results" / "subtitles")]


def test_machines_share_the_shards_out_and_their_tables_come_together(
    searched: Path, tmp_path: Path
) -> None:
    machines = [tmp_path / "one", tmp_path / "two"]
    for number, machine in enumerate(machines):
        shutil.copytree(searched, machine)
        snakemake(machine, f"results/subtitles/{number:05d}.parquet")
        assert len(shard_paths(machine / "results" / "subtitles")) == 1
    shutil.copytree(
        machines[1] / "results" / "subtitles",
        machines[0] / "results" / "subtitles",
        dirs_exist_ok=True,
    )
    assert planned(machines[0], "subtitles") == {}
    snakemake(searched, "subtitles")
    assert bytes_of(machines[0]) == bytes_of(searched)


def test_a_retry_and_a_new_search_rerun_only_the_shards_that_they_changed(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "line"
    shutil.copytree(searched, folder)
    snakemake(folder, "subtitles")
    before = bytes_of(folder)
    table = shard_paths(folder / "results" / "subtitles")[1]
    found = pq.read_table(table)
    lost = found["video_id"][0].as_py()
    write_table(table, found.slice(1), found.schema)
    status = read_table(status_path(table)).to_pylist()
    gone = {"status": "failed", "kind": "network", "message": "HTTP Error 503"}
    status = [row | (gone if row["id"] == lost else {}) for row in status]
    write_table(status_path(table), status, tables.STATUS)

    snakemake(folder, "retry")
    assert "1 of 1 failed items are settled" in (folder / "logs" / "retry.log").read_text()
    assert bytes_of(folder) == before
    assert planned(folder, "subtitles") == {}

    # One video is no longer found: one shard of the videos table changes, and what depends on it.
    for path in shard_paths(folder / "results" / "search"):
        hits = pq.read_table(path)
        kept = pa.array([video_id != lost for video_id in hits["video_id"].to_pylist()])
        write_table(path, hits.filter(kept), hits.schema)
    snakemake(folder, "videos")
    assert planned(folder, "subtitles") == {"fetch_subtitles": 1}
    snakemake(folder, "subtitles")
    after = bytes_of(folder)
    assert after[0] == before[0]
    assert pq.read_table(table)["video_id"].to_pylist() == found["video_id"].to_pylist()[1:]
    assert "items are known" in (folder / "logs" / "subtitles" / "00001.log").read_text()
