"""The sample world: a small WikiHow and a small YouTube, the same for a seed on every machine."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import count, islice, product
from pathlib import Path
from random import Random
from typing import Any

from howto100m.kinds import Kind, UserError
from howto100m.sample import narration
from howto100m.sample.catalogue import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    OTHER_PAGES,
    REDIRECTS,
    SILENT_TASK,
    TASKS,
    THINGS,
    TREE,
)
from howto100m.sample.records import Line, Page, Problem, Scene, Step, Track, Video
from howto100m.shards import whole_file

WORLD, MEDIA = "world.json", "media"
"""Names in the sample's folder: the world, and the folder of its videos."""
RESULTS = 200
"""Results that a search takes; the first task has one more."""
PAGE = 20
"""Results of one request; the second task has more, so that a video can come again."""


@dataclass(frozen=True)
class World:
    """All that the stand-ins of the sites know.

    `parents` maps a category to the one above it ("" at the top), `searches` maps a query in lower
    case to video ids in the order of the results.
    """

    seed: int
    parents: Mapping[str, str]
    pages: tuple[Page, ...]
    videos: Mapping[str, Video]
    searches: Mapping[str, tuple[str, ...]]

    def save(self, path: Path) -> None:
        """Write the world as JSON."""
        with whole_file(path) as part:
            part.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "World":
        """Read a world that `save` wrote. Raises UserError where there is none."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: make the sample world first") from None
        return cls(
            seed=saved["seed"],
            parents=saved["parents"],
            pages=tuple(
                Page(**{**page, "categories": tuple(page["categories"])}) for page in saved["pages"]
            ),
            videos={name: _video(video) for name, video in saved["videos"].items()},
            searches={query: tuple(ids) for query, ids in saved["searches"].items()},
        )


def _video(saved: dict[str, Any]) -> Video:
    steps = (
        Step(**{**step, "scene": step["scene"] and Scene(**step["scene"])})
        for step in saved["steps"]
    )
    lists = ("lines", "english")
    tracks = (
        Track(**{**track, **{key: tuple(Line(**line) for line in track[key]) for key in lists}})
        for track in saved["tracks"]
    )
    return Video(**{**saved, "steps": tuple(steps), "tracks": tuple(tracks)})


def video_id(seed: int, name: str) -> str:
    """An 11-character id, as YouTube's, that depends on the seed and the name alone."""
    return urlsafe_b64encode(blake2b(f"{seed}/{name}".encode(), digest_size=9).digest())[
        :11
    ].decode()


def deal_scenes(rng: Random) -> Iterator[Scene]:
    """Scenes without end; each comes once before any comes again."""
    deck = [Scene(*parts) for parts in product(THINGS, COLOURS, MOTIONS)]
    while True:
        rng.shuffle(deck)
        yield from deck


def make_world(seed: int, videos: int) -> World:
    """The world of a seed, with so many good videos over its tasks.

    A good video stands at rank 200 of the first task, another one at 201, out of reach. The second
    task's results hold one video twice.

    Raises UserError when there are too few videos for what the world has to show.
    """
    if videos < 6:
        raise UserError(f"sample videos: {videos} is too few, the sample world needs 6 at least")
    rng = Random(f"world {seed}")  # noqa: S311 - a world, no secret
    good = _good_videos(rng, seed, videos)
    left_out = _left_out(rng, seed, len(good))
    known = {video.video_id: video for video in [*good, *left_out]}
    edge = good[-1].video_id
    results: list[list[str]] = [[] for _ in TASKS]
    for position, name in enumerate(known):
        if name != edge:
            results[position % len(TASKS)].append(name)
    for row, column in enumerate(results):
        rng.shuffle(column)
        shared = good[(row + 1) % (len(good) - 1)].video_id
        if shared not in column:
            column.append(shared)
    few = _unpopular(rng, seed, RESULTS - 1 - len(results[0]) + PAGE)
    late = _good_video(rng, video_id(seed, "late"), deal_scenes(rng), 0, "asr")
    late = replace(late, reason=str(Kind.RANK))
    known |= {video.video_id: video for video in [*few, late]}
    names = [video.video_id for video in few]
    results[0] += [*names[PAGE:], edge, late.video_id]
    results[1] = [*results[1], *names[:PAGE], results[1][0]]
    searches = {
        f"how to {title}".lower(): tuple(ids)
        for (title, _), ids in zip(TASKS, results, strict=True)
    }
    return World(seed, _parents(TREE), _pages(rng), known, searches)


def _parents(tree: Mapping[str, Any], parent: str = "") -> dict[str, str]:
    below: dict[str, str] = {}
    for name, children in tree.items():
        below |= {name: parent} | _parents(children, name)
    return below


def _pages(rng: Random) -> tuple[Page, ...]:
    listed = [(*page, False, "") for page in (*TASKS, SILENT_TASK)]
    listed += [(*page, True, "") for page in REDIRECTS]
    listed += [(*page, False, str(kind)) for kind, pages in OTHER_PAGES.items() for page in pages]
    ids = sorted(rng.sample(range(1000, 1_400_000), len(listed)))
    rng.shuffle(ids)
    return tuple(Page(number, *page) for number, page in zip(ids, listed, strict=True))


