"""A folder of images and a CSV: what its columns mean, and what is said of one that does not fit."""

from pathlib import Path

import numpy as np
import pytest

from efficient_jax.data.sources.image_tables import table
from efficient_jax.errors import UserError
from tests.data.sources.test_image_folders import fill

ROWS = "file,label,person,cat,dog\na.png,dog,Ann,0,1\nb.png,cat,,1,0\nc.png,,Ann,,\nd.png,cat|dog,Bob,1,1\n"


@pytest.fixture(autouse=True)
def image_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(Path("."), **{f"{name}.png": value for value, name in enumerate("abcdefgh")})
    Path("train.csv").write_text(ROWS)


def write(rows, name="a.csv"):
    Path(name).write_text(rows)
    return name


def test_one_class_for_each_image():
    path = write("who;file;label\n1;c.png; dog \n2;a.png;cat\n\n3;b.png;\n")
    source = table(path=path, size=4)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.labels, [1, 0, -1])
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [2, 0, 1])
    assert source.names == ("c.png", "a.png", "b.png")
    assert source.groups is None


def test_parts_answers_and_the_rest_of_the_folder():
    """Held-out images without a label and those of no class are left out; what no row names is the pool."""
    rows = "file,label,part,answer\na.png,dog,selected,label\nb.png,cat,test,label\nc.png,,test,unsure\n"
    path = write(f"{rows}d.png,,,none\n./e.png,dog,Validation,label\nf.png,cat,,label\n")
    Path("broken.png").write_bytes(b"")
    source = table(path=path, size=4, part="part", answer="answer", rest=True)
    assert source.names == ("a.png", "b.png", "e.png", "f.png", "g.png", "h.png")
    np.testing.assert_array_equal(source.labels, [1, 0, 1, 0, -1, -1])
    assert {name: rows.tolist() for name, rows in source.fixed.items()} == {
        "test": [1],
        "validation": [2],
        "selected": [0],
    }
    assert "left out 1 image of none of the classes" in source.notes
    assert "left out 1 image held out without a label" in source.notes
    assert any(note.startswith("left out 1 unreadable image: broken.png") for note in source.notes)


@pytest.mark.parametrize("settings", [{"separator": "|"}, {"labels": ("cat", "dog")}])
def test_several_labels(settings):
    source = table(path="train.csv", size=4, **settings)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.labels, [[0, 1], [1, 0], [-1, -1], [1, 1]])
    assert source.labels.dtype == np.int32
    assert source.task == "multi_label"


def test_groups_and_who_belongs_to_none():
    source = table(path="train.csv", size=4, separator="|", group="person")
    ann, nobody, ann_too, bob = source.groups
    assert ann == ann_too
    assert len({ann, nobody, bob}) == 3
    assert source.groups.dtype == np.int32


def test_a_table_of_test_images_and_a_folder_and_a_suffix():
    fill(Path("images"), **{"x.png": 30, "y.png": 31, "z.png": 32})
    path = write("id,breed,kennel\nx,10,k\ny,9,l\n")
    test = write("kennel,id,breed\nk,z,10\n", "test.csv")
    source = table(
        path=path, folder="images", test_path=test, file="id", suffix=".png", label="breed", group="kennel", size=4
    )
    assert source.classes == ("9", "10")
    np.testing.assert_array_equal(source.labels, [1, 0, 1])
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [30, 31, 32])
    np.testing.assert_array_equal(source.fixed["test"], [2])
    assert source.groups[0] == source.groups[2] != source.groups[1]


def test_quotes_a_byte_order_mark_and_line_ends_of_windows():
    Path("a.csv").write_bytes(b'\xef\xbb\xbffile,label\r\na.png,"cat, wild"\r\nb.png,"cat"\r\n')
    assert table(path="a.csv", size=4).classes == ("cat", "cat, wild")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_other_programs(encoding, delimiter):
    text = "file,label\r\na.png, caf\u00e9 \r\n\r\nb.png,th\u00e9\r\n,\r\n".replace(",", delimiter)
    Path("a.csv").write_bytes(text.encode(encoding))
    source = table(path="a.csv", size=4)
    assert source.classes == ("caf\u00e9", "th\u00e9")
    np.testing.assert_array_equal(source.labels, [0, 1])
    note = "a.csv is not UTF-8: its text was read as Windows-1252"
    assert source.notes == ((note,) if encoding == "latin-1" else ())


def test_names_that_are_no_label():
    path = write("file,label\na.png,1\nb.png,-1\nc.png,nan\nd.png,2\ne.png,NA\nf.png,\ng.png,None\nh.png,01\n")
    source = table(path=path, size=4)
    assert source.classes == ("01", "1", "2")
    np.testing.assert_array_equal(source.labels, [1, -1, -1, 2, -1, -1, -1, 0])
    assert source.notes == (
        "classes that differ, but look alike: '01' and '1'",
        "5 of 8 images without a label: '' (1), '-1' (1), 'NA' (1), 'None' (1), 'nan' (1)",
    )
    several = write("file,x,y\na.png,1,0\nb.png,-1,NA\nc.png,,nan\nd.png,0,true\n")
    np.testing.assert_array_equal(
        table(path=several, labels=("x", "y"), size=4).labels, [[1, 0], [-1, -1], [-1, -1], [0, 1]]
    )
    tags = write("file,tags\na.png,x|y\nb.png,none\nc.png,y\n")
    np.testing.assert_array_equal(
        table(path=tags, label="tags", separator="|", size=4).labels, [[1, 1], [-1, -1], [0, 1]]
    )


