"""The whole line, from WikiHow to the report, on a small sample world."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from howto100m import tables
from howto100m.report.counts import count_stages
from howto100m.validate import validate

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    "embedding": {"epochs": 4, "seeds": [1], "dim": 64},
    "studies": {"seeds": [1], "negatives": {"intra_shares": [0, 0.5]}},
}

pytestmark = pytest.mark.heavy


def snakemake_command(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--profile", "none", "--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--cores", "2", "--directory", folder, *arguments]
    return [str(part) for part in command]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = snakemake_command(folder, *arguments)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def configure(folder: Path, **sections: dict[str, Any] | float) -> None:
    """Write the project's config.yaml with some values changed."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["sample"] |= {"videos": 6, "held_out": 3}
    settings = config["sample"]["settings"]
    for name, section in (SMALL | sections).items():
        known = settings.get(name, {})
        settings[name] = known | section if isinstance(section, dict) else section
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("line")
    configure(folder)
    run = snakemake(folder)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-8000:]
    yield folder
    shutil.rmtree(folder)


def planned(run: subprocess.CompletedProcess[str]) -> Counter[str]:
    """The jobs of a dry run, by rule."""
    assert run.returncode == 0, run.stderr
    lines = (run.stdout + run.stderr).splitlines()
    return Counter(
        {p[0]: int(p[1]) for p in map(str.split, lines) if len(p) == 2 and p[1].isdigit()}
    )


def test_every_table_holds_what_it_promises(built: Path) -> None:
    assert list(validate(built / "results")) == []


def test_every_item_is_accounted_for(built: Path) -> None:
    counts = {count.stage: count for count in count_stages(built / "results")}
    assert list(counts)[:9] == [
        "tasks",
        "search",
        "videos",
        "subtitles",
        "clips",
        "media",
        "features",
        "vocabulary",
        "pairs",
    ]
    assert {"embedding/max_margin-1", "evaluation/sample_clips/max_margin-1"} < set(counts)
    for count in counts.values():
        assert count.adds_up, count
        assert count.failed == 0, count
    lost = {stage: {loss.kind for loss in count.losses} for stage, count in counts.items()}
    assert lost["tasks"] >= {"not_visual", "other_category", "no_verb"}
    assert lost["videos"] >= {"too_few_views", "too_long", "live"}
    assert lost["subtitles"] >= {"no_subtitles", "too_few_words", "private"}
    assert lost["clips"] == lost["media"] == lost["features"] == set()


def test_tables_have_their_schemas(built: Path) -> None:
    schemas = {
        "tasks": tables.TASKS,
        "search": tables.SEARCH,
        "videos": tables.VIDEOS,
        "subtitles": tables.SUBTITLES,
        "clips": tables.CLIPS,
        "media": tables.MEDIA,
        "features/2d": tables.FEATURES,
        "features/3d": tables.FEATURES,
        "vocabulary": tables.VOCABULARY,
        "pairs": tables.PAIRS,
    }
    for stage, schema in schemas.items():
        paths = list((built / "results" / stage).glob("*.parquet"))
        for path in (p for p in paths if "." not in p.stem):
            assert pq.read_schema(path).equals(schema), path
        for path in (p for p in paths if p.name.endswith(".status.parquet")):
            assert pq.read_schema(path).equals(tables.STATUS), path


def test_a_video_has_as_many_vectors_as_seconds_ask_for(built: Path) -> None:
    results = built / "results"
    rows = duckdb.sql(
        f"""SELECT m.duration, a.n, b.n FROM '{results}/media/?????.parquet' m
        JOIN (SELECT video_id, count(*) n FROM '{results}/features/2d/?????.parquet' GROUP BY 1) a
        USING (video_id)
        JOIN (SELECT video_id, count(*) n FROM '{results}/features/3d/?????.parquet' GROUP BY 1) b
        USING (video_id)"""
    ).fetchall()
    assert len(rows) == 6
    for duration, seconds, chunks in rows:
        assert abs(seconds - duration) <= 1
        assert abs(chunks - duration * 1.5) <= 1.5


def test_figures_stand_beside_chance(built: Path) -> None:
    rows = pq.read_table(built / "results/evaluation/metrics.parquet").to_pylist()
    found = {(r["run"], r["benchmark"], r["metric"]) for r in rows}
    for metric in ("R@1", "R@5", "R@10", "median_rank"):
        assert ("max_margin-1", "sample_clips", metric) in found
    assert ("max_margin-1", "sample_steps", "recall") in found
    assert {("random", "sample_steps", "recall"), ("uniform", "sample_steps", "recall")} < found
    assert all(r["chance"] > 0 for r in rows if r["metric"] != "recall_pooled")
    assert all(0 <= r["value"] <= 1 for r in rows if r["metric"] != "median_rank")
    assert all(r["missing"] == 0 for r in rows)


def test_the_report_stands_alone_and_says_that_the_weights_are_random(built: Path) -> None:
    page = (built / "results/report.html").read_text()
    assert "random weights" in page
    assert "too_few_views" in page and "sample_clips" in page
    assert page.count("data:image/jpeg;base64,") >= 8 + 4  # clips, and what sentences find
    assert '<span class="good">yes</span>' in page and '<span class="bad">no: ' not in page
    for outside in ('src="http', 'href="http', "@import", "<script"):
        assert outside not in page


def test_snakemakes_own_report_holds_ours(built: Path) -> None:
    run = snakemake(built, "--report", "snakemake.html")
    assert run.returncode == 0, run.stderr[-4000:]
    page = (built / "snakemake.html").read_text()
    for said in (
        "A text-video embedding learned from narrated how-to videos (source: sample)",
        "What came in, what was lost and why, and what was learned.",
        "The usual questions about a dataset, answered from its tables.",
        "train_embedding",
    ):
        assert said in page, said


