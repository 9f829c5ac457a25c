"""Trained stages on disk as models: a teacher, a starting point, a member of an ensemble, a classifier."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from efficient_jax import files, models
from efficient_jax.errors import UserError, nearest
from efficient_jax.models import pretrained
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint
from efficient_jax.types import Tree


@dataclass(frozen=True)
class Trained:
    """A network with trained weights.

    Args:
        name: the name with which it was opened, see `Trained.open`.
        spec: what rebuilds the network and prepares its images.
        variables: averaged (EMA) variables, numpy arrays.
        folder: folder of its stage; None for published weights.
        step: after which step its checkpoint was saved; None for published weights.
    """

    name: str
    spec: ModelSpec
    variables: Tree
    folder: Path | None = None
    step: int | None = None

    @classmethod
    def open(cls, name: str, where: str) -> "Trained":
        """Reads trained weights.

        Args:
            name: "RUN" (its last finished stage), "RUN/STAGE", "RUN/STAGE@500" (the checkpoint after step 500, which
                `keep_every` kept), or published weights: a name in `pretrained.ZOO` or the path of a file. Without a
                step it is the checkpoint with the best validation score, or else the newest.
            where: the flag or key that an error names.

        Returns: the network; published weights with their own classes and preprocessing.

        Raises: UserError, with the nearest name, for a path that holds no trained stage, for a damaged checkpoint, and
            for published weights that are not on this machine or have no classifier.
        """
        if not (Path(name) / checkpoint.FOLDER).is_dir() and pretrained.is_weights(name):
            return _published(name, where)
        folder, step = stage_and_step(name, where)
        saved = checkpoint.load(folder, where, step)
        return cls(name, saved.spec, saved.variables, folder, saved.step)


def check_ensemble(members: Sequence[Trained]) -> None:
    """Checks that the probabilities of networks can be averaged.

    Args:
        members: the networks, one or more.

    Raises: UserError for members of another task or other classes than the first.
    """
    for member in members:
        first = members[0].spec
        if member.spec.task != first.task:
            raise UserError(
                f"--members: the task of {member.name!r} is {member.spec.task}, that of the first member {first.task}"
            )
        if member.spec.classes != first.classes:
            raise UserError(
                f"--members: the classes of {member.name!r} are {list(member.spec.classes)}, those of the first member "
                f"{list(first.classes)}"
            )


def _published(name: str, where: str) -> Trained:
    """Reads published weights with their classifier, for images of the size that they were trained with."""
    arrays = pretrained.read(name)
    model, settings = pretrained.model_of(name)
    classes = pretrained.classes_of(name, arrays)
    if not classes:
        raise UserError(f"{where}: {name!r} has no classifier; give it to `init` of a stage, which trains one")
    about = pretrained.preprocessing_of(name, model)
    framing = {"fit": "crop", "crop": about.crop, "interpolation": about.interpolation}
    spec = ModelSpec(model, settings, classes, (*about.size, 3), about.mean, about.std, framing)
    module, _ = spec.build()
    fresh = models.shapes(module, spec.image_shape)
    variables, report = pretrained.load(arrays, fresh, image=about.size, where=name)
    if report.new:
        raise UserError(f"{where}: {name!r} has no classifier that fits ({report.why})")
    return Trained(name, spec, jax.device_get(variables))


def stage_and_step(name: str, where: str) -> tuple[Path, int | None]:
    """Returns the stage and the step that "RUN", "RUN/STAGE" or "RUN/STAGE@500" names.

    Args:
        name: path of a run or a stage, with the step of a checkpoint after the last "@".
        where: the flag or key that an error names.

    Returns: (folder of the stage, step or None).

    Raises: UserError as `stage_folder`, and for a step that is not a number.
    """
    path, at, step = name.rpartition("@")
    if not at or Path(name).exists():
        return stage_folder(Path(name), where), None
    if not step.isdigit():
        raise UserError(f"{where}: {name!r} wants the number of a step behind the @, or * for all that were kept")
    return stage_folder(Path(path), where), int(step)


def stage_folder(path: Path, where: str) -> Path:
    """Returns the folder of a trained stage.

    Args:
        path: the folder itself, or that of a run, which means its last finished stage.
        where: the flag or key that an error names.

    Raises: UserError, with the nearest name, for a path that holds no trained stage.
    """
    if (path / checkpoint.FOLDER).is_dir():
        return path
    if (path / "config.json").is_file():
        names: list[str] = files.read_json(path / "config.json")["stages"]
        finished = [name for name in names if (path / name / "result.json").is_file()]
        if not finished:
            raise UserError(f"{where}: no stage of {str(path)!r} is finished; train it first")
        return path / finished[-1]
    run = path.parent
    if (run / "config.json").is_file():
        names = files.read_json(run / "config.json")["stages"]
        if path.name in names:
            raise UserError(f"{where}: stage {path.name!r} of {str(run)!r} is not trained yet; train it first")
        raise UserError(f"{where}: {str(run)!r} has no stage {path.name!r}{nearest(path.name, names)}")
    known = [config.parent for config in run.glob("*/config.json")]  # other runs, and other runs with such a stage
    stages = [config.parent / path.name for config in run.parent.glob("*/config.json")]
    known += [stage for stage in stages if (stage / checkpoint.FOLDER).is_dir()]
    close = difflib.get_close_matches(str(path), [*map(str, known), *pretrained.ZOO], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{where}: {str(path)!r} is neither a run nor a stage of one{hint}")
