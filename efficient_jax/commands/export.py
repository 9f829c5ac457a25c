"""export: trained members as files for other programs."""

from pathlib import Path

import jax
import numpy as np

from efficient_jax import files, settings
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted, few
from efficient_jax.experiment.dataset import Data
from efficient_jax.experiment.workdir import writable
from efficient_jax.export import timm_config
from efficient_jax.export.calibration import fitted
from efficient_jax.export.formats import FORMATS, answers_of, difference
from efficient_jax.export.program import Program, program
from efficient_jax.export.safetensors_file import names
from efficient_jax.report.card import Part, card
from efficient_jax.tasks import TASKS
from efficient_jax.training.trained import Trained

LISTED = 50  # most classes that a card lists
SEED, CALIBRATION, CHECKED = 0, 256, 512  # of --int8: training images for the ranges, and other images at most
ROWS = (
    "after non-maximum suppression; a row is left, top, right, bottom in pixels of these images, the index of the "
    "class and the score; class -1 fills up"
)
PUBLISHED = (
    "published EfficientNet-Lite weights are Apache-2.0, trained on ImageNet-1k; the licence of other weights is that "
    "of their authors"
)


def export(
    members: str = "",
    format: str = "safetensors",
    tta: str = "none",
    calibrate: bool = True,
    int8: bool = False,
    out: str = "",
) -> None:
    """Writes trained networks as a file that other programs run, with a model card.

    Several members become one program, the mean of their probabilities; detectors are exported one by one.

    Args:
        members: RUN, RUN/STAGE or RUN/STAGE@STEP, separated by commas; or the name of published weights.
        format: safetensors, weights under timm's names for PyTorch; stablehlo, a program that JAX loads without this
            package; onnx, a program for onnxruntime. Programs get uint8 images and return probabilities, of classes or
            of pixels, or boxes after non-maximum suppression.
        tta: views of each image over which a program averages: none, flips, d4, shifts, crops, ten_crops or scales.
        calibrate: whether logits are divided by the temperature that fits the validation images, where there are any.
        int8: whether an onnx file computes with 8 bits, whose ranges come from training images of the first member's
            run: smaller and mostly faster, and a little less accurate.
        out: folder for the file, config.json and the card README.md.

    Raises:
        UserError: a member does not exist or is not finished, members do not fit each other, the format cannot hold
            them, a package is missing, the folder holds something else, or 8 bits change too many answers.
    """
    if not members:
        raise UserError("export: --members=RUN[/STAGE],... is missing")
    if not out:
        raise UserError("export: --out=FOLDER is missing")
    wanted = settings.choose(format, FORMATS, "--format")
    wanted.check()
    if int8 and format != "onnx":
        raise UserError(f"--int8: a file in {format} has 32 bits; take --format=onnx")
    trained = [_finished(name) for name in members.split(",")]
    if int8 and not TASKS[trained[0].spec.task].probable:
        raise UserError("--int8: answers in 8 bits are compared with those in 32, and boxes are not; leave it out")
    temperature, about = fitted(trained, tta) if calibrate else (1.0, "1, by --calibrate=false")
    made = program(trained, tta, temperature)
    images = _images(trained[0]) if int8 else ()
    if wanted.run:
        _check_any_number(made, format)
    _check_free(Path(out), wanted.file)
    content = wanted.content(made)
    checks = {"temperature": about}
    if wanted.run:
        checks |= {} if TASKS[made.spec.task].probable else {"boxes": ROWS}
        most = difference(made, wanted.run, content)
        which = "those in float32" if int8 else f"its {answers_of(made)}"
        checks["checked"] = f"{which} differ by at most {most:.1g} from ours, on random images"
    else:
        checks["names of the weights"] = names(made)
    if images:
        from efficient_jax.export import onnx_int8  # needs the extra

        content, checks["int8"] = onnx_int8.checked(content, made.spec, *images)
    folder = writable(Path(out), "--out")
    files.write_bytes(folder / wanted.file, content)
    files.write_json(folder / "config.json", timm_config.config(made.spec, temperature))
    facts = {**_described(made), **checks}
    title = f"{' and '.join(one.name for one in trained)}, exported as {format}"
    parts = [_part(one) for one in trained]
    columns = TASKS[made.spec.task].columns
    files.write_text(folder / "README.md", card(title, parts, columns, facts, wanted.code(made), PUBLISHED))
    log(f"{folder / wanted.file}: {len(content) / 2**20:,.1f} MB; model card: {folder / 'README.md'}")
    for name, text in checks.items():
        log(f"{name}: {text}")