def _good_videos(rng: Random, seed: int, wanted: int) -> list[Video]:
    """Videos that pass every filter; the last one has the least views and words that do."""
    scenes = deal_scenes(rng)
    kinds: tuple[narration.TrackKind, ...] = ("both", "manual", "british", "named", "translated")
    found = []
    for number in range(wanted):
        kind = kinds[number % 12] if number % 12 < len(kinds) else "asr"
        video = _good_video(rng, video_id(seed, f"good {number}"), scenes, number, kind)
        found.append(video)
    lines = narration.narrate(rng, found[-1].steps, words=100)
    found[-1] = replace(found[-1], views=100, tracks=narration.tracks(rng, lines, "asr"))
    return found


def _good_video(
    rng: Random, name: str, scenes: Iterator[Scene], number: int, kind: narration.TrackKind
) -> Video:
    shown = 8 if number % 25 == 7 else rng.choice((3, 4, 4, 5))
    seconds = 4 * shown + (8 if shown == 8 else 4)
    steps = _steps(rng, seconds, list(islice(scenes, shown)))
    width, height = {4: (424, 240), 6: (240, 320)}.get(number % 10, (320, 240))
    return Video(
        name,
        *_told(rng, number),
        views=rng.randrange(1000, 3_000_000),
        seconds=seconds,
        listed=number != 1,
        width=width,
        height=height,
        fps=(24, 25, 30)[number % 3],
        steps=steps,
        tracks=narration.tracks(rng, narration.narrate(rng, steps), kind),
    )


def _steps(rng: Random, seconds: int, scenes: list[Scene]) -> tuple[Step, ...]:
    """A second of background, then the scenes, of about equal length."""
    each = (seconds - 1) / len(scenes)
    edges = [1 + each * n + rng.uniform(-0.3, 0.3) for n in range(1, len(scenes))]
    edges = [0.0, 1.0, *(round(edge, 2) for edge in edges), float(seconds)]
    shown = zip(edges, edges[1:], [None, *scenes], strict=False)
    return tuple(Step(a, b, rng.choice(list(BACKGROUNDS)), scene) for a, b, scene in shown)


def _told(rng: Random, number: int) -> tuple[str, str]:
    """A title that fits the number's task, and a channel."""
    task = TASKS[number % len(TASKS)][0]
    title = rng.choice(("How to {}", "{} - step by step", "{} | easy & quick", "How I {} at home"))
    first = rng.choice(("Handy", "Happy", "Simple", "Clever", "Sunday"))
    return title.format(task), f"{first} {rng.choice(('Hands', 'House', 'Workshop', 'Kitchen'))}"


def _left_out(rng: Random, seed: int, first: int) -> list[Video]:
    """Videos that some filter or the site itself keeps out, each for one reason."""
    talk = narration.chat(rng, 30, 110)
    foreign = narration.spanish(rng, talk)
    heard = (Track("en", True, talk),)

    numbers = count(first)

    def video(name: str, kind: Kind, **other: Any) -> Video:
        facts: dict[str, Any] = {"views": 4200, "seconds": 30, "tracks": heard, "reason": str(kind)}
        return Video(video_id(seed, name), *_told(rng, next(numbers)), **{**facts, **other})

    def speech(words: int) -> tuple[Track, ...]:
        return (Track("en", True, narration.chat(rng, 30, words)),)

    problems: tuple[tuple[Problem, Kind], ...] = (
        ("private", Kind.PRIVATE),
        ("removed", Kind.GONE),
        ("members", Kind.MEMBERS),
        ("paid", Kind.PAID),
        ("age", Kind.AGE),
        ("geo", Kind.GEO),
        ("live", Kind.LIVE),
        ("upcoming", Kind.LIVE),
    )
    return [
        video("99 views", Kind.TOO_FEW_VIEWS, views=99),
        video("no views", Kind.TOO_FEW_VIEWS, views=0),
        video("98 views, not listed", Kind.TOO_FEW_VIEWS, views=98, listed=False),
        video("2000 seconds", Kind.TOO_LONG, seconds=2000),
        video("2 hours", Kind.TOO_LONG, seconds=7200),
        video("99 words", Kind.TOO_FEW_WORDS, tracks=speech(99)),
        video("1999 seconds", Kind.TOO_FEW_WORDS, seconds=1999, tracks=speech(20)),
        video("no track", Kind.NO_SUBTITLES, tracks=()),
        video("only Spanish", Kind.NO_SUBTITLES, tracks=(Track("es", False, foreign),)),
        *(video(problem, kind, problem=problem) for problem, kind in problems),
    ]


def _unpopular(rng: Random, seed: int, wanted: int) -> list[Video]:
    """Videos of the first task that hardly anybody has seen; they fill lists of results up."""
    told, reason = _told(rng, 0), str(Kind.TOO_FEW_VIEWS)
    return [
        Video(video_id(seed, f"unpopular {n}"), *told, n % 100, 30, reason=reason)
        for n in range(wanted)
    ]
