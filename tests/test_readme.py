"""Every command of every README runs, in its `:tiny` form, and the results shown are those of the committed files."""

import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from efficient_jax import files
from efficient_jax.commands import images_flag
from efficient_jax.commands.files import run_file
from efficient_jax.commands.sweep import trials_of
from tests.benchmarks import growth, selection, selection_tables
from tests.benchmarks.peers.table import table, training
from tests.commands.launch import ROOT, call

FOLDERS = ("", "configs", "efficient_jax", "tests")
PATHS = [p for folder in FOLDERS for p in sorted((ROOT / folder).glob("**/README.md" if folder else "README.md"))]
READMES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PATHS}
EVERYTHING = "\n".join(READMES.values())


def commands_of(block: str) -> list[str]:
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    return [line for line in lines if line.startswith("python launch.py")]


# Drawing every operation takes a while, and so does measuring: commands/test_explore.py and test_bench.py do it.
LONG = (
    "python launch.py explore --config=configs/quickstart.py --workdir=runs/explore",
    "python launch.py bench --config=configs/quickstart.py --workdir=runs/bench --stage=augmented",
    "python launch.py bench --config=configs/speed.py --workdir=runs/copies --stage=vit_b16 "
    "--config.vit_b16.model.variant=S/16 --config.vit_b16.model.dtype=float32 --config.vit_b16.batch.labelled=8",
    "python launch.py bench --config=configs/speed.py --stage=efficientnet_b0 "
    "--config.efficientnet_b0.model.variant=lite0 --config.efficientnet_b0.model.dtype=float32 "
    "--config.efficientnet_b0.batch.labelled=64 --config.data.source.size=96",
)
BLOCKS = list(dict.fromkeys(tuple(commands_of(b)) for b in re.findall(r"```sh\n(.*?)```", EVERYTHING, re.DOTALL)))
SWEEPS = sorted({command for block in BLOCKS for command in block if " sweep " in command})
RUN = [[c for c in block if c not in LONG and c not in SWEEPS] for block in BLOCKS]


