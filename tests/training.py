"""Training as a process of its own, for tests that stop it or start several."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from feature_tables import make_pairs

SMALL = ["--dim", "32", "--max-words", "6", "--videos-per-batch", "4", "--pairs-per-video", "4"]
ENV = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def make_stage(folder: Path) -> Path:
    """Pairs of 17 videos in two shards under `pairs`, and `words.parquet`."""
    folder.mkdir(exist_ok=True)
    made = make_pairs(folder)
    (folder / "pairs").mkdir()
    for number, shard in enumerate("ab"):
        shutil.move(made / f"pairs{shard}", folder / "pairs" / f"{number:05d}.parquet")
    shutil.move(made / "words", made / "words.parquet")
    return made


def command(made: Path, output: Path, *arguments: str) -> list[str]:
    """`howto100m embedding` on those pairs; tables and weights go to the folder `output`."""
    files = {"output": "net.pth", "curve": "curve.parquet", "status": "net.status.parquet"}
    named = [part for flag, name in files.items() for part in (f"--{flag}", str(output / name))]
    stage = ["--pairs", str(made / "pairs"), "--vocabulary", str(made / "words.parquet")]
    return [sys.executable, "-m", "howto100m", "embedding", *stage, *named, *SMALL, *arguments]


def train(made: Path, output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Train to the end, in one thread."""
    return subprocess.run(
        command(made, output, *arguments), env=ENV, capture_output=True, text=True, check=False
    )
