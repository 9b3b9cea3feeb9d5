"""The Slurm profile on a real Slurm: jobs with the rules' resources, a killed one done again."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from howto100m.sample.world import make_world
from howto100m.validate import validate
from slurm_cluster import cluster, lacking

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(bool(lacking()), reason=lacking())]

AT_ONCE = """
    --slurm-status-command squeue --slurm-init-seconds-before-status-checks 1
    --seconds-between-status-checks 1 --latency-wait 5 --slurm-no-account
"""
"""A cluster of one node, without accounting, that answers at once."""


@dataclass(frozen=True)
class Job:
    """What squeue says of a job, running or ended."""

    id: int
    state: str
    rule: str
    partition: str
    cpus: int
    memory: str
    minutes: str
    gpus: str


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
    return [Job(int(r[0]), r[1], r[2], r[3], int(r[4]), r[5], r[6], r[7]) for r in rows]


@dataclass(frozen=True)
class Run:
    """A run of the workflow on the cluster: where, what it said, its jobs, the one killed."""

    folder: Path
    code: int
    said: str
    jobs: list[Job]
    killed: int

    def of(self, rule: str) -> list[Job]:
        return [job for job in self.jobs if rule in job.rule]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The sample line up to the clips, with the first job of the subtitles killed."""
    folder = tmp_path_factory.mktemp("cluster")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["sample"]["settings"]["shards"] = {"tasks": 1, "videos": 2}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    world = folder / "results" / "sample"
    (world / "media").mkdir(parents=True)
    known = make_world(1, 6)
    for video in known.videos.values():
        if video.media:  # what they show is no matter up to the clips
            (world / "media" / f"{video.video_id}.mp4").write_bytes(b"no video at all")
    known.save(world / "world.json")
    command = [sys.executable, "-m", "snakemake", "clips", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--profile", str(ROOT / "profiles" / "slurm"), *AT_ONCE.split()]
    command += [
        "--workflow-profile",
        str(ROOT / "profiles" / "default"),
        "--directory",
        str(folder),
    ]
    with cluster(), (folder / "said").open("w") as said:
        workflow = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        killed = 0
        while workflow.poll() is None:
            killed = killed or _kill_one("fetch_subtitles")
            time.sleep(0.2)
        listed = jobs()
    return Run(folder, workflow.returncode, (folder / "said").read_text(), listed, killed)


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
    clips = run.folder / "results" / "clips"
    assert sum(pq.read_metadata(path).num_rows for path in clips.glob("?????.parquet")) > 0


def test_a_killed_job_is_done_again_with_more_memory_and_time(run: Run) -> None:
    first, *others = run.of("fetch_subtitles")
    assert first.id == run.killed and first.state in ("CANCELLED", "FAILED")
    assert [job.state for job in run.jobs if job.id != run.killed] == ["COMPLETED"] * (
        len(run.jobs) - 1
    )
    assert len(others) == 2
    asked = sorted((job.memory, job.minutes) for job in (first, *others))
    assert asked == [("1000M", "1-00:00:00")] * 2 + [("2000M", "2-00:00:00")]
    assert "Trying to restart job" in run.said


def test_small_jobs_are_one_submission(run: Run) -> None:
    (clips,) = run.of("clips")
    assert (clips.state, clips.partition, clips.cpus) == ("COMPLETED", "cpu", 2)


def test_each_shard_has_its_log(run: Run) -> None:
    for name in ("subtitles/00000", "subtitles/00001", "clips/00000", "clips/00001"):
        assert (run.folder / "logs" / f"{name}.log").stat().st_size > 0
    assert any((run.folder / "logs" / "slurm").rglob(f"{run.killed}.log"))