def test_names_are_equal_in_all_forms_of_unicode():
    fill(Path("."), **{"caf\u00e9.png": 30, "the\u0301.png": 31})
    rows = "cafe\u0301.png,cafe\u0301\nth\u00e9.png,caf\u00e9\na.png,tea\n"
    source = table(path=write(f"file,esp\u00e8ce\n{rows}"), label="espe\u0300ce", size=4)
    assert source.classes == ("caf\u00e9", "tea")
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [30, 31, 0])


def test_files_that_are_not_there_are_left_out_up_to_a_limit():
    path = write("file,label,person\nno.png,cat,Ann\na.png,cat,Bob\nb.png,dog,Ann\n")
    with pytest.raises(UserError) as error:
        table(path=path, size=4)
    assert str(error.value) == (
        "config.data.source.path: 1 unreadable image: no.png (not there); mend or remove them, or leave out up to so "
        "many with config.data.source.unreadable"
    )
    source = table(path=path, size=4, unreadable=1, group="person")
    np.testing.assert_array_equal(source.labels, [0, 1])
    np.testing.assert_array_equal(source.groups, [1, 0])
    assert source.notes[-1] == "left out 1 unreadable image: no.png (not there)"


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ROWS, {"file": "files"}, "file: 'a.csv' has no column 'files'; did you mean 'file'?"),
        (ROWS, {"label": "x"}, "label: 'a.csv' has no column 'x'; there is: cat, dog, file, label, person"),
        (ROWS, {"labels": ("cat", "dgo")}, "labels: 'a.csv' has no column 'dgo'; did you mean 'dog'?"),
        (ROWS, {"group": "persona"}, "group: 'a.csv' has no column 'persona'; did you mean 'person'?"),
        (ROWS, {"labels": ("cat",)}, "labels: want several columns and no separator; one column is "),
        (ROWS, {"labels": ("cat", "dog"), "separator": "|"}, "labels: want several columns and no separator; one "),
        (ROWS, {"folder": "nowhere"}, "folder: 'nowhere' is not there; want a folder"),
        (ROWS, {"suffix": ".jpg"}, "folder: none of the 4 files of 'a.csv' is there, such as 'a.png.jpg'; say where"),
        (ROWS, {"path": "nowhere.csv"}, "path: cannot read 'nowhere.csv': No such file or directory"),
        (ROWS, {"test_path": "."}, "test_path: cannot read '.': Is a directory"),
        (ROWS, {"path": "a.png"}, "path: 'a.png' is not text; want a table in UTF-8, "),
        ("", {}, "file: 'a.csv' has no column 'file'; there is: none"),
        ("file,label\n", {}, "path: 'a.csv' has no rows"),
        (
            "file,label,part\na.png,x,tset\nb.png,y,\n",
            {"part": "part"},
            "path: line 2 of 'a.csv', column 'part': 'tset'; want test, validation, selected or nothing; did you mean",
        ),
        ("file,label,label\na.png,x,y\n", {}, "label: 'a.csv' has no column 'label'; it has two of this name"),
        ("file,label\na.png,x\nb.png\n", {}, "path: line 3 of 'a.csv': 1 cells, but the first row names 2"),
        ("file,label\na.png,x\nb.png,x\n", {}, "label: column 'label' of 'a.csv' has ['x']; want two labels or more"),
        ("file,label\na.png,\nb.png,\n", {}, "label: column 'label' of 'a.csv' has []; want two labels or more"),
        ("file,label\na.png,x\nb.png,nan\n", {}, "label: column 'label' of 'a.csv' has ['x']; want two labels or more"),
        (ROWS, {"labels": ("cat", "cat")}, "labels: 1 class names are there twice, such as 'cat'; want each once"),
        (
            "file,label\na.png,x\nb.png,y|none\n",
            {"separator": "|"},
            "path: line 3 of 'a.csv', column 'label': 'y|none' has classes and a name that is no label; want either",
        ),
        ("file,label\na.png,x\na.png,y\n", {}, "path: 1 rows name an image again that another row names: 'a.png' in "),
        (
            "file,x,y\na.png,1,2\n",
            {"labels": ("x", "y")},
            "path: line 2 of 'a.csv', column 'y': '2'; want 0 or 1 in all columns of labels, or nothing in all",
        ),
        (
            "file,x,y\nb.png,1,0\na.png,1,\n",
            {"labels": ("x", "y")},
            "path: line 3 of 'a.csv', column 'y': ''; want 0 or 1 in all columns of labels, or nothing in all",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_said(rows, settings, message):
    with pytest.raises(UserError) as error:
        table(**{"path": write(rows), "size": 4} | settings)
    assert str(error.value).startswith(f"config.data.source.{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "file,label\ne.png,cats\n",
            "test_path: line 2 of 'test.csv', column 'label': unknown class 'cats'; did you mean 'cat'?",
        ),
        (
            "file,label\nb.png,cat\n",
            "test_path: 1 rows name an image again that another row names: 'b.png' in column 'file' of 'a.csv' and "
            "'test.csv'; want one row each",
        ),
    ],
)
def test_test_images_that_do_not_fit_are_said(rows, message):
    path = write("file,label\na.png,dog\nb.png,cat\n")
    with pytest.raises(UserError) as error:
        table(path=path, test_path=write(rows, "test.csv"), size=4)
    assert str(error.value) == f"config.data.source.{message}"
