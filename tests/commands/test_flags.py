"""Flags: which of several wins, and how they may be written."""

import pytest

from efficient_jax.commands import flags

CONFIG = "--config=configs/finetune.py"


@pytest.mark.parametrize(
    ("argv", "stages"),
    [
        (["--config.stages=('a','b')"], ("a", "b")),
        (["--config.stages=('a','b')", "--config.stages=('c',)"], ("c",)),
        (["--config.stages=a", "--config.stages", "b"], ("b",)),
        (["--config.stages", "a", "-config.stages=b", "--config.seed=1"], ("b",)),
    ],
)
def test_of_a_tuple_that_is_given_twice_the_last_wins(argv, stages):
    for order in ([CONFIG, *argv], [*argv, CONFIG]):
        assert flags.parse("train", order)["config"].stages == stages


def test_the_last_config_and_its_overrides_win():
    argv = [
        CONFIG,
        "--config.seed=1",
        "--config=configs/quickstart.py",
        "--config.seed",
        "2",
        "--workdir=a",
        "--workdir",
        "b",
    ]
    found = flags.parse("train", argv)
    assert found["config"].seed == 2
    assert found["config"].data.source.name == "mnist5k"
    assert found["workdir"] == "b"


def test_a_negative_number_is_a_value():
    assert flags.parse("train", [CONFIG, "--config.seed", "-3"])["config"].seed == -3
