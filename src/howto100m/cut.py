"""Into how many shards a folder of tables is cut: not to be changed while they stand.

Read at every start of Snakemake, so it imports nothing heavy.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from howto100m.kinds import UserError

NOTE = "shards.json"
"""The file in the folder of all tables that has the numbers of shards it was begun with."""
_CUT: Mapping[str, tuple[str, ...]] = {
    "tasks": ("tasks", "search"),
    "videos": (
        "videos",
        "captions",
        "subtitles",
        "clips",
        "media",
        "features",
        "features/2d",
        "features/3d",
        "pairs",
    ),
}
"""The stages' folders that a setting `shards.<name>` cuts into files."""


def refuse_other_cut(results: Path, shards: Mapping[str, int]) -> None:
    """Raise UserError where tables were cut into another number of shards than the settings say.

    Both would lie side by side, and stages that read a whole folder would take items twice.
    """
    path = results / NOTE
    known = json.loads(path.read_text()) if path.exists() else {}
    for name, number in shards.items():
        folders = [results / folder for folder in _CUT[name]]
        beyond = any((folder / f"{number:05d}.parquet").exists() for folder in folders)
        if not beyond and known.get(name, number) == number:
            continue
        built = [folder for folder in folders if any(folder.glob("*.parquet"))]
        if built:
            was = f"{known[name]}" if name in known else "more"
            raise UserError(
                f"config: shards.{name} is {number}, but {results} was cut into {was} shards, and"
                f" two cuts must not mix: set it back, or delete {' '.join(map(str, built))} to"
                " build them anew"
            )


def keep_cut(results: Path, shards: Mapping[str, int]) -> None:
    """Write down into how many shards the tables of a folder are cut."""
    results.mkdir(parents=True, exist_ok=True)
    part = results / f".{NOTE}.part"
    part.write_text(json.dumps(shards) + "\n")
    part.replace(results / NOTE)