@pytest.fixture(scope="module")
def folder(quickstart, segmented, tmp_path_factory):
    """Where the README's paths lead to in the tests: tiny runs, and somebody's images and masks."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(quickstart[0], folder / "runs" / "quickstart")
    shutil.copytree(segmented, folder / "runs" / "segment")
    rng = np.random.default_rng(0)
    for i in range(200):
        name = f"my_images/{i % 3}/{i}.jpg" if i < 150 else f"new_images/{i}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + i, 40, 3), np.uint8)).save(folder / name)
        if i >= 150:
            mask = Image.fromarray(rng.integers(0, 2, (20 + i, 40), np.uint8))
            (folder / "new_masks").mkdir(exist_ok=True)
            mask.save(folder / "new_masks" / f"{i}.png")
    return folder


def test_long_commands_are_in_a_readme():
    assert set(LONG) <= {command for block in BLOCKS for command in block}


@pytest.mark.parametrize("block", [block for block in RUN if block], ids=lambda block: block[0][17:60])
def test_the_commands_of_a_block_run_in_order(block, folder):
    for command in block:
        tiny = re.sub(r"(configs/\w+\.py)", r"\1:tiny", command)
        here = tiny.replace("runs/", f"{folder}/runs/")
        here = re.sub(r"=(my_images|new_images|new_masks)", rf"={folder}/\1", here)
        arguments = shlex.split(here)[2:]
        if arguments[0] == "train" and any(flag.startswith("--images=") for flag in arguments):
            flags = images_flag.rewritten(arguments[1:])  # of a config in full; the tiny form has its own steps
            arguments = ["train", *(re.sub(r"(\.py)$", r"\1:tiny", flag) for flag in flags if ".steps=" not in flag)]
        trains = arguments[0] == "train" or arguments[0].startswith("--")
        call(*arguments, *(["--config.devices=2"] if trains else []))  # as many as the quickstart has compiled for


@pytest.mark.parametrize("command", SWEEPS)
def test_the_results_of_a_sweep_are_committed_and_shown(command, tmp_path, capsys):
    """With all trials there the command only draws, here on a copy of the results."""
    flags = dict(re.findall(r"--(\w+)=(\S+)", command))
    results = ROOT / flags["results"]
    trials = trials_of(run_file(str(ROOT / flags["sweep"]), "--sweep", "CONFIG", "trials"))
    missing = {trial["id"] for trial in trials} - {r["id"] for r in files.read_lines(results) if "error" not in r}
    assert not missing, f"{len(missing)} trials are missing: {command}"
    copy = tmp_path / results.name
    shutil.copy(results, copy)
    call("sweep", f"--sweep={flags['sweep']}", f"--results={copy}", f"--workdir={tmp_path}")
    assert capsys.readouterr().out.count("\n| ") > 2
    assert copy.with_suffix(".md").read_text() == results.with_suffix(".md").read_text()
    assert f"{results.stem}.md" in READMES["configs/README.md"]
    assert copy.with_suffix(".svg").exists()  # its bytes depend on the version of matplotlib


def test_rows_of_the_readmes_are_those_of_the_results():
    tables = "".join(path.read_text() for path in (ROOT / "configs/sweeps/results").glob("*.md"))
    of_stages = r"^\| .* \| \w+ \| \d+ \| \d+\.\d\d \| .*\|$"  # group, stage, seeds, accuracy
    of_pairs = r"^\| .* / \w+ \| .* / \w+ \| .* \|$"
    rows = re.findall(f"{of_stages}|{of_pairs}", EVERYTHING, re.MULTILINE)
    assert len(rows) > 25
    assert [row for row in rows if row not in tables] == []


@pytest.mark.parametrize("path", READMES)
def test_what_a_readme_links_to_exists(path):
    for target in re.findall(r"\]\(([^)#]+)\)", READMES[path]):
        assert (ROOT / path).parent.joinpath(target).exists(), target


def test_the_front_page_is_short():
    assert len(READMES["README.md"].splitlines()) <= 200


def test_the_python_examples_of_the_front_page_run(folder):
    scope = {"images": np.zeros((4, 28, 28, 1), np.uint8), "labels": np.eye(4, dtype=np.float32)}
    load, pipeline = re.findall(r"```python\n(.*?)```", READMES["README.md"], re.DOTALL)
    exec(load.replace("runs/", f"{folder}/runs/"), scope)
    assert scope["probabilities"].shape == (4, 10)
    exec(pipeline, scope)
    np.testing.assert_allclose(scope["batch"]["label"].sum(1), 1)


def test_the_python_example_of_evaluation_runs():
    one = {"boxes": np.array([[0.0, 0.0, 8.0, 8.0]]), "scores": np.array([0.5]), "labels": np.array([0])}
    scope = {"model1": one, "model2": one, "truth": {name: one[name] for name in ("boxes", "labels")}}
    *_, fuse = re.findall(r"```python\n(.*?)```", READMES["efficient_jax/evaluation/README.md"], re.DOTALL)
    exec(fuse, scope)
    np.testing.assert_allclose(scope["combined"]["boxes"], one["boxes"])


def test_the_tables_of_the_benchmarks_are_those_of_the_committed_runs():
    shown = READMES["tests/benchmarks/README.md"]
    runs = sorted((ROOT / "tests/benchmarks/peers/results").glob("*.jsonl"))
    assert len(runs) == 3
    for size in (32, 224):
        assert table(runs, size) in shown
    assert training() in shown
    assert growth.table() in shown
    for each in selection_tables.tables(files.read_lines(selection.FILE)).strip().split("\n\n"):
        assert each in READMES["configs/README.md"]


def test_the_map_names_what_there_is():
    """Every module and room of the package is in the map, by its file's or its folder's name."""
    package = ROOT / "efficient_jax"
    names = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir() if path.is_dir()}
    for name in names - {"__init__", "__pycache__"}:
        assert re.search(rf"\b{name}\b", READMES["efficient_jax/README.md"]), name


def test_every_config_is_in_the_table():
    for path in (ROOT / "configs").glob("*.py"):
        assert path.stem == "common" or f"`{path.name}`" in READMES["configs/README.md"], path.name
