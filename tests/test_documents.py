"""The documents: their links lead somewhere, their commands are ours."""

import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from howto100m import cli
from howto100m.features.weights import make_weights
from test_features_decode import encode, numbered

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
COMMANDS = typer.main.get_command(cli.app)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_or_a_heading(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, heading = target.partition("#")
        found = (path.parent / file) if file else path
        assert found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), flags=re.M)
            names = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert heading in names, target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_of_ours_that_is_named_exists(path: Path) -> None:
    for name in re.findall(r"`((?:src|docs|tests|benchmarks|rules|profiles)/[\w./-]+)`",
                           path.read_text()):  # fmt: skip
        assert (ROOT / name).exists(), name


def commands(text: str) -> Iterator[list[str]]:
    """The lines of code blocks that call howto100m, with their continuations."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S)
    blocks += re.findall(r"(?:^    .*\n)+", text, flags=re.M)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if call := re.match(r"\s*(?:uv run )?howto100m (.*)", line):
                yield shlex.split(call[1].partition(" #")[0])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_takes_the_options_that_are_shown(path: Path) -> None:
    context = typer.Context(COMMANDS)
    for said in commands(path.read_text()):
        name, *arguments = [part for part in said if part not in ("--debug",)]
        if "…" in said or name.startswith("-"):
            continue
        command = COMMANDS.get_command(context, name)
        assert command is not None, said
        options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        given = {a.partition("=")[0] for a in arguments if re.match(r"--?[a-z]", a)}
        assert given <= options | {"--help", "-h"}, (said, given - options)


def test_the_citation_names_the_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert "1906.03327" in citation["preferred-citation"]["url"]
    assert citation["version"] in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.heavy
def test_the_wheel_installs_and_its_extract_runs_alone(tmp_path: Path) -> None:
    """Beside the packages that are here, without the checkout."""
    uv = next(
        (p for p in (ROOT / ".uv/bin/uv", *map(Path, ("/usr/local/bin/uv", "/usr/bin/uv")))
         if p.exists()), Path("uv"))  # fmt: skip
    subprocess.run([uv, "build", "--offline", "--wheel", "-o", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    pages = ("report/page.html.j2", "report/datasheet.md.j2", "find/page.html.j2")
    for needed in ("config.schema.yaml", "tasks/verbs.tsv", "find/static/page.js", *pages):
        assert f"howto100m/{needed}" in names
    site = tmp_path / "site"
    subprocess.run(
        [uv, "pip", "install", "--offline", "--no-deps", "--target", site, wheel], check=True
    )
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    found = subprocess.run(
        [sys.executable, "-c", "import howto100m; print(howto100m.__file__)"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Path(found.strip()).is_relative_to(site)

    video = encode(tmp_path / "a.mp4", numbered(3 * 25))
    make_weights("resnet152", [video], 1, tmp_path / "weights.pth")
    command = [site / "bin" / "howto100m", "extract", "--output", "vectors", "--format", "npy"]
    command += ["--networks", "2d", "--resnet152", "weights.pth", "--dtype", "float32", "--input"]

    ended = subprocess.run(
        [*command, "a.mp4"],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "1 videos: 1 ok\n"), ended.stderr
    vectors = np.load(tmp_path / "vectors" / "2d" / "a.npy")
    assert (vectors.shape, vectors.dtype) == ((3, 2048), np.float16)
    assert np.linalg.norm(vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
