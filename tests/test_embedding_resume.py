"""Training that is stopped goes on as if it had not been."""

import subprocess
import time
from pathlib import Path

import pytest
import torch

from howto100m.embedding.resume import Resume, Standing, fingerprint
from howto100m.kinds import UserError
from howto100m.shards import read_table
from training import ENV, command, make_stage, train

STANDING = Standing(2, 1, {"w": torch.ones(2)}, {"state": {}}, torch.get_rng_state(), {})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_stage(tmp_path_factory.mktemp("made"))


@pytest.mark.heavy
def test_killed_and_started_again_it_gives_the_same_bytes(made, tmp_path):
    arguments = ["--epochs", "12", "--lr", "0.001"]
    assert train(made, tmp_path / "whole", *arguments).returncode == 0
    resume = tmp_path / "killed" / "net.resume.pt"
    arguments += ["--save-every", "0"]
    seen = []
    for _ in range(2):
        with subprocess.Popen(command(made, resume.parent, *arguments), env=ENV) as process:
            before = resume.stat().st_mtime_ns if resume.exists() else 0
            while not resume.exists() or resume.stat().st_mtime_ns == before:
                assert process.poll() is None
                time.sleep(0.005)
            time.sleep(0.1)
            process.kill()
        assert not (resume.parent / "net.pth").exists()
        kept = torch.load(resume, weights_only=True)
        seen.append(len(kept["curve"]["step"]))
    assert 0 < seen[0] < seen[1] < 48
    last = train(made, resume.parent, *arguments)
    assert f"goes on behind step {seen[1]}" in last.stderr
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    assert (whole / "net.pth").read_bytes() == (killed / "net.pth").read_bytes()
    curves = [read_table(folder / "curve.parquet").drop(["seconds"]) for folder in (whole, killed)]
    assert curves[0].equals(curves[1])
    seconds = read_table(killed / "curve.parquet")["seconds"].to_pylist()
    assert seconds == sorted(seconds)
    assert not resume.exists()


def test_a_standing_comes_back(tmp_path):
    file = Resume(tmp_path / "net.resume.pt", {"lr": 0.1, "init": None})
    assert file.load() is None
    file.save(STANDING)
    back = file.load()
    assert (back.epoch, back.step) == (2, 1)
    assert torch.equal(back.state_dict["w"], torch.ones(2))
    file.remove()
    assert file.load() is None


def test_a_standing_of_other_settings_is_put_aside_by_name(tmp_path, caplog):
    path = tmp_path / "net.resume.pt"
    Resume(path, {"lr": 0.1, "dim": 4}).save(STANDING)
    assert Resume(path, {"lr": 0.2, "dim": 4}).load() is None
    assert "other lr (0.1, now 0.2): now net.resume.old.pt" in caplog.text
    assert not path.exists()
    assert torch.load(tmp_path / "net.resume.old.pt", weights_only=True)["epoch"] == 2


def test_a_damaged_standing_is_named_and_not_lost(tmp_path):
    file = Resume(tmp_path / "net.resume.pt", {})
    file.save(STANDING)
    file.path.write_bytes(file.path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"net\.resume\.pt is damaged .* delete it"):
        file.load()
    assert file.path.exists()


def test_a_fingerprint_sees_other_numbers_in_a_file_of_the_same_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    first = fingerprint([path])
    assert first == fingerprint([path])
    path.write_bytes(bytes(50_000) + b"1" + bytes(49_999))
    assert fingerprint([path]) != first
