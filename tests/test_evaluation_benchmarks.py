import math
from pathlib import Path

import pytest

from howto100m.evaluation.benchmarks import (
    Clip,
    Segment,
    StepVideo,
    read_clip_list,
    read_crosstask,
    read_lsmdc,
)
from howto100m.kinds import UserError

TASKS = """11
Make Tea
https://www.wikihow.com/Make-Tea
3
boil water,pour water,add milk

22
Fold a Map

2
open map,fold map

"""


def test_a_clip_list_by_its_column_names(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('end,start,task,text,video_id\n60,47.5,226,"cut, then fry",abc-_123456\n')
    assert read_clip_list(path) == [Clip("abc-_123456", 47.5, 60, "cut, then fry")]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("60,47,226,cut", "not as many columns"),
        ("60,47,226,cut,abc,more", "not as many columns"),
        ("60,47,226,,abc", "an empty one"),
        ("sixty,47,226,cut,abc", "not two numbers"),
        ("47,60,226,cut,abc", "no time span"),
        ("nan,1,226,cut,abc", "no time span"),
        ("inf,1,226,cut,abc", "no time span"),
        ("5,-1,226,cut,abc", "no time span"),
    ],
)
def test_a_malformed_clip_names_file_and_line(tmp_path, row, complaint):
    path = tmp_path / "list.csv"
    path.write_text(f"end,start,task,text,video_id\n9,1,1,fine,abc\n{row}\n")
    with pytest.raises(UserError, match=rf"list.csv:3: .*{complaint}"):
        read_clip_list(path)


def test_a_list_without_its_columns_or_not_there(tmp_path):
    (tmp_path / "list.csv").write_text("key,sentence\n")
    with pytest.raises(UserError, match="no column video_id, start, end, text"):
        read_clip_list(tmp_path / "list.csv")
    with pytest.raises(UserError, match=r"absent\.csv does not exist"):
        read_clip_list(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no readable list"):
        read_clip_list(tmp_path / "binary.csv")


def test_msrvtts_list_is_of_whole_videos(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("key,vid_key,video_id,sentence\nret0,msr9770,video9770,a person is here\n")
    assert read_clip_list(path) == [Clip("video9770", 0, math.inf, "a person is here")]
    path.write_text("key,vid_key,video_id,sentence\nret0,msr9770,video9770,\n")
    with pytest.raises(UserError, match=r"list\.csv:2: .*an empty one"):
        read_clip_list(path)


def test_lsmdcs_list_has_tabs_and_no_head(tmp_path):
    path = tmp_path / "list.csv"
    row = "1_00.05_00.07\t00:05\t00:07\t00:05\t00:07\t"
    path.write_text(f'{row}"Now," SOMEONE says, and\xa0goes.\n', encoding="utf-8")
    sentence = '"Now," SOMEONE says, and\xa0goes.'
    assert read_lsmdc(path) == [Clip("1_00.05_00.07", 0, math.inf, sentence)]
    for broken in (row, row[:-1], f"{row}text\tmore", "a,b,c,d,e,f"):
        path.write_text(f"{row}fine\n{broken}\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"list\.csv:2: .*not clip, four times, sentence"):
            read_lsmdc(path)


@pytest.fixture
def release(tmp_path) -> Path:
    (tmp_path / "tasks_primary.txt").write_text(TASKS)
    url = "https://www.youtube.com/watch?v="
    (tmp_path / "videos.csv").write_text(
        "".join(f"{t},{v},{url}{v}\n" for t, v in [("11", "aa"), ("11", "bb"), ("22", "cc")])
        + f"99,related,{url}related\n"
    )
    (tmp_path / "videos_val.csv").write_text(f"11,bb,{url}bb\n")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "11_aa.csv").write_text("1,3.5,7.25\n3,10,12\n2,15,15\n1,20,21\n")
    return tmp_path


def test_a_crosstask_release(release):
    steps = ("boil water", "pour water", "add milk")
    segments = (Segment(0, 3.5, 7.25), Segment(2, 10, 12), Segment(0, 20, 21))
    assert read_crosstask(release) == [
        StepVideo("11", "aa", steps, segments, "Make Tea"),
        StepVideo("22", "cc", ("open map", "fold map"), (), "Fold a Map"),
    ]


def test_constraints_say_when_a_step_is_spoken_of(release):
    (release / "constraints").mkdir()
    (release / "constraints" / "11_aa.csv").write_text("2,1,9\n")
    assert [v.narrated for v in read_crosstask(release)] == [(Segment(1, 1, 9),), ()]


def test_a_video_of_an_unknown_task_is_refused_where_all_tasks_are_known(release):
    (release / "tasks_related.txt").write_text("99\nRest\nurl\n1\nsleep\n")
    assert len(read_crosstask(release)) == 2
    (release / "tasks_related.txt").write_text("98\nRest\nurl\n1\nsleep\n")
    with pytest.raises(UserError, match=r"videos\.csv: task 99 is in neither list"):
        read_crosstask(release)


def test_without_a_validation_list_every_video_counts(release):
    (release / "videos_val.csv").unlink()
    assert [v.video_id for v in read_crosstask(release)] == ["aa", "bb", "cc"]


def test_blocks_need_no_empty_line_between_them(release):
    (release / "tasks_primary.txt").write_text(TASKS.replace("\n\n22", "\n22"))
    assert len(read_crosstask(release)) == 2


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("tasks_primary.txt", TASKS.replace("\n3\n", "\n4\n"), "tasks_primary.txt:1: task 11"),
        ("tasks_primary.txt", TASKS[: TASKS.index("open")], "tasks_primary.txt:7: task 22"),
        ("videos.csv", "11,aa\n", "videos.csv:1: 2 columns"),
        ("annotations/11_aa.csv", "1,2,3\n4,5,6\n", "11_aa.csv:2: .*from 1 to 3"),
        ("annotations/11_aa.csv", "0,5,6\n", "11_aa.csv:1: .*from 1 to 3"),
        ("annotations/11_aa.csv", "one,5,6\n", "11_aa.csv:1: not step,start,end"),
        ("annotations/11_aa.csv", "1,5\n", "11_aa.csv:1: not step,start,end"),
        ("annotations/11_aa.csv", "1,6,5\n", "11_aa.csv:1: 6 to 5"),
    ],
)
def test_a_malformed_release_names_file_and_line(release, name, text, complaint):
    (release / name).write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_crosstask(release)