def _finished(name: str) -> Trained:
    """Returns a trained network, whose stage is finished unless the step is named."""
    trained = Trained.open(name, "--members")
    if trained.folder and "@" not in name and not (trained.folder / "result.json").is_file():
        raise UserError(
            f"--members: stage {name!r} is not finished; train it, or name a checkpoint: {name}@{trained.step}"
        )
    return trained


def _images(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Returns images of the run of a network, uint8: training images for calibration, and others for the check.

    The others are validation images where there are any, else training images too; test images are never read.
    """
    if trained.folder is None:
        raise UserError(f"--int8: {trained.name!r} is no stage of a run, whose training images give the ranges")
    data = Data.reopen(trained.folder.parent, "--int8", log)
    pool = np.random.default_rng(SEED).permutation(np.concatenate([data.split["labelled"], data.split["unlabelled"]]))
    count = min(CALIBRATION, len(pool) // 2)
    if not count:
        raise UserError(
            f"--int8: {counted(len(pool), 'training image')} in the run of {trained.name!r}; 2 are the least"
        )
    others = data.split["validation"] if len(data.split["validation"]) else pool[count:]
    return data.pixels(pool[:count], trained.spec), data.pixels(others[:CHECKED], trained.spec)


def _check_any_number(made: Program, format: str) -> None:
    """Checks that a program can be traced without the number of its images."""
    try:
        jax.eval_shape(made, made.variables, made.images())
    except TypeError as error:
        raise UserError(
            f"--format: {format} holds a program for any number of images, and this network computes with the number "
            f"({error.args[0].splitlines()[0]}); take safetensors"
        ) from error


def _check_free(folder: Path, file: str) -> None:
    """Checks that a folder holds nothing but an earlier export of the same format."""
    earlier = folder / "config.json"
    others = sorted({path.name for path in folder.glob("*")} - {file, "config.json", "README.md"})
    if earlier.is_file() and "efficient_jax" not in files.read_json(earlier):
        others = ["config.json", *others]
    if others:
        raise UserError(f"--out: {str(folder)!r} holds something else ({few(others, 3)}); choose another folder")


def _described(made: Program) -> dict[str, str]:
    """Returns what a caller must know: name -> text."""
    spec = made.spec
    height, width, channels = spec.image_shape
    framing = spec.framing
    how = f"resized by {framing['interpolation']} interpolation, `{framing['fit']}`" if framing else "as they are"
    how += f", the middle {framing['crop']:.3g} of the shorter side" if framing.get("fit") == "crop" else ""
    about = {
        "images": f"uint8, {height} x {width} pixels, {counted(channels, 'channel')}, {how}",
        "classes": ", ".join(spec.classes) if len(spec.classes) <= LISTED else f"{len(spec.classes):,}, in config.json",
        "task": spec.task,
    }
    if spec.thresholds:
        about["thresholds"] = ", ".join(f"{t:.3g}" for t in spec.thresholds) + ", in the order of the classes"
    if len(made.variables) > 1:
        about["vote"] = f"the mean probability of {counted(len(made.variables), 'network')}"
    if len(made.views) > 1:
        about["test-time augmentation"] = f"the mean probability over {counted(len(made.views), 'view')}"
    return about


def _part(trained: Trained) -> Part:
    settings_of = ", ".join(f"{name}={value}" for name, value in sorted(trained.spec.settings.items()))
    model = f"{trained.spec.name}({settings_of})"
    if trained.folder is None:
        return Part(trained.name, model, "", {}, {}, {}, None)
    run = trained.folder.parent
    config, about, result = (
        files.read_json(path) if path.is_file() else {}
        for path in (run / "config.json", run / "run.json", trained.folder / "result.json")
    )
    return Part(trained.name, model, trained.folder.name, config, about, result, trained.step)
