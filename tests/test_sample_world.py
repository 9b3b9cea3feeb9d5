import re
import subprocess
import sys
from collections import Counter
from html import unescape

import pytest

from howto100m.kinds import Kind, UserError
from howto100m.sample.catalogue import CHAT, TASKS, TREE
from howto100m.sample.narration import chat
from howto100m.sample.world import World, make_world

KEPT = {
    "Arts and Entertainment",
    "Cars & Other Vehicles",
    "Computers and Electronics",
    "Education and Communications",
    "Food and Entertaining",
    "Health",
    "Hobbies and Crafts",
    "Holidays and Traditions",
    "Home and Garden",
    "Personal Care and Style",
    "Pets and Animals",
    "Sports and Fitness",
}
SEEDS = range(3)


@pytest.fixture(scope="module", params=SEEDS)
def world(request):
    return make_world(request.param, 40)


def good(world):
    return [video for video in world.videos.values() if not video.reason]


def english(video):
    """What the best English track says, entities undone and noises dropped."""
    lines = next(t.english or t.lines for t in video.tracks if t.english or t.language[:2] == "en")
    text = unescape(" ".join(line.text for line in lines)).replace("[Music]", "")
    return re.findall(r"[a-z']+", text.lower())


def top(world, category):
    while world.parents[category]:
        category = world.parents[category]
    return category


def test_a_seed_gives_one_world_whatever_the_hash_seed(tmp_path):
    code = (
        "from pathlib import Path; from howto100m.sample.world import make_world;"
        f"make_world(5, 9).save(Path({str(tmp_path / 'other.json')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "77"})
    make_world(5, 9).save(tmp_path / "ours.json")
    assert (tmp_path / "ours.json").read_bytes() == (tmp_path / "other.json").read_bytes()
    assert not make_world(6, 9).videos.keys() & make_world(5, 9).videos.keys()


def test_a_saved_world_is_read_back_the_same(tmp_path, world):
    world.save(tmp_path / "world.json")
    assert World.load(tmp_path / "world.json") == world


def test_a_missing_world_and_too_few_videos_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="make the sample world first"):
        World.load(tmp_path / "world.json")
    with pytest.raises(UserError, match="needs 6"):
        make_world(0, 5)


def test_every_reason_to_leave_a_video_out_is_there(world):
    reasons = Counter(video.reason for video in world.videos.values())
    assert reasons[""] == 40
    assert reasons[Kind.TOO_LONG] == reasons[Kind.TOO_FEW_WORDS] == reasons[Kind.NO_SUBTITLES] == 2
    assert reasons[Kind.LIVE] == 2
    assert reasons[Kind.RANK] == 1
    assert reasons[Kind.TOO_FEW_VIEWS] > 100
    for kind in (Kind.PRIVATE, Kind.GONE, Kind.MEMBERS, Kind.PAID, Kind.AGE, Kind.GEO):
        assert reasons[kind] == 1
    views = [v.views for v in world.videos.values() if v.reason == Kind.TOO_FEW_VIEWS]
    assert max(views) == 99
    assert 2000 in [v.seconds for v in world.videos.values() if v.reason == Kind.TOO_LONG]
    few = [v for v in world.videos.values() if v.reason == Kind.TOO_FEW_WORDS]
    assert max(len(english(video)) for video in few) == 99
    assert max(video.seconds for video in few) == 1999


def test_good_videos_pass_every_filter_and_one_stands_at_each_edge(world):
    videos = good(world)
    assert min(video.views for video in videos) == 100
    assert min(len(english(video)) for video in videos) == 100
    assert all(15 <= video.seconds <= 40 and not video.problem for video in videos)
    assert sum(video.seconds for video in videos) <= 22 * len(videos)
    assert all(re.fullmatch(r"[\w-]{11}", video.video_id) for video in world.videos.values())
    crowd, *_ = world.searches.values()
    assert len(set(crowd)) == len(crowd) == 201
    edge = world.videos[crowd[199]]
    assert (edge.views, len(english(edge)), edge.reason) == (100, 100, "")
    assert sum(edge.video_id in ids for ids in world.searches.values()) == 1
    assert world.videos[crowd[200]].reason == Kind.RANK


@pytest.mark.parametrize("videos", [6, 15, 40])
def test_every_video_is_found_by_a_task_and_some_twice(videos):
    world = make_world(1, videos)
    found = [name for ids in world.searches.values() for name in ids]
    assert set(found) == world.videos.keys()
    within = [ids for ids in world.searches.values() if len(set(ids)) < len(ids)]
    assert len(within) == 1
    among = Counter(name for ids in world.searches.values() for name in set(ids))
    assert sum(count > 1 for count in among.values()) >= 5
    assert all(world.searches[f"how to {title}".lower()] for title, _ in TASKS)


def test_tracks_are_of_every_kind_and_most_are_recognised_speech(world):
    tracks = [[(t.language, t.asr, bool(t.name)) for t in v.tracks] for v in good(world)]
    assert tracks.count([("en", True, False)]) > 20
    for kind in (
        [("en", False, False), ("en", True, False)],
        [("en", False, False)],
        [("en-GB", False, False), ("es", False, False)],
        [("en", False, True)],
        [("es", True, False)],
    ):
        assert kind in tracks
    assert any(not video.listed for video in good(world))


def test_about_half_of_the_lines_name_what_is_seen_while_it_is_seen(world):
    named = lines = 0
    for video in good(world):
        for track in video.tracks:
            for line in track.lines if track.asr and track.language == "en" else ():
                step = next(s for s in video.steps if s.start <= line.start + 0.02 < s.end)
                lines += 1
                named += bool(step.scene and f"{step.scene.colour} {step.scene.thing}" in line.text)
                assert line.end <= step.end + 0.01
    assert 0.4 < named / lines < 0.6


def test_steps_fill_the_video_and_show_every_scene_before_one_comes_again(world):
    for video in good(world):
        edges = [step.end for step in video.steps]
        assert [step.start for step in video.steps] == [0, *edges[:-1]]
        assert edges[-1] == video.seconds
    scenes = [s.scene for v in good(world) for s in v.steps if s.scene]
    assert len(scenes) == len(set(scenes)) >= 140


def test_pages_span_the_categories_and_have_all_reasons(world):
    assert len(TREE) == 19
    tasks = [page for page in world.pages if not page.reason and not page.redirect]
    assert {top(world, page.categories[0]) for page in tasks} == KEPT
    assert any(len(page.categories) > 1 for page in tasks)
    assert any(page.redirect for page in world.pages)
    reasons = Counter(page.reason for page in world.pages)
    for kind in (Kind.NOT_VISUAL, Kind.NO_VERB, Kind.OTHER_CATEGORY):
        assert reasons[kind] >= 5
    for page in world.pages:
        kept = bool({top(world, name) for name in page.categories} & KEPT)
        assert kept == (page.reason != Kind.OTHER_CATEGORY)
    silent = {f"how to {page.title}".lower() for page in tasks} - world.searches.keys()
    assert len(silent) == 1
    assert len({page.page_id for page in world.pages}) == len(world.pages)


def test_chat_names_nothing_and_has_the_words_asked_for():
    import random

    lines = chat(random.Random(0), 30, 99)
    assert sum(len(line.text.split()) for line in lines) == 99
    assert all(any(text.startswith(line.text) for text in CHAT) for line in lines)
