"""What the command says before and after the page is open."""

import re
import signal
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.commands.launch import address_of, launch, start


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b c.png", "ä.png"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "images" / name)
    (tmp_path / "images/notes.txt").touch()
    (tmp_path / "order.csv").write_text("file,label\nä.png,\nb c.png,\n")
    (tmp_path / "other.csv").write_text("name\nx\n")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--images=FOLDER is missing"),
        ("--images={f}/none", "not there"),
        ("--images={f}/images", "--classes=cat,dog,... is missing"),
        ("--images={f}/images --classes=cat,none", "'none' means that an image has no label"),
        ("--images={f}/images --classes=cat --members=r --review=r", "give --members"),
        ("--images={f}/images --classes=cat --members={f}/run", "--members"),
        ("--images={f}/images --classes=cat --order={f}/other.csv", "no column 'file'"),
        ("--images={f}/images --classes=cat --out={f}/labels.txt", "is no .csv"),
        ("--images={f}/images --classes=cat --test=4", "--test: 4 images are more than there are"),
        ("--images={f}/images --classes=cat --port=99999", "--port"),
    ],
)
def test_bad_input_is_one_line(flags, message, folder):
    arguments = flags.format(f=folder).split()
    if not any(argument.startswith("--out") for argument in arguments):
        arguments.append(f"--out={folder}/labels.csv")
    code, _, err = launch("label", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_the_address_is_there_at_once_and_the_end_says_what_comes_next(folder):
    flags = (
        f"--images={folder}/images",
        "--classes=cat,dog",
        f"--order={folder}/order.csv",
        f"--out={folder}/my labels.csv",
    )
    process = start("label", *flags, "--name=anna")
    address = address_of(process)
    assert re.fullmatch(r"http://127.0.0.1:\d+/\S+/", address)
    with urllib.request.urlopen(address) as page:
        assert page.status == 200
    process.send_signal(signal.SIGINT)
    out = process.stdout.read()
    assert (process.communicate(timeout=30)[1], process.returncode) == ("", 0)
    assert f"3 images of '{folder}/images', 2 classes: cat, dog" in out
    assert "note: files and folders that were passed over: 1 .txt" in out
    assert "0 answers in this session; in " in out
    (folder / "my labels.csv").write_text("file,label\nä.png,cat\n")
    process = start("label", *flags)
    with urllib.request.urlopen(address_of(process)):
        process.send_signal(signal.SIGTERM)
    out = process.stdout.read()
    process.communicate(timeout=30)
    assert "carries on: 1 labelled" in out
    assert f"next: python launch.py train --images={folder}/images '--labels={folder}/my labels.csv' --work" in out


def test_labels_of_another_folder_are_left_alone(folder):
    (folder / "labels.csv").write_text("file,label\nelsewhere.png,cat\n")
    code, _, err = launch("label", f"--images={folder}/images", f"--out={folder}/labels.csv")
    assert code == 2
    assert "has the labels of other images" in err
    assert (folder / "labels.csv").read_text() == "file,label\nelsewhere.png,cat\n"
