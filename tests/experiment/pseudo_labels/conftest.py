"""Shards of the tests are small."""

import pytest

from efficient_jax.experiment.pseudo_labels import shard_files
from tests.experiment.pseudo_labels.pools import SHARD


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shard_files, "IMAGES", SHARD)
