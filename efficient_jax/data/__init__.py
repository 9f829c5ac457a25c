"""Sources of images, honest splits, and the order in which they are fed."""

from collections.abc import Callable

from efficient_jax.data import sources

SOURCES: dict[str, Callable[..., sources.Source]] = {"mnist5k": sources.mnist5k, "npz": sources.npz}
