"""Hostile settings for every test: strict dtype promotion, four CPU devices, a shared compilation cache."""

import os
import pathlib

os.environ.setdefault("NPROC", "16")  # before jax is imported: see efficient_jax/training/parallel.py

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
