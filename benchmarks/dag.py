"""Plan all of HowTo100M (23,611 tasks, 1.2 million videos) by dry run: jobs, seconds, memory.

    .venv/bin/python benchmarks/dag.py /tmp/dag

No site is asked and no stage runs: the folder gets empty files where tables would be. The second
plan is that of a folder where everything is built, with the notes that Snakemake keeps of each job.
Start-up is planning a single shard of the same workflow. Seconds are of the wall and of the
processor, since neighbours disturb the first.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TASKS_PER_SHARD = 93
"""So that 23,611 tasks are about the 256 shards of config.yaml: a shard is an hour of searching."""


@dataclass(frozen=True)
class Plan:
    """What a run of Snakemake took, in seconds and MiB, and what it said."""

    said: str
    wall: float
    processor: float
    memory: float


def snakemake(folder: Path, *arguments: str) -> Plan:
    command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", ROOT / "Snakefile"]
    command += ["--profile", "none", "--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--directory", folder, "--cores", "2"]
    started = time.monotonic()
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        said = list(run.stdout or [])
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        sys.exit("".join(said[-20:]))
    spent = usage.ru_utime + usage.ru_stime
    return Plan("".join(said), time.monotonic() - started, spent, usage.ru_maxrss / 1024)


def configure(folder: Path, tasks: int, videos: int, per_shard: int) -> None:
    """The settings of the live sites with so many shards."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["source"] = "live"
    config["tasks"]["user_agent"] = "benchmark (nobody@example.org)"
    config["shards"] = {"tasks": -(-tasks // TASKS_PER_SHARD), "videos": -(-videos // per_shard)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def build_all(folder: Path) -> None:
    """Put an empty file where each output would be, all of one age, and let Snakemake note it."""
    outputs = snakemake(folder, "all", "--summary").said.splitlines()
    moment = time.time()
    for line in outputs:
        name = line.split("\t")[0]
        if name.startswith("results/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (moment, moment))
    snakemake(folder, "all", "--touch", "--quiet", "all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=23_611)
    parser.add_argument("--videos", type=int, default=1_200_000)
    parser.add_argument("--per-shard", type=int, default=1024)
    given = parser.parse_args()
    configure(given.folder, given.tasks, given.videos, given.per_shard)
    print("| plan | jobs | s | processor s | MiB |")
    print("|---|---|---|---|---|")
    for name, target in (("one shard's clips", "results/clips/00000.parquet"), ("all", "all")):
        plan = snakemake(given.folder, target, "-n", "--quiet", "rules")
        found = re.search(r"^total\s+(\d+)", plan.said, re.MULTILINE)
        print(_row(name, found[1] if found else "0", plan), flush=True)
    build_all(given.folder)
    plan = snakemake(given.folder, "all", "-n")
    if "Nothing to be done" not in plan.said:
        sys.exit(f"something is to be done:\n{plan.said[-3000:]}")
    print(_row("all, when all is built", "0", plan))


def _row(name: str, jobs: str, plan: Plan) -> str:
    return f"| {name} | {jobs} | {plan.wall:.1f} | {plan.processor:.1f} | {plan.memory:.0f} |"


if __name__ == "__main__":
    main()
