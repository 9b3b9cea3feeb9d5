"""Train the sample world with each loss, and print what each learned, by seed.

    .venv/bin/python benchmarks/sample_losses.py . /tmp/losses --seeds 1 2 3

Needs a folder in which `make run` was done. Held-out videos decide; no setting was chosen on them.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import yaml

from howto100m.config import flags, resolve
from howto100m.evaluation.plan import weight_settings

ROOT = Path(__file__).parents[1]
LOSSES: dict[str, dict[str, Any]] = {
    "max_margin": {},
    "max_margin, no intra-video negatives": {"intra_share": 0.0},
    "mil_nce": {"loss": "mil_nce"},
    "mil_nce, textbook form": {"loss": "mil_nce", "weighting": "paper"},
}
FIGURES = """
    SELECT benchmark, metric, value FROM '{0}/sample_*.parquet' WHERE run = 'run' AND part = ''
"""
SHOWN = {"sample_clips": "R@10", "sample_steps": "recall"}


def call(command: str, *arguments: str | Path) -> None:
    line = [sys.executable, "-m", "howto100m", command, *map(str, arguments)]
    run = subprocess.run(line, check=False, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(line)}\n{run.stderr}")


def measure(
    built: Path, folder: Path, config: dict[str, Any], loss: dict[str, Any], seed: int
) -> dict[str, float]:
    """Train once, test on both benchmarks: the figures by benchmark."""
    settings = weight_settings(config["embedding"] | loss)
    words = built / "results/vocabulary/vocabulary.parquet"
    texts = ["--vocabulary", words, "--max-words", config["pairs"]["max_words"]]
    net, curve, status = (folder / name for name in ("net.pth", "curve.parquet", "status.parquet"))
    call(
        *("embedding", "--pairs", built / "results/pairs", *texts, "--output", net),
        *("--curve", curve, "--status", status, "--seed", str(seed), *flags(settings).split()),
    )
    for name in SHOWN:
        benchmark = config["evaluation"]["benchmarks"][name]
        features = built / "results/evaluation" / benchmark["videos"]
        call(
            *("evaluation", "--checkpoint", net, *texts, "--benchmark", name),
            *("--protocol", benchmark["protocol"]),
            *("--annotations", built / benchmark["annotations"], "--ties", "mean"),
            *("--features-2d", features / "2d.parquet", "--features-3d", features / "3d.parquet"),
            *("--metrics", folder / f"{name}.parquet", "--status", status),
            *("--rankings", folder / "rankings"),
        )
    found = duckdb.sql(FIGURES.format(folder)).fetchall()
    return {name: value for name, metric, value in found if metric == SHOWN[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("built", type=Path, help="folder in which `make run` was done")
    parser.add_argument("folder", type=Path, help="for checkpoints and figures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    config = resolve(yaml.safe_load((ROOT / "config.yaml").read_text()))
    print("| loss | text to clip, R@10 | step recall |\n|---|---|---|")
    for name, loss in LOSSES.items():
        runs = [
            measure(arguments.built, arguments.folder, config, loss, seed)
            for seed in arguments.seeds
        ]
        columns = (" ".join(f"{run[shown]:.3f}" for run in runs) for shown in SHOWN)
        print(f"| {name} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
