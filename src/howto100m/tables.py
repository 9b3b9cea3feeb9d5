"""The Arrow schema of every table. docs/formats.md explains the columns."""

import pyarrow as pa

FEATURE_DIM = 2048
"""Width of a vector of either network (ResNet-152, 3D ResNeXt-101)."""
S3D_DIM = 1024
"""Width of a vector of S3D's layer mixed_5c, as the release has them."""
WORD_DIM = 300
"""Width of a word vector (GoogleNews word2vec)."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    """Columns are non-null unless their name ends in an underscore, which is dropped."""
    return pa.schema(
        pa.field(name.removesuffix("_"), kind, nullable=name.endswith("_"))
        for name, kind in columns.items()
    )


_text = pa.string()
_float16s = {"dtype": "<f2"}
_float32s = {"dtype": "<f4"}


def _vectors(name: str, dim: int, layout: dict[str, str], size: int) -> pa.Field:
    return pa.field(
        name, pa.binary(dim * size), nullable=False, metadata={**layout, "dim": str(dim)}
    )


STATUS = _schema(
    id=_text,
    status=_text,
    kind_=_text,
    message=_text,
    attempts=pa.int32(),
    seconds=pa.float32(),
    bytes=pa.int64(),
)

TASKS = _schema(
    task_id=_text,
    title=_text,
    category_1=_text,
    category_2=_text,
    verb=_text,
    visual=pa.bool_(),
    reason=_text,
)

SEARCH = _schema(
    task_id=_text,
    rank=pa.int32(),
    video_id=_text,
    title=_text,
    views_=pa.int64(),
    duration_=pa.float64(),
    channel=_text,
    live=_text,
)

VIDEOS = _schema(
    video_id=_text,
    task_id=_text,
    rank=pa.int32(),
    tasks=pa.list_(pa.struct([("task_id", _text), ("rank", pa.int32())])),
    category_1=_text,
    category_2=_text,
    title=_text,
    channel=_text,
    views_=pa.int64(),
    duration_=pa.float64(),
)

SUBTITLES = _schema(
    video_id=_text,
    language=_text,
    kind=_text,
    vtt=_text,
    words=pa.int32(),
    views=pa.int64(),
    duration=pa.float64(),
)

CLIPS = _schema(
    video_id=_text,
    clip=pa.int32(),
    start=pa.float64(),
    end=pa.float64(),
    text=_text,
    raw_text=_text,
    word_starts_=pa.list_(pa.float32()),
)

CAPTIONS = _schema(
    video_id=_text,
    start=pa.list_(pa.float64()),
    end=pa.list_(pa.float64()),
    text=pa.list_(_text),
    raw_text=pa.list_(_text),
    word_starts_=pa.list_(pa.list_(pa.float32())),
    error_=_text,
)

CLIP_STATISTICS = _schema(
    video_id=_text,
    lines=pa.int32(),
    clips=pa.int32(),
    empty=pa.int32(),
    outside=pa.int32(),
    cut=pa.int32(),
    backward=pa.int32(),
    seconds=pa.float64(),
    words=pa.int32(),
)

MEDIA = _schema(
    video_id=_text,
    path=_text,
    bytes=pa.int64(),
    sha256=_text,
    width=pa.int32(),
    height=pa.int32(),
    duration=pa.float64(),
)

FEATURES = _schema(
    video_id=pa.dictionary(pa.int32(), _text),
    index=pa.int32(),
    start=pa.float32(),
).append(_vectors("feature", FEATURE_DIM, _float16s, 2))

FEATURES_S3D = _schema(
    video_id=pa.dictionary(pa.int32(), _text),
    index=pa.int32(),
    start=pa.float32(),
).append(_vectors("feature", S3D_DIM, _float16s, 2))

VOCABULARY = _schema(word=_text, count=pa.int64()).append(
    _vectors("vector", WORD_DIM, _float32s, 4)
)

PAIRS = _schema(
    video_id=_text,
    clip=pa.int32(),
    start=pa.float64(),
    end=pa.float64(),
    tokens=pa.list_(pa.int32()),
).append(_vectors("feature", 2 * FEATURE_DIM, _float16s, 2))

CURVE = _schema(
    run=_text,
    epoch=pa.int32(),
    step=pa.int64(),
    loss=pa.float64(),
    rate=pa.float64(),
    seconds=pa.float64(),
)

INDEX = _schema(
    video_id=_text,
    clip=pa.int32(),
    start=pa.float64(),
    end=pa.float64(),
    text=_text,
    title=_text,
    category_1=_text,
    path=_text,
)

RANKINGS = _schema(
    run=_text,
    benchmark=_text,
    query=_text,
    text=_text,
    target=_text,
    rank=pa.float64(),
    hits=pa.list_(_text),
)

METRICS = _schema(
    run=_text,
    benchmark=_text,
    part=_text,
    metric=_text,
    value=pa.float64(),
    chance=pa.float64(),
    protocol=_text,
    items=pa.int64(),
    missing=pa.int64(),
)

STUDY = _schema(
    study=_text,
    setting=_text,
    seed=pa.int64(),
    videos=pa.int64(),
    benchmark=_text,
    metric=_text,
    value=pa.float64(),
    chance=pa.float64(),
    protocol=_text,
    items=pa.int64(),
    missing=pa.int64(),
)
