"""Choose the tasks: the kept categories, then a visual verb (paper, section 3.1)."""

import csv
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from howto100m import tables
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Outcome, check_failures, shard_of, shard_path, write_shard
from howto100m.tasks.lists import read_official, read_own
from howto100m.tasks.verbs import Overrides, Verb, decide, read_verbs
from howto100m.tasks.wikihow import Page, WikiHow

log = logging.getLogger(__name__)

JOURNAL = "wikihow.journal.jsonl"
"""Beside the shards while WikiHow is asked; Snakemake does not know of it."""


@dataclass(frozen=True)
class Task:
    """A row of the tasks table."""

    task_id: str
    title: str
    category_1: str
    category_2: str
    verb: str
    visual: bool
    reason: str


def top_two(
    categories: Iterable[str], parents: Mapping[str, str], kept: Collection[str]
) -> tuple[str, str]:
    """Level 1 and level 2 category of a page that is filed under `categories`.

    A page may be filed in several trees: one under a kept category wins, else the first. ("", "")
    where the tree knows none of its categories.
    """
    paths = [path for category in categories if (path := _climb(category, parents))]
    for path in [p for p in paths if p[-1] in kept] + paths:
        return path[-1], path[-2] if len(path) > 1 else ""
    return "", ""


def _climb(category: str, parents: Mapping[str, str]) -> list[str]:
    """The way from a category up to its top one; empty where the tree does not know it."""
    path: list[str] = []
    while category in parents and category not in path:
        path.append(category)
        category = parents[category]
    return path


def select(
    task_id: str,
    title: str,
    categories: tuple[str, str],
    kept: Collection[str],
    verbs: Mapping[str, Verb],
    by_hand: Mapping[str, str] | None = None,
) -> tuple[Task, Outcome]:
    """Decide about one title. An empty `kept` leaves the category filter out.

    A decision `by_hand` ("visual" or "abstract", by task id) goes before every filter.
    """
    decision = decide(title, verbs)
    if by_hand and task_id in by_hand:
        why = f"overridden: {by_hand[task_id]}"
        visual = by_hand[task_id] == "visual"
        task = Task(task_id, title, *categories, decision.verb, visual, why)
        error = ItemError(Kind.NOT_VISUAL, why)
        return task, Outcome(task_id) if visual else Outcome.of(task_id, error)
    if kept and categories[0] not in kept:
        where = categories[0] or "no known category"
        task = Task(task_id, title, *categories, decision.verb, False, f"category: {where}")
        return task, Outcome.of(task_id, ItemError(Kind.OTHER_CATEGORY, where))
    task = Task(task_id, title, *categories, decision.verb, decision.visual, decision.reason)
    if decision.kind is None:
        return task, Outcome(task_id)
    return task, Outcome.of(task_id, ItemError(decision.kind, decision.reason))


def mine_tasks(
    wikihow: WikiHow,
    output: Path,
    shards: int,
    kept: Collection[str],
    overrides: Overrides | None = None,
) -> None:
    """Ask WikiHow for all its articles and write the shards of the tasks table.

    Stopped anywhere, the next call goes on where it was; once the table is written, the next call
    asks anew.
    """
    overrides = overrides or Overrides()
    journal = wikihow.journal(output / JOURNAL)
    parents = wikihow.parents(journal)
    unknown = sorted(set(kept) - {name for name, parent in parents.items() if not parent})
    if unknown:
        raise UserError(f"tasks.categories names {unknown}, which WikiHow's category tree has not")
    verbs = overrides.over(read_verbs())
    chosen = [
        _select_page(page, parents, kept, verbs, overrides.tasks) for page in wikihow.pages(journal)
    ]
    _write_shards(output, shards, chosen, overrides)
    journal.remove()


def _select_page(
    page: Page,
    parents: Mapping[str, str],
    kept: Collection[str],
    verbs: Mapping[str, Verb],
    by_hand: Mapping[str, str],
) -> tuple[Task, Outcome]:
    categories = top_two(page.categories, parents, kept)
    return select(str(page.page_id), page.title, categories, kept, verbs, by_hand)


def list_tasks(
    table: Path,
    output: Path,
    shards: int,
    kept: Collection[str],
    max_failed: float,
    overrides: Overrides | None = None,
) -> None:
    """Decide about the titles of a list of the user's, and write the shards of the tasks table.

    Without categories the category filter is left out. Raises StageStopped (see `check_failures`).
    """
    overrides = overrides or Overrides()
    found = read_own(table)
    if not any(entry.categories[0] for entry in found.entries.values()):
        log.warning("%s has no categories: the category filter is left out", table)
        kept = ()
    verbs = overrides.over(read_verbs())
    chosen = [
        select(entry.task_id, entry.title, entry.categories, kept, verbs, overrides.tasks)
        for entry in found.entries.values()
    ]
    _write_shards(output, shards, chosen, overrides, found.failures, max_failed)


