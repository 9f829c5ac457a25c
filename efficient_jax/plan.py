"""A config, checked: every block bound to the function that will read it, before anything compiles."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from efficient_jax import augment as augmentations
from efficient_jax import binding, methods, models
from efficient_jax import optim as optimizers
from efficient_jax.data import SOURCES
from efficient_jax.training import checkpoint
from efficient_jax.types import Augment, UserError

GIVEN_TO_MODELS = ("classes", "norm_axis", "parent", "name")
GIVEN_TO_OPTIMIZER = ("params", "steps")
GIVEN_TO_LABELLERS = ("probabilities", "seed")
NOTHING: dict[str, Any] = {}
GIVEN_TO_LOSSES = ("apply", "augment", "teacher")


class Stage(NamedTuple):
    """One stage: one model, trained with one method on one mixture of data."""

    name: str
    model: tuple[str, dict[str, Any]]
    method: tuple[str, dict[str, Any]]
    pseudo_labels: dict[str, Any]
    teacher: str
    init: str
    batch: dict[str, int]  # stream -> images of it in each update
    augment: Augment
    optim: dict[str, Any]
    updates: int
    ema_decay: float
    log_every: int
    save_every: int


class Plan(NamedTuple):
    seed: int
    devices: int
    source: tuple[str, dict[str, Any]]
    split: dict[str, int]
    label_changing: tuple[str, ...]  # operations after which a label may be wrong
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...]  # what to say before training


def plan(config: Mapping[str, Any]) -> Plan:
    """The plan that `config` describes.

    `config.stages` names the stages in running order, `config.<name>` is a stage's block; a block that is not named
    is checked all the same. Raises: UserError for a key or value that nothing reads or that does not fit.
    """
    reserved = ("seed", "devices", "data", "stages")
    blocks = {name: b for name, b in config.items() if name not in reserved and isinstance(b, Mapping)}
    top = _experiment(**binding.bind(_experiment, {k: v for k, v in config.items() if k not in blocks}, "config"))
    names = top["stages"]
    if not names or len(set(names)) < len(names):
        raise UserError(f"config.stages: want at least one name and each once, got {names}")
    for name in names:
        binding.choose(name, blocks, "config.stages")
    stages = {
        name: _stage(name, **binding.bind(_stage, block, f"config.{name}", given=("name",)))
        for name, block in blocks.items()
    }
    for position, name in enumerate(names):
        for role in ("teacher", "init"):
            _check_reference(getattr(stages[name], role), names, position, f"config.{name}.{role}")
    source, split, label_changing = _data(**binding.bind(_data, top["data"], "config.data"))
    return Plan(
        seed=top["seed"],
        devices=top["devices"],
        source=source,
        split=split,
        label_changing=label_changing,
        stages=tuple(stages[name] for name in names),
        warnings=tuple(
            f"config.{name}.augment applies {op!r}, named in config.data.label_changing: labels may be wrong after it"
            for name in names
            for op in label_changing
            if op in operations(blocks[name]["augment"].get("ops", ()), blocks[name]["augment"])
        ),
    )


def operations(names: Iterable[str], blocks: Mapping[str, Any]) -> set[str]:
    """Every operation that a pipeline may apply: also those among which one is chosen, and those of a policy.

    Policies that do not let `ops` be chosen count by their own names.
    """
    known = augmentations.OPS | augmentations.MIXES | augmentations.CHOICES
    found: set[str] = set()
    seen: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        block = blocks.get(name, {})
        op = block.get("op", name)
        found |= {op, *([block["of"]] if "of" in block else [])}  # by_class: of which operation
        parameters = inspect.signature(known[op]).parameters if op in known else {}
        settings = {key: parameter.default for key, parameter in parameters.items()} | block
        ahead += [
            each for value in settings.values() if isinstance(value, tuple) for each in value if isinstance(each, str)
        ]
    return found


def _experiment(*, seed: int, stages: tuple, data: dict, devices: int = 0) -> dict[str, Any]:
    """The top level of a config. `devices` = 0 takes as many as share every batch evenly."""
    if not 0 <= seed < 2**32:
        raise UserError(f"config.seed: {seed} is not in 0 .. 2^32 - 1")
    if devices < 0:
        raise UserError(f"config.devices: {devices} is negative; 0 takes what fits")
    return {"seed": seed, "stages": stages, "data": data, "devices": devices}


def _data(
    *, source: dict, labels_per_class: int, test: int, validation: int = 0, label_changing: tuple = ()
) -> tuple[tuple[str, dict[str, Any]], dict[str, int], tuple[str, ...]]:
    """`config.data`: where the images come from, and how many of them are for what.

    `label_changing` names operations after which a label may be wrong, such as a flip of digits.
    """
    split = {"labels_per_class": labels_per_class, "test": test, "validation": validation}
    for name, least in (("labels_per_class", 1), ("test", 1), ("validation", 0)):
        _at_least(split[name], least, f"config.data.{name}")
    for op in label_changing:
        binding.choose(op, augmentations.OPS | augmentations.MIXES, "config.data.label_changing")
    return binding.bind_named(SOURCES, source, "config.data.source"), split, label_changing


def _stage(
    name: str,
    *,
    model: dict,
    method: dict,
    batch: dict,
    augment: dict,
    optim: dict,
    updates: int,
    pseudo_labels: dict = NOTHING,
    teacher: str = "",
    init: str = "",
    ema_decay: float = 0.99,
    log_every: int = 50,
    save_every: int = 500,
) -> Stage:
    """`config.<name>`. `teacher` and `init` name an earlier stage or the folder of one of another run."""
    where = f"config.{name}"
    losses = {key: entry.loss for key, entry in methods.METHODS.items()}
    chosen, settings = binding.bind_named(losses, method, f"{where}.method", GIVEN_TO_LOSSES)
    entry = methods.METHODS[chosen]
    if bool(teacher) != entry.needs_teacher:
        raise UserError(
            f"{where}.teacher: the method {chosen!r} "
            + ("needs one: the name of an earlier stage" if entry.needs_teacher else f"has no use for {teacher!r}")
        )
    if entry.label and not batch.get("unlabelled"):
        raise UserError(f"{where}.batch.unlabelled: the method {chosen!r} needs some: 1 or more")
    if pseudo_labels and not entry.label:
        raise UserError(f"{where}.pseudo_labels: the method {chosen!r} does not read them")
    sizes = _batch(
        where,
        unlabelled_wanted=entry.unlabelled,
        **binding.bind(_batch, batch, f"{where}.batch", ("where", "unlabelled_wanted")),
    )
    augmentation = _augment(augment, f"{where}.augment")
    mixes = sorted(operations(augment.get("ops", ()), augment) & augmentations.MIXES.keys())
    for stream, size in sizes.items():
        if mixes and size % 2:
            raise UserError(f"{where}.batch.{stream}: {size} is odd, but {mixes[0]!r} mixes images in pairs")
    for key, value in (("updates", updates), ("log_every", log_every), ("save_every", save_every)):
        _at_least(value, 1, f"{where}.{key}")
    if not 0.0 <= ema_decay < 1.0:
        raise UserError(f"{where}.ema_decay: {ema_decay} is not in 0.0 .. 1.0 (1.0 excluded)")
    return Stage(
        name=name,
        model=binding.bind_named(models.MODELS, model, f"{where}.model", GIVEN_TO_MODELS),
        method=(chosen, settings),
        pseudo_labels=binding.bind(entry.label, pseudo_labels, f"{where}.pseudo_labels", GIVEN_TO_LABELLERS)
        if entry.label
        else {},
        teacher=teacher,
        init=init,
        batch=sizes,
        augment=augmentation,
        optim=_optim(optim, updates, f"{where}.optim"),
        updates=updates,
        ema_decay=ema_decay,
        log_every=log_every,
        save_every=save_every,
    )


def _batch(where: str, unlabelled_wanted: bool, *, labelled: int, unlabelled: int = 0) -> dict[str, int]:
    """`config.<stage>.batch`: images per update over all devices."""
    _at_least(labelled, 1, f"{where}.batch.labelled")
    _at_least(unlabelled, 0, f"{where}.batch.unlabelled")
    if unlabelled and not unlabelled_wanted:
        raise UserError(
            f"{where}.batch.unlabelled: {unlabelled} asked, but the method learns from labelled images only"
        )
    return {"labelled": labelled} | ({"unlabelled": unlabelled} if unlabelled else {})


def _optim(block: Mapping[str, Any], updates: int, where: str) -> dict[str, Any]:
    bound = binding.bind(optimizers.optimizer, block, where, GIVEN_TO_OPTIMIZER)
    if not 0 <= bound["warmup"] < updates:
        raise UserError(f"{where}.warmup: {bound['warmup']} is not in 0 .. {updates - 1}, the updates of the stage")
    return bound


def _augment(block: Mapping[str, Any], where: str) -> Augment:
    """`config.<stage>.augment`: `ops` in order, and a block of settings for each that has any."""
    ops = binding.bind(_ops, {"ops": block.get("ops", ())}, where)["ops"]
    return augmentations.build(ops, block, where)


def _ops(*, ops: tuple) -> None:
    del ops


def _check_reference(reference: str, names: tuple[str, ...], position: int, where: str) -> None:
    """A stage that comes earlier, or a folder with checkpoints."""
    if not reference or reference in names[:position] or (Path(reference) / checkpoint.FOLDER).is_dir():
        return
    if reference in names:
        raise UserError(
            f"{where}: stage {reference!r} comes later; it must come before {names[position]!r} in config.stages"
        )
    raise UserError(
        f"{where}: {reference!r} is neither an earlier stage nor the folder of a trained one"
        + binding.nearest(reference, names[:position])
    )


def _at_least(value: int, least: int, where: str) -> None:
    if value < least:
        raise UserError(f"{where}: {value} is less than {least}")
