import csv
from collections import defaultdict

import pytest

from howto100m.kinds import UserError
from howto100m.sample.benchmarks import MAX_VIDEOS, held_out_tasks, make_benchmarks
from howto100m.sample.make import make_sample
from howto100m.sample.narration import caption
from howto100m.sample.world import World, make_world


def first_captions(tasks):
    return [caption(s.scene) for t in tasks for s in t.videos[0].steps if s.scene]


@pytest.mark.parametrize("seed", range(3))
def test_the_default_list_is_long_enough_and_says_nothing_twice(seed):
    tasks = held_out_tasks(seed, 10)
    texts = first_captions(tasks)
    assert len(texts) == len(set(texts)) == 32
    assert sum(video.seconds for task in tasks for video in task.videos) < 280
    assert [len(task.videos) for task in tasks] == [2, 2, 1, 1, 1, 1, 1, 1]
    assert [sum(bool(s.scene) for s in v.steps) for v in tasks[0].videos] == [4, 3]
    names = [name for task in tasks for name in task.steps]
    assert len(names) == len(set(names)) == 32


def test_the_largest_list_says_nothing_twice_and_no_list_is_larger():
    texts = first_captions(held_out_tasks(0, MAX_VIDEOS))
    assert len(texts) == len(set(texts))
    for wrong in (0, MAX_VIDEOS + 1):
        with pytest.raises(UserError, match="held_out"):
            held_out_tasks(0, wrong)


def test_no_search_finds_a_held_out_video():
    ids = {video.video_id for task in held_out_tasks(4, 20) for video in task.videos}
    assert len(ids) == 20
    assert not ids & make_world(4, 40).videos.keys()


def test_steps_come_in_order_at_uneven_times_with_more_background_than_steps():
    starts = defaultdict(set)
    for task in held_out_tasks(0, 10):
        for video in task.videos:
            assert [bool(step.scene) for step in video.steps] == [
                n % 2 == 1 for n in range(len(video.steps))
            ]
            shown = [s for s in video.steps if s.scene]
            assert 2 * sum(s.end - s.start for s in shown) < video.seconds
            assert video.steps[-1].end == video.seconds
            for number, step in enumerate(shown):
                starts[number].add(step.start)
    assert all(max(times) - min(times) >= 5 for times in starts.values())


def test_the_files_have_the_forms_of_the_releases(tmp_path):
    tasks = held_out_tasks(2, 1)
    make_benchmarks(tmp_path, 2, 1, 1)
    (video,) = tasks[0].videos
    assert [p.stem for p in (tmp_path / "videos").iterdir()] == [video.video_id]
    with (tmp_path / "retrieval.csv").open() as file:
        assert file.readline() == "end,start,task,text,video_id\n"
        rows = list(csv.reader(file))
    assert [row[3] for row in rows] == first_captions(tasks)
    assert all(int(row[0]) > int(row[1]) for row in rows)
    release = tmp_path / "crosstask"
    block = (release / "tasks_primary.txt").read_text()
    number, title, url, steps, names, blank, end = block.split("\n")
    assert (number, int(steps), blank, end) == (tasks[0].task_id, 4, "", "")
    assert tuple(names.split(",")) == tasks[0].steps
    assert url == f"https://www.wikihow.com/{title.replace(' ', '-')}"
    address = f"https://www.youtube.com/watch?v={video.video_id}"
    assert (release / "videos.csv").read_text() == f"{number},{video.video_id},{address}\n"
    assert (release / "videos_val.csv").read_text() == ""
    notes = (release / "annotations" / f"{number}_{video.video_id}.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in notes] == ["1", "2", "3", "4"]
    assert [tuple(map(float, line.split(",")[1:])) for line in notes] == [
        (float(row[1]), float(row[0])) for row in rows
    ]


def test_training_data_are_other_videos_half_of_the_tasks_for_each_list(tmp_path, monkeypatch):
    monkeypatch.setattr("howto100m.sample.benchmarks.render_all", lambda *_: None)
    make_benchmarks(tmp_path, 1, 9, 1)
    rows = {
        name: list(csv.DictReader((tmp_path / f"{name}.csv").open()))
        for name in ("retrieval", "names", "retrieval_training", "names_training")
    }
    videos = {name: {row["video_id"] for row in found} for name, found in rows.items()}
    assert len(rows["names"]) == 32 == len({row["text"] for row in rows["names"]})
    assert videos["names"] == videos["retrieval"]
    assert not videos["retrieval_training"] & videos["names_training"]
    trained = videos["retrieval_training"] | videos["names_training"]
    assert len(trained) == 9 and not trained & videos["retrieval"]
    words = {name: rows[name][0]["text"].split()[1] for name in ("names", "names_training")}
    assert set(words.values()) == {"the"}


@pytest.mark.heavy
def test_the_sample_is_whole_and_the_world_is_written_last(tmp_path):
    make_sample(tmp_path, 3, 6, 2, 2)
    world = World.load(tmp_path / "world.json")
    media = defaultdict(set)
    for path in tmp_path.rglob("*.mp4"):
        media[path.parent.relative_to(tmp_path).as_posix()].add(path.stem)
    assert media["media"] == {v.video_id for v in world.videos.values() if v.steps}
    assert len(media["media"]) == 7
    assert len(media["benchmarks/videos"]) == len(media["benchmarks/training_videos"]) == 2
    written = (tmp_path / "world.json").stat().st_mtime_ns
    assert all(path.stat().st_mtime_ns <= written for path in tmp_path.rglob("*.mp4"))