def test_pairs_to_judge_by_hand_come_on_demand(built: Path) -> None:
    run = snakemake(built, "annotate")
    assert run.returncode == 0, run.stderr[-4000:]
    page = (built / "results/annotate.html").read_text()
    clips = duckdb.sql(f"SELECT count(*) FROM '{built}/results/clips/?????.parquet'").fetchall()
    assert page.count("data:image/jpeg;base64,") == clips[0][0] < 400


def test_a_second_run_finds_nothing_to_do(built: Path) -> None:
    run = snakemake(built, "-n")
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_changed_setting_reruns_what_depends_on_it_and_nothing_else(built: Path) -> None:
    configure(built, pairs={"min_seconds": 4.0})
    try:
        jobs = planned(snakemake(built, "-n", "--quiet", "rules"))
    finally:
        configure(built)
    del jobs["all"], jobs["total"]
    assert set(jobs) == {
        "pair_clips",
        "train_embedding",
        "evaluate_embedding",
        "merge_metrics",
        "index_clips",
        "write_report",
    }


def test_what_changes_no_table_reruns_no_stage(built: Path) -> None:
    configure(
        built,
        youtube={"cookiefile": "cookies.txt"},
        features={"batch_size": 8, "device": "cpu"},
        media={"keep": False},
        max_failed=0.1,
    )
    try:
        jobs = planned(snakemake(built, "-n", "--quiet", "rules"))
    finally:
        configure(built)
    assert set(jobs) == {"all", "total", "write_report"}  # which shows the settings


def test_another_number_of_shards_is_refused(built: Path) -> None:
    configure(built, shards={"tasks": 2, "videos": 3})
    try:
        run = snakemake(built, "-n")
    finally:
        configure(built)
    assert run.returncode == 1
    assert "config: shards.videos is 3, but results was cut into 2 shards" in run.stderr
    assert "results/videos results/subtitles results/clips" in run.stderr


def test_two_runs_in_one_folder_are_refused_with_what_to_do(tmp_path: Path) -> None:
    configure(tmp_path)
    lock = tmp_path / ".snakemake" / "locks" / "0.output.lock"
    with subprocess.Popen(
        snakemake_command(tmp_path, "tasks"), cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as first:
        try:
            while not lock.exists():
                assert first.poll() is None
                time.sleep(0.05)
            second = snakemake(tmp_path, "tasks")
        finally:
            first.terminate()
    assert second.returncode == 1
    assert "Directory cannot be locked" in second.stderr and "--unlock" in second.stderr


def test_one_stage_is_redone_on_demand(built: Path) -> None:
    jobs = planned(snakemake(built, "pairs", "-n", "--quiet", "rules", "--forcerun", "pair_clips"))
    assert jobs["pair_clips"] == 2
    assert set(jobs) == {"pair_clips", "pairs", "total"}


def test_a_stage_that_is_done_again_gives_the_same_bytes(built: Path) -> None:
    stages = ("tasks", "search", "videos", "subtitles", "clips")
    paths = [p for s in stages for p in (built / "results" / s).glob("?????.parquet")]
    before = {path: path.read_bytes() for path in paths}
    run = snakemake(built, "clips", "--forcerun", "mine_tasks", "search_tasks", "fetch_subtitles")
    assert run.returncode == 0, run.stderr[-4000:]
    assert {path: path.read_bytes() for path in paths} == before


def test_a_study_trains_what_is_new_and_stands_in_the_report(built: Path) -> None:
    run = snakemake(built, "study_negatives")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    rows = pq.read_table(built / "results/studies/negatives.parquet").to_pylist()
    assert {(r["setting"], r["videos"]) for r in rows} == {
        ("intra_share=0", 6),
        ("intra_share=0.5", 6),
    }
    found = {
        (r["benchmark"], r["metric"]): r["value"] for r in rows if r["setting"] == "intra_share=0.5"
    }
    figures = pq.read_table(built / "results/evaluation/metrics.parquet").to_pylist()
    assert found == {
        (r["benchmark"], r["metric"]): r["value"]
        for r in figures
        if r["run"] == "max_margin-1" and not r["part"]
    }
    assert not (built / "results/studies/negatives/intra_share=0.5-1.pth").exists()
    assert set(planned(snakemake(built, "-n", "--quiet", "rules"))) == {
        "all",
        "write_report",
        "total",
    }
    assert snakemake(built).returncode == 0
    page = (built / "results/report.html").read_text()
    assert "Negatives of the same video" in page and "intra_share=0" in page
    assert "msrvtt: not evaluated here" in page and "Kimchi Rice" in page
    configure(built, pairs={"min_seconds": 4.0})
    try:
        assert "train_variant" not in planned(snakemake(built, "-n", "--quiet", "rules"))
    finally:
        configure(built)


def test_a_half_copied_table_is_named_and_rebuilt_by_deleting_it(built: Path) -> None:
    path = built / "results" / "clips" / "00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert any(line.startswith(f"{path}: no whole Parquet") for line in validate(built / "results"))
    run = snakemake(built, "vocabulary")
    assert run.returncode == 1
    assert "results/clips/00001.parquet is not a whole Parquet file" in run.stdout + run.stderr
    path.unlink()
    run = snakemake(built, "clips")
    assert run.returncode == 0, run.stderr[-4000:]
    assert path.read_bytes() == whole
