"""Settings: one clear line for each mistake, before any job starts."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from howto100m.config import exports, flags, resolve
from howto100m.kinds import UserError

ROOT = Path(__file__).parents[1]
CONTACT = "our-lab (us@our-lab.org)"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    return loaded


def mistakes(config: dict[str, Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        resolve(config)
    return str(caught.value).splitlines()


def test_the_papers_settings_hold_in_live_mode(config: dict[str, Any]) -> None:
    config["tasks"]["user_agent"] = CONTACT
    live = resolve(config | {"source": "live"})
    assert live["search"]["results"] == live["videos"]["max_rank"] == 200
    assert (live["videos"]["min_views"], live["videos"]["max_duration"]) == (100, 2000)
    assert live["subtitles"]["min_words"] == 100
    assert len(live["tasks"]["categories"]) == 12
    assert live["embedding"]["dim"] == 4096 and live["embedding"]["epochs"] == 15


def test_a_switch_may_be_set_on_the_command_line(config: dict[str, Any]) -> None:
    """Snakemake makes a text of `--config crawl_here=true`."""
    assert resolve(config | {"crawl_here": "true"})["crawl_here"] is True
    assert mistakes(config | {"crawl_here": "yes"}) == [
        "config: crawl_here: 'yes' is not of type 'boolean'"
    ]


def test_the_sample_takes_the_place_of_some_settings_only(config: dict[str, Any]) -> None:
    sample = resolve(config)
    assert sample["embedding"]["dim"] < 4096
    assert sample["embedding"]["loss"] == config["embedding"]["loss"] == "max_margin"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("serch", {}, "config: serch is no setting (did you mean search?)"),
        ("videos.min_view", 9, "config: videos.min_view is no setting (did you mean min_views?)"),
        ("videos.min_views", -1, "config: videos.min_views: -1 is less than the minimum of 0"),
        ("media.keep", "yes", "config: media.keep: 'yes' is not of type 'boolean'"),
        ("source", "moon", "config: source: 'moon' is not one of ['sample', 'live', 'howto100m']"),
        (
            "subtitles.kinds",
            ["asr", "asr"],
            "config: subtitles.kinds: ['asr', 'asr'] has non-unique elements",
        ),
        (
            "evaluation.benchmarks",
            {"mine": {"videos": "folder", "protocol": "retrieval", "annotations": "x.csv"}},
            "config: evaluation.benchmarks.mine.videos: 'folder' is not one of evaluation.videos "
            + "(none is named)",
        ),
        *(
            (
                "evaluation.benchmarks",
                {"mine": entry},
                "config: evaluation.benchmarks.mine: give official and data, or videos, protocol"
                + " and annotations",
            )
            for entry in (
                {"official": "msrvtt"},
                {"protocol": "retrieval", "annotations": "x.csv"},
                {"official": "msrvtt", "data": "x", "protocol": "retrieval"},
            )
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(
    config: dict[str, Any], key: str, value: Any, line: str
) -> None:
    config["source"] = "live"
    config["tasks"]["user_agent"] = CONTACT
    place = config
    *folders, last = key.split(".")
    for folder in folders:
        place = place[folder]
    place[last] = value
    assert mistakes(config) == [line]


def test_a_benchmark_may_be_official(config: dict[str, Any]) -> None:
    config["evaluation"]["benchmarks"] = {"clips": {"official": "youcook2", "data": "files"}}
    config["source"], config["tasks"]["user_agent"] = "live", CONTACT
    assert resolve(config)["evaluation"] == config["evaluation"]


def test_what_the_official_release_needs_is_said(config: dict[str, Any]) -> None:
    config["source"] = "howto100m"
    assert resolve(config)["release"] == config["release"]
    config["release"] |= {"captions": None, "raw_captions": None, "features_2d": "folder"}
    assert mistakes(config) == [
        "config: release: features_2d and features_3d go together",
        "config: release: source howto100m needs captions, raw_captions or both",
    ]


def test_mistakes_in_the_samples_settings_are_found(config: dict[str, Any]) -> None:
    config["sample"]["settings"]["videos"] = {"min_views": "many"}
    assert mistakes(config) == ["config: videos.min_views: 'many' is not of type 'integer'"]


@pytest.mark.parametrize(
    ("user_agent", "good"),
    [
        ("", False),
        ("sample", False),
        ("NAME (MAIL ADDRESS OR URL)", False),
        ("me (@home)", False),
        ("us@our-lab.org\nX: 1", False),
        ("Universität (us@our-lab.org)", False),
        ("our-lab/2.0 (+https://our-lab.org/crawl)", True),
        (CONTACT, True),
    ],
)
def test_wikihow_is_told_who_asks(config: dict[str, Any], user_agent: str, good: bool) -> None:
    config["source"] = "live"
    config["tasks"]["user_agent"] = user_agent
    if good:
        assert resolve(config)["tasks"]["user_agent"] == user_agent
    else:
        (line,) = mistakes(config)
        assert line.startswith("config: tasks.user_agent must tell WikiHow who asks and where")
        config["tasks"] |= {"from": "table", "table": "titles.tsv"}
        assert resolve(config)["tasks"]["from"] == "table"


def test_a_door_needs_its_files(config: dict[str, Any]) -> None:
    config["tasks"]["from"] = "howto100m"
    config["tasks"]["task_ids_csv"] = "task_ids.csv"
    assert mistakes(config) == [
        "config: tasks.howto100m_csv is empty; `tasks.from: howto100m` needs the path of that file"
    ]
    config["tasks"]["from"] = "tabel"
    assert mistakes(config) == [
        "config: tasks.from: 'tabel' is not one of ['wikihow', 'table', 'howto100m']"
    ]


def test_every_setting_must_be_there(config: dict[str, Any]) -> None:
    broken = copy.deepcopy(config)
    del broken["search"], broken["pairs"]["min_words"]
    assert mistakes(broken) == ["config: pairs.min_words is missing", "config: search is missing"]


def test_flags_are_named_as_the_settings() -> None:
    assert flags({"lr_decay": 0.9, "mean": [1, 2]}) == "--lr-decay 0.9 --mean 1 2"
    assert flags({"every_pair": True, "init": None, "x": False}) == "--every-pair --no-x"


def test_exports_are_safe_in_a_shell() -> None:
    line = exports(ANSWER="it's {json} $HOME; exit", NUMBER=3)
    run = subprocess.run(
        ["bash", "-c", line.format() + 'printf "%s|%s" "$ANSWER" "$NUMBER"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "it's {json} $HOME; exit|3"


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_mistake_ends_snakemake_before_any_job() -> None:
    run = snakemake("--config", "serch=1")
    assert run.returncode == 1
    assert "config: serch is no setting (did you mean search?)" in run.stderr.splitlines()
    assert "rule " not in run.stdout + run.stderr
    run = snakemake("--config", "source=live")
    assert run.returncode == 1 and "config: tasks.user_agent must tell WikiHow" in run.stderr
    assert "rule " not in run.stdout + run.stderr


def test_the_titles_come_through_the_door_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "my titles.tsv"
    path.write_text("title\nMake Tea\n")
    tasks = f"tasks={{from: table, table: {path}}}"
    run = snakemake("-p", "tasks", "--config", "source=live", tasks)
    assert run.returncode == 0, run.stderr
    (line,) = (line for line in run.stdout.splitlines() if "python -m howto100m tasks" in line)
    assert f"--from table --table '{path}' --output results/tasks --shards 256" in line
    path.unlink()
    run = snakemake("-p", "tasks", "--config", "source=live", tasks)
    assert run.returncode == 1 and "my titles.tsv" in run.stdout + run.stderr


@pytest.mark.heavy
def test_the_real_thing_is_planned_without_the_network() -> None:
    live = ("source=live", f"tasks={{user_agent: {CONTACT}}}")
    run = snakemake("--quiet", "rules", "--config", *live)
    assert run.returncode == 0, run.stderr
    jobs = dict(line.split() for line in run.stdout.splitlines() if len(line.split()) == 2)
    assert jobs["search_tasks"] == "256"
    assert jobs["extract_features"] == "1200"
    assert "make_sample" not in jobs
