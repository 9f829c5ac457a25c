"""Arrows point one way."""

import ast
import graphlib
import importlib
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (  # each may import from those before it, and from its own as long as no cycle comes of it
    {"types", "errors", "files", "settings", "keys", "distributed"},
    {"augment", "data", "models", "tasks", "losses", "optim", "metrics", "inference", "detection", "selection"},
    {"training"},
    {"methods"},
    {"experiment"},
    {"evaluation", "export"},
    {"explain", "explore", "labelling"},
    {"commands"},
    {"launch"},
)
REPORT = {*LAYERS[0], "metrics", "report"}  # it knows only finished results
ONLY_IN = {"flax": "efficient_jax/models/", "orbax": "efficient_jax/training/checkpoint.py", "tensorflow": "nowhere"}
FILES = sorted((ROOT / "efficient_jax").rglob("*.py"))


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file): ast.parse(file.read_text()) for file in [*FILES, ROOT / "launch.py"]}
PATHS = {name_of(file): file.relative_to(ROOT).as_posix() for file in [*FILES, ROOT / "launch.py"]}


def imports(module: str) -> set[str]:
    """The modules that `module` imports; of our own, the module and not the package that it is in."""
    found = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they point"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


def part(module: str) -> str:
    """`efficient_jax.data.sampling` -> `data`, `launch` -> `launch`."""
    return module.removeprefix("efficient_jax.").split(".")[0]


def own(module: str) -> set[str]:
    return {found for found in imports(module) if found.split(".")[0] == "efficient_jax"}


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def allowed(name: str) -> set[str]:
    """The parts that the part `name` may import."""
    if name == "report":
        return REPORT
    below = set().union(*LAYERS[: level(name) + 1])
    return below | {"report"} if name in ("commands", "launch") else below


def test_imports_point_down():
    modules = MODULES.keys() - {"efficient_jax"}
    upward = {module: {part(found) for found in own(module)} - allowed(part(module)) for module in modules}
    assert not {module: parts for module, parts in upward.items() if parts}


def test_no_cycle():
    modules = {module: own(module) - {module} for module in MODULES}
    tuple(graphlib.TopologicalSorter(modules).static_order())
    parts: dict[str, set[str]] = {}
    for module, found in modules.items():
        parts.setdefault(part(module), set()).update({part(name) for name in found} - {part(module)})
    tuple(graphlib.TopologicalSorter(parts).static_order())


def test_no_function_hides_a_module():
    hidden = []
    for module in sorted(m for m in MODULES if "." in m):
        importlib.import_module(module)
        package, _, name = module.rpartition(".")
        if not isinstance(getattr(importlib.import_module(package), name), types.ModuleType):
            hidden.append(module)
    assert not hidden


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_its_place(library):
    users = {PATHS[m] for m in MODULES if any(found.split(".")[0] == library for found in imports(m))}
    assert all(path.startswith(ONLY_IN[library]) for path in users)
    assert users or library == "tensorflow"


def test_pmap_has_its_place():
    users = {
        PATHS[module]
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "jax.pmap")
        or (isinstance(node, ast.ImportFrom) and node.module == "jax" and any(a.name == "pmap" for a in node.names))
    }
    assert users == {"efficient_jax/training/parallel.py"}
