"""Shards: whole or absent, accounted for, resumed."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from howto100m import tables
from howto100m.cut import NOTE, keep_cut, refuse_other_cut
from howto100m.kinds import Fate, ItemError, Kind, StageStopped, Status, UserError
from howto100m.shards import (
    Journal,
    Outcome,
    Patience,
    Row,
    attempt,
    read_table,
    run_items,
    shard_of,
    shard_path,
    shard_paths,
    status_path,
    table_writer,
    write_status,
    write_table,
)

ONE = pa.schema([pa.field("n", pa.int64(), nullable=False)])


def test_an_id_has_the_same_shard_on_every_machine() -> None:
    assert [shard_of(v, 1200) for v in ("dQw4w9WgXcQ", "jNQXAC9IVRw", "")] == [379, 1190, 276]


def test_shards_are_about_equally_full() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[shard_of(f"video{number:06d}", 8)] += 1
    assert min(counts) > 900 and max(counts) < 1100


def test_a_table_that_breaks_off_leaves_the_old_one_and_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "00000.parquet"
    write_table(path, [{"n": 1}], ONE)
    with pytest.raises(RuntimeError), table_writer(path, ONE) as writer:
        writer.write_table(pa.table({"n": [2]}, schema=ONE))
        raise RuntimeError("killed here")
    assert read_table(path)["n"].to_pylist() == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["00000.parquet"]


def test_a_null_where_none_may_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        write_table(tmp_path / "t.parquet", [{"n": None}], ONE)
    assert not (tmp_path / "t.parquet").exists()


def test_equal_rows_make_equal_bytes(tmp_path: Path) -> None:
    rows = [{"n": n} for n in range(1000)]
    for name in ("a", "b"):
        write_table(tmp_path / name, rows, ONE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "00003.parquet"
    path.write_bytes(b"PAR1 half a file")
    with pytest.raises(UserError, match=r"00003\.parquet is not a whole Parquet file"):
        read_table(path)
    with pytest.raises(UserError, match=r"nowhere\.parquet does not exist"):
        read_table(tmp_path / "nowhere.parquet")


def test_status_tables_are_no_shards(tmp_path: Path) -> None:
    path = tmp_path / "00000.parquet"
    write_table(path, [{"n": 1}], ONE)
    write_status(status_path(path), [Outcome("x")])
    assert shard_paths(tmp_path) == [path]
    with pytest.raises(UserError, match="holds no Parquet table"):
        shard_paths(tmp_path / "empty")


def work_on(item: str) -> list[Row]:
    if item.startswith("bad"):
        raise ItemError(Kind.PRIVATE, "not yours")
    if item.startswith("broken"):
        raise KeyError("surprise")
    return [{"n": len(item)}]


def test_every_item_that_comes_in_has_an_outcome() -> None:
    items = {name: name for name in ("a", "bad1", "bb", "broken", "ccc")}
    rows, outcomes = run_items("things", items, work_on)
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert [(o.id, o.status, o.kind) for o in outcomes] == [
        ("a", Status.OK, None),
        ("bad1", Status.SKIPPED, Kind.PRIVATE),
        ("bb", Status.OK, None),
        ("broken", Status.FAILED, Kind.BUG),
        ("ccc", Status.OK, None),
    ]
    assert "KeyError" in outcomes[3].message


def test_too_many_failures_fail_the_job_and_skips_do_not() -> None:
    run_items("things", {f"bad{n}": f"bad{n}" for n in range(9)}, work_on, max_failed=0.0)
    items = {name: name for name in ("a", "b", "broken1", "broken2")}
    run_items("things", items, work_on, max_failed=0.5)
    with pytest.raises(StageStopped, match=r"2 of 4 items failed \(2 bug\).*broken1"):
        run_items("things", items, work_on, max_failed=0.49)


def test_only_what_may_help_is_tried_again() -> None:
    tries: list[Kind] = []

    def fail(kind: Kind) -> list[Row]:
        tries.append(kind)
        raise ItemError(kind)

    assert attempt("x", lambda: fail(Kind.NETWORK), Patience(3))[0].attempts == 3
    assert attempt("x", lambda: fail(Kind.PRIVATE), Patience(3))[0].attempts == 1
    assert tries == [Kind.NETWORK] * 3 + [Kind.PRIVATE]


def test_a_bot_check_stops_the_stage_and_fails_no_other_video(tmp_path: Path) -> None:
    def meet_a_bot_check(item: str) -> list[Row]:
        if item == "c":
            raise ItemError(Kind.BOT_CHECK, "not a bot")
        return [{"n": 1}]

    journal = Journal(tmp_path / "j.jsonl", {})
    with pytest.raises(StageStopped, match="c: bot_check"):
        run_items("videos", {v: v for v in "abcd"}, meet_a_bot_check, journal=journal)
    assert list(Journal(tmp_path / "j.jsonl", {}).done) == ["a", "b"]


def test_a_second_run_repeats_at_most_the_item_in_flight(tmp_path: Path) -> None:
    path, done = tmp_path / "00000.journal.jsonl", []

    def work(item: str) -> list[Row]:
        done.append(item)
        if len(done) == 3:
            raise KeyboardInterrupt
        return [{"n": ord(item)}]

    items = {v: v for v in "abcde"}
    with pytest.raises(KeyboardInterrupt):
        run_items("videos", items, work, journal=Journal(path, {"height": 360}))
    with path.open("ab") as file:
        file.write(b'{"outcome": {"id": "c", "sta')  # what a kill leaves of a line
    rows, outcomes = run_items("videos", items, work, journal=Journal(path, {"height": 360}))
    assert done == ["a", "b", "c", "c", "d", "e"]
    assert [row["n"] for row in rows] == [ord(v) for v in "abcde"]
    assert [o.id for o in outcomes] == list("abcde")


def test_a_journal_of_other_settings_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, {"height": 360}).add(Outcome("a"), [{"n": 1}])
    assert Journal(path, {"height": 240}).done == {}
    assert json.loads(path.read_text()) == {"height": 240}


def test_outcomes_survive_the_journal_and_the_status_table(tmp_path: Path) -> None:
    outcome = Outcome.of("a", ItemError(Kind.GEO, "not here"), attempts=2)
    Journal(tmp_path / "j.jsonl", {}).add(outcome, [])
    assert Journal(tmp_path / "j.jsonl", {}).done["a"] == (outcome, [])
    write_status(tmp_path / "s.parquet", [outcome])
    table = read_table(tmp_path / "s.parquet")
    assert table.schema.equals(tables.STATUS)
    assert table.to_pylist()[0] | {"seconds": 0.0} == {
        "id": "a",
        "status": "skipped",
        "kind": "geo",
        "message": "not here",
        "attempts": 2,
        "seconds": 0.0,
        "bytes": 0,
    }


def test_what_stops_the_stage_counts_as_failed() -> None:
    assert {k.status for k in Kind if k.fate is Fate.STOP} == {Status.FAILED}
    assert all(k.fate is Fate.PERMANENT for k in Kind if k.status is Status.SKIPPED)


@pytest.mark.parametrize("number", [1, 3])
def test_another_number_of_shards_is_refused_while_tables_of_the_old_one_are_there(
    tmp_path: Path, number: int
) -> None:
    keep_cut(tmp_path, {"tasks": 2, "videos": 2})
    for name in ("tasks", "videos"):
        refuse_other_cut(tmp_path, {"tasks": 2, "videos": 2} | {name: number})
    write_table(shard_path(tmp_path / "clips", 0), [{"n": 1}], ONE)
    refuse_other_cut(tmp_path, {"tasks": number, "videos": 2})
    with pytest.raises(
        UserError, match=rf"shards\.videos is {number}, .* 2 .* delete \S+/clips to"
    ):
        refuse_other_cut(tmp_path, {"tasks": 2, "videos": number})


def test_tables_beyond_the_number_of_shards_are_refused_without_a_note_of_it(
    tmp_path: Path,
) -> None:
    write_table(shard_path(tmp_path / "pairs", 2), [{"n": 1}], ONE)
    refuse_other_cut(tmp_path, {"tasks": 1, "videos": 3})
    with pytest.raises(UserError, match=r"shards\.videos is 2, but .* was cut into more shards"):
        refuse_other_cut(tmp_path, {"tasks": 1, "videos": 2})
    assert not (tmp_path / NOTE).exists()
