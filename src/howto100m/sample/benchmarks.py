"""The sample's held-out videos and two small benchmarks of them, in the real benchmarks' forms.

A held-out video shows the steps of its task in order, with background between them. Its task's
other videos show the same things moving alike in other colours; so a step's name ("slide the
star") holds for all of them, while the caption of a clip ("slide the red star to the right") is
true of one clip alone.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from howto100m.kinds import UserError
from howto100m.sample.catalogue import BACKGROUNDS, COLOURS, MOTIONS, THINGS
from howto100m.sample.narration import caption
from howto100m.sample.records import Scene, Step, Video
from howto100m.sample.render import render_all
from howto100m.sample.world import video_id
from howto100m.shards import whole_file

STEPS = 4
MAX_TASKS = len(THINGS) * len(MOTIONS) // STEPS
MAX_VIDEOS = MAX_TASKS * len(COLOURS)
"""More would have to say the same of two clips."""


@dataclass(frozen=True)
class Task:
    """A task of the localization benchmark: its steps, in order, and the videos that show them."""

    task_id: str
    title: str
    steps: tuple[str, ...]
    videos: tuple[Video, ...]


def held_out_tasks(seed: int, held_out: int) -> tuple[Task, ...]:
    """So many held-out videos, about four a task, in ids of their own.

    Raises UserError when there are none, or more than differ from one another.
    """
    if not 1 <= held_out <= MAX_VIDEOS:
        raise UserError(f"sample held_out: {held_out} is not between 1 and {MAX_VIDEOS}")
    rng = Random(f"held out {seed}")  # noqa: S311 - a world, no secret
    tasks = min(-(-held_out // 4), MAX_TASKS)
    things, motions = rng.sample(THINGS, len(THINGS)), rng.sample(MOTIONS, len(MOTIONS))
    return tuple(
        _task(rng, seed, number, range(number, held_out, tasks), things, motions)
        for number in range(tasks)
    )


def _task(
    rng: Random,
    seed: int,
    number: int,
    videos: Sequence[int],
    things: Sequence[str],
    motions: Sequence[str],
) -> Task:
    """Task `number` of at most MAX_TASKS: no two share a thing that moves alike."""
    half = number % (len(things) // STEPS) * STEPS
    turn = number // (len(things) // STEPS)
    pairs = [(things[half + n], motions[(n + turn) % len(motions)]) for n in range(STEPS)]
    colours = rng.sample(list(COLOURS), len(COLOURS))
    title = f"{pairs[0][1]} a {pairs[0][0]} and {pairs[1][1]} a {pairs[1][0]}".capitalize()
    shown = []
    for row, video in enumerate(videos):
        scenes: list[Scene | None] = [
            Scene(thing, colours[(row + 2 * n) % len(colours)], motion)
            for n, (thing, motion) in enumerate(pairs)
        ]
        if row % 3 == 2:
            scenes[rng.randrange(STEPS)] = None
        steps = _steps(rng, [scene for scene in scenes if scene])
        shown.append(
            Video(
                video_id(seed, f"held out {video}"),
                title,
                "Held Out",
                0,
                round(steps[-1].end),
                fps=(24, 25, 30)[video % 3],
                steps=steps,
            )
        )
    names = tuple(f"{motion} the {thing}" for thing, motion in pairs)
    return Task(str(9001 + number), title, names, tuple(shown))


def _steps(rng: Random, scenes: Sequence[Scene]) -> tuple[Step, ...]:
    """The scenes with background around them; whole seconds, as in YouCook2's list."""
    steps, now = [], 0
    for scene in [*scenes, None]:
        gap = rng.choice((1, 1, 2))
        steps.append(Step(now, now + gap, rng.choice(list(BACKGROUNDS))))
        now += gap
        if scene:
            length = rng.choice((4, 4, 5))
            steps.append(Step(now, now + length, rng.choice(list(BACKGROUNDS)), scene))
            now += length
    return tuple(steps)


def make_benchmarks(folder: Path, seed: int, held_out: int, workers: int) -> None:
    """Render the held-out videos and write what is to be seen in them.

    folder/videos/<id>.mp4; folder/retrieval.csv in the form of YouCook2's clip list, a row a step;
    folder/crosstask/ as CrossTask's release. Raises UserError as `held_out_tasks` does.
    """
    tasks = held_out_tasks(seed, held_out)
    render_all([video for task in tasks for video in task.videos], folder / "videos", workers)
    _write_csv(
        folder / "retrieval.csv",
        [
            ("end", "start", "task", "text", "video_id"),
            *(
                (int(step.end), int(step.start), task.task_id, caption(scene), video.video_id)
                for task in tasks
                for video in task.videos
                for step, scene in _scenes(video)
            ),
        ],
    )
    _write_crosstask(folder / "crosstask", tasks)


def _scenes(video: Video) -> Iterator[tuple[Step, Scene]]:
    return ((step, step.scene) for step in video.steps if step.scene)


def _write_crosstask(folder: Path, tasks: Sequence[Task]) -> None:
    """All tasks are primary, and the validation list is empty: every video is held out."""
    blocks = (
        f"{task.task_id}\n{task.title}\nhttps://www.wikihow.com/{task.title.replace(' ', '-')}\n"
        f"{len(task.steps)}\n{','.join(task.steps)}\n\n"
        for task in tasks
    )
    _write(folder / "tasks_primary.txt", "".join(blocks))
    _write(folder / "tasks_related.txt", "")
    videos = [
        (task.task_id, name, f"https://www.youtube.com/watch?v={name}")
        for task in tasks
        for name in (video.video_id for video in task.videos)
    ]
    _write_csv(folder / "videos.csv", videos)
    _write_csv(folder / "videos_val.csv", [])
    for task in tasks:
        for video in task.videos:
            rows = [
                (task.steps.index(f"{scene.motion} the {scene.thing}") + 1, step.start, step.end)
                for step, scene in _scenes(video)
            ]
            _write_csv(folder / "annotations" / f"{task.task_id}_{video.video_id}.csv", rows)


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
