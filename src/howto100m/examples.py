"""An example of each sub-command, for its help; a test parses them all."""

from collections.abc import Mapping
from typing import Any

from typer.core import TyperGroup

EXAMPLES: Mapping[str, str] = {
    "sample": "howto100m sample --output results/sample --videos 40 --workers 2",
    "weights": "howto100m weights --network resnet152 --output resnet152.pth"
    " --source https://download.pytorch.org/models/resnet152-394f9c45.pth",
    "tasks": "howto100m tasks --titles titles.tsv --output tasks.parquet",
    "search": "howto100m search --tasks results/tasks/00000.parquet"
    " --output results/search/00000.parquet",
    "videos": "howto100m videos --search results/search --tasks results/tasks"
    " --output results/videos --shards 1200 --max-rank 200",
    "subtitles": "howto100m subtitles --videos results/videos/00000.parquet"
    " --output results/subtitles/00000.parquet",
    "captions": "howto100m captions --clean release/caption.json --output results/captions"
    " --shards 1200",
    "clips": "howto100m clips --vtt subtitles/ --output clips.parquet",
    "media": "howto100m media --folder videos/ --output media.parquet",
    "retry": "howto100m retry --stage subtitles --stage media",
    "features": "howto100m features --media media.parquet --resnet152 resnet152.pth"
    " --resnext101 resnext101.pth --output-2d 2d.parquet --output-3d 3d.parquet"
    " --status status.parquet",
    "extract": "howto100m extract --input videos/ --output vectors/ --resnet152 resnet152.pth"
    " --resnext101 resnext101.pth",
    "study": "howto100m study margin-0.1.metrics.parquet margin-0.2.metrics.parquet"
    " --output studies.parquet",
    "vectors": "howto100m vectors --videos results/videos/00000.parquet --status status.parquet"
    " --folder-2d npy/2d --output-2d 2d.parquet",
    "export": "howto100m export --to webdataset --output tars/",
    "vocabulary": "howto100m vocabulary --clips results/clips --vectors GoogleNews.bin"
    " --output results/vocabulary/vocabulary.parquet",
    "pairs": "howto100m pairs --clips results/clips/00000.parquet"
    " --features-2d results/features/2d/00000.parquet"
    " --features-3d results/features/3d/00000.parquet"
    " --vocabulary results/vocabulary/vocabulary.parquet --output results/pairs/00000.parquet",
    "embedding": "howto100m embedding --pairs results/pairs"
    " --vocabulary results/vocabulary/vocabulary.parquet --output model.pth"
    " --curve curve.parquet --status status.parquet --epochs 15",
    "evaluation": "howto100m evaluation --checkpoint model.pth"
    " --vocabulary results/vocabulary/vocabulary.parquet --benchmark msrvtt"
    " --official msrvtt --data msrvtt/ --metrics metrics.parquet --rankings rankings.parquet"
    " --status status.parquet",
    "evaluate": "howto100m evaluate --checkpoint model.pth --benchmark youcook2 --data youcook2/"
    " --vectors GoogleNews.bin",
    "metrics": "howto100m metrics youcook2.parquet msrvtt.parquet --output metrics.parquet",
    "report": "howto100m report --results results --output results/report.html",
    "validate": "howto100m validate --results results",
    "status": "howto100m status --results results",
    "index": "howto100m index --results results",
    "find": 'howto100m find "cut the onion" -k 5',
    "serve": "howto100m serve --port 8000",
    "annotate": "howto100m annotate --results results --number 400 --output annotate.html",
}


class WithExamples(TyperGroup):
    """The sub-commands, each with its example at the end of its help."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A sub-command by its name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and cmd_name in EXAMPLES:
            command.epilog = f"Example: {EXAMPLES[cmd_name]}"
        return command