def official_tasks(
    videos: Path,
    task_ids: Path,
    output: Path,
    shards: int,
    max_failed: float,
    overrides: Overrides | None = None,
) -> None:
    """Take over HowTo100M's tasks, and write the shards of the tasks table.

    A task is in the official list when HowTo100M_v1.csv (`videos`) has a video of it; all of those
    are visual, but for those that the user overrules. Raises StageStopped (see `check_failures`).
    """
    overrides = overrides or Overrides()
    found, verbs = read_official(videos, task_ids), read_verbs()
    chosen: list[tuple[Task, Outcome]] = []
    for entry in found.entries.values():
        task, own = select(entry.task_id, entry.title, entry.categories, (), verbs, overrides.tasks)
        if entry.task_id in overrides.tasks:
            chosen.append((task, own))
            continue
        visual, outcome, reason = True, Outcome(entry.task_id), "in the official list"
        if not entry.videos:
            visual, reason = False, f"no video of it in {videos.name}"
            outcome = Outcome.of(entry.task_id, ItemError(Kind.NO_VIDEOS, reason))
        chosen.append((replace(task, visual=visual, reason=reason), outcome))
    _write_shards(output, shards, chosen, overrides, found.failures, max_failed)


def _write_shards(
    output: Path,
    shards: int,
    chosen: list[tuple[Task, Outcome]],
    overrides: Overrides,
    failures: Sequence[Outcome] = (),
    max_failed: float = 1.0,
) -> None:
    """Write all shards; what failed has a row in a status table alone."""
    _log_counts(chosen, overrides, failures)
    check_failures("tasks", [*failures, *(outcome for _, outcome in chosen)], max_failed)
    tasks: list[list[Task]] = [[] for _ in range(shards)]
    outcomes: list[list[Outcome]] = [[] for _ in range(shards)]
    for task, outcome in chosen:
        tasks[shard_of(task.task_id, shards)].append(task)
        outcomes[shard_of(task.task_id, shards)].append(outcome)
    for failure in failures:
        outcomes[shard_of(failure.id, shards)].append(failure)
    for shard in range(shards):
        rows = sorted(tasks[shard], key=lambda task: task.task_id)
        status = sorted(outcomes[shard], key=lambda outcome: outcome.id)
        write_shard(shard_path(output, shard), map(asdict, rows), tables.TASKS, status)


def select_titles(
    titles: Path, output: Path, kept: Collection[str], overrides: Overrides | None = None
) -> None:
    """Decide about the titles of a TSV file, and write one tasks table.

    The header names the columns: `title`, and optionally `task_id` (else the line number),
    `category_1`, `category_2`. Without categories the category filter is left out.
    """
    overrides = overrides or Overrides()
    verbs = overrides.over(read_verbs())
    rows = list(_read_titles(titles))
    if not any(row[2][0] for row in rows):
        log.warning("%s has no categories: the category filter is left out", titles)
        kept = ()
    chosen = [
        select(task_id, title, categories, kept, verbs, overrides.tasks)
        for task_id, title, categories in rows
    ]
    _log_counts(chosen, overrides)
    _write(output, chosen)


def _read_titles(path: Path) -> Iterator[tuple[str, str, tuple[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if "title" not in (reader.fieldnames or []):
            raise UserError(f"{path}:1: the header must name a column `title`, separated by tabs")
        for row in reader:
            number = reader.line_num
            if None in row or not row["title"]:
                raise UserError(f"{path}:{number}: expected {reader.fieldnames}, found {row}")
            categories = (row.get("category_1") or "", row.get("category_2") or "")
            yield row.get("task_id") or str(number), row["title"], categories


def _write(path: Path, chosen: Iterable[tuple[Task, Outcome]]) -> None:
    ordered = sorted(chosen, key=lambda both: both[0].task_id)
    for one, other in pairwise(ordered):
        if one[0].task_id == other[0].task_id:
            raise UserError(
                f"task_id {one[0].task_id} is given twice: {one[0].title!r}, {other[0].title!r}"
            )
    rows, outcomes = (asdict(task) for task, _ in ordered), (outcome for _, outcome in ordered)
    write_shard(path, rows, tables.TASKS, outcomes)


def _log_counts(
    chosen: Collection[tuple[Task, Outcome]], overrides: Overrides, failures: Sequence[Outcome] = ()
) -> None:
    unknown = sorted(overrides.tasks.keys() - {task.task_id for task, _ in chosen})
    if unknown:
        log.warning("no task has the overridden ids %s", ", ".join(unknown))
    outcomes = [*failures, *(outcome for _, outcome in chosen)]
    counts = Counter(outcome.kind or "kept" for outcome in outcomes)
    log.info(
        "%d titles: %s", counts.total(), ", ".join(f"{n} {k}" for k, n in counts.most_common())
    )
