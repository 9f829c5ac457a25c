"""An opened stage: what training, fitting and the dry run need of a stage, built once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from efficient_jax import keys
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.teachers import teachers_of
from efficient_jax.models.spec import ModelSpec
from efficient_jax.types import Apply, Tree

NOTHING: dict[str, Tree] = {}


@dataclass(frozen=True)
class Stage:
    """A stage of a run, with its network and its teachers; opened once by `Stage.open`.

    Args:
        config: its checked config.
        run: what all stages share.
        spec: what rebuilds its network.
        module: the network, for evaluation: each device has its own batch statistics.
        apply: the network as a function.
        teachers: networks that run in every step of its loss; () for methods without.
        teacher_variables: variables of each teacher, arrays or their shapes.
        steps: how many steps it trains; 0 for methods that fit.
        optim: keyword arguments of `optimizer.optimizer` but `steps` and `layers`.
    """

    config: StageConfig
    run: Run
    spec: ModelSpec
    module: Any
    apply: Apply
    teachers: tuple[Apply, ...]
    teacher_variables: tuple[Tree, ...]
    steps: int
    optim: dict[str, Any]

    @classmethod
    def open(cls, config: StageConfig, run: Run, earlier: Mapping[str, Tree] = NOTHING) -> "Stage":
        """Builds the network of a stage and reads its teachers.

        Args:
            config: one of `run.plan.stages`.
            run: its run; with images of the size of the stage, if the stage is going to train.
            earlier: stage -> shapes of its variables, of the stages that need not be trained yet.

        Raises: UserError as `Run.spec` and `teachers.teachers_of`.
        """
        spec = run.spec(config)
        module, apply = spec.build()
        teachers, teacher_variables, _ = (
            teachers_of(config, run, earlier) if config.method.needs("teachers") else ((), (), ())
        )
        resolved = run.resolved[config.name]
        return cls(config, run, spec, module, apply, teachers, teacher_variables, resolved.steps, resolved.optim)

    def key(self, name: str) -> jax.Array:
        """Returns a random key of the stage.

        Args:
            name: what it is for; another name gives an independent key.
        """
        return keys.named(self.run.key(self.config), name)

    def log(self, line: str) -> None:
        """Shows a line after the name of the stage.

        Args:
            line: text without markup.
        """
        self.run.log(self.config.name, line)
