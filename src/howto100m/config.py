"""Check the settings of config.yaml before any job starts."""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from howto100m.kinds import UserError

Settings = dict[str, Any]

TASK_LISTS: Mapping[str, tuple[str, ...]] = {
    "wikihow": (),
    "table": ("table",),
    "howto100m": ("howto100m_csv", "task_ids_csv"),
}
"""The files that each value of `tasks.from` needs, by the names of their settings."""


BENCHMARK_SOURCES = ({"official", "data"}, {"protocol", "annotations"})
"""The settings that say where a benchmark's questions come from."""


TRAINED = ("msrvtt", "youcook2", "lsmdc")
"""Official benchmarks with training data."""


def resolve(config: Settings) -> Settings:
    """The settings that hold: those of the sample world laid over the others, all checked.

    Raises UserError with one line a mistake, each naming its key.
    """
    # Of `--config name=true` Snakemake makes a text.
    words = {"true": True, "false": False}
    config = {k: words.get(v, v) if isinstance(v, str) else v for k, v in config.items()}
    overlay = config.get("sample", {}).get("settings") if config.get("source") == "sample" else None
    settings = _overlay(config, overlay or {})
    mistakes = [_line(error) for error in _validator().iter_errors(settings)]
    mistakes += [] if mistakes else _contradictions(settings)
    if mistakes:
        raise UserError("\n".join(f"config: {line}" for line in sorted(mistakes)))
    return settings


def _validator() -> Draft202012Validator:
    schema = yaml.safe_load(Path(__file__).with_name("config.schema.yaml").read_text())
    return Draft202012Validator(schema)


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> Settings:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = _overlay(below[key], value) if both else value
    return merged


def _line(error: ValidationError) -> str:
    """One line: which key, what is wrong with it, what may stand there."""
    key = ".".join(str(part) for part in error.absolute_path)
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        known = list(schema.get("properties", {}))
        unknown = [name for name in instance if name not in known]
        return "; ".join(_unknown(_join(key, name), name, known) for name in unknown)
    if error.validator == "required":
        missing = [name for name in schema["required"] if name not in instance]
        return f"{', '.join(_join(key, name) for name in missing)} is missing"
    return f"{key or 'the file'}: {error.message}"


def _unknown(key: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"{key} is no setting" + (f" (did you mean {near[0]}?)" if near else "")


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _contradictions(settings: Settings) -> list[str]:
    release = settings["release"]
    found = []
    if (release["features_2d"] is None) != (release["features_3d"] is None):
        found.append("release: features_2d and features_3d go together")
    if settings["source"] == "howto100m" and not (release["captions"] or release["raw_captions"]):
        found.append("release: source howto100m needs captions, raw_captions or both")
    found += [
        f"evaluation.benchmarks.{name}.videos: {benchmark['videos']!r} is not one of"
        f" evaluation.videos ({', '.join(settings['evaluation']['videos']) or 'none is named'})"
        for name, benchmark in settings["evaluation"]["benchmarks"].items()
        if benchmark.get("videos") not in (None, *settings["evaluation"]["videos"])
    ]
    found += [
        f"evaluation.benchmarks.{name}: give official and data, or videos, protocol and annotations"
        for name, benchmark in settings["evaluation"]["benchmarks"].items()
        if benchmark.keys() - {"videos"} not in BENCHMARK_SOURCES
        or not benchmark.keys() & {"videos", "official"}
    ]
    if settings["embedding"]["pairs_per_video"] * settings["embedding"]["videos_per_batch"] < 2:
        found.append("embedding: a batch of one pair has no negatives; raise videos_per_batch")
    found += list(_target_faults(settings))
    tasks = settings["tasks"]
    found += [
        f"tasks.{name} is empty; `tasks.from: {tasks['from']}` needs the path of that file"
        for name in TASK_LISTS[tasks["from"]]
        if not tasks[name]
    ]
    if settings["source"] == "live" and tasks["from"] == "wikihow":
        lacks = contact_lacks(tasks["user_agent"])
        found += [f"tasks.user_agent {lacks}"] if lacks else []
    return found


def _target_faults(settings: Settings) -> Iterator[str]:
    benchmarks, videos = settings["evaluation"]["benchmarks"], settings["evaluation"]["videos"]
    for name, target in settings["studies"]["targets"].items():
        key = f"studies.targets.{name}"
        if name not in benchmarks:
            yield f"{key} is no benchmark (evaluation.benchmarks)"
        elif not target and benchmarks[name].get("official") not in TRAINED:
            yield f"{key}: give videos and annotations, or an official one of {', '.join(TRAINED)}"
        elif target and target["videos"] not in videos:
            yield f"{key}.videos: {target['videos']!r} is not one of evaluation.videos"


def contact_lacks(user_agent: str) -> str:
    """What is wrong with a User-Agent for a site whose owners want to know who asks, "" if nothing.

    It must be one line of ASCII, with a mail address or a URL.
    """
    good = user_agent.isascii() and user_agent.isprintable() and user_agent == user_agent.strip()
    if good and re.search(r"[^\s@(]+@[^\s@]+\.\w|https?://[^\s/]+\.\w", user_agent):
        return ""
    return (
        "must tell WikiHow who asks and where to complain, in ASCII: NAME (MAIL ADDRESS OR URL),"
        f" not {user_agent!r}"
    )


def flags(settings: Mapping[str, Any]) -> str:
    """Settings as flags of the sub-command: {"lr_decay": 0.9, "mean": [1, 2]} to text.

    True and False become --name and --no-name; what is None is left out.
    """
    parts: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            parts += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(parts)


def exports(**variables: Any) -> str:
    """A shell line that sets environment variables for the commands behind it.

    Braces are doubled, since Snakemake formats what it puts before its commands.
    """
    line = shlex.join(f"{name}={value}" for name, value in variables.items())
    return f"export {line}; ".replace("{", "{{").replace("}", "}}")


def use_this_python() -> None:
    """Let the jobs of this process find the Python (and its programs) that runs it.

    A job in an environment of its own still finds that one's first.
    """
    here = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", "")])
