"""The keys that a config may have: those of its file, and the defaults of what the file leaves out.

A config file lists what differs from the defaults. Its blocks are the keyword-only parameters of the functions that
read them, so all other keys, their types and their meaning are known. Only keys that are overridden are added to a
config: what a run stores is what the file and the overrides say.
"""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from efficient_jax import models
from efficient_jax.augment import pipelines
from efficient_jax.augment.combinators import by_class
from efficient_jax.augment.registry import OPS
from efficient_jax.data import generated, label_noise
from efficient_jax.data.sources import SOURCES
from efficient_jax.errors import UserError, nearest
from efficient_jax.experiment import config as experiment_config
from efficient_jax.experiment import model_block, stage_config
from efficient_jax.experiment.checks import suspect_settings
from efficient_jax.methods import METHODS
from efficient_jax.models import adapters, dense
from efficient_jax.optim import optimizer, schedules
from efficient_jax.settings import Settings, choose, meanings, parameters
from efficient_jax.tasks import TASKS

Path = tuple[str, ...]
EMPTY: Settings = {}
CHOOSING = ("name", "op", "of", "ops", "stages", *(key for keys in pipelines.NAMES.values() for key in keys))
"""Keys that decide which functions read a block."""
DURATIONS = {"_epochs": 0.0, "_examples": 0, "_percent": 0.0}
PLAIN: dict[Any, Any] = {float: 0.0, int: 0, str: "", bool: False, tuple: (), dict: {}}


class Key(NamedTuple):
    """A key that a config may have."""

    value: Any  # what the file says, or the default; None where the file must say it
    default: Any  # None where there is no default
    annotation: Any
    meaning: str  # first line of its entry in the `Args:` of the function that reads it


class Block(NamedTuple):
    """A block of a config, and the parameters of the function that reads it."""

    path: Path
    parameters: Mapping[str, inspect.Parameter]
    meanings: Mapping[str, str]


def keys_of(config: Mapping[str, Any]) -> dict[str, Key]:
    """Returns all keys that `config` may have, by their dotted paths, in the order of the blocks.

    Args:
        config: a nested dict.

    Raises: UserError for a name in it that chooses a function and is unknown.
    """
    known = {}
    for block in _blocks(config):
        values = _at(config, block.path)
        for name, parameter in block.parameters.items():
            default = None if parameter.default is parameter.empty else parameter.default
            value = values.get(name, default)
            known[".".join((*block.path, name))] = Key(
                value, default, parameter.annotation, block.meanings.get(name, "")
            )
    return known


def departures(config: Mapping[str, Any]) -> Settings:
    """Returns the keys of a config whose values are not the defaults, by dotted path: what the experiment is.

    Defaults that a file writes out, and keys that a later version adds, do not change it.

    Args:
        config: a nested dict.

    Raises: UserError as `keys_of`.
    """
    return {dotted: key.value for dotted, key in keys_of(config).items() if key.value != key.default}


