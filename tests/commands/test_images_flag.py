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
        "rest": True,
        "size": 0,
    }


def labelled(tmp_path, parts):
    """Images of which some are labelled, with the part of each, as `label` writes them."""
    fill(tmp_path / "all", 30)
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'},{part},label" for i, part in enumerate(parts)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,part,answer", *rows, ""]))
    return [f"--images={tmp_path / 'all'}", f"--labels={tmp_path / 'labels.csv'}"]


def test_the_test_images_of_a_table_are_those_of_the_run_and_the_rest_is_the_pool(tmp_path, capsys):
    flag = labelled(tmp_path, ["test"] * 4 + ["selected"] * 6)
    found = rewritten(flag)
    assert {"--config.data.source.part=part", "--config.data.source.rest=True", "--config.data.duplicates=drop"} <= {
        *found
    }
    assert not any("data.test=" in argument for argument in found)
    shown = " ".join(capsys.readouterr().out.split())
    assert "6 labelled images in 2 classes (3 each), 4 test images in the table, 20 without a label" in shown
    assert "--config=configs/few_labels.py" in found


def test_several_labels_of_an_image_are_columns(tmp_path):
    fill(tmp_path / "all", 12)
    rows = [f"{i}.png,{i % 2},{int(i > 3)},{'test' * (i < 4)},label,Ann,," for i in range(10)]
    header = "file,red,new,part,answer,who,time,said"
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows, "10.png,,,,unsure,Ann,,", ""]))
    flag = [f"--images={tmp_path / 'all'}", f"--labels={tmp_path / 'labels.csv'}"]
    source = flags.parse("train", flag)["config"].data.source
    assert (source.labels, source.part) == (("red", "new"), "part")
    found = rewritten(flag)
    assert "--config=configs/finetune.py" in found
    assert not any("data.test=" in argument for argument in found)


def test_labels_that_were_all_selected_have_no_test(tmp_path):
    flag = labelled(tmp_path, ["selected"] * 6)
    with pytest.raises(UserError, match=r"all 6 labelled images of .* were selected.*: label .*--test"):
        rewritten(flag)


def test_flags_that_contradict_are_refused(folder):
    with pytest.raises(UserError, match="--config is given too"):
        rewritten([f"--images={folder}", "--config=configs/finetune.py"])
    with pytest.raises(UserError, match="--images=FOLDER, which is missing"):
        rewritten(["--labels=x.csv"])
    with pytest.raises(UserError, match="'nowhere' is not there; want a folder"):
        rewritten(["--images=nowhere"])
