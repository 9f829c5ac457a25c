"""A stored run that the tests of trained networks share."""

import jax
import jax.numpy as jnp
import optax
import pytest

from efficient_jax import files, models
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint, state

SPEC = ModelSpec("cnn", {"width": 2, "dropout": 0.5}, ("cat", "dog", "owl"), (8, 8, 2), (0.2, 0.4), (0.3, 0.1))


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of two stages, of which the first is finished; its average is not its last parameters."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "first").mkdir()
    (folder / "second").mkdir()
    module, _ = SPEC.build()
    variables = models.init(module, jax.random.key(0), SPEC.image_shape)
    last = state.create(jax.tree.map(jnp.zeros_like, variables), optax.identity()) | {"ema": variables}
    with checkpoint.open_manager(folder / "first") as manager:
        checkpoint.save(manager, 1, last, SPEC, None)
    files.write_json(folder / "config.json", {"stages": ["first", "second"]})
    files.write_json(folder / "first" / "result.json", {})
    return folder
