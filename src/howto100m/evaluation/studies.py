"""A study: the figures of training runs that differ in one thing, in one table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from howto100m import tables
from howto100m.shards import Row, read_table, write_table


def collect_study(metrics: Sequence[Path], output: Path) -> None:
    """Write the table of a study: a row a setting, seed, benchmark and figure.

    The figures stand in STUDY/BENCHMARK/SETTING-SEED.metrics.parquet, and the videos that were
    trained on in STUDY/SETTING-SEED.status.parquet; a setting is NAME=VALUE, several between
    commas. `videos` is their number (of a benchmark's training data: clips), 0 for no training.
    """
    write_table(output, (row for path in metrics for row in _rows(path)), tables.STUDY)


def _rows(path: Path) -> Iterator[Row]:
    folder = path.parent.parent
    run = path.name.removesuffix(".metrics.parquet")
    setting, _, seed = run.rpartition("-")
    status = folder / f"{run}.status.parquet"
    videos = pq.ParquetFile(status).metadata.num_rows if status.exists() else 0
    for row in read_table(path).to_pylist():
        if row["run"] == run and not row["part"]:
            yield {name: row[name] for name in tables.STUDY.names if name in row} | {
                "study": folder.name,
                "setting": setting,
                "seed": int(seed),
                "videos": videos,
            }


def parts_of(setting: str) -> dict[str, str]:
    """{"target": "clips", "share": "0.2"} of target=clips,share=0.2."""
    return dict(part.split("=", 1) for part in setting.split(","))
