"""Build the sample world's line from several seeds, and print what each run learned and cost.

.venv/bin/python benchmarks/sample_worlds.py FOLDER --seeds 1 2 3
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import yaml

ROOT = Path(__file__).parents[1]
FIGURES = """
    SELECT benchmark, metric, string_agg(run || ' ' || round(value, 3), ', ' ORDER BY run),
           any_value(round(chance, 3))
    FROM (SELECT DISTINCT * FROM '{0}/results/evaluation/metrics.parquet') GROUP BY 1, 2
    ORDER BY 1, 2
"""


def build(folder: Path, seed: int, cores: int) -> float:
    """Run the whole line in a folder, with another world and other weights; return the seconds."""
    folder.mkdir(parents=True)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["sample"]["seed"] = seed
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--workflow-profile", str(ROOT / "profiles" / "default"), "--cores", str(cores)]
    started = time.monotonic()
    with (folder / "log").open("w") as log:
        subprocess.run([*command, "--directory", str(folder)], stdout=log, stderr=log, check=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to build; must not hold earlier runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        folder = arguments.folder / f"world-{seed}"
        seconds = build(folder, seed, arguments.cores)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"world {seed}: {seconds:.0f} s, largest job so far {peak:.2f} GiB")
        for benchmark, metric, runs, chance in duckdb.sql(FIGURES.format(folder)).fetchall():
            print(f"  {benchmark} {metric}: {runs}, chance {chance}")


if __name__ == "__main__":
    main()
