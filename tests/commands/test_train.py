"""train, from the command line: it ends with a table, carries on after kill -9, and refuses bad input in one line."""

import functools
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import efficient_jax
from efficient_jax.commands.train import _is_finished
from efficient_jax.errors import UserError
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained
from tests.commands.launch import TINY, WITHOUT_NETWORK, Forked, call, launch, start
from tests.tiny_run import once


def test_the_network_is_forbidden_in_these_tests():
    asks = "import urllib.request; urllib.request.urlopen('http://localhost:9')"
    hook = WITHOUT_NETWORK.split("sys.argv")[0]
    done = subprocess.run([sys.executable, "-c", hook + asks], capture_output=True, text=True)
    assert "RuntimeError: urllib.Request" in done.stderr


def test_every_stage_is_in_the_table_and_the_report(quickstart):
    workdir, out = quickstart
    page = (workdir / "report.html").read_text()
    for stage in ("supervised", "augmented", "student", "student2", "distilled"):
        assert stage in out.split("95% interval")[1]
        assert stage in page


@pytest.fixture
def copied(quickstart, tmp_path):
    """A copy of the quickstart, for what may write to it."""
    return shutil.copytree(quickstart[0], tmp_path / "quickstart")


def test_a_finished_run_is_only_shown(copied, capsys):
    workdir = copied
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("checkpoints/*")}
    call("train", TINY, f"--workdir={workdir}")
    out = capsys.readouterr().out
    assert out.count("finished before") == 5
    assert "they are not read again" in out
    assert "Each stage against its teacher" in out
    assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("checkpoints/*")}


def test_the_loaded_model_says_what_the_run_predicted(quickstart):
    workdir, _ = quickstart
    images = np.load(workdir / "distilled" / "mistakes.npz")
    probabilities = efficient_jax.load(str(workdir))(images["images"])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(1), images["predicted"])
    np.testing.assert_allclose(probabilities.max(1), images["confidence"], atol=1e-5)


def test_the_run_says_what_made_it(quickstart):
    workdir, _ = quickstart
    about = json.loads((workdir / "run.json").read_text())
    assert about["command"].startswith("python launch.py train --config=configs/quickstart.py:tiny")
    assert about["data"]["labelled"] == 100
    assert set(about["versions"]) >= {"jax", "flax", "optax", "orbax-checkpoint"}


def test_a_run_is_repeated_from_its_folder(quickstart, tmp_path):
    workdir, _ = quickstart
    only = "--config.stages=('supervised',)"
    code, _, err = launch("train", f"--from={workdir}", only, f"--workdir={tmp_path / 'again'}")
    assert code == 0, err
    one, other = (json.loads((path / "config.json").read_text()) for path in (workdir, tmp_path / "again"))
    assert one | {"stages": ["supervised"]} == other
    first, second = (Trained.open(str(path / "supervised"), "test").variables for path in (workdir, tmp_path / "again"))
    np.testing.assert_equal(second, first)


