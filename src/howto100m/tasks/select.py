"""Choose the tasks: the kept categories, then a visual verb (paper, section 3.1)."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from howto100m import tables
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Outcome, check_failures, shard_of, shard_path, write_shard
from howto100m.tasks.lists import TaskList, read_official, read_own
from howto100m.tasks.objects import KINDS, Object, read_objects
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


@dataclass(frozen=True)
class Rules:
    """What decides about a title: its category, its verb, what the verb acts on.

    Empty `categories` leave that filter out. `tasks` has the user's own word by task id, "visual"
    or "abstract", which goes before every filter.
    """

    categories: Collection[str]
    verbs: Mapping[str, Verb]
    objects: Mapping[str, Object]
    tasks: Mapping[str, str]

    @classmethod
    def of(
        cls,
        categories: Collection[str] = (),
        overrides: Overrides | None = None,
        abstract_objects: Collection[str] = KINDS,
    ) -> "Rules":
        """The rules of this package, with the user's own word in the place of some.

        `abstract_objects` are the kinds of objects that make a task abstract (objects.py).
        """
        own = overrides or Overrides()
        objects = read_objects(abstract_objects)
        return cls(categories, own.over(read_verbs()), objects, own.tasks)


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
    task_id: str, title: str, categories: tuple[str, str], rules: Rules
) -> tuple[Task, Outcome]:
    """Decide about one title."""
    decision = decide(title, rules.verbs, rules.objects)
    if own := rules.tasks.get(task_id):
        why = f"overridden: {own}"
        task = Task(task_id, title, *categories, decision.verb, own == "visual", why)
        error = ItemError(Kind.NOT_VISUAL, why)
        return task, Outcome(task_id) if task.visual else Outcome.of(task_id, error)
    if rules.categories and categories[0] not in rules.categories:
        where = categories[0] or "no known category"
        task = Task(task_id, title, *categories, decision.verb, False, f"category: {where}")
        return task, Outcome.of(task_id, ItemError(Kind.OTHER_CATEGORY, where))
    task = Task(task_id, title, *categories, decision.verb, decision.visual, decision.reason)
    if decision.kind is None:
        return task, Outcome(task_id)
    return task, Outcome.of(task_id, ItemError(decision.kind, decision.reason))


def mine_tasks(wikihow: WikiHow, output: Path, shards: int, rules: Rules) -> None:
    """Ask WikiHow for all its articles and write the shards of the tasks table.

    Stopped anywhere, the next call goes on where it was; once the table is written, the next call
    asks anew.
    """
    journal = wikihow.journal(output / JOURNAL)
    parents = wikihow.parents(journal)
    tops = {name for name, parent in parents.items() if not parent}
    if unknown := sorted({*rules.categories} - tops):
        raise UserError(f"tasks.categories names {unknown}, which WikiHow's category tree has not")
    chosen = [_select_page(page, parents, rules) for page in wikihow.pages(journal)]
    _write_shards(output, shards, chosen, rules)
    journal.remove()


def _select_page(page: Page, parents: Mapping[str, str], rules: Rules) -> tuple[Task, Outcome]:
    categories = top_two(page.categories, parents, rules.categories)
    return select(str(page.page_id), page.title, categories, rules)


def list_tasks(table: Path, output: Path, shards: int, max_failed: float, rules: Rules) -> None:
    """Decide about the titles of a list of the user's, and write the shards of the tasks table.

    Without categories the category filter is left out. Raises StageStopped (see `check_failures`).
    """
    found = read_own(table)
    _write_shards(output, shards, _select_list(table, found, rules), rules, found, max_failed)


def select_titles(titles: Path, output: Path, max_failed: float, rules: Rules) -> None:
    """Decide about the titles of a list, kept as they are written, and write one tasks table.

    As `list_tasks` otherwise.
    """
    found = read_own(titles, as_written=True)
    chosen = _select_list(titles, found, rules)
    _check(chosen, rules, found.failures, max_failed)
    _write(output, chosen, found.failures)


def _select_list(path: Path, found: TaskList, rules: Rules) -> list[tuple[Task, Outcome]]:
    entries = found.entries.values()
    if rules.categories and not any(entry.categories[0] for entry in entries):
        log.warning("%s has no categories: the category filter is left out", path)
        rules = replace(rules, categories=())
    return [select(entry.task_id, entry.title, entry.categories, rules) for entry in entries]


def official_tasks(
    videos: Path, task_ids: Path, output: Path, shards: int, max_failed: float, rules: Rules
) -> None:
    """Take over HowTo100M's tasks, and write the shards of the tasks table.

    A task is in the official list when HowTo100M_v1.csv (`videos`) has a video of it; all of those
    are visual, but for those that the user overrules. Raises StageStopped (see `check_failures`).
    """
    found = read_official(videos, task_ids)
    chosen: list[tuple[Task, Outcome]] = []
    for entry in found.entries.values():
        task, own = select(
            entry.task_id, entry.title, entry.categories, replace(rules, categories=())
        )
        if entry.task_id in rules.tasks:
            chosen.append((task, own))
            continue
        visual, outcome, reason = True, Outcome(entry.task_id), "in the official list"
        if not entry.videos:
            visual, reason = False, f"no video of it in {videos.name}"
            outcome = Outcome.of(entry.task_id, ItemError(Kind.NO_VIDEOS, reason))
        chosen.append((replace(task, visual=visual, reason=reason), outcome))
    _write_shards(output, shards, chosen, rules, found, max_failed)


def _write_shards(
    output: Path,
    shards: int,
    chosen: Sequence[tuple[Task, Outcome]],
    rules: Rules,
    found: TaskList | None = None,
    max_failed: float = 1.0,
) -> None:
    """Write all shards; what failed in a list has a row in a status table alone."""
    failures = found.failures if found else []
    _check(chosen, rules, failures, max_failed)
    tasks: list[list[tuple[Task, Outcome]]] = [[] for _ in range(shards)]
    failed: list[list[Outcome]] = [[] for _ in range(shards)]
    for task, outcome in chosen:
        tasks[shard_of(task.task_id, shards)].append((task, outcome))
    for failure in failures:
        failed[shard_of(failure.id, shards)].append(failure)
    for shard in range(shards):
        _write(shard_path(output, shard), tasks[shard], failed[shard])


def _write(path: Path, chosen: Iterable[tuple[Task, Outcome]], failures: Iterable[Outcome]) -> None:
    ordered = sorted(chosen, key=lambda both: both[0].task_id)
    outcomes = sorted((*failures, *(o for _, o in ordered)), key=lambda outcome: outcome.id)
    write_shard(path, (vars(task) for task, _ in ordered), tables.TASKS, outcomes)


def _check(
    chosen: Collection[tuple[Task, Outcome]],
    rules: Rules,
    failures: Sequence[Outcome],
    max_failed: float,
) -> None:
    """Say what became of the titles. Raises StageStopped (see `check_failures`)."""
    if unknown := sorted(rules.tasks.keys() - {task.task_id for task, _ in chosen}):
        log.warning("no task has the overridden ids %s", ", ".join(unknown))
    outcomes = [*failures, *(outcome for _, outcome in chosen)]
    counts = Counter(outcome.kind or "kept" for outcome in outcomes)
    log.info(
        "%d titles: %s", counts.total(), ", ".join(f"{n} {k}" for k, n in counts.most_common())
    )
    check_failures("tasks", outcomes, max_failed)
