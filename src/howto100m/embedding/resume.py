"""Where a training run stands, on disk: killed at any moment, it goes on from there."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from howto100m.kinds import UserError
from howto100m.shards import whole_file

log = logging.getLogger(__name__)

Setting = str | int | float | bool | None
_SAMPLE = 4096


@dataclass(frozen=True)
class Standing:
    """A run between two steps; `step` of `epoch` is done."""

    epoch: int
    step: int
    state_dict: dict[str, Any]
    optimizer: dict[str, Any]
    random: torch.Tensor
    """The state of PyTorch's generator; what is drawn of the data follows from epoch and step."""
    curve: dict[str, Any]


@dataclass(frozen=True)
class Resume:
    """The file of a run's standing. It is no declared output, so Snakemake leaves it alone."""

    path: Path
    settings: Mapping[str, Setting]
    """What decides the weights. A standing under other settings is put aside, as .old.pt."""

    def save(self, standing: Standing) -> None:
        """Write it, whole or not at all; `torch.load(..., weights_only=True)` reads it."""
        with whole_file(self.path) as part, part.open("wb") as file:
            torch.save({"settings": dict(self.settings), **vars(standing)}, file)

    def load(self) -> Standing | None:
        """What an earlier run of the same settings left, or None.

        Raises UserError when the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            settings = content.pop("settings")
            standing = Standing(**content)
        except Exception as error:  # a bad file fails in the unpickler, the zip reader, the fields
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.path} is damaged ({reason}): delete it to begin anew") from None
        if settings != self.settings:
            aside = self.path.replace(self.path.with_suffix(".old.pt"))
            others = ", ".join(_others(settings, self.settings))
            log.warning("%s was of a run with other %s: now %s", self.path, others, aside.name)
            return None
        return standing

    def remove(self) -> None:
        """Forget it: the output is written."""
        self.path.unlink(missing_ok=True)


def _others(one: Mapping[str, Setting], other: Mapping[str, Setting]) -> list[str]:
    return [
        f"{name} ({one.get(name)}, now {other.get(name)})"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def fingerprint(paths: Sequence[Path]) -> str:
    """A hash of files that may be huge: each one's size, and 4 KiB of its middle and of its end."""
    digest = blake2b(digest_size=16)
    for path in paths:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            for start in (size // 2, max(size - _SAMPLE, 0)):
                file.seek(start)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
