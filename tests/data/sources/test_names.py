"""Sources are asked for by name."""

from efficient_jax.data.sources import SOURCES


def test_every_source_is_found_by_its_name():
    assert {name: source.__name__ for name, source in SOURCES.items()} == {name: name for name in SOURCES}
    assert {"folder", "parquet", "tar", "tfds", "npz", "synthetic", "mnist5k"} <= SOURCES.keys()
