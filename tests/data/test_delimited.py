"""Tables in text files: any delimiter, encoding, byte order mark and line ending give the same cells."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficient_jax.data import delimited
from efficient_jax.errors import UserError

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")
MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
CELLS = st.text(st.sampled_from("abcé ,;|\"'\t\n01ß.()"), max_size=6)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(ENCODINGS),
    padding=st.sampled_from(["", " ", "  "]),
    blank=st.integers(0, 2),
)
def test_cells_are_what_was_written(tmp_path_factory, rows, delimiter, ending, encoding, padding, blank):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending)
    rows = [[cell.replace("\n", ending) for cell in row] for row in rows]  # else csv leaves them without quotes
    # Cells with spaces before and after them, outside of quotes where they have none.
    writer.writerows([("id", "naïve, (x)", "label"), *[[f"{padding}{cell}{padding}" for cell in row] for row in rows]])
    content = (text.getvalue() + ending * blank).encode(encoding)
    path.write_bytes(MARKS.get(encoding, b"") + content)
    found = delimited.read(path, "key", ("id", "label"))
    assert found.names == ("id", "naïve, (x)", "label")
    stripped = [[cell.strip() for cell in row] for row in rows]
    assert found.rows == [row for row in stripped if any(row)]
    assert bool(found.notes) == (encoding == "cp1252")


def write(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a;b,c,d;e\n1;2;3\n", ("a", "b,c,d", "e")),  # more commas, but not in every row
        ("id;p(a, b, c)\n7;1\n", ("id", "p(a, b, c)")),
        ("id\n1\n", ("id",)),
        ("id | label\n1 | x\n", ("id", "label")),
        ('id, "x, y"\n1, "2, 3"\n', ("id", "x, y")),
        ("cafe\u0301,b\n1,2\n", ("caf\u00e9", "b")),
        ("", ()),
    ],
)
def test_the_delimiter_is_that_of_all_rows(tmp_path, text, names):
    assert delimited.read(write(tmp_path, text), "key", ("id",)).names == names


def test_numbers_of_other_countries(tmp_path):
    table = delimited.read(write(tmp_path, "id;p(a);label\n3;0,25;NA\n\n4;1e-3;2\n;;\n"), "key")
    assert table.numbers("id", np.int64).tolist() == [3, 4]
    np.testing.assert_array_equal(table.numbers("p(a)", np.float32), np.array([0.25, 1e-3], np.float32))
    assert table.numbers("label", np.int32, none="-1").tolist() == [-1, 2]
    assert table.lines == [2, 4]


def test_bytes_of_windows_1252_are_its_characters(tmp_path):
    """0x80 is the euro, which latin-1 does not have; bytes that it leaves out are those of latin-1."""
    assert delimited.read(write(tmp_path, b"a\n\x80\xe9\n"), "key").rows == [["\u20acé"]]
    assert delimited.read(write(tmp_path, b"a\n\x81\xe9\n"), "key").rows == [["\x81é"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "'{path}' is not text; want a table in UTF-8, UTF-16 with a byte order mark",
        ),
        (b"\xff\xfea\0b", "'{path}' begins as UTF-16-LE, but is not (truncated data)"),
        (b"a,b\n1,2\n\n1,2,3\n", "line 4 of '{path}': 3 cells, but the first row names 2 columns"),
        (b'a,b\n"1\n2",3\n4\n', "line 4 of '{path}': 1 cells, but the first row names 2 columns"),
        (b"a\n" + b"x" * 200_000, "line 2 of '{path}': field larger than field limit (131072)"),
    ],
)
def test_a_file_that_is_no_table_is_said(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as error:
        delimited.read(path, "key")
    assert str(error.value).startswith(f"key: {message.format(path=path)}")


@pytest.mark.parametrize(
    ("cell", "dtype", "message"),
    [
        ("x", np.float32, "'x' is not a number"),
        ("", np.float32, "'' is not a number"),
        ("1,5", np.float32, "'1,5' is not a number"),
        ("1.5", np.int64, "'1.5' is not an integer"),
        ("99999999999999999999", np.int64, "'99999999999999999999' is not an integer"),
    ],
)
def test_a_cell_that_is_no_number_is_said(tmp_path, cell, dtype, message):
    path = write(tmp_path, f'id,p(a)\n1,0\n2,"{cell}"\n')
    with pytest.raises(UserError) as error:
        delimited.read(path, "key").numbers("p(a)", dtype)
    assert str(error.value) == f"key: line 3 of '{path}', column 'p(a)': {message}"