def allow(config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Adds to `config` the keys of `overrides` that its file leaves out, with their defaults.

    An override may choose another function for a block (`method.name`, `augment.ops`, ...): it is applied first, and
    keys of the file that the new function does not have are dropped from that block.

    Args:
        config: changed in place.
        overrides: dotted path -> the new value, or its text on the command line.

    Raises: UserError for a key that no function reads.
    """
    with config.unlocked():
        for dotted, value in overrides.items():
            if dotted.rpartition(".")[2] in CHOOSING:
                _choose_function(config, dotted, value)
        absent = {dotted: value for dotted, value in overrides.items() if not _has(config, dotted)}
        if not absent:
            return
        known = keys_of(config.to_dict())
        for dotted, value in absent.items():
            *blocks, name = dotted.split(".")
            key = known.get(dotted) or _free_key(known, blocks)
            if key is None:
                raise UserError(_unknown(dotted, known))
            _made(config, known, blocks)[name] = _prototype(key, value)


def _blocks(config: Mapping[str, Any]) -> Iterator[Block]:
    yield _block((), experiment_config.experiment, leaves_out=("data",))
    data = config.get("data", EMPTY)
    yield _block(("data",), experiment_config.data, leaves_out=("source", "generated", "label_noise"))
    yield _named(("data", "source"), data.get("source", EMPTY), SOURCES)
    yield _block(("data", "generated"), generated.settings)
    yield _block(("data", "label_noise"), label_noise.settings)
    stages = [name for name, block in config.items() if isinstance(block, Mapping) and name != "data"]
    task = _likely_task(data.get("source", EMPTY))
    order = {name: i for i, name in enumerate(config.get("stages", ()))}
    for name in sorted(stages, key=lambda name: order.get(name, len(order))):
        yield from _stage_blocks(name, config, task)


def _stage_blocks(name: str, config: Mapping[str, Any], task: str) -> Iterator[Block]:
    stage = config[name]
    views = "augment", "strong_augment"
    inner = ("model", "decoder", "method", "batch", *views, "optim", "lora", "pseudo_labels", "suspects")
    yield _block((name,), stage_config.stage, leaves_out=inner)
    yield _block((name, "suspects"), suspect_settings)
    yield _model_block(name, config)
    yield _named((name, "decoder"), stage.get("decoder", EMPTY), dense.DECODERS)
    functions = {method_name: method.function for method_name, method in METHODS.items()}
    yield _named((name, "method"), stage.get("method", EMPTY), functions)
    method = METHODS.get(stage.get("method", EMPTY).get("name", ""))
    if method and method.trains:
        yield _block((name, "batch"), stage_config.batch_sizes)
        yield from _optimizer_blocks((name, "optim"), stage.get("optim", EMPTY))
        yield _block((name, "lora"), adapters.lora)
    if method and method.pseudo_labels:
        yield _pseudo_label_block((name, "pseudo_labels"), task)
    yield from _augment_blocks((name, "augment"), stage.get("augment", EMPTY))
    if method and method.needs("strong_augment"):
        yield from _augment_blocks((name, "strong_augment"), stage.get("strong_augment", EMPTY))


def _model_block(name: str, config: Mapping[str, Any]) -> Block:
    """The block of a stage's model; without a name in it, what the stage begins with gives the defaults."""
    path, model = (name, "model"), config[name].get("model", EMPTY)
    if "name" in model:
        return _named(path, model, models.MODELS, models.SUPPLIED)
    follows = model_block.inherited(config, name).get("model", EMPTY)
    follows = model_block.model_block(follows, config[name].get("init", ""), f"config.{name}")
    if "name" not in follows:
        return _named(path, model, models.MODELS, models.SUPPLIED)
    block = _named(path, {"name": follows["name"], **model}, models.MODELS, models.SUPPLIED)
    defaults = {key: p.replace(default=follows.get(key, p.default)) for key, p in block.parameters.items()}
    return block._replace(parameters=defaults)


def _likely_task(source: Mapping[str, Any]) -> str:
    """Returns the task that the settings of a source say; of an .npz file only the file does."""
    of_sources = {"masks": "segmentation", "voc": "detection", "yolo": "detection"}
    task = of_sources | {"coco": source.get("task", "multi_label")}
    several = "multi_label" if source.get("labels") or source.get("separator") else "classification"
    likely = task.get(source.get("name", ""), several)
    return likely if likely in TASKS else "classification"  # a misspelt one is said when the source is bound


def _pseudo_label_block(path: Path, task: str) -> Block:
    """Returns the settings of every task's pseudo-labels: the task is not certain before the data is read."""
    merged = Block(path, {}, {})
    for one in (TASKS[task], *TASKS.values()):  # of settings that several tasks have, the first one's
        if one.pseudo_labels:
            block = _block(path, one.pseudo_labels)
            merged = Block(path, {**block.parameters, **merged.parameters}, {**block.meanings, **merged.meanings})
    return merged


def _optimizer_blocks(path: Path, optim: Mapping[str, Any]) -> Iterator[Block]:
    yield _with_durations(_block(path, optimizer.optimizer, leaves_out=("algorithm", "schedule")), ("warmup",))
    algorithm, schedule_block = optim.get("algorithm", optimizer.ADAMW), optim.get("schedule", schedules.COSINE)
    yield _named((*path, "algorithm"), algorithm, optimizer.ALGORITHMS, default=optimizer.ADAMW["name"])
    schedule = _named((*path, "schedule"), schedule_block, schedules.SCHEDULES, default=schedules.COSINE["name"])
    yield _with_durations(schedule, ("period", "boundaries"))


def _augment_blocks(path: Path, augment: Mapping[str, Any]) -> Iterator[Block]:
    """The block itself, and one for each operation that is named in it, also those that operations name."""
    ops = inspect.Parameter("ops", inspect.Parameter.KEYWORD_ONLY, default=(), annotation=tuple)
    yield Block(path, {"ops": ops}, {"ops": "names of operations, or of blocks beside it, applied in this order"})
    waiting, visited = list(augment.get("ops", ())), set()
    while waiting:
        name = waiting.pop(0)
        if not isinstance(name, str) or name in visited:
            continue
        visited.add(name)
        block = _at(augment, (name,))
        op = block.get("op", name)
        function = choose(op, pipelines.KNOWN, f"config.{'.'.join(path)}.ops")
        names = pipelines.NAMES.get(op, ())
        waiting += [inside for key in names for inside in block.get(key, ())]
        yield _operation((*path, name), function, block, names)


def _operation(path: Path, function: Callable[..., Any], block: Mapping[str, Any], names: tuple[str, ...]) -> Block:
    extra: dict[str, tuple[Any, str]] = dict.fromkeys(names, ((), "names of operations, or of blocks beside it"))
    extra["op"] = ("", "the operation; needed where the block has another name")
    if function is by_class:
        extra["of"] = ("", "the operation; one of its settings is a tuple with a value for each class")
        function = OPS.get(block.get("of", ""), function)
    read = _block(path, function)
    if "probability" not in read.parameters:
        extra["probability"] = (1.0, "with which it is applied to an image, in 0..1")
    more = {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=type(value))
        for key, (value, _) in extra.items()
    }
    what = {key: text for key, (_, text) in extra.items()}
    return Block(path, {**read.parameters, **more}, {**read.meanings, **what})


