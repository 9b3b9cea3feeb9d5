"""The other doors of the tasks: lists of one's own, and those of the official release."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from howto100m.cli import app
from howto100m.kinds import StageStopped, UserError
from howto100m.shards import Row, read_table, shard_path, status_path
from howto100m.tasks.lists import Entry, read_official, read_own
from howto100m.tasks.select import Rules, list_tasks, official_tasks

KEPT = {"Food and Entertaining"}
HOSTILE = ["\"Bake\" 'Bread'", "../../etc/passwd", "Knit 🧶 <b>now</b>", "Cut " + 10_000 * "x"]


def write(path: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    raw = (line.encode() if isinstance(line, str) else line for line in lines)
    path.write_bytes(b"".join(line + end for line in raw))
    return path


def tables(output: Path, shards: int) -> tuple[dict[str, Row], dict[str, Row]]:
    """The rows of the tasks table and of its status table, by id."""
    paths = [shard_path(output, shard) for shard in range(shards)]
    rows = [row for path in paths for row in read_table(path).to_pylist()]
    status = [row for path in paths for row in read_table(status_path(path)).to_pylist()]
    assert len({row["id"] for row in status}) == len(status)
    return {row["task_id"]: row for row in rows}, {row["id"]: row for row in status}


def test_a_list_of_titles_alone_keeps_the_categories_filter_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "titles.tsv", "title", "How to Make Tea", "Be Happy", *HOSTILE)
    list_tasks(path, tmp_path / "tasks", 2, 0.0, Rules.of(KEPT))
    rows, status = tables(tmp_path / "tasks", 2)
    assert {number: row["title"] for number, row in rows.items()} == {
        str(number): title for number, title in enumerate(["Make Tea", "Be Happy", *HOSTILE], 2)
    }
    assert rows["2"]["visual"] and not rows["3"]["visual"]
    assert status["3"]["kind"] == "not_visual"
    assert "has no categories: the category filter is left out" in caplog.text


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_categories_and_ids_are_taken_from_where_they_are(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"titles.{form}"
    if form == "tsv":
        columns = "category\tnotes\ttitle\ttask_id\tcategory_2"
        first, second = "Food and Entertaining\tx\tMake Tea\t70\tDrinks", "\t\tMake Peace\t8\t"
        write(path, b"\xef\xbb\xbf" + columns.encode(), first, "", second, end=b"\r\n")
    else:
        columns = {
            "task_id": [70, 8],
            "title": pa.array(["Make Tea", "Make Peace"]).dictionary_encode(),
            "category": ["Food and Entertaining", None],
            "category_2": ["Drinks", None],
        }
        pq.write_table(pa.table(columns), path)
    list_tasks(path, tmp_path / "tasks", 1, 0.0, Rules.of(KEPT))
    rows, status = tables(tmp_path / "tasks", 1)
    assert (rows["70"]["category_1"], rows["70"]["category_2"]) == (*KEPT, "Drinks")
    assert rows["70"]["visual"]
    assert (rows["8"]["category_1"], status["8"]["kind"]) == ("", "other_category")


def test_malformed_rows_are_named_with_their_lines_and_stop_no_other(tmp_path: Path) -> None:
    path = write(
        tmp_path / "titles.tsv",
        "task_id\ttitle",
        "1\tMake Tea",
        "2",
        "3\tMake\tTea",
        "4\t ",
        "\tFold Paper",
        "1\tFold Paper",
        b"7\tMake Caf\xe9",
        "8\tFold Paper",
    )
    list_tasks(path, tmp_path / "tasks", 3, 0.8, Rules.of())
    rows, status = tables(tmp_path / "tasks", 3)
    assert set(rows) == {"1", "8"} and rows["1"]["title"] == "Make Tea"
    failed = {name: row["message"] for name, row in status.items() if row["status"] == "failed"}
    assert set(failed) == {f"titles.tsv:{line}" for line in range(3, 9)}
    assert {status[name]["kind"] for name in failed} == {"malformed"}
    assert failed["titles.tsv:3"] == f"{path}:3: 1 columns, not 2; found '2'"
    assert "task_id 1 is given twice" in failed["titles.tsv:7"]
    assert "can't decode byte 0xe9" in failed["titles.tsv:8"]
    with pytest.raises(StageStopped, match=r"6 of 8 items failed \(6 malformed\).*titles\.tsv:3:"):
        list_tasks(path, tmp_path / "other", 3, 0.5, Rules.of())
    assert not (tmp_path / "other").exists()


def test_malformed_rows_of_parquet_are_named_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "titles.parquet"
    columns = {"title": ["Make Tea", None, "Fold Paper"], "task_id": [1.5, None, None]}
    pq.write_table(pa.table(columns), path)
    found = read_own(path)
    assert [o.id for o in found.failures] == [f"titles.parquet:{n}" for n in (1, 2, 3)]
    pq.write_table(pa.table(columns).select(["title"]), path)
    found = read_own(path)
    assert list(found.entries.values()) == [Entry("1", "Make Tea"), Entry("3", "Fold Paper")]


@pytest.mark.parametrize(
    ("name", "raw", "line"),
    [
        ("t.tsv", b"name\nMake Tea\n", r"t\.tsv:1: there must be one column `title`.*found name"),
        ("t.tsv", b"title\tcategory\tcategory_1\n", "category_1 is named twice"),
        ("t.tsv", b"title\n", r"t\.tsv holds no task"),
        ("t.tsv", b"", r"t\.tsv:1: there must be"),
        ("t.tsv", b"PK\x03\x04\xff\xfe", r"t\.tsv:1: this is no text in UTF-8"),
        ("t.parquet", b"title\nMake Tea\n", r"t\.parquet is not a whole Parquet file"),
    ],
)
def test_a_file_that_is_no_list_is_one_clear_line(
    tmp_path: Path, name: str, raw: bytes, line: str
) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError, match=line) as caught:
        read_own(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.tsv cannot be read: No such file"):
        read_own(tmp_path / "no.tsv")
    with pytest.raises(UserError, match=r"HowTo100M_v1\.csv cannot be read: No such file"):
        read_official(tmp_path / "HowTo100M_v1.csv", tmp_path / "task_ids.csv")


HEADER = "video_id,category_1,category_2,rank,task_id"
TEA = "Food and Entertaining,Drinks"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return write(
        tmp_path / "HowTo100M_v1.csv",
        HEADER,
        f"nVbIUDjzWY4,{TEA},27,52907",
        f"nVbIUDjzWY5,{TEA},3,52907",
        'nVbIUDjzWY6,"Cars, Bikes",,1,7',
        "nVbIUDjzWY7,Health,,1,99",
        "nVbIUDjzWY8,Health,1,99",
        "nVbIUDjzWY9,Health,,1,x",
    )


@pytest.mark.parametrize("header", [(), ("id\ttask_name",)])
def test_the_official_tasks_are_those_with_videos(
    tmp_path: Path, videos: Path, header: tuple[str, ...]
) -> None:
    lines = ["52907\tHow to Make Tea1", "7\tBe Happy", "8\tMake Peace", "Make Soup\t9", "10 Make"]
    task_ids = write(tmp_path / "task_ids.csv", *header, *lines)
    official_tasks(videos, task_ids, tmp_path / "tasks", 2, 0.7, Rules.of())
    rows, status = tables(tmp_path / "tasks", 2)
    assert set(rows) == {"52907", "7", "8"}
    tea, happy, peace = (rows[name] for name in ("52907", "7", "8"))
    assert (tea["title"], tea["verb"]) == ("Make Tea1", "make")
    assert (tea["category_1"], tea["category_2"]) == ("Food and Entertaining", "Drinks")
    assert (happy["category_1"], happy["category_2"]) == ("Cars, Bikes", "")
    assert tea["visual"] and happy["visual"] and not peace["visual"]
    assert tea["reason"] == happy["reason"] == "in the official list"
    assert peace["reason"] == "no video of it in HowTo100M_v1.csv"
    kinds = {name: row["kind"] for name, row in status.items()}
    first = 1 + len(header)
    assert kinds == {
        "52907": None,
        "7": None,
        "8": "no_videos",
        "99": "no_title",
        f"task_ids.csv:{first + 3}": "malformed",
        f"task_ids.csv:{first + 4}": "malformed",
        "HowTo100M_v1.csv:6": "malformed",
        "HowTo100M_v1.csv:7": "malformed",
    }
    assert f"{videos}:6: expected {HEADER}; found" in status["HowTo100M_v1.csv:6"]["message"]


def test_the_two_files_taken_for_each_other_is_one_clear_line(tmp_path: Path, videos: Path) -> None:
    task_ids = write(tmp_path / "task_ids.csv", "7\tMake Tea")
    with pytest.raises(UserError, match=r"task_ids\.csv:1: the header lacks .*HowTo100M_v1\.csv\?"):
        read_official(task_ids, videos)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--from", "table"], "--from takes wikihow, table (with --table)"),
        (["--from", "howto100m", "--task-ids-csv", "x"], "--howto100m-csv and --task-ids-csv"),
        (["--from", "moon"], "found moon"),
        (["--user-agent", "me"], "tasks.user_agent (--user-agent) must tell WikiHow who asks"),
        ([], "must tell WikiHow who asks"),
    ],
)
def test_the_command_says_what_a_door_needs(
    tmp_path: Path, arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOWTO100M_USER_AGENT", raising=False)
    output = tmp_path / "tasks"
    run = CliRunner().invoke(app, ["tasks", "--output", str(output), *arguments])
    assert isinstance(run.exception, UserError) and line in str(run.exception)
    assert not output.exists()


def test_the_command_opens_the_doors(tmp_path: Path, videos: Path) -> None:
    titles = write(tmp_path / "titles.tsv", "title", "Make Tea")
    task_ids = write(tmp_path / "task_ids.csv", "7\tMake Tea", "99\tMake Soup", "52907\tBe Happy")
    official = ["howto100m", "--howto100m-csv", str(videos), "--task-ids-csv", str(task_ids)]
    for number, door in enumerate((["table", "--table", str(titles)], official)):
        output = tmp_path / f"tasks-{number}"
        arguments = ["tasks", "--output", str(output), "--shards", "2", "--from", *door]
        run = CliRunner().invoke(app, arguments)
        assert run.exception is None, run.exception
        assert len(tables(output, 2)[0]) == (1, 3)[number]
