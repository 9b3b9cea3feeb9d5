"""What each of the paper's studies trains, and on what it is evaluated: from the settings alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]

OTHER_SETTINGS = ("seeds", "device", "processes", "tensorboard")
"""Settings of `embedding` that decide no weights, or name the runs."""
FRESH, CORPUS = "none", "howto100m"
"""What a run starts from: fresh weights, or the line's own run; else the name of a target."""


@dataclass(frozen=True)
class Variant:
    """The runs of a study that differ in their seeds alone.

    `setting` names it: NAME=VALUE, several between commas. `settings` are those of `embedding`.
    Where `target` is given, the pairs are the share `share` of its training data, else the
    corpus's, down to `max_rank`. `init` is the checkpoint to start from, with {seed} in its path.
    What is not `trained` is evaluated as `init` is.
    """

    study: str
    setting: str
    benchmarks: tuple[str, ...]
    settings: Settings
    init: str | None = None
    target: str = ""
    share: str = "1"
    max_rank: int | None = None
    trained: bool = True

    @property
    def flags(self) -> Settings:
        """The settings of `howto100m embedding`, but for tables and seed."""
        subset = {"videos": "results/videos", "max_rank": self.max_rank} if self.max_rank else {}
        return {**self.settings, **subset}

    def checkpoint(self, seed: int | str) -> str:
        """Where the weights to evaluate stand."""
        if not self.trained and self.init:
            return self.init.format(seed=seed)
        return f"results/studies/{self.study}/{self.setting}-{seed}.pth"

    def status(self, seed: int | str) -> str:
        """Where the videos that it was trained on stand; "" for no training at all."""
        if self.share == "0":
            return ""
        return f"results/studies/{self.study}/{self.setting}-{seed}.status.parquet"

    def metrics(self, seed: int | str) -> list[str]:
        """Where its figures stand."""
        return [
            f"results/studies/{self.study}/{benchmark}/{self.setting}-{seed}.metrics.parquet"
            for benchmark in self.benchmarks
        ]


def weight_settings(embedding: Settings) -> dict[str, Any]:
    """The settings of a training run that decide its weights."""
    return {key: value for key, value in embedding.items() if key not in OTHER_SETTINGS}


def plan(config: Settings) -> dict[tuple[str, str], Variant]:
    """The variants of all studies, by study and setting.

    One that is trained as the line's own run is, is not trained again.
    """
    own = weight_settings(config["embedding"])
    corpus = f"results/embedding/{own['loss']}-{{seed}}.pth"
    found = [*_on_corpus(config, own, corpus), *_on_targets(config, own, corpus)]
    return {(variant.study, variant.setting): variant for variant in found}


def _on_corpus(config: Settings, own: dict[str, Any], corpus: str) -> Iterator[Variant]:
    studies, benchmarks = config["studies"], tuple(config["evaluation"]["benchmarks"])
    changes: list[tuple[str, str, Settings, int | None]] = [
        (
            "negatives",
            f"intra_share={share:g}",
            {"loss": "max_margin", "intra_share": share},
            None,
        )
        for share in studies["negatives"]["intra_shares"]
    ]
    changes += [("loss", f"loss={name}", change, None) for name, change in studies["loss"].items()]
    changes += [("scale", f"rank={rank}", {}, rank) for rank in studies["scale"]["ranks"]]
    for study, setting, change, rank in changes:
        settings = own | studies["embedding"] | change
        whole = rank is None or rank >= config["videos"]["max_rank"]
        again = whole and settings == own
        yield Variant(
            study,
            setting,
            benchmarks,
            settings,
            corpus if again else settings["init"],
            max_rank=None if whole else rank,
            trained=not again,
        )


def _on_targets(config: Settings, own: dict[str, Any], corpus: str) -> Iterator[Variant]:
    tuning, targets = config["studies"]["finetune"], config["studies"]["targets"]
    tuned = own | tuning["embedding"]
    alone = {name: f"target={name},init={FRESH}" for name in targets}
    for target in targets:
        for start, init in ((FRESH, None), (CORPUS, corpus)):
            for share in (f"{share:g}" for share in tuning["shares"]):
                if init or share != "0":
                    yield Variant(
                        "finetune",
                        f"target={target},init={start},share={share}",
                        (target,),
                        tuned if share != "0" else own,
                        init,
                        target,
                        share,
                        trained=share != "0",
                    )
        inits = {FRESH: None, CORPUS: corpus} | {
            other: f"results/studies/transfer/{setting}-{{seed}}.pth"
            for other, setting in alone.items()
            if other != target
        }
        for start, init in inits.items():
            setting = f"target={target},init={start}"
            yield Variant("transfer", setting, (target,), tuned, init, target)