def _block(path: Path, function: Callable[..., Any], supplied: tuple[str, ...] = (), leaves_out: Path = ()) -> Block:
    read = {name: p for name, p in parameters(function, supplied).items() if name not in leaves_out}
    return Block(path, read, meanings(function))


def _named(
    path: Path,
    block: Mapping[str, Any],
    options: Mapping[str, Callable[..., Any]],
    supplied: tuple[str, ...] = (),
    default: str = "",
) -> Block:
    """A block whose `name` chooses the function that reads its other keys; `default` where there is no block."""
    standard = default or inspect.Parameter.empty
    named = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, annotation=str, default=standard)
    what = {"name": f"one of {', '.join(options)}"}
    if "name" not in block:
        return Block(path, {"name": named}, what)
    function = choose(block["name"], options, f"config.{'.'.join(path)}.name")
    read = _block(path, function, supplied)
    return Block(path, {"name": named, **read.parameters}, {**read.meanings, **what})


def _with_durations(block: Block, names: tuple[str, ...]) -> Block:
    """`block` with the other three units of its durations."""
    more, what = dict(block.parameters), dict(block.meanings)
    for name in names:
        if name not in block.parameters:
            continue
        several = block.parameters[name].annotation is not int
        for unit, none in DURATIONS.items():
            default = () if several and name == "boundaries" else none
            more[name + unit] = inspect.Parameter(
                name + unit, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=type(default)
            )
            what[name + unit] = f"{name} in {unit.removeprefix('_')}, in place of steps"
    return Block(block.path, more, what)


def _choose_function(config: ConfigDict, dotted: str, value: Any) -> None:
    """Applies an override that chooses functions, and drops what the chosen one does not read."""
    *blocks, name = dotted.split(".")
    known = keys_of(config.to_dict())
    if dotted not in known and not _has(config, dotted):
        return  # `allow` says so
    block = _made(config, known, blocks)
    before = block.get(name)
    block[name] = _tuple(value) if isinstance(before, tuple) or name not in ("name", "op", "of") else value
    if name in ("name", "op", "of") and before not in (None, block[name]):
        known = keys_of(config.to_dict())
        for key in [key for key in block if ".".join((*blocks, key)) not in known]:
            del block[key]


def _made(config: ConfigDict, known: Mapping[str, Key], blocks: list[str]) -> ConfigDict:
    """The block at a path; where the file has none, one with the name of the function that reads it by default."""
    block = config
    for i, part in enumerate(blocks, 1):
        if part not in block:
            name = known.get(".".join((*blocks[:i], "name")))
            block[part] = ConfigDict({"name": name.value} if name and name.value else {})
        block = block[part]
    return block


def _tuple(value: Any) -> tuple[Any, ...]:
    """Returns the tuple that a text on the command line means: "('a', 'b')" or "a"."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = tuple(part.strip() for part in value.split(","))
    return value if isinstance(value, tuple) else (value,)


def _prototype(key: Key, value: Any) -> Any:
    """Returns a placeholder of the key's type, until the override is read."""
    union = key.annotation.__args__ if isinstance(key.annotation, UnionType) else (key.annotation,)
    kinds = [getattr(kind, "__origin__", kind) for kind in union]
    written_as_tuple = isinstance(value, tuple) or (isinstance(value, str) and value.lstrip().startswith("("))
    if written_as_tuple and tuple in kinds:
        return key.default if isinstance(key.default, tuple) else ()
    plain = next((kind for kind in kinds if kind in PLAIN and kind is not tuple), kinds[0])
    return key.default if type(key.default) is plain else PLAIN.get(plain, key.default)


def _free_key(known: Mapping[str, Key], blocks: list[str]) -> Key | None:
    """The key of a block whose keys are the user's own, such as `class_map`."""
    block = known.get(".".join(blocks))
    if block and getattr(block.annotation, "__origin__", block.annotation) is dict:
        return Key("", "", str, "")
    return None


def _unknown(dotted: str, known: Mapping[str, Key]) -> str:
    """Returns a message with the first wrong part of a path, and the nearest key."""
    parts = dotted.split(".")
    for i in range(len(parts)):
        before = ".".join(parts[:i])
        prefix = f"{before}." if before else ""
        keys = {key.removeprefix(prefix).split(".")[0] for key in known if key.startswith(prefix)}
        if parts[i] not in keys:
            return f"--config.{prefix}{parts[i]}: no such key{nearest(parts[i], keys)}"
    return f"--config.{dotted}: a block, not a key"


def _has(config: ConfigDict, dotted: str) -> bool:
    block: Any = config
    for part in dotted.split("."):
        if not isinstance(block, ConfigDict) or part not in block:
            return False
        block = block[part]
    return True


def _at(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    block: Any = config
    for part in path:
        block = block.get(part, EMPTY) if isinstance(block, Mapping) else EMPTY
    return block if isinstance(block, Mapping) else EMPTY
