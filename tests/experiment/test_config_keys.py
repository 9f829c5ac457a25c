"""Every key of every block can be overridden, and what an override adds is the override alone."""

import functools
import re
from pathlib import Path

import pytest

from efficient_jax.commands import flags
from efficient_jax.commands.files import load_config
from efficient_jax.data.sources import SOURCES
from efficient_jax.errors import UserError
from efficient_jax.experiment import config_keys
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.stage_steps import resolved
from efficient_jax.optim import optimizer, schedules
from efficient_jax.settings import bind_named, parameters
from efficient_jax.tasks import CLASSIFICATION

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "common")
TEXTS = {float: "0.5", int: "3", str: "a word", bool: "True", tuple: "(1, 2)"}
VALUES = {float: 0.5, int: 3, str: "a word", bool: True, tuple: (1, 2)}


def config_of(name):
    return load_config(f"configs/{name}.py", "--config")


def parsed(name, *overrides):
    return flags.parse("train", [f"--config=configs/{name}.py", *(f"--config.{each}" for each in overrides)])["config"]


def at(config, dotted):
    return functools.reduce(lambda block, part: block[part], dotted.split("."), config)


def kind(key):
    kinds = getattr(key.annotation, "__args__", None) if not hasattr(key.annotation, "__origin__") else None
    first = (kinds or (key.annotation,))[0]
    return getattr(first, "__origin__", first)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_of_every_block_can_be_overridden(name):
    keys = config_keys.keys_of(config_of(name).to_dict())
    kinds = {dotted: kind(key) for dotted, key in keys.items() if kind(key) in VALUES}
    plain = {dotted: of for dotted, of in kinds.items() if dotted.rpartition(".")[2] not in config_keys.CHOOSING}
    assert len(plain) >= 70
    config = parsed(name, *(f"{dotted}={TEXTS[of]}" for dotted, of in plain.items()))
    assert {dotted: at(config, dotted) for dotted in plain} == {dotted: VALUES[of] for dotted, of in plain.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_defaults_that_help_shows_are_those_of_the_functions(name):
    """A config with every default written out is the same plan."""
    config = config_of(name)
    before = plan(config.to_dict())
    keys = config_keys.keys_of(config.to_dict())
    config_keys.allow(config, {dotted: key.default for dotted, key in keys.items() if is_shown(dotted, key)})
    after = plan(config.to_dict())
    assert [whole(stage) for stage in after.stages] == [whole(stage) for stage in before.stages]


def whole(stage):
    """The stage with its durations in steps, and with the defaults of the optimizer's own blocks."""
    settled = resolved(stage, 1000, CLASSIFICATION)
    optim = dict(settled.optim)
    for block, options in (("algorithm", optimizer.ALGORITHMS), ("schedule", schedules.SCHEDULES)):
        if block in optim:
            optim[block] = bind_named(options, optim[block], block)
    return settled._replace(optim=optim), stage._replace(optim={}, augment=None, strong_augment=None, pseudo_labels={})


def is_shown(dotted, key):
    """Keys with the default, of blocks that do something: those of `generated` alone would ask for no images."""
    chosen = dotted.rpartition(".")[2] in config_keys.CHOOSING or dotted.startswith("data.generated")
    return key.value == key.default is not None and kind(key) in VALUES and not chosen


def test_nothing_is_added_but_what_is_overridden():
    before = config_of("quickstart").to_dict()
    after = parsed("quickstart", "student.accumulate=4").to_dict()
    assert after["student"].pop("accumulate") == 4
    assert after == before


@pytest.mark.parametrize("name", CONFIGS)
def test_an_experiment_is_what_departs_from_the_defaults(name):
    config = config_of(name)
    before = config_keys.departures(config.to_dict())
    assert "seed" in before
    keys = config_keys.keys_of(config.to_dict())
    config_keys.allow(config, {dotted: key.default for dotted, key in keys.items() if is_shown(dotted, key)})
    assert config_keys.departures(config.to_dict()) == before
    config.seed = 7
    assert config_keys.departures(config.to_dict()) == before | {"seed": 7}


def test_a_block_that_the_file_does_not_have():
    config = parsed("quickstart", "student.optim.schedule.name=step", "student.optim.schedule.factor=0.2")
    assert config.student.optim.schedule.to_dict() == {"name": "step", "factor": 0.2}
    with pytest.raises(
        UserError, match=r"^--config\.student\.optim\.schedule\.fctor: no such key; did you mean 'factor'"
    ):
        parsed("quickstart", "student.optim.schedule.name=step", "student.optim.schedule.fctor=0.2")


def test_another_method_drops_the_keys_that_it_does_not_read():
    config = parsed("quickstart", "distilled.method.name=supervised", "distilled.method.class_balance=0.9")
    assert config.distilled.method.to_dict() == {"name": "supervised", "class_balance": 0.9}
    with pytest.raises(UserError, match=r"config\.distilled\.method\.temperature: no such key"):
        parsed("quickstart", "distilled.method.name=supervised", "distilled.method.temperature=2.0")


def test_operations_that_an_override_adds():
    config = parsed("quickstart", "student.augment.ops=('flip', 'jpeg')", "student.augment.jpeg.probability=0.5")
    assert config.student.augment.ops == ("flip", "jpeg")
    assert config.student.augment.jpeg.probability == 0.5
    with pytest.raises(UserError, match=r"^--config\.student\.augment\.jpg: no such key; did you mean 'jpeg'\?$"):
        parsed("quickstart", "student.augment.ops=('flip', 'jpeg')", "student.augment.jpg.probability=0.5")


def test_a_range_in_place_of_a_number():
    overrides = ("student.augment.ops=('rotate',)", "student.augment.rotate.degrees=(0.0, 30.0)")
    assert parsed("quickstart", *overrides).student.augment.rotate.degrees == (0.0, 30.0)


def test_classes_of_a_class_map_are_the_users_own():
    assert parsed("quickstart", "distilled.class_map.cat=dog").distilled.class_map.to_dict() == {"cat": "dog"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.acumulate=2", "--config.student.acumulate: no such key; did you mean 'accumulate'?"),
        ("studnt.steps=2", "--config.studnt: no such key; did you mean 'student'?"),
        ("student.method.name=fixmtch", "config.student.method.name: unknown name 'fixmtch'; did you mean 'fixmatch'?"),
    ],
)
def test_what_is_no_key_is_said(override, message):
    with pytest.raises(UserError) as error:
        plan(parsed("quickstart", override).to_dict())
    assert str(error.value) == message


def test_every_key_that_a_readme_names_is_one():
    known = {f"data.source.{key}" for source in SOURCES.values() for key in parameters(source)}
    for name in CONFIGS:
        config = config_of(name).to_dict()
        for dotted in config_keys.keys_of(config):
            first, _, rest = dotted.partition(".")
            known |= {dotted, f"STAGE.{rest}" if isinstance(config.get(first), dict) and first != "data" else dotted}
    blocks = {".".join(dotted.split(".")[:i]) for dotted in known for i in range(1, dotted.count(".") + 1)}
    text = "\n".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("efficient_jax/**/README.md")])
    named = set(re.findall(r"\bconfig\.((?:STAGE|data|seed|devices|stages)[\w.]*\w)", text))
    assert len(named) > 5
    assert not named - known - blocks
