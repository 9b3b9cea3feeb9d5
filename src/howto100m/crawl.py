"""Crawl a shard: what is known stays, the rest is asked for, what is done stands in a journal."""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from howto100m.kinds import Kind, Status
from howto100m.shards import (
    Journal,
    Outcome,
    Patience,
    Row,
    read_table,
    run_items,
    status_path,
    write_shard,
)

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Known = dict[str, tuple[Outcome, list[Row]]]


def _always(_: Any) -> bool:
    return True


def _no_text(_: Any) -> str:
    return ""


def open_journal(output: Path, settings: Row) -> Journal:
    """The journal beside a table; `settings` are those that decide what its rows are."""
    return Journal(output.with_suffix(".journal.jsonl"), settings)


def crawl_shard(
    stage: str,
    items: Mapping[str, Item],
    work: Callable[[Item], list[Row]],
    output: Path,
    schema: pa.Schema,
    *,
    journal: Journal,
    patience: Patience,
    max_failed: float,
    asked: Callable[[Item], str] = _no_text,
    holds: Callable[[Row], bool] = _always,
) -> None:
    """Do a shard's items that are asked from a site, and write the shard.

    What the table that stands there knows is not asked again, but for items that failed and are
    worth another try: a table of the same settings, an item of which the same was `asked`, rows
    that `holds` is true for. What is done stands in the journal until the shard is written.
    """
    for scrap in output.parent.glob(f".{output.name}.*.part"):
        scrap.unlink()
    known = known_before(output, journal.settings)
    texts = _texts_before(output)
    for item, (outcome, rows) in known.items():
        same = item in items and asked(items[item]) == texts.get(item, "")
        if same and item not in journal.done and all(holds(row) for row in rows):
            journal.done[item] = (outcome, rows)
    if journal.done:
        log.info("%s: %d of %d items are known", output, len(journal.done), len(items))
    rows, outcomes = run_items(
        stage, items, work, journal=journal, patience=patience, max_failed=max_failed
    )
    asked_now = {item: text for item, needed in items.items() if (text := asked(needed))}
    told = {"settings": json.dumps(journal.settings, sort_keys=True)}
    told |= {"asked": json.dumps(asked_now)} if asked_now else {}
    write_shard(output, rows, schema.with_metadata(told), outcomes)
    journal.remove()


def settings_of(table: Path) -> Row | None:
    """The settings that a crawled table was made with, None where it does not say."""
    if not table.exists():
        return None
    told = (pq.read_schema(table).metadata or {}).get(b"settings")
    settings: Row | None = json.loads(told) if told else None
    return settings


def known_before(table: Path, settings: Row) -> Known:
    """What a table and its status table know for good, if they were made with these settings."""
    if settings_of(table) != json.loads(json.dumps(settings)) or not status_path(table).exists():
        return {}
    found = read_table(table)
    item = found.schema.names[0]
    rows = defaultdict(list)
    for row in found.to_pylist():
        rows[row[item]].append(row)
    outcomes = (_outcome(row) for row in read_table(status_path(table)).to_pylist())
    return {
        o.id: (o, rows[o.id])
        for o in outcomes
        if not o.retryable and (o.status is not Status.OK or rows[o.id])
    }


def _outcome(row: Row) -> Outcome:
    kind = row["kind"] and Kind(row["kind"])
    return Outcome(**{**row, "status": Status(row["status"]), "kind": kind})


def _texts_before(table: Path) -> dict[str, str]:
    if not table.exists():
        return {}
    texts: dict[str, str] = json.loads((pq.read_schema(table).metadata or {}).get(b"asked", b"{}"))
    return texts
