"""Checks the block of a stage in a config: binds each part to the function that reads it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Key

from efficient_jax import augment as augmentations
from efficient_jax import methods, models
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.checks import (
    at_least,
    check_names,
    check_optim,
    check_patches,
    check_teachers,
    check_unread,
    check_views,
    joined,
    length_of,
    mixing,
    suspect_settings,
)
from efficient_jax.experiment.model_block import model_block
from efficient_jax.models import adapters, dense
from efficient_jax.settings import Settings, bind, bind_named, choose
from efficient_jax.tasks import TASKS
from efficient_jax.types import Augment, Batch, Saliency

NOTHING: Settings = {}


class StageConfig(NamedTuple):
    """The checked config of a stage: one model, trained with one method on one mixture of data."""

    name: str
    model: tuple[str, Settings]
    decoder: Settings  # "name" in `dense.DECODERS` and its settings; {}: the model's own head answers
    method: methods.Method
    method_name: str
    method_settings: Settings
    pseudo_labels: Settings  # as configured; `resolved` returns the arguments of the task's function
    teachers: tuple[str, ...]
    vote: str  # of several teachers: "soft" or "hard"
    class_map: dict[str, str]  # class of the teachers -> class of the student; {} where they are the same
    init: str
    size: int  # height and width of its images, in pixels; 0: those of the source
    omit: tuple[str, ...]  # classes whose images are left out
    suspects: dict[str, Any]  # see `suspect_settings`; {}: every label is believed
    soft_classes: int  # classes whose probabilities a soft label keeps; 0: all of up to 100, else 10
    batch: dict[str, int]  # stream -> images of it in each step
    joined: int  # neighbouring images that augmentations join, which are on one device; see `checks.joined`
    balanced: bool  # whether labelled images of rare classes are repeated
    augment: Augment
    strong_augment: Augment
    optim: Settings  # as configured, see `resolved`
    lora: Settings  # keyword arguments of `adapters.lora`; {}: no adapters
    length: tuple[str, float]  # "steps", "epochs" or "examples", and how many
    norm_axis: str
    mean: tuple[float, ...]  # (): that of the start, or else of the data
    std: tuple[float, ...]
    views: int
    ema_decay: float
    log_every: int
    save_every: int
    keep_every: int
    accumulate: int  # parts of each device's share, computed one after the other
    sam: float  # distance at which the gradient is taken anew; 0.0: it is not

    @property
    def where_teachers(self) -> str:
        """The key of the teachers, for errors."""
        return f"config.{self.name}.teacher{'s' if len(self.teachers) > 1 else ''}"


def stage(
    name: str,
    *,
    model: Settings = NOTHING,
    decoder: Settings = NOTHING,
    method: Settings,
    batch: Settings = NOTHING,
    augment: Settings = NOTHING,
    strong_augment: Settings = NOTHING,
    optim: Settings = NOTHING,
    lora: Settings = NOTHING,
    steps: int = 0,
    epochs: float = 0.0,
    examples: int = 0,
    pseudo_labels: Settings = NOTHING,
    teacher: str = "",
    teachers: tuple[str, ...] = (),
    vote: str = "soft",
    class_map: dict[str, str] = NOTHING,
    init: str = "",
    size: int = 0,
    omit: tuple[str, ...] = (),
    suspects: dict[str, Any] = NOTHING,
    soft_classes: int = 0,
    norm_axis: str = "device",
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    views: int = 0,
    ema_decay: float = 0.99,
    log_every: int = 50,
    save_every: int = 500,
    keep_every: int = 0,
    accumulate: int = 1,
    sam: float = 0.0,
) -> StageConfig:
    """Returns a stage, checked.

    Args:
        name: name of the stage, `config.<name>`.
        model: `name` of an architecture and its settings; left out, that of `init`: published weights or another stage.
        decoder: what answers in place of the head of the model, its `name` and settings: "masks" for a class of each
            pixel, "boxes" for objects.
        method: `name` of a method and its settings.
        batch: images in a step.
        augment: `ops`, the names of operations in order, and a block of settings for each that has any.
        strong_augment: the same for the second view of unlabelled images, for methods that have one.
        optim: the optimizer, its rules and its schedule.
        lora: low-rank adapters of the attention of a "vit" (arXiv 2106.09685): `rank`, `alpha` and `targets`. The rules
            of the optimizer freeze the rest: (("(head|lora)/.*", 1.0), (".*", 0.0)).
        steps: number of steps; one of `steps`, `epochs` and `examples` says how long to train.
        epochs: passes over the labelled images, or over the unlabelled ones with `batch.labelled` = 0.
        examples: images of these that are trained on.
        pseudo_labels: how labels of a teacher are filtered, for methods that make them.
        teacher: an earlier stage, or the folder of a stage of another run.
        teachers: several of these; what they say together is learned.
        vote: how several teachers make pseudo-labels: "soft", their mean probability, or "hard", the share of them that
            answer each class (V-PET, arXiv 2503.09707).
        class_map: class of the teachers -> class of the data, where they have other classes.
        init: what training starts from: an earlier stage, a folder, a file of weights, or a name of packaged weights.
        size: height and width in pixels to which images are resized; 0: as they are.
        omit: classes whose images are in no stream of the stage.
        suspects: what happens to labelled images whose label looks wrong (arXiv 1911.00068); {}: nothing.
        soft_classes: most probable classes that a soft label keeps; 0: all of up to 100 classes, otherwise 10.
        norm_axis: "device" computes batch statistics over all devices, "" on each device separately.
        mean: mean of each channel, 0..1; (): that of the start, or else of the data.
        std: standard deviation of each channel, above 0.0; () as for `mean`.
        views: augmented copies of each labelled image, for methods that fit a head; 0: the image as it is.
        ema_decay: largest decay of the moving average of the weights, 0.0 to 1.0 (1.0 excluded).
        log_every: steps between two lines of the log.
        save_every: steps between two checkpoints; the newest two and the best stay.
        keep_every: also keeps the checkpoint of every so many steps, a multiple of `save_every`; 0: none.
        accumulate: parts of a batch, computed one after the other to save memory, 1 or more.
        sam: sharpness-aware minimisation (arXiv 2010.01412) at this distance, such as 0.05: two gradients in each step;
            0.0: without.

    Raises: UserError for values that do not fit together.
    """
    where = f"config.{name}"
    augmentation = _augment(augment, f"{where}.augment")
    strong_augmentation = _augment(strong_augment, f"{where}.strong_augment")
    functions = {name: method.function for name, method in methods.METHODS.items()}
    chosen, settings = bind_named(functions, method, f"{where}.method")
    entry = methods.METHODS[chosen]
    if teacher and teachers:
        raise UserError(f"{where}: teacher and teachers are both given; give one")
    teachers = (teacher,) if teacher else teachers
    check_teachers(where, chosen, teachers)
    choose(vote, dict.fromkeys(("soft", "hard")), f"{where}.vote")
    if vote == "hard" and not entry.pseudo_labels:
        raise UserError(f"{where}.vote: the method {chosen!r} makes no pseudo-labels, whose teachers could vote")
    check_names({"teachers": teachers, "omit": omit, "class_map": tuple(class_map.values())}, where)
    if class_map and (entry.any_classes or not teachers):
        raise UserError(f"{where}.class_map: the method {chosen!r} does not read it")
    at_least(size, 0, f"{where}.size")
    at_least(soft_classes, 0, f"{where}.soft_classes")
    at_least(accumulate, 1, f"{where}.accumulate")
    at_least(sam, 0.0, f"{where}.sam")
    if norm_axis not in ("device", ""):
        raise UserError(f"{where}.norm_axis: {norm_axis!r} is neither 'device' nor ''")
    if len(mean) != len(std) or not all(deviation > 0.0 for deviation in std):
        raise UserError(f"{where}: mean {mean} and std {std} want a number for each channel, std above 0.0")
    lengths = {"steps": steps, "epochs": epochs, "examples": examples}
    if entry.trains:
        if views:
            raise UserError(f"{where}.views: the method {chosen!r} augments in every step and does not read it")
        sizes = batch_sizes(where, entry, **bind(batch_sizes, batch, f"{where}.batch"))
        length = length_of(lengths, where)
        check_optim(optim, sizes, where)
    else:
        if views < 0 or (augment.get("ops", ()) and not views):
            raise UserError(f"{where}.views: {views}; `augment` wants 1 or more augmented copies of each image")
        unread = {"batch": batch, "optim": optim, "lora": lora, "omit": omit, "pseudo_labels": pseudo_labels, **lengths}
        check_unread(where, chosen, unread | ({"views": views} if entry.correct else {}))
        if not init:
            raise UserError(
                f"{where}.init: the method {chosen!r} needs a trained network: an earlier stage, or weights"
            )
        sizes, length = {}, ("steps", 0.0)
    for correction in ("class_balance", "logit_adjustment"):
        if batch.get("balanced") and settings.get(correction):
            raise UserError(f"{where}: batch.balanced and method.{correction} both correct for rare classes; take one")
    if entry.unlabelled and not entry.needs("teachers") and not batch.get("unlabelled"):
        raise UserError(f"{where}.batch.unlabelled: the method {chosen!r} needs some: 1 or more")
    if pseudo_labels and not entry.pseudo_labels:
        raise UserError(f"{where}.pseudo_labels: the method {chosen!r} does not read them")
    _check_pseudo_labels(pseudo_labels, f"{where}.pseudo_labels")
    mixes = mixing(augment)
    joins = {stream: joined(augment, strong_augment if stream == "unlabelled" else {}) for stream in sizes}
    for stream, count in sizes.items():
        if count % accumulate:
            raise UserError(
                f"{where}.batch.{stream}: {counted(count, 'image does', 'images do')} not divide into "
                f"accumulate = {accumulate} parts"
            )
        if count // accumulate % joins[stream]:
            many = f"no multiple of {joins[stream]}, but 'mosaic' joins so many images"
            wrong = many if joins[stream] > 2 else "odd, but an operation mixes images in pairs"
            raise UserError(f"{where}.batch.{stream}: {count // accumulate} is {wrong}")
    check_views(where, chosen, augment, strong_augment)
    for key, count in (("log_every", log_every), ("save_every", save_every)):
        at_least(count, 1, f"{where}.{key}")
    at_least(keep_every, 0, f"{where}.keep_every")
    if keep_every % save_every:
        raise UserError(f"{where}.keep_every: {keep_every} is not a multiple of save_every, {save_every}")
    if entry.fit and mixes:
        raise UserError(
            f"{where}.augment: {mixes[0]!r} mixes images, so that held-out ones would have been trained on; the method "
            f"{chosen!r} wants augmentation of single images"
        )
    block = model_block(model, init, where)
    named, architecture = bind_named(models.MODELS, block, f"{where}.model", models.SUPPLIED)
    check_patches(where, chosen, named)
    if "dtype" in architecture:
        choose(architecture["dtype"], models.DTYPES, f"{where}.model.dtype")
    bound_decoder: Settings = {}
    if decoder:
        kind, of_decoder = bind_named(dense.DECODERS, decoder, f"{where}.decoder")
        bound_decoder = {"name": kind, **of_decoder}
        for key, ops in (("augment", augment), ("strong_augment", strong_augment)):
            if "by_class" in augmentations.operations(ops):
                raise UserError(
                    f"{where}.{key}: by_class is for one class per image; for pixels and objects say "
                    "batch.balanced=True, or give copy_paste.object_probability a value for each class"
                )
    suspects = bind(suspect_settings, suspects, f"{where}.suspects")
    suspect_settings(f"{where}.suspects", init, entry.trains, sizes.get("unlabelled", 0), **suspects)
    bound_lora = bind(adapters.lora, lora, f"{where}.lora")
    if not 0.0 <= ema_decay < 1.0:
        raise UserError(f"{where}.ema_decay: {ema_decay} is not in 0.0 .. 1.0 (1.0 excluded)")
    return StageConfig(
        name=name,
        model=(named, architecture),
        decoder=bound_decoder,
        method=entry,
        method_name=chosen,
        method_settings=settings,
        pseudo_labels=dict(pseudo_labels),
        teachers=teachers,
        vote=vote,
        class_map=dict(class_map),
        init=init,
        size=size,
        omit=omit,
        suspects=suspects if suspects["action"] else {},
        soft_classes=soft_classes,
        batch=sizes,
        joined=max(joins.values(), default=1),
        balanced=batch.get("balanced", False),
        augment=augmentation,
        strong_augment=strong_augmentation,
        optim=dict(optim),
        lora=bound_lora if bound_lora["rank"] else {},
        length=length,
        norm_axis=norm_axis,
        mean=mean,
        std=std,
        views=views,
        ema_decay=ema_decay,
        log_every=log_every,
        save_every=save_every,
        keep_every=keep_every,
        accumulate=accumulate,
        sam=sam,
    )


def _check_pseudo_labels(block: Mapping[str, Any], where: str) -> None:
    """Checks the settings of pseudo-labels by any task: the task is not known before the data is."""
    errors = []
    for task in TASKS.values():
        if task.pseudo_labels:
            try:
                bind(task.pseudo_labels, block, where)
                return
            except UserError as error:
                errors.append(error)
    raise errors[0]


def augment_blocks(stage: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the augmentations in the block of a stage, by their keys.

    Args:
        stage: the block; without `augment` that is {}.
    """
    return {key: stage.get(key, NOTHING) for key in ("augment", "strong_augment") if stage.get(key) or key == "augment"}


