"""The sample's held-out videos and two small benchmarks of them, in the real benchmarks' forms.

A held-out video shows the steps of its task in order, at uneven times, with background around them
that fills more than half of it. A task may have two videos; its steps are the same things in the
same colours, moving alike. The clip list takes the first video of each task, so that no caption is
true of two of its clips. Other videos of the same kind are the benchmarks' training data.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
STEP_SECONDS = 3
BACKGROUND_SECONDS = 15
"""Of a video, around its steps: more than half, as in CrossTask (72 %)."""
MAX_VIDEOS = 40

Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Task:
    """A task of the localization benchmark: its steps, in order, and the videos that show them."""

    task_id: str
    title: str
    steps: tuple[str, ...]
    videos: tuple[Video, ...]


def held_out_tasks(seed: int, held_out: int, use: str = "held out") -> tuple[Task, ...]:
    """So many held-out videos, in ids of their own; every fifth is the second one of its task.

    Another `use` gives other videos.

    No two tasks share a step. Raises UserError when there are none, or more than MAX_VIDEOS.
    """
    if not 1 <= held_out <= MAX_VIDEOS:
        raise UserError(f"sample held_out: {held_out} is not between 1 and {MAX_VIDEOS}")
    rng = Random(f"{use} {seed}")  # noqa: S311 - a world, no secret
    tasks = held_out - held_out // 5
    used: set[Triple] = set()
    return tuple(
        _task(rng, seed, number, range(number, held_out, tasks), _deal(rng, used), use)
        for number in range(tasks)
    )


def _deal(rng: Random, used: set[Triple]) -> list[Scene]:
    """Scenes of one task: four things, colours and motions, in a way that no task had before."""
    while True:
        things, motions = rng.sample(THINGS, STEPS), rng.sample(MOTIONS, STEPS)
        triples = set(zip(things, rng.sample(list(COLOURS), STEPS), motions, strict=True))
        if not triples & used:
            used |= triples
            return [Scene(*triple) for triple in sorted(triples)]


def _task(
    rng: Random, seed: int, number: int, videos: Sequence[int], scenes: Sequence[Scene], use: str
) -> Task:
    title = f"{_name(scenes[0])} and {_name(scenes[1])}".capitalize()
    shown: list[Video] = []
    for video in videos:
        absent = rng.randrange(STEPS) if shown else None
        steps = _steps(rng, [scene for n, scene in enumerate(scenes) if n != absent])
        shown.append(
            Video(
                video_id(seed, f"{use} {video}"),
                title,
                "Held Out",
                0,
                round(steps[-1].end),
                fps=(24, 25, 30)[video % 3],
                steps=steps,
            )
        )
    return Task(str(9001 + number), title, tuple(map(_name, scenes)), tuple(shown))


def _name(scene: Scene) -> str:
    return f"{scene.motion} the {scene.colour} {scene.thing}"


def _steps(rng: Random, scenes: Sequence[Scene]) -> tuple[Step, ...]:
    """The scenes at uneven times; whole seconds, as in YouCook2's list.

    A second of background stands before, between and after them; the rest of it in one or two of
    these places, as where people talk before they begin, or wait for the oven.
    """
    gaps = [1] * (len(scenes) + 1)
    spare = BACKGROUND_SECONDS - len(gaps)
    share = rng.randint(spare // 2, spare)
    gaps[rng.randrange(len(gaps))] += share
    gaps[rng.randrange(len(gaps))] += spare - share
    steps: list[Step] = []
    now = 0
    for gap, scene in zip(gaps, [*scenes, None], strict=True):
        steps.append(Step(now, now + gap, rng.choice(list(BACKGROUNDS))))
        now += gap
        if scene:
            steps.append(Step(now, now + STEP_SECONDS, rng.choice(list(BACKGROUNDS)), scene))
            now += STEP_SECONDS
    return tuple(steps)


def make_benchmarks(folder: Path, seed: int, held_out: int, workers: int) -> None:
    """Render the held-out videos and write what is to be seen in them.

    folder/videos/<id>.mp4; in the form of YouCook2's clip list, a row a step, folder/retrieval.csv
    (what an annotator says of it) and names.csv (its name); folder/crosstask/ as CrossTask's
    release. As many videos again in folder/training_videos, half of the tasks with a row a step in
    retrieval_training.csv, the others in names_training.csv.
    Raises UserError as `held_out_tasks` does.
    """
    tasks = held_out_tasks(seed, held_out)
    training = held_out_tasks(seed, held_out, "training")
    for part, shown in (("videos", tasks), ("training_videos", training)):
        render_all([video for task in shown for video in task.videos], folder / part, workers)
    firsts = [replace(task, videos=task.videos[:1]) for task in tasks]
    _write_clips(folder / "retrieval.csv", firsts, caption)
    _write_clips(folder / "names.csv", firsts, _name)
    _write_clips(folder / "retrieval_training.csv", training[::2], caption)
    _write_clips(folder / "names_training.csv", training[1::2], _name)
    _write_crosstask(folder / "crosstask", tasks)


def _write_clips(path: Path, tasks: Sequence[Task], text: Callable[[Scene], str]) -> None:
    rows = (
        (int(step.end), int(step.start), task.task_id, text(scene), video.video_id)
        for task in tasks
        for video in task.videos
        for step, scene in _scenes(video)
    )
    _write_csv(path, [("end", "start", "task", "text", "video_id"), *rows])


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
                (task.steps.index(_name(scene)) + 1, step.start, step.end)
                for step, scene in _scenes(video)
            ]
            _write_csv(folder / "annotations" / f"{task.task_id}_{video.video_id}.csv", rows)


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
