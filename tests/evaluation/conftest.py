"""A trained run, whose members the tests of this folder judge."""

import pytest

from tests import tiny_run


@pytest.fixture(scope="package")
def trained(images, tmp_path_factory):
    """A run with three snapshots of a stage, and a network of another width; 30 test and 30 validation images."""
    workdir = tmp_path_factory.mktemp("run")
    stages = {
        "net": tiny_run.stage("supervised", steps=9, save_every=3, keep_every=3, log_every=9, ema_decay=0.0),
        "wide": tiny_run.stage("supervised", steps=9, model={"name": "cnn", "width": 5}),
    }
    tiny_run.run(images, workdir, stages, validation=30)
    return workdir
