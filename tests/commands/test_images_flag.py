"""train --images: what is found in a folder becomes flags of a config."""

import pytest

from efficient_jax.commands import flags
from efficient_jax.commands.images_flag import rewritten
from efficient_jax.errors import UserError
from tests.explore.test_folder_contents import fill


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "pets" / name, 5)
    return tmp_path / "pets"


def test_a_folder_becomes_a_config_that_is_shown_and_can_be_overridden(folder, capsys):
    arguments = flags.parse("train", [f"--images={folder}", "--config.finetuned.steps=7", "--config.seed=3"])
    config = arguments["config"]
    assert (config.data.source.path, config.data.test) == (str(folder), 2)
    assert (config.finetuned.steps, config.seed) == (7, 3)
    assert arguments["workdir"] == "runs/pets"
    shown = capsys.readouterr().out
    assert "10 labelled images in 2 classes (5 each)" in " ".join(shown.split())
    assert "recipe: configs/finetune.py" in shown
    command = shown.splitlines()[-1].split()[3:]
    again = flags.parse("train", command)
    assert again["config"].to_dict() == config.to_dict()


def test_parts_and_the_pool_are_found(tmp_path):
    root = tmp_path / "all"
    for part in ("train", "validation"):
        for name in ("cat", "dog"):
            fill(root / part / name, 4)
    fill(root / "train" / "unlabelled", 9)
    found = rewritten([f"--images={root}"])
    assert f"--config.data.source.test_path={root / 'validation'}" in found
    assert "--config=configs/few_labels.py" in found
    assert not any("data.test=" in flag for flag in found)


def test_a_table_names_the_classes(tmp_path):
    fill(tmp_path / "all", 10)
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["filename,class", *rows]))
    config = flags.parse("train", [f"--images={tmp_path / 'all'}", f"--labels={tmp_path / 'labels.csv'}"])["config"]
    assert config.data.source.to_dict() | {"size": 0} == {
        "name": "table",
        "path": str(tmp_path / "labels.csv"),
        "folder": str(tmp_path / "all"),
        "file": "filename",
        "label": "class",
        "size": 0,
    }


def test_flags_that_contradict_are_refused(folder):
    with pytest.raises(UserError, match="--config is given too"):
        rewritten([f"--images={folder}", "--config=configs/finetune.py"])
    with pytest.raises(UserError, match="--images=FOLDER, which is missing"):
        rewritten(["--labels=x.csv"])
    with pytest.raises(UserError, match="'nowhere' is not there; want a folder"):
        rewritten(["--images=nowhere"])
