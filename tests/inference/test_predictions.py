"""Files of predictions."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.inference.predictions import read, write
from tests.inference.made import predictions


@pytest.mark.parametrize("suffix", ["npz", "csv"])
@pytest.mark.parametrize("several", [False, True])
def test_what_was_written_is_read(tmp_path, suffix, several):
    path, written = tmp_path / f"p.{suffix}", predictions(several)
    written = written._replace(pixel_areas=np.linspace(1, 4, 6)) if suffix == "npz" else written
    write(path, written)
    for found, expected in zip(read(path, "test"), written, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_file_of_another_program_needs_ids_and_probabilities(tmp_path):
    np.savez(tmp_path / "p.npz", id=np.arange(2), probabilities=np.full((2, 2), 0.5))
    (tmp_path / "p.csv").write_text("p(b),id,p(a)\n0.25,7,0.75\n")
    assert read(tmp_path / "p.npz", "test").images == ("image 0", "image 1")
    found = read(tmp_path / "p.csv", "test")
    assert (found.classes, found.ids.tolist(), found.labels.tolist()) == (("b", "a"), [7], [-1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_files_of_other_programs(tmp_path, encoding, delimiter):
    point = "." if delimiter == "," else ","
    rows = [
        ["id", " image", "label ", "p(caf\u00e9)", "p(b)"],
        ["7", "x.png", "b", " 0.25 ".replace(".", point), "0.75".replace(".", point)],
        ["3", "y.png", "nan", "1", "0"],
        ["4", "z.png", "-1", "1", "0"],
        [],
        [""] * 5,
    ]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "p.csv").write_bytes(text.encode(encoding))
    found = read(tmp_path / "p.csv", "test")
    assert (found.classes, found.ids.tolist(), found.images) == (
        ("caf\u00e9", "b"),
        [7, 3, 4],
        ("x.png", "y.png", "z.png"),
    )
    assert found.labels.tolist() == [1, -1, -1]
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75], [1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,p(a),p(b)\n1,0.5,0.6\n",
            r"1 row is not probabilities, first that of 'image 1': \[0.5, 0.6.*sum is 1, not 1\.1000",
        ),
        ("id,p(a),p(b)\n1,nan,0.6\n", "1 row is not probabilities"),
        ("id,p(a),p(b)\n1,-0.5,1.5\n", "1 row is not probabilities"),
        ("id,p(a),p(b)\n1,0.5,0.5\n1,0.5,0.5\n", "has an id twice"),
        ("id,label,p(a),p(b)\n1,c,0.5,0.5\n", r", column 'label': unknown class 'c'; there is: a, b"),
        ("id,p(a),p(a)\n1,0.5,0.5\n", r"it has two columns 'p\(a\)'"),
        ("id,label(a),label(b),p(a),p(b)\n1,0,x,0.5,0.5\n", r", column 'label\(b\)': 'x' is not an integer"),
        ("id,p(a),p(b)\n1.5,0.5,0.5\n", ", column 'id': '1.5' is not an integer"),
        ("p(a),p(b)\n0.5,0.5\n", "it has no 'id'"),
        ("id,a\n1,0.5\n", r"no columns p\(class\)"),
        ("id,p(a)\n1\n", ": 1 cells, but the first row names 2 columns"),
        ("", "does not hold predictions"),
        ("id,p(a)\n1,x\n", r", column 'p\(a\)': 'x' is not a number"),
    ],
)
def test_what_are_no_predictions_is_said(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=rf"^--members: (line 2 of )?'.*p\.csv'.*{message}"):
        read(tmp_path / "p.csv", "--members")


def test_damaged_and_missing_files_are_said(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"no zip")
    for path, message in ((tmp_path / "p.npz", "does not hold predictions"), (tmp_path / "q.npz", "no file")):
        with pytest.raises(UserError, match=message):
            read(path, "--members")
