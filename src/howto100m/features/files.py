"""How the tables of feature vectors are written."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ONE_PAGE = 1 << 30
LAYOUT = {
    "compression": "none",
    "use_dictionary": ["video_id"],
    "write_statistics": ["video_id"],
    "data_page_size": ONE_PAGE,
    "max_rows_per_page": ONE_PAGE,
    "write_page_checksum": False,
}
"""A row group a video with one page a column: its vectors are one plain array in the file."""


def write_vectors(
    writer: pq.ParquetWriter, video_id: str, vectors: npt.NDArray[np.float16], rate: float
) -> None:
    """Add a video's vectors [n, d] at `rate` a second to a table, as a row group of their own."""
    index = np.arange(len(vectors), dtype=np.int32)
    ids = pa.DictionaryArray.from_arrays(np.zeros_like(index), [video_id])
    start = (index / rate).astype(np.float32)
    feature = writer.schema.field("feature").type
    packed = pa.Array.from_buffers(feature, len(vectors), [None, pa.py_buffer(vectors)])
    columns = [ids, pa.array(index), pa.array(start), packed]
    writer.write_table(pa.table(columns, writer.schema), row_group_size=len(vectors))
