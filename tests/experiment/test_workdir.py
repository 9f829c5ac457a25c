"""A workdir belongs to one experiment, one set of data and one process at a time."""

import json

import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.workdir import LOCK, check_data, claimed

CONFIG = {"seed": 0, "stages": ("a", "b"), "data": {"test": 10}, "a": {"lr": 0.1}, "b": {"lr": 0.1}}


def begun(workdir, *started: str):
    """A run whose stages `started` have a folder."""
    (workdir / "config.json").write_text(json.dumps(CONFIG))
    for name in started:
        (workdir / name).mkdir()
    return workdir


def test_a_new_and_a_killed_start_are_free(tmp_path):
    with claimed(tmp_path / "new", CONFIG):
        pass
    (tmp_path / "new" / "config.json.part").write_text("{")
    with claimed(tmp_path / "new", CONFIG):
        pass


def test_one_process_at_a_time(tmp_path):
    with (
        claimed(tmp_path, CONFIG),
        pytest.raises(UserError, match="another process is training"),
        claimed(tmp_path, CONFIG),
    ):
        pass
    with claimed(tmp_path, CONFIG):
        pass


def test_files_that_are_no_run_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds files, but no run"), claimed(tmp_path, CONFIG):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", LOCK}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "config.seed is 0 there, 1 here; "),
        ({"a": {"lr": 0.2}}, "config.a.lr is 0.1 there, 0.2 here; "),
        ({"seed": 1, "data": {"test": 9}}, r"config.data.test is 10 there, 9 here \(and 1 more\); "),
        ({"extra": {}}, "config.extra is nothing there"),
    ],
)
def test_another_experiment_is_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said), claimed(begun(tmp_path, "a"), CONFIG | changes):
        pass


def test_a_stage_that_has_not_started_may_change(tmp_path):
    with claimed(begun(tmp_path, "a"), CONFIG | {"b": {"lr": 0.2}}):
        pass


def test_where_metrics_are_written_may_change(tmp_path):
    with claimed(begun(tmp_path, "a"), CONFIG | {"track": ("tensorboard",)}):
        pass


def test_other_data_are_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"data": {"fingerprint": "before"}}))
    check_data(tmp_path, "before")
    with pytest.raises(UserError, match="begun with other images or labels"):
        check_data(tmp_path, "after")


def test_other_generated_images_are_refused(tmp_path):
    about = {"fingerprint": "data", "generated_fingerprint": "before"}
    (tmp_path / "run.json").write_text(json.dumps({"data": about}))
    check_data(tmp_path, "data", "before")
    for now in ("after", ""):
        with pytest.raises(UserError, match="begun with other generated images"):
            check_data(tmp_path, "data", now)
