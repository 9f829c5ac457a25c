"""Nothing is lost where a shard, the disk or a process fails."""

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from efficient_jax import distributed
from efficient_jax.errors import UserError
from efficient_jax.experiment.pseudo_labels import shard_files, shards
from efficient_jax.experiment.pseudo_labels.pool import predicted_by
from efficient_jax.experiment.pseudo_labels.shard_files import Shards
from efficient_jax.training.labels import on_host
from tests.commands import launch
from tests.experiment.pseudo_labels.pools import SHARD, made_of, origin_of, part, path, pool_of, rows_of


def lose(file):
    file.unlink()


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(file):
    file.write_bytes(b"")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "is_what"), [(lose, "not there"), (cut, "damaged"), (empty, "damaged"), (flip, "damaged")]
)
def test_one_bad_shard_is_predicted_again_and_said(harm, is_what, tmp_path):
    pool, p = pool_of(tmp_path)
    first, _, _ = made_of(pool, p)
    before = path(tmp_path, 3).read_bytes()
    harm(path(tmp_path, 3))
    again, said, asked = made_of(pool, p)
    assert asked == [part(3)]
    assert said == [
        "predictions of first are those of 4 of 5 shards in pseudo_labels/",
        f"pseudo_labels/: part-00003-of-00005.parquet is {is_what}: predicted again",
        "5 of 5 shards predicted",
    ]
    np.testing.assert_equal(again._asdict(), first._asdict())
    assert path(tmp_path, 3).read_bytes() == before


def test_any_flipped_bit_is_seen_or_harmless(tmp_path):
    pool, p = pool_of(tmp_path, images=20, soft_classes=3)
    made_of(pool, p)
    stored = Shards(
        pool,
        3,
        predicted_by(origin_of()) | {"teacher_steps": pool.steps, "top": 3, "classes": pool.source.classes},
    )
    file, rng, states = path(tmp_path, 0, 1), np.random.default_rng(0), []
    whole, table = file.read_bytes(), shard_files.read(stored, 0)
    for place in rng.choice(len(whole), 1000, replace=False):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        states.append(shard_files.state(stored, 0))
        assert states[-1] != shard_files.WHOLE or shard_files.read(stored, 0).equals(table)
    assert np.bincount(states)[shard_files.DAMAGED] > 300


def limited(most):
    """No file may grow beyond so many bytes, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("when", [3, "labels"])
def test_a_full_disk_loses_no_prediction(when, tmp_path, monkeypatch):
    """While the fourth shard is written, or while the first one gets its labels: the command line shows one line."""
    pool, p = pool_of(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    complete = shards.complete

    def labels(*arguments):
        limited(1000)
        complete(*arguments)

    with monkeypatch.context() as patch:
        if when == "labels":
            patch.setattr(shards, "complete", labels)
        try:
            with pytest.raises(OSError, match="File too large") as error:
                made_of(pool, p, before=lambda count: limited(1000) if count == when else None)
        finally:
            limited(before)
    number = 3 if when == 3 else 0
    assert error.value.errno == errno.EFBIG  # which `command_line.main` shows as one line, with the name of the file
    assert error.value.filename == str(path(tmp_path, number))
    kept = range(3) if when == 3 else range(5)
    assert sorted((tmp_path / "pseudo_labels").iterdir()) == [path(tmp_path, number) for number in kept]
    assert not (tmp_path / "pseudo_labels.json").exists()
    found, _, asked = made_of(pool, p)
    assert asked == [part(number) for number in range(len(kept), 5)]
    expected, _, _ = made_of(pool_of(tmp_path / "b")[0], p)
    np.testing.assert_equal(found._asdict(), expected._asdict())


def test_a_shard_that_is_lost_meanwhile_is_said(tmp_path, monkeypatch):
    pool, p = pool_of(tmp_path)
    columns = shards.columns
    monkeypatch.setattr(shards, "columns", lambda shards: (cut(shards.path(2)), columns(shards))[1])
    with pytest.raises(UserError, match=r"part-00002-of-00005\.parquet cannot be read any more .* predicts it again$"):
        made_of(pool, p)
    monkeypatch.undo()
    monkeypatch.setattr(shard_files, "IMAGES", SHARD)
    assert made_of(pool, p)[2] == [part(2)]


def process(folder, killed_at=-1, processes=1, number=0, address=""):
    """Makes the pseudo-labels of a pool in this process, which may be killed before it predicts a shard."""
    shard_files.IMAGES = SHARD
    if processes > 1:
        distributed.join(str(processes), number, address)
    pool, p = pool_of(Path(folder))
    found, said, _ = made_of(
        pool, p, before=lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == killed_at else None
    )
    print("made", found.copies.sum(), found.ids.sum(), on_host(found.labels, 12).sum(), *said, sep="\n")


def started(*arguments):
    call = f"from tests.experiment.pseudo_labels.test_shard_faults import process; process(*{arguments!r})"
    return launch.begin(sys.executable, "-c", call, stderr=subprocess.PIPE)


def test_after_kill_9_between_two_shards_the_others_are_predicted(tmp_path):
    killed = started(str(tmp_path), 2)
    _, err = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, err
    left = tmp_path / "pseudo_labels" / f"{path(tmp_path, 2).name}.123.part"  # of one that was killed within a shard
    left.write_bytes(b"PAR1")
    pool, p = pool_of(tmp_path)
    found, said, asked = made_of(pool, p)
    assert asked == [part(2), part(3), part(4)]
    missing = ", ".join(path(tmp_path, number).name for number in (2, 3, 4))
    assert said[:2] == [
        "predictions of first are those of 2 of 5 shards in pseudo_labels/",
        f"pseudo_labels/: {missing} are not there: predicted again",
    ]
    assert not left.exists()
    expected, _, _ = made_of(pool_of(tmp_path / "b")[0], p)
    np.testing.assert_equal(found._asdict(), expected._asdict())


def test_two_processes_write_their_own_shards_and_read_all(tmp_path):
    """Two shards are there; of the others, which both predict, the first writes 2, and the second 1 and 3."""
    expected, _, _ = made_of(pool_of(tmp_path / "one")[0], pool_of(tmp_path / "one")[1])
    figures = [str(x.sum()) for x in (expected.copies, expected.ids, on_host(expected.labels, 12))]
    made_of(pool_of(tmp_path / "two")[0], pool_of(tmp_path / "two")[1])
    files = [path(tmp_path / "two", number) for number in range(5)]
    for harm, file in zip((lose, lose, flip), files[1:4], strict=True):
        harm(file)
    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    both = [started(str(tmp_path / "two"), -1, 2, number, address) for number in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for out, _ in said:
        assert out.split("made\n")[1].splitlines() == [
            *figures,
            "predictions of first are those of 2 of 5 shards in pseudo_labels/",
            f"pseudo_labels/: {files[1].name}, {files[2].name} are not there: predicted again",
            f"pseudo_labels/: {files[3].name} is damaged: predicted again",
            *(f"{place} of 5 shards predicted" for place in (3, 4, 5)),
        ]
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")
