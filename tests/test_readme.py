"""Every command of the README runs, in its `:tiny` form, and its results are those of the committed files."""

import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from efficient_jax import augment, files
from efficient_jax.commands.files import run_file
from efficient_jax.commands.sweep import trials_of
from tests.benchmarks import growth
from tests.benchmarks.peers.table import table, training
from tests.commands.launch import ROOT, launch

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line for line in re.sub(r"\\\n\s*", "", "\n".join(BLOCKS)).splitlines() if line.startswith("python launch.py")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's paths lead to in the tests: a tiny quickstart and somebody's images."""
    folder = tmp_path_factory.mktemp("readme")
    code, _, err = launch("--config=configs/quickstart.py:tiny", f"--workdir={folder}/runs/quickstart")
    assert code == 0, err
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(400) < 300, np.arange(400) % 3, -1)
    for i in range(150):
        (folder / f"my_images/{i % 3}").mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (20 + i, 40, 3), np.uint8))
        picture.save(folder / f"my_images/{i % 3}/{i}.jpg")
    np.savez(folder / "my_images.npz", images=rng.integers(0, 256, (400, 16, 16, 3), np.uint8), labels=labels)
    return folder


# Drawing every operation takes a while, and so does measuring: commands/test_explore.py and test_bench.py do it.
LONG = (
    "python launch.py explore --config=configs/quickstart.py --workdir=runs/explore",
    "python launch.py bench --config=configs/quickstart.py --workdir=runs/bench --stage=augmented",
)


def test_long_commands_are_in_the_readme():
    assert set(LONG) <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in LONG and " sweep " not in c])
def test_command(command, folder):
    tiny = re.sub(r"(configs/\w+\.py)", r"\1:tiny", command)
    here = tiny.replace("runs/", f"{folder}/runs/").replace("=my_images", f"={folder}/my_images")
    code, _, err = launch(*shlex.split(here)[2:])
    assert code == 0, err


@pytest.mark.parametrize("command", [c for c in COMMANDS if " sweep " in c])
def test_the_results_of_a_sweep_are_committed_and_shown(command, tmp_path):
    """With all trials there the command only draws, here on a copy of the results."""
    flags = dict(re.findall(r"--(\w+)=(\S+)", command))
    results = ROOT / flags["results"]
    trials = trials_of(run_file(str(ROOT / flags["sweep"]), "--sweep", "CONFIG", "trials"))
    missing = {trial["id"] for trial in trials} - {r["id"] for r in files.read_lines(results) if "error" not in r}
    assert not missing, f"{len(missing)} trials are missing: {command}"
    copy = tmp_path / results.name
    shutil.copy(results, copy)
    code, out, err = launch("sweep", f"--sweep={flags['sweep']}", f"--results={copy}", f"--workdir={tmp_path}")
    assert code == 0, err
    assert out.count("\n| ") > 2
    assert copy.with_suffix(".md").read_text() == results.with_suffix(".md").read_text()
    assert f"{results.stem}.md" in README
    assert copy.with_suffix(".svg").exists()  # its bytes depend on the version of matplotlib


def test_rows_of_the_readme_are_those_of_the_results():
    tables = "".join(path.read_text() for path in (ROOT / "configs/sweeps/results").glob("*.md"))
    of_stages = r"^\| .* \| \w+ \| \d+ \| \d+\.\d\d \| .*\|$"  # group, stage, seeds, accuracy
    of_pairs = r"^\| .* / \w+ \| .* / \w+ \| .* \|$"
    rows = re.findall(f"{of_stages}|{of_pairs}", README, re.MULTILINE)
    assert len(rows) > 25
    assert [row for row in rows if row not in tables] == []


def test_what_the_readme_links_to_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_python_examples_run(folder):
    scope = {"images": np.zeros((4, 28, 28, 1), np.uint8), "labels": np.eye(4, dtype=np.float32)}
    load, own, boxes, pipeline = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(load.replace("runs/", f"{folder}/runs/"), scope)
    assert scope["probabilities"].shape == (4, 10)
    pictures = f'["{folder}/my_images/0/0.jpg", "{folder}/my_images/1/1.jpg"]'
    own = re.sub(r"\[.*\]", pictures, own).replace("runs/finetune", f"{folder}/runs/tuned")
    arguments = ["--config=configs/finetune.py:tiny", f"--workdir={folder}/runs/tuned", "--config.data.test=100"]
    code, _, err = launch(*arguments, f"--config.data.source.path={folder}/my_images", "--config.stages=('head',)")
    assert code == 0, err
    exec(own, scope)
    assert scope["probabilities"].shape == (2, 3)
    one = {"boxes": np.array([[0.0, 0.0, 8.0, 8.0]]), "scores": np.array([0.5]), "labels": np.array([0])}
    scope |= {"model1": one, "model2": one, "truth": {name: one[name] for name in ("boxes", "labels")}}
    exec(boxes, scope)
    np.testing.assert_allclose(scope["found"]["boxes"], one["boxes"])
    exec(pipeline, scope)
    np.testing.assert_allclose(scope["batch"]["label"].sum(1), 1)


def test_the_readme_names_every_operation():
    for name in augment.OPS | augment.MIXES | augment.CHOICES:
        assert re.search(rf"\b{name}\b", README), name


def test_the_comparison_with_peers_is_that_of_the_committed_runs():
    runs = sorted((ROOT / "tests/benchmarks/peers/results").glob("*.jsonl"))
    assert len(runs) == 3
    for size in (32, 224):
        assert table(runs, size) in README


def test_training_beside_torch_and_growth_are_those_of_the_committed_runs():
    assert training() in README
    assert growth.table() in README


def test_the_map_names_what_there_is():
    """Every module of the package is in the map, by its file's or its folder's name."""
    package = ROOT / "efficient_jax"
    names = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir() if path.is_dir()}
    for name in names - {"__init__", "__pycache__"}:
        assert re.search(rf"\b{name}\b", README.split("Map of the code")[1]), name
