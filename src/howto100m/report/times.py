"""How long each stage worked, read from the status tables and the loss curves."""

from dataclasses import dataclass
from pathlib import Path

import duckdb

STAGES = ("search", "subtitles", "media", "features", "pairs")
"""Stages whose status tables say how long each item took."""


@dataclass(frozen=True)
class Time:
    """A stage, how many items it counts, and the seconds that they took together."""

    stage: str
    items: int
    seconds: float

    @property
    def clock(self) -> str:
        """Hours, minutes, seconds."""
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def times(results: Path) -> list[Time]:
    """The stages that were built; jobs side by side add up, so the clock showed less."""
    found = []
    with duckdb.connect() as database:
        for stage in STAGES:
            files = [str(file) for file in sorted(results.glob(f"{stage}/*.status.parquet"))]
            if files:
                row = database.execute(
                    "SELECT count(*), coalesce(sum(seconds), 0) FROM read_parquet(?)", [files]
                ).fetchall()[0]
                found.append(Time(stage, *row))
        curves = [str(file) for file in sorted(results.glob("embedding/*.curve.parquet"))]
        for curve in curves:
            row = database.execute(
                "SELECT count(*), coalesce(max(seconds), 0) FROM read_parquet(?)", [curve]
            ).fetchall()[0]
            name = Path(curve).name.removesuffix(".curve.parquet")
            found.append(Time(f"embedding: {name} (steps)", *row))
    return found
