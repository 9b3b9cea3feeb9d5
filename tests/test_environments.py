"""The conda environments hold the versions of the lock file."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["crawl", "features", "embedding"])
def test_versions_are_those_of_the_lock(name: str) -> None:
    locked = set(re.findall(r"^(\S+==[^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.M))
    wanted = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"][-1]["pip"]
    assert wanted
    assert set(wanted) <= locked


def test_every_rule_with_a_command_names_an_environment() -> None:
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]:
            assert re.search(r'"\.\./envs/(crawl|features|embedding)\.yaml"', rule), rule[:40]


def test_the_lock_names_no_address() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_image_installs_the_lock_by_its_checksums() -> None:
    recipe = (ROOT / "envs" / "howto100m.def").read_text()
    assert "requirements.lock /opt/requirements.lock" in recipe
    assert "uv pip sync --system --require-hashes /opt/requirements.lock" in recipe
    assert 'envs/howto100m.sif"' in (ROOT / "rules" / "common.smk").read_text()
