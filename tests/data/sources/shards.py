"""Small tar shards in the layout of webdataset, made for the tests."""

import io
import tarfile

import numpy as np

from tests.data.sources.test_parquet_files import png


def packed(members, form=tarfile.PAX_FORMAT):
    """A tar file of (name, content) pairs, as bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for name, data in members:
            data = data.encode() if isinstance(data, str) else data
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def examples(values, kind="cls", labels=None):
    """Members of examples whose images are gray squares of these values."""
    labels = [value % 2 for value in values] if labels is None else labels
    for value, label in zip(values, labels, strict=True):
        yield f"{value:06}.png", png(value)
        if label is not None:
            yield f"{value:06}.{kind}", str(label)


def write(path, members, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(members, **settings))
    return str(path)


def levels(source):
    return source.images[np.arange(len(source.images))][:, 0, 0, 0].tolist()


GOOD = packed(examples(range(1, 9)))
TWO = 8 * 2 * 1024  # bytes of the members: a header and a block of content each