def batch_sizes(
    where: str, entry: methods.Method, *, labelled: int, unlabelled: int = 0, balanced: bool = False
) -> dict[str, int]:
    """Returns the images per step of each stream; a stream of 0 is none.

    Args:
        where: dotted path of the stage's block, for errors.
        entry: the stage's method.
        labelled: labelled images in a step, over all devices.
        unlabelled: unlabelled images in a step, over all devices.
        balanced: repeats labelled images of rare classes, so that all classes come equally often; an image of several
            classes as its rarest one wants.

    Raises: UserError for sizes that the method does not take.
    """
    del balanced  # the caller reads it
    without_labels = unlabelled and (entry.needs("teachers") or not entry.labels)
    at_least(labelled, 0 if without_labels else 1, f"{where}.batch.labelled")
    at_least(unlabelled, 0, f"{where}.batch.unlabelled")
    if unlabelled and not entry.unlabelled:
        raise UserError(f"{where}.batch.unlabelled: {unlabelled} images, but the method reads labelled images only")
    return {stream: size for stream, size in (("labelled", labelled), ("unlabelled", unlabelled)) if size}


def _augment(block: Mapping[str, Any], where: str) -> Augment:
    """Builds the augmentation of a block `config.<stage>.augment`; its errors name the block."""
    ops = bind(_ops, {"ops": block.get("ops", ())}, where)["ops"]
    augment = augmentations.build(ops, block, where)

    def named(keys: Key[Array, " b"], batch: Batch, saliency: Saliency | None = None) -> Batch:
        try:
            return augment(keys, batch, saliency)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    return named


def _ops(*, ops: tuple[str, ...]) -> None:
    del ops
