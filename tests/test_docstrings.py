"""Every parameter of every public function is documented."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator

import pytest

import efficient_jax
from efficient_jax import models

DONE = (  # rooms whose docstrings are checked, one a line
    "augment",
    "commands",
    "data",
    "detection",
    "evaluation",
    "experiment",
    "explain",
    "explore",
    "inference",
    "labelling",
    "losses",
    "methods",
    "metrics",
    "models",
    "optim",
    "report",
    "selection",
    "tasks",
    "training",
)


def modules(room: str) -> list[str]:
    """The names of the modules of a room, its sub-packages included."""
    paths = [f"{path}/{room}" for path in efficient_jax.__path__]
    root = f"efficient_jax.{room}"
    return [root, *(module.name for module in pkgutil.walk_packages(paths, f"{root}."))]


def public_functions(module_name: str) -> Iterator[tuple[str, Callable]]:
    """(qualified name, function) of the functions and methods that a module defines under names without underscore."""
    module = importlib.import_module(module_name)
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module_name:
            continue
        if inspect.isclass(value):
            for method_name, method in vars(value).items():
                function = inspect.unwrap(getattr(method, "__func__", method))
                if inspect.isfunction(function) and not method_name.startswith("_"):
                    yield f"{value.__qualname__}.{method_name}", function
        elif inspect.isfunction(function := inspect.unwrap(value)) and function.__name__ == name:
            yield name, function


def documented(docstring: str | None) -> set[str]:
    """The names in the `Args:` section: those of "name: ..." and "first, second: ...", indented alike."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    if "Args:" not in lines:
        return set()
    section = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        section.append(line)
    indent = min((len(line) - len(line.lstrip()) for line in section if line), default=0)
    entries = [re.match(rf" {{{indent}}}(\*{{0,2}}\w+(?:, \*{{0,2}}\w+)*):", line) for line in section]
    return {name.strip("* ") for entry in entries if entry for name in entry[1].split(",")}


def undocumented(function: Callable) -> set[str]:
    parameters = inspect.signature(function).parameters
    wanted = {name for name in parameters if not name.startswith("_") and name not in ("self", "cls")}
    return wanted - documented(function.__doc__)


@pytest.mark.parametrize("room", DONE)
def test_every_parameter_of_a_public_function_is_in_its_args_section(room):
    missing = {
        f"{module}.{name}": sorted(undocumented(function))
        for module in modules(room)
        for name, function in public_functions(module)
        if undocumented(function)
    }
    assert not missing


@pytest.mark.parametrize("room", DONE)
def test_every_public_function_and_module_says_what_it_does(room):
    functions = [(f"{module}.{name}", f.__doc__) for module in modules(room) for name, f in public_functions(module)]
    docstrings = [(module, importlib.import_module(module).__doc__) for module in modules(room)] + functions
    assert functions
    assert not [name for name, docstring in docstrings if not (docstring or "").strip()]


@pytest.mark.parametrize("name", models.MODELS)
def test_every_setting_of_a_model_is_in_the_args_section_of_its_class(name):
    fields = {field.name for field in dataclasses.fields(models.MODELS[name])} - {"name", "parent"}
    assert documented(models.MODELS[name].__doc__) == fields


def test_args_sections_are_read_as_they_are_written():
    def example(images, mean, std, *rest, keys=None):
        """Returns something.

        Args:
            images: uint8 [b h w c], as
                mean: no parameter, since this line continues the one above
            mean, std: per channel
            *rest: others

        Returns:
            keys: not a parameter of this section
        """

    assert undocumented(example) == {"keys"}
    assert undocumented(lambda image: image) == {"image"}