LONG = [
    TINY,
    "--config.data.test=501",  # which two processes cannot divide
    "--config.stages=('augmented',)",
    "--config.augmented.steps=60",
    "--config.augmented.save_every=10",
    "--config.augmented.log_every=5",
    "--config.augmented.augment.ops=('flip',)",  # which compiles quickly, and draws as every operation does
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The stage of an uninterrupted run."""

    def train(folder):
        assert launch("train", *LONG, f"--workdir={folder / 'run'}")[0] == 0

    return once(tmp_path_factory, "whole", train) / "run" / "augmented"


def variables(stage):
    return Trained.open(str(stage), "test").variables


@pytest.mark.parametrize(
    "times", [pytest.param(3, marks=pytest.mark.versions), pytest.param(20, marks=pytest.mark.slow)]
)
def test_killed_at_random_times_a_run_ends_as_the_uninterrupted_one(times, whole, tmp_path):
    rng = random.Random(times)
    metrics = tmp_path / "augmented" / "metrics.jsonl"
    for step in sorted(rng.choices(range(5, 60, 5), k=times)):
        process = Forked("train", *LONG, f"--workdir={tmp_path}")
        while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        process.communicate()
    ends_as(whole, tmp_path)


def ends_as(whole, workdir):
    code, _, err = launch("train", *LONG, f"--workdir={workdir}")
    assert code == 0, err
    assert all(step % 10 == 0 for step in checkpoint.steps(workdir / "augmented"))
    np.testing.assert_equal(variables(workdir / "augmented"), variables(whole))
    lines = (workdir / "augmented" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(5, 61, 5))


def terminate(process, checkpoints):
    """While a checkpoint is being written."""
    while not list(checkpoints.glob("*tmp*")):
        assert process.poll() is None
    process.terminate()


def fill(process, checkpoints):
    """As if the disk were full: no file may grow beyond 20 kB, and a checkpoint has larger ones."""
    del checkpoints
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_step_compiles_is_said_at_once(number, tmp_path):
    """And it ends after one step, with a checkpoint."""
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    cold = {"XDG_CACHE_HOME": str(tmp_path / "nothing compiled")}
    process = start("train", *LONG, f"--workdir={tmp_path / 'run'}", environment=cold)
    signal.signal(signal.SIGINT, ignored)
    stage = tmp_path / "run" / "augmented"
    while not (stage / "metrics.jsonl").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    said = next(line for line in process.stdout if line.startswith("stopping"))
    assert said == "stopping after compiling and one step, with a checkpoint; a second Ctrl-C stops at once\n"
    assert not checkpoint.steps(stage)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75
    assert err == "stage 'augmented': stopped after step 1 of 60; the same command carries on from there\n"
    assert checkpoint.steps(stage) == [1]


@pytest.mark.parametrize("how", [terminate, fill])
def test_stopped_the_same_command_ends_as_the_uninterrupted_run(how, whole, tmp_path):
    killed = tmp_path / "killed"
    process = Forked("train", *LONG, f"--workdir={killed}")
    metrics = killed / "augmented" / "metrics.jsonl"
    while not (metrics.exists() and '"step": 25' in metrics.read_text()):
        assert process.poll() is None, "it ended before it was stopped"
        time.sleep(0.01)
    how(process, killed / "augmented" / "checkpoints")
    out, err = process.communicate()
    assert not (killed / "augmented" / "result.json").exists()
    if how == fill:
        assert process.returncode == 2
        assert err.startswith("error: stage 'augmented': a checkpoint cannot be written")
        assert err.count("\n") == 1
    if how == terminate:
        assert process.returncode == 75
        assert "stopping after this step" in out
        assert err.startswith("stage 'augmented': stopped after step ")
        assert err.endswith("of 60; the same command carries on from there\n")
    ends_as(whole, killed)


def test_two_processes_are_as_one_also_after_one_has_died(whole, tmp_path):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    flags = [*LONG, "--config.devices=2", f"--workdir={tmp_path}", "--processes=2", f"--coordinator=localhost:{port}"]
    first, second = (Forked("train", *flags, f"--process={number}") for number in range(2))
    metrics = tmp_path / "augmented" / "metrics.jsonl"
    while not (metrics.exists() and '"step": 25' in metrics.read_text()):
        assert first.poll() is second.poll() is None, "they ended before they were stopped"
        time.sleep(0.01)
    second.kill()
    _, err = first.communicate(timeout=20)
    assert first.returncode == 75
    assert err.splitlines()[-1].startswith("error: another process has ended (")
    second.communicate()

    before = metrics.stat().st_mtime_ns
    restarted = Forked("train", *flags, "--process=1")
    time.sleep(1)  # it waits: process 0 comes late
    both = [Forked("train", *flags, "--process=0"), restarted]
    while metrics.stat().st_mtime_ns == before:  # until it carries on: JAX needs a second to hear and tell the other
        assert both[0].poll() is both[1].poll() is None, "they ended before they were stopped"
        time.sleep(0.01)
    both[1].terminate()
    errs = [process.communicate(timeout=60)[1] for process in both]
    codes = [process.returncode for process in both]
    assert codes in ([75, 75], [0, 0]), errs  # together; a fast machine is done within that second
    assert all(("stage 'augmented': stopped after step" in err) == (codes[0] == 75) for err in errs)

    both = [Forked("train", *flags, f"--process={number}") for number in range(2)]
    outs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert "report: " in outs[0][0]
    assert "report: " not in outs[1][0]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, variables(tmp_path / "augmented"), variables(whole))
    predicted, expected = (np.load(path / "predictions.npz") for path in (tmp_path / "augmented", whole))
    np.testing.assert_array_equal(predicted["image"], expected["image"])
    np.testing.assert_allclose(predicted["probabilities"], expected["probabilities"], atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--processes=two"], "--processes: 'two' is no number"),
        (["--processes=2", "--process=2"], "--process: 2 is not in 0 .. 1, the numbers of 2 processes"),
        (["--processes=2"], "--coordinator: '' is no host:port at which process 0 can be reached"),
    ],
)
def test_processes_that_do_not_fit_are_said(flags, said, tmp_path):
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        call("train", TINY, f"--workdir={tmp_path}", *flags)


def test_processes_that_nobody_has_started_are_said(tmp_path):
    code, _, err = launch("train", TINY, f"--workdir={tmp_path}", "--processes=auto")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: --processes=auto: the processes do not find each other (")


def test_nan_stops_and_keeps_the_last_checkpoint(tmp_path):
    """The warm-up begins with a learning rate of zero, so there is a good checkpoint before the weights explode."""
    flags = [
        TINY,
        f"--workdir={tmp_path}",
        "--config.stages=('supervised',)",
        "--config.devices=2",
        "--config.supervised.steps=30",
        "--config.supervised.save_every=1",
        "--config.supervised.optim.warmup=29",
        "--config.supervised.optim.learning_rate=1e30",
    ]
    with pytest.raises(UserError, match=r"^stage 'supervised': the .* in step"):
        call(*flags)
    assert not (tmp_path / "supervised" / "result.json").exists()
    variables = Trained.open(str(tmp_path / "supervised"), "test").variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


BAD = {
    "an unknown command": (["trian"], "command: unknown name 'trian'; did you mean 'train'?"),
    "no run to repeat": (["--from=nowhere"], "--from: 'nowhere' has no config.json"),
    "an unknown config file": (["--config=configs/quikstart.py"], "did you mean 'configs/quickstart.py'?"),
    "an unknown key": ([TINY, "--config.student.optim.learning_rte=1"], "did you mean 'learning_rate'?"),
    "a value of another type": ([TINY, "--config.student.steps=many"], "--config.student.steps=many"),
    "another command's flag": (["train", TINY, "--members=x"], "no flag --members; it belongs to 'evaluate'"),
    "an unknown flag": (["--workdri=x"], "no flag --workdri; did you mean 'workdir'?"),
    "too many devices": ([TINY, "--config.devices=500"], "500 asked"),
    "an odd batch": ([TINY, "--config.devices=2", "--config.student.batch.labelled=33"], "33 images do not divide"),
    "too many labels": ([TINY, "--config.data.labels_per_class=401"], "no image is unlabelled"),
    "no such teacher": ([TINY, "--config.student.teacher=agumented"], "did you mean 'augmented'?"),
    "a later teacher": ([TINY, "--config.student.teacher=student2"], "stage 'student2' comes later"),
    "an unwritable workdir": ([TINY, "--workdir=/proc/here"], "cannot write to '/proc/here'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, tmp_path, capsys):
    arguments, expected = BAD[name]
    with pytest.raises(UserError) as error:
        call(*in_folder(arguments, tmp_path))
    assert expected in str(error.value)
    assert capsys.readouterr().out == ""
    assert {path.name for path in (tmp_path / "run").glob("*")} <= {".lock"}  # it can be used once the input is right


@pytest.mark.parametrize("name", ["an unknown key", "an odd batch"])
def test_bad_input_is_one_line_and_exit_code_2(name, tmp_path):
    """Of the flags, and of the command."""
    arguments, expected = BAD[name]
    code, out, err = launch(*in_folder(arguments, tmp_path))
    assert (code, err.count("\n")) == (2, 1), err
    assert out.count("\n") <= 2  # what is being loaded
    assert err.startswith("error: ")
    assert expected in err


def in_folder(arguments, folder):
    """The arguments, with a workdir below `folder` where they have none."""
    has_one = any(argument.startswith("--workdir") or argument == "trian" for argument in arguments)
    return arguments if has_one else [*arguments, f"--workdir={folder / 'run'}"]


def test_a_workdir_of_another_experiment_is_left_alone(copied):
    with pytest.raises(UserError, match=r"holds another experiment: config\.seed is 0 there, 1 here"):
        call("train", TINY, "--config.seed=1", f"--workdir={copied}")


def test_a_start_of_another_architecture_is_refused(quickstart, tmp_path):
    stages = ["--config.stages=('supervised',)", f"--config.supervised.init={quickstart[0] / 'student2'}"]
    with pytest.raises(UserError, match="is a checkpoint of another architecture: "):
        call("train", TINY, f"--workdir={tmp_path / 'new'}", *stages)


def test_a_table_of_labels_that_was_written_since_is_read_again(tmp_path):
    """A finished run is not shown for labels that it has not seen."""
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n")
    config = {"stages": ["a"], "data": {"source": {"path": str(table)}}}
    for name, content in (("config.json", config), ("run.json", {}), ("a/result.json", {})):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    then = (tmp_path / "run.json").stat().st_mtime
    os.utime(table, (then - 1, then - 1))
    assert _is_finished(tmp_path, config)
    os.utime(table, (then + 1, then + 1))
    assert not _is_finished(tmp_path, config)
