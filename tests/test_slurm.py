"""The Slurm profile on a real Slurm: the line up to the embedding, a killed job done again."""

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from howto100m.sample.render import render_all
from howto100m.sample.world import World, make_world
from howto100m.shards import shard_of
from howto100m.validate import validate
from slurm_cluster import cluster, lacking, visible_gpus

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(1800),  # 160 s on a quiet machine of two cores, the one run for all tests
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]

# The executor looks after jobs at ever longer intervals, which would be most of the test.
SNAKEMAKE = """
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, longer: None)
from snakemake.cli import main
main()
"""
AT_ONCE = """
    --slurm-status-command squeue --slurm-init-seconds-before-status-checks 1
    --latency-wait 5 --slurm-no-account
"""
"""A cluster of one node, without accounting, that answers at once."""


@dataclass(frozen=True)
class Job:
    """What squeue says of a job, running or ended, and the GPUs that it saw."""

    id: int
    state: str
    rule: str
    partition: str
    cpus: int
    memory: str
    minutes: str
    gpus: str
    visible: str


def jobs() -> list[Job]:
    fields = "JobID,State,Comment,Partition,NumCPUs,MinMemory,TimeLimit,tres-per-job"
    listed = subprocess.run(
        [
            "squeue",
            "--noheader",
            "--states=all",
            "--sort=i",
            f"--Format={fields.replace(',', ':|,')}:|",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [[cell.strip() for cell in line.split("|")] for line in listed.stdout.splitlines()]
    seen = visible_gpus()
    return [
        Job(int(r[0]), r[1], r[2], r[3], int(r[4]), *r[5:8], seen.get(int(r[0]), "")) for r in rows
    ]


@dataclass(frozen=True)
class Run:
    """Runs of the workflow on the cluster: where, what they said, their jobs, the one killed."""

    folder: Path
    code: int
    said: str
    jobs: list[Job]
    killed: int

    def of(self, rule: str) -> list[Job]:
        return [job for job in self.jobs if rule in job.rule]


def small_world() -> World:
    """A world with one good video in each of two shards; the others are too unpopular."""
    known = make_world(1, 6)
    shown = [video for video in known.videos.values() if video.media and not video.reason]
    good = {shard_of(video.video_id, 2): video.video_id for video in shown}.values()
    videos = {
        name: video if name in good else replace(video, views=min(video.views, 9), listed=True)
        for name, video in known.videos.items()
    }
    return replace(known, videos=videos)


def configure(folder: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings = config["sample"]["settings"]
    settings["shards"] = {"tasks": 1, "videos": 2}
    settings["embedding"] |= {"processes": 2, "dim": 32, "epochs": 2, "videos_per_batch": 2}
    settings["embedding"] |= {"seeds": [1]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, said: Path, target: str, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", SNAKEMAKE, target, "--snakefile", str(ROOT / "Snakefile")]
    command += ["--profile", str(ROOT / "profiles" / "slurm"), *AT_ONCE.split()]
    command += ["--workflow-profile", str(ROOT / "profiles" / "default"), *more]
    with said.open("a") as output:
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tasks as a job; then the rest of the crawl here, all else to the embedding as jobs.

    The first job of the features is killed.
    """
    folder = tmp_path_factory.mktemp("cluster")
    configure(folder)
    known = small_world()
    shown = [video for video in known.videos.values() if video.media and video.views > 9]
    render_all(shown, folder / "results" / "sample" / "media", 2)
    known.save(folder / "results" / "sample" / "world.json")
    said, killed = folder / "said", 0
    with cluster():
        first = start(folder, said, "tasks")
        assert first.wait() == 0, said.read_text()[-8000:]
        rest = start(folder, said, "embedding", "--config", "crawl_here=true")
        while rest.poll() is None:
            killed = killed or _kill_one("extract_features")
            time.sleep(0.2)
        listed = jobs()
    return Run(folder, rest.returncode, said.read_text(), listed, killed)


def _kill_one(rule: str) -> int:
    """Kill the processes of the rule's first job, as a node does that runs out of memory."""
    for job in jobs():
        if rule in job.rule and job.state == "RUNNING":
            subprocess.run(["scancel", "--full", "--signal=KILL", str(job.id)], check=True)
            return job.id
    return 0


def test_the_line_runs_through_the_profile(run: Run) -> None:
    assert run.code == 0, run.said[-8000:]
    assert list(validate(run.folder / "results")) == []
    pairs = run.folder / "results" / "pairs"
    assert all(pq.read_metadata(path).num_rows > 0 for path in pairs.glob("?????.parquet"))


def test_jobs_that_talk_to_sites_run_where_they_are_told_to(run: Run) -> None:
    """As jobs, or here, with only the others as jobs."""
    assert [job.state for job in run.of("mine_tasks")] == ["COMPLETED"]
    assert "localrule mine_tasks" not in run.said
    for rule, number in {"search_tasks": 1, "fetch_subtitles": 2, "download_media": 2}.items():
        assert not run.of(rule)
        assert run.said.count(f"localrule {rule}:") == number
    for rule in ("select_videos", "build_vocabulary"):
        (job,) = run.of(rule)
        assert (job.state, job.partition, job.gpus, job.visible) == ("COMPLETED", "cpu", "N/A", "")


def test_a_job_of_the_features_has_one_gpu_of_its_own(run: Run) -> None:
    done = [job for job in run.of("extract_features") if job.id != run.killed]
    assert [(job.state, job.partition, job.cpus, job.gpus) for job in done] == [
        ("COMPLETED", "gpu", 16, "gres:gpu:1")
    ] * 2
    assert all(job.visible in ("0", "1") for job in done)
    features = run.folder / "results" / "features"
    assert len(list(features.glob("[23]d/?????.parquet"))) == 4


def test_training_is_torchrun_over_the_gpus_of_a_node(run: Run) -> None:
    (job,) = run.of("train_embedding")
    assert (job.state, job.partition, job.cpus, job.gpus) == ("COMPLETED", "gpu", 16, "gres:gpu:2")
    assert (job.memory, job.minutes, job.visible) == ("16000M", "3-00:00:00", "0,1")
    embedding = run.folder / "results" / "embedding"
    curve = pq.read_table(embedding / "max_margin-1.curve.parquet")
    assert curve["epoch"].to_pylist() == [1, 2]
    assert (embedding / "max_margin-1.pth").exists()


def test_a_killed_job_is_done_again_with_more_memory_and_time(run: Run) -> None:
    killed, *others = sorted(run.of("extract_features"), key=lambda job: job.id != run.killed)
    assert killed.id == run.killed and killed.state in ("CANCELLED", "FAILED")
    assert {job.state for job in run.jobs if job.id != run.killed} == {"COMPLETED"}
    asked = sorted((job.memory, job.minutes) for job in (killed, *others))
    assert asked == [("16000M", "8:00:00")] * 2 + [("32000M", "16:00:00")]
    assert "Trying to restart job" in run.said


def test_small_jobs_are_one_submission(run: Run) -> None:
    for group in ("clips", "pairs"):
        (job,) = run.of(f"rule_{group}")
        assert (job.state, job.partition, job.cpus) == ("COMPLETED", "cpu", 2)


def test_each_shard_has_its_log(run: Run) -> None:
    for stage in ("subtitles", "clips", "features", "pairs"):
        for shard in ("00000", "00001"):
            assert (run.folder / "logs" / stage / f"{shard}.log").stat().st_size > 0
    assert any((run.folder / "logs" / "slurm").rglob(f"{run.killed}.log"))
