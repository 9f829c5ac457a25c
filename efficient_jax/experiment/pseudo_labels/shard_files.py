"""The Parquet files of the pseudo-labels of a large pool: which images each has, its columns, and whether it is whole.

A file has `COLUMNS`, then the most probable classes of each image (`class1` is the predicted one) and their
probabilities. What the predictions follow from is in its metadata. Checksums show damaged pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from efficient_jax import files
from efficient_jax.errors import UserError
from efficient_jax.experiment.pseudo_labels.pool import COLUMNS, Pool
from efficient_jax.files import Json

if TYPE_CHECKING:  # imported where it is used: it takes 0.25 s
    import pyarrow as pa

FOLDER = "pseudo_labels"
IMAGES = 2**16  # of a shard
KEY = b"pseudo_labels"  # of the metadata of a file
WHOLE, MISSING, DAMAGED, OTHER = range(4)
"""What is found of a shard: the wanted one; no file; one that cannot be read; that of another teacher or of other
images."""


@dataclass(frozen=True)
class Shards:
    """The shards of a pool.

    Args:
        pool: the images.
        top: classes of which each image keeps the probability.
        about: what the predictions follow from, as JSON.
    """

    pool: Pool
    top: int
    about: Json

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-len(self.pool.ids) // IMAGES)

    @property
    def class_columns(self) -> list[str]:
        """Names of the columns of the most probable classes."""
        return [f"class{number}" for number in range(1, self.top + 1)]

    @property
    def probability_columns(self) -> list[str]:
        """Names of the columns of their probabilities."""
        return [f"p{number}" for number in range(1, self.top + 1)]

    def part(self, number: int) -> slice:
        """Returns which images of the pool a shard has.

        Args:
            number: index of the shard.
        """
        return slice(number * IMAGES, min((number + 1) * IMAGES, len(self.pool.ids)))

    def path(self, number: int) -> Path:
        """Returns the file of a shard.

        Args:
            number: index of the shard.
        """
        return self.pool.folder / FOLDER / f"part-{number:05}-of-{self.count:05}.parquet"

    def metadata(self, number: int) -> bytes:
        """Returns the metadata of a shard, JSON.

        Args:
            number: index of the shard.
        """
        return files.json_text({"shard": number, "shards": self.count} | self.about).encode()


def table_of(
    shards: Shards, number: int, classes: Int[np.ndarray, "n top"], probabilities: Float[np.ndarray, "n top"]
) -> "pa.Table":
    """Returns the table of a shard, without labels and copies; `hidden` is the true label, which no model sees.

    Args:
        shards: of a pool.
        number: index of the shard.
        classes: most probable classes of its images.
        probabilities: of these classes.
    """
    import pyarrow as pa

    ids, source = shards.pool.ids[shards.part(number)], shards.pool.source
    values = {
        "id": ids,
        "image": [source.name(i) for i in ids],
        "label": pa.nulls(len(ids)),
        "confidence": probabilities[:, 0],
        "copies": pa.nulls(len(ids)),
        "hidden": class_names(source.classes, source.labels[ids]),
    }
    columns = [*(values[name] for name in COLUMNS), *classes.T, *probabilities.T]
    return pa.table(columns, schema=schema_of(shards, number))


def schema_of(shards: Shards, number: int) -> "pa.Schema":
    """Returns the columns of a shard and its metadata.

    Args:
        shards: of a pool.
        number: index of the shard.
    """
    import pyarrow as pa

    types = dict(zip(COLUMNS, (pa.int32(), text := pa.string(), text, pa.float32(), pa.int32(), text), strict=True))
    types |= dict.fromkeys(shards.class_columns, pa.int32()) | dict.fromkeys(shards.probability_columns, pa.float32())
    return pa.schema(types, {KEY: shards.metadata(number)})


def class_names(classes: Sequence[str], class_indices: Int[np.ndarray, " n"]) -> "pa.Array":
    """Returns the name of the class of each image, null for -1.

    Args:
        classes: name of each class.
        class_indices: of the images.
    """
    import pyarrow as pa

    return pa.array(np.array(classes, object)[class_indices], pa.string(), mask=class_indices < 0)


def write(shards: Shards, number: int, table: "pa.Table") -> None:
    """Writes a shard, whole or not at all, whichever process this is.

    Args:
        shards: of a pool.
        number: index of the shard.
        table: its table.

    Raises: OSError where it cannot be written.
    """
    from pyarrow import parquet

    floats, others = ["confidence", *shards.probability_columns], ["label", "copies", "hidden", *shards.class_columns]
    with files.whole(shards.path(number), by_each=True) as file:
        parquet.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=others,
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT") | {"id": "DELTA_BINARY_PACKED"},
            write_page_checksum=True,
        )


def read(shards: Shards, number: int, columns: Sequence[str] | None = None) -> "pa.Table":
    """Returns columns of a shard that was whole before.

    Args:
        shards: of a pool.
        number: index of the shard.
        columns: their names; None: all.

    Raises: UserError where it cannot be read any more.
    """
    import pyarrow as pa

    path = shards.path(number)
    try:
        return _decoded(path.read_bytes(), columns)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read any more ({error}); the same command predicts it again") from error


def state(shards: Shards, number: int) -> int:
    """Returns what is found of a shard: `WHOLE`, `MISSING`, `DAMAGED` or `OTHER`.

    Args:
        shards: of a pool.
        number: index of the shard.

    Raises: OSError where there is a file that this process may not read.
    """
    import pyarrow as pa

    path = shards.path(number)
    if not path.is_file():
        return MISSING
    content = path.read_bytes()
    try:
        table = _decoded(content)
    except (pa.ArrowException, ValueError, OSError):
        return DAMAGED
    if (table.schema.metadata or {}).get(KEY) != shards.metadata(number):
        return OTHER
    if not table.schema.equals(schema_of(shards, number)):
        return DAMAGED
    return WHOLE if np.array_equal(table["id"], shards.pool.ids[shards.part(number)]) else OTHER


def _decoded(content: bytes, columns: Sequence[str] | None = None) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    return parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(columns)
