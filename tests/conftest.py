"""Hostile settings for every test: strict dtype promotion, four CPU devices, a shared compilation cache."""

import ctypes
import gc
import os
import pathlib
from importlib import metadata

os.environ.setdefault("NPROC", "16")  # before jax is imported: see efficient_jax/training/parallel.py
# Compiling takes longer than running what is tiny. What is promised of optimised programs says so: augment/conftest.py.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
# XLA's older emitters of CPU code compile in three quarters of the time, and one part of code in less than 32 do;
# Optimised programs are compiled at LLVM's first level. `XLA_FLAGS= pytest` takes the flags that a run has.
FLAGS = ["--xla_cpu_parallel_codegen_split_count=1", "--xla_backend_optimization_level=1"]
if metadata.version("jaxlib").startswith("0.10."):  # later ones do not know this flag
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

# Tracing makes many objects and few cycles: with Python's own thresholds 15% of its time go to the collector.
gc.set_threshold(10_000, 10, 10)

import jax
import jaxtyping
import numpy as np
import pytest

from tests import shape_checks

jaxtyping.install_import_hook("efficient_jax", f"{shape_checks.__name__}.check")

from tests import one_platform, tiny_maps, tiny_run
from tests.commands import launch

jax.config.update("jax_numpy_dtype_promotion", "strict")
CACHE = pathlib.Path(__file__).parents[1] / ".cache"
os.environ["XDG_CACHE_HOME"] = str(CACHE)  # of launched processes, which so share what is compiled here
jax.config.update("jax_compilation_cache_dir", str(CACHE / "efficient_jax" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


LAUNCHING = (
    "subprocess",
    "tests.commands.launch",
    "tests.tiny_run",
    "tests.tiny_maps",
    "tests.drawn_parts",
    "efficient_jax.experiment.stage",
)
TRAINED = {"teacher", "trained", "quickstart", "segmented"}  # fixtures that train a stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks `unit`: by the imports of its module and its fixtures, a test launches no process and trains no stage."""
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("bench"):
            continue  # `-m unit` takes the place of the `-m` in pyproject.toml, which leaves them out
        names = vars(item.module).values()
        used = {getattr(each, "__module__", None) or getattr(each, "__name__", None) for each in names}
        if used.isdisjoint(LAUNCHING) and TRAINED.isdisjoint(item.fixturenames):
            item.add_marker("unit")


def pytest_collection_finish() -> None:
    """What is imported stays."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def not_too_many_programs():
    """Each compiled program holds some of the 65,530 memory maps that Linux allows a process; beyond, XLA aborts.

    What is traced is kept too: 8 GiB in a worker at the end of the suite.
    """
    yield
    maps, memory = pathlib.Path("/proc/self/maps"), pathlib.Path("/proc/self/statm")
    if maps.exists() and (maps.read_bytes().count(b"\n") > 40_000 or resident(memory) > 3 * 2**30):
        jax.clear_caches()
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # glibc keeps the memory else, and the limit stays exceeded


def resident(statm: pathlib.Path) -> int:
    """Bytes of memory that this process has."""
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    launch.end_started()


@pytest.fixture(autouse=True)
def shapes_are_checked_again():
    shape_checks.begin_test()


@pytest.fixture
def every_platform(monkeypatch):
    """Traces the forms for all platforms, as a run does."""
    monkeypatch.setattr(jax.lax, "platform_dependent", one_platform.every_platform)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> str:
    """Three classes that differ in brightness; the last 90 images have no label."""
    labels = np.where(np.arange(240) < 150, np.arange(240) % 3, -1)
    return tiny_run.shades(tmp_path_factory.mktemp("images") / "images.npz", labels)


@pytest.fixture(scope="session")
def two(tmp_path_factory) -> str:
    """The same images, dark ones and others: the teacher's class 0, and 1 and 2 together."""
    labels = np.where(np.arange(240) < 150, np.arange(240) % 3 > 0, -1)
    return tiny_run.shades(tmp_path_factory.mktemp("two") / "two.npz", labels, classes=["dark", "bright"])


@pytest.fixture(scope="session")
def teacher(images, tmp_path_factory) -> pathlib.Path:
    """A trained stage of another run."""
    workdir = tmp_path_factory.mktemp("teacher")
    tiny_run.run(images, workdir, {"teacher": tiny_run.stage("supervised", steps=30)})
    return workdir / "teacher"


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The quickstart in its `:tiny` form, for reading only: its folder, and what it printed."""
    workdir = tiny_run.once(tmp_path_factory, "quickstart", launch.quickstart) / launch.NAME
    return workdir, (workdir.parent / "printed.txt").read_text()


@pytest.fixture(scope="session")
def segmented(tmp_path_factory) -> pathlib.Path:
    """A run of segmentation with the stages `teacher` and `student`, for reading only; its images are in ../drawn."""
    return tiny_run.once(tmp_path_factory, "segmented", tiny_maps.train) / "run"
