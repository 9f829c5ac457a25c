"""Small ViTs with drawn weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.models.vit import ViT

CLASSES, SIDE = 5, 16


def drawn(module):
    """Parameters that no initialisation makes: nothing in them is zero or one."""
    rng = np.random.default_rng(0)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)), train=False))
    return jax.tree.map_with_path(
        lambda path, x: jnp.asarray(rng.normal(path[-1].key == "scale", 0.2, x.shape), jnp.float32), variables
    )


@functools.cache
def jitted(**settings):
    settings.setdefault("class_token", settings.get("pool", "token") == "token")
    module = ViT(classes=CLASSES, variant="tiny/8", **settings)
    return jax.jit(module.apply, static_argnums=2), drawn(module)
