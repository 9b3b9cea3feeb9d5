"""Sentences to clips: the index, the exact search and FAISS's, the command."""

import json
import logging
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from typer.testing import CliRunner

from howto100m import tables
from howto100m.cli import app
from howto100m.find import nearest
from howto100m.find.finder import Finder
from howto100m.find.index import Folder, index_clips
from howto100m.find.nearest import Cells, Exact, agreement, build_cells
from howto100m.kinds import UserError
from search_index import SHARDS, write_network, write_results


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = write_results(tmp_path_factory.mktemp("built"), SHARDS)
    index_clips(results, results / "embedding/max_margin-1.pth", results / "index", max_words=20)
    return results


@pytest.fixture(scope="module")
def finder(built: Path) -> Finder:
    return Finder.open(built / "index")


@pytest.fixture
def results(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return shutil.copytree(built, tmp_path / "results")


def places(finder: Finder, text: str, k: int = 10, category: str = "") -> list[tuple[str, int]]:
    (found,) = finder.find([finder.read(text, k, category)])
    assert [clip.rank for clip in found] == list(range(1, len(found) + 1))
    assert [clip.score for clip in found] == sorted((c.score for c in found), reverse=True)
    return [(clip.video_id, clip.clip) for clip in found]


def test_the_clips_that_show_the_words_come_first_over_all_shards(finder: Finder) -> None:
    assert places(finder, "Cut the onion!", 3)[0] == ("food0000001", 1)
    assert set(places(finder, "Cut the onion!", 3)[1:]) == {("food0000002", 0), ("food0000002", 1)}
    assert places(finder, "knit a scarf", 1) == [("yarn0000001", 0)]
    assert len(places(finder, "wood", 100)) == 7


def test_a_clip_that_was_found_says_what_it_is(finder: Finder) -> None:
    (found,) = finder.find([finder.read("onion", 1)])
    assert vars(found[0]) == {
        "rank": 1,
        "score": 1.0,
        "video_id": "food0000002",
        "clip": 0,
        "start": 1.5,
        "end": 6.5,
        "text": "an onion",
        "title": "How to <b>food0000002</b>",
        "category": "Food",
        "path": "",
    }


def test_a_category_leaves_the_others_out(finder: Finder) -> None:
    assert list(finder.categories) == ["Crafts", "Food"]
    assert places(finder, "onion", 10, "Crafts") == [("yarn0000001", 0), ("yarn0000001", 1)]
    assert {video for video, _ in places(finder, "knit", 10, "Food")} == {
        "food0000001",
        "food0000002",
    }


def test_queries_of_a_batch_get_each_their_own(finder: Finder) -> None:
    asked = [("onion", 2, ""), ("wool", 1, "Crafts"), ("knit", 3, "Food"), ("onion", 7, "")] * 3
    together = finder.find([finder.read(*query) for query in asked])
    alone = [finder.find([finder.read(*query)])[0] for query in asked]
    assert together == alone
    assert [len(found) for found in together[:4]] == [2, 1, 3, 7]


@pytest.mark.parametrize(
    ("text", "k", "category", "wrong"),
    [
        ("  ", 10, "", "empty"),
        ("x" * 1001, 10, "", "1001 characters"),
        ("onion", 0, "", "from 1 to 100"),
        ("onion", 101, "", "from 1 to 100"),
        ("onion", 5, "Sports", "give one of Crafts, Food"),
        ("the of \x00 <b>", 5, "", "no word of"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    finder: Finder, text: str, k: int, category: str, wrong: str
) -> None:
    with pytest.raises(UserError, match=wrong):
        finder.read(text, k, category)


def test_words_that_are_not_known_are_named(finder: Finder) -> None:
    assert finder.read("Cut the big Onion, the", 1).unknown == ("big",)


def test_the_index_holds_the_embeddings_and_the_lines_of_the_grown_clips(
    results: Path,
) -> None:
    folder = Folder(results / "index")
    assert pq.read_schema(folder.clips).equals(tables.INDEX)
    vectors = np.fromfile(folder.vectors, "<f2").reshape(7, 300)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    pairs = results / "pairs/00001.parquet"
    table = pq.read_table(pairs)  # its first clip now reaches over the second
    grown = table.set_column(3, "end", [[9.0, 9.0]]).cast(tables.PAIRS)
    with pq.ParquetWriter(pairs, tables.PAIRS, compression="none", use_dictionary=False) as writer:
        writer.write_table(grown)
    index_clips(results, results / "embedding/max_margin-1.pth", results / "again", max_words=20)
    texts = pq.read_table(Folder(results / "again").clips)["text"].to_pylist()
    assert texts[-2:] == ["an onion ", ""]


def test_pairs_that_grew_to_the_same_seconds_are_one_clip(results: Path) -> None:
    pairs = results / "pairs/00001.parquet"
    table = pq.read_table(pairs)
    grown = table.set_column(2, "start", [[1.5, 1.5]]).set_column(3, "end", [[9.0, 9.0]])
    with pq.ParquetWriter(pairs, tables.PAIRS, compression="none", use_dictionary=False) as writer:
        writer.write_table(grown.cast(tables.PAIRS))
    index_clips(results, results / "embedding/max_margin-1.pth", results / "again", max_words=20)
    found = pq.read_table(Folder(results / "again").clips)
    assert len(found) == 6 and found["text"].to_pylist()[-1] == "an onion "
    assert places(Finder.open(results / "again"), "onion", 1) == [("food0000002", 0)]


def test_an_index_can_be_moved_and_needs_no_other_table(results: Path) -> None:
    moved = (results / "index").rename(results.parent / "elsewhere")
    (results / "vocabulary/vocabulary.parquet").unlink()
    assert places(Finder.open(moved), "cut onion", 1) == [("food0000001", 1)]


def test_a_broken_index_is_refused_with_what_to_do(results: Path) -> None:
    folder = Folder(results / "index")
    with folder.vectors.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match=r"vectors.f16 has 1000 bytes, not 4200: build"):
        Finder.open(folder.path)
    folder.description.write_text("{}")
    with pytest.raises(UserError, match="build it again"):
        Finder.open(folder.path)
    folder.description.unlink()
    with pytest.raises(UserError, match="howto100m index"):
        Finder.open(folder.path)


def test_an_index_that_breaks_off_is_none(results: Path) -> None:
    (results / "clips/00001.parquet").write_bytes(b"no table")
    with pytest.raises(Exception, match="00001"):
        index_clips(
            results, results / "embedding/max_margin-1.pth", results / "index", max_words=20
        )
    with pytest.raises(UserError, match="holds no index"):
        Finder.open(results / "index")


def vectors_of(number: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors of length 1 in groups, with some that stand there twice."""
    random = np.random.default_rng(seed)
    groups = random.normal(size=(50, dim))
    found = groups[random.integers(50, size=number)] + 0.5 * random.normal(size=(number, dim))
    found[1::97] = found[0]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("<f2")


@pytest.mark.parametrize("queries", [1, 3, 40])
@pytest.mark.parametrize("filtered", [False, True])
def test_the_exact_search_misses_nothing(
    queries: int, filtered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 100)  # many blocks, the last one short
    vectors = vectors_of(1234, 64)
    random = np.random.default_rng(1)
    asked = F.normalize(torch.from_numpy(random.normal(size=(queries, 64)).astype(np.float32)))
    allowed = random.random(1234) < 0.3 if filtered else None
    right = asked.numpy().astype(np.float64) @ vectors.astype(np.float64).T
    if allowed is not None:
        right[:, ~allowed] = -np.inf
    for hits, scores in zip(Exact(vectors).search(asked, 10, allowed), right, strict=True):
        assert np.allclose(hits.scores, np.sort(scores)[::-1][:10], atol=1e-6)
        assert np.allclose(scores[hits.rows], hits.scores, atol=1e-6)
        assert len(set(hits.rows)) == 10


def test_equal_vectors_come_in_order_and_fewer_than_asked_are_given() -> None:
    vectors = np.repeat(vectors_of(3, 64), 4, axis=0)
    query = torch.from_numpy(vectors[8:9].astype(np.float32))
    (hits,) = Exact(vectors).search(query, 100)
    assert len(hits.rows) == 12
    assert hits.rows[:4].tolist() == [8, 9, 10, 11]
    (none,) = Exact(vectors).search(query, 5, np.zeros(12, bool))
    assert len(none.rows) == 0
    (empty,) = Exact(np.empty((0, 64), "<f2")).search(query, 5)
    assert len(empty.rows) == 0


@pytest.mark.parametrize("dim", [64, 320])
def test_faiss_finds_nearly_all_with_the_exact_scores(dim: int, tmp_path: Path) -> None:
    vectors = vectors_of(6000, dim)
    build_cells(vectors, tmp_path / "cells", seed=1)
    cells = Cells.open(tmp_path / "cells", vectors)
    asked = torch.from_numpy(vectors_of(40, dim, seed=0).astype(np.float32))
    right = Exact(vectors).search(asked, 10)
    found = cells.search(asked, 10)
    assert agreement(found, right) > 0.9
    for hits in found:
        assert np.all(np.diff(hits.scores) <= 0)
    allowed = np.arange(6000) % 7 == 0
    filtered = cells.search(asked, 10, allowed)
    assert all(allowed[hits.rows].all() and len(hits.rows) for hits in filtered)
    assert agreement(filtered, Exact(vectors).search(asked, 10, allowed)) > 0.9


def index_many(folder: Path, clips: int, exact_up_to: int) -> Path:
    """The index of so many clips a video, of three videos."""
    lines = [(float(i), i + 1.0, "", ("cut onion", "knit scarf", "sand wood")[i % 3])
             for i in range(clips)]  # fmt: skip
    results = write_results(folder, [{f"food{v:07}": lines} for v in range(3)])
    checkpoint, output = results / "embedding/max_margin-1.pth", results / "index"
    made = index_clips(results, checkpoint, output, max_words=20, exact_up_to=exact_up_to)
    assert made.cells == (3 * clips > exact_up_to)
    return output


def test_beyond_a_number_of_clips_the_index_has_cells_and_stays_whole_for_who_has_it_open(
    tmp_path: Path,
) -> None:
    index = index_many(tmp_path, 1500, exact_up_to=4499)
    found = Finder.open(index)
    assert isinstance(found.nearest, Cells)
    before = places(found, "knit scarf", 20)
    assert all(clip % 3 == 1 for _, clip in before)
    with ThreadPoolExecutor(1) as pool:
        stop = Event()
        searches = pool.submit(search_until, stop, found, "knit scarf")
        # Shorter files under the same names: in place they would end the process (SIGBUS).
        index_many(tmp_path, 4, exact_up_to=4499)
        time.sleep(0.2)
        stop.set()
        assert searches.result() == [before] * len(searches.result()) != []
    assert places(found, "knit scarf", 20) == before
    again = Finder.open(index)
    assert isinstance(again.nearest, Exact) and not (index / "cells.faiss").exists()
    assert len(places(again, "knit scarf", 20)) == 12


def search_until(stop: Event, finder: Finder, words: str) -> list[list[tuple[str, int]]]:
    """What searches found, one after the other."""
    found = [places(finder, words, 20)]
    while not stop.is_set():
        found.append(places(finder, words, 20))
    return found


def test_an_index_whose_cells_are_damaged_or_that_was_built_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_many(tmp_path, 1400, exact_up_to=100)
    opened = Cells.open

    def build_meanwhile(path: Path, vectors: np.ndarray) -> Cells:
        cells = opened(path, vectors)
        Folder(index).description.rename(index / "old.json")
        shutil.copy(index / "old.json", Folder(index).description)
        return cells

    with monkeypatch.context() as patch:
        patch.setattr(Cells, "open", build_meanwhile)
        with pytest.raises(UserError, match="index was built anew while it was opened: try again"):
            Finder.open(index)
    Folder(index).cells.unlink()  # not in place, where another process may have it open
    Folder(index).cells.write_bytes(b"no index")
    with pytest.raises(UserError, match=r"cells.faiss cannot be read .*: build the index again"):
        Finder.open(index)


def test_too_few_clips_for_faiss_are_told(results: Path) -> None:
    with pytest.raises(UserError, match="7 clips are too few for FAISS: raise --exact-up-to"):
        index_clips(
            results,
            write_network(results / "net.pth"),
            results / "index",
            max_words=20,
            exact_up_to=0,
        )


def test_the_commands_build_and_ask(results: Path) -> None:
    run = CliRunner()
    made = run.invoke(app, ["index", "--results", str(results)])
    assert made.exit_code == 0, made.output
    index = str(results / "index")
    found = run.invoke(app, ["find", "cut the onion", "-k", "2", "--index", index])
    first, _ = found.stdout.splitlines()
    assert first.split()[:3] == ["1", "1.000", "https://youtu.be/food0000001?t=4"]
    assert "4.0-8.0 s “cut it <script>" in first
    lines = run.invoke(app, ["find", "scarf", "--index", index, "--json"]).stdout.splitlines()
    assert json.loads(lines[0])["video_id"] == "yarn0000001" and len(lines) == 7
    assert logging.getLogger("howto100m").level == logging.NOTSET  # quiet for its own time alone


def test_search_with_a_sentence_alone_finds_clips_and_is_the_stage_else(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.parent)
    (built.parent / "results").symlink_to(built)
    found = CliRunner().invoke(app, ["search", "knit a scarf"])
    assert found.stdout.startswith("  1 1.000 https://youtu.be/yarn0000001")
    for arguments in (["search"], ["search", "knit", "--tasks", "tasks.parquet"]):
        with pytest.raises(UserError, match="give --tasks and --output; to find clips"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
