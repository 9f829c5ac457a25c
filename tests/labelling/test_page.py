"""The page in a browser: an image for a key, and the table is exactly right."""

import csv
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.commands.launch import address_of, start
from tests.labelling.chromium import browser

COUNT = 100
HOSTILE = "<b onmouseover=alert(1)>&amp;.png"
ODD = ("with space.png", "ä ö ü/größe.png", "🐈/🐕 dog.png", HOSTILE, "quo\"te',;.png", " first.png")


def names() -> list[str]:
    return [*ODD, *(f"{i:03}.png" for i in range(COUNT - len(ODD)))]


def images(folder: Path) -> Path:
    for i, name in enumerate(names()):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((24, 32, 3), 2 * i, np.uint8)).save(path)
    (folder / "images/050.png").write_bytes(b"no image")
    return folder


class Labelling:
    """The command, running, with its address."""

    def __init__(self, folder: Path, *flags: str) -> None:
        arguments = [f"--images={folder / 'images'}", f"--out={folder / 'labels.csv'}", "--name=anna", *flags]
        self.process = start("label", *arguments)
        self.address = address_of(self.process)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", self.address)

    def end(self, how: int = signal.SIGINT) -> str:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        assert (self.process.returncode, err) == (0 if how == signal.SIGINT else -how, "")
        return out


def read(folder: Path) -> dict[str, tuple[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return {row["file"].removeprefix("./"): (row["label"], row["answer"]) for row in csv.DictReader(file)}


FILE = "(document.querySelector('.here')?.dataset.file ?? '')"
READY = "['ready', 'failed'].includes(document.querySelector('.here')?.dataset.state)"


def shown(tab) -> str:
    tab.until(READY)
    return tab.evaluate(FILE)


def press(tab, key: str) -> str:
    """Presses a key, waits for the next image, and returns which image the key was for."""
    file = shown(tab)
    tab.press(key)
    tab.until(f"{FILE} !== {file!r} && ({READY} || {FILE} === '')")
    return file


def test_a_hundred_images_by_keys(tmp_path):
    """With undo, an added class, a kill -9 in the middle, a second tab, an unreadable image, and odd names."""
    folder, expected = images(tmp_path), {}
    keys = {
        "1": ("cat", "label"),
        "2": ("dog", "label"),
        "0": ("", "none"),
        "?": ("", "unsure"),
        "3": ("bird", "label"),
    }
    with browser() as chromium:
        labelling = Labelling(folder, "--classes=cat,dog")
        tab = chromium.tab(labelling.address)
        for i in range(30):
            key = "12"[i % 2] if i % 7 else "0?"[i % 2]
            expected[press(tab, key)] = keys[key]
        for _ in range(3):  # undo, three times, and other answers
            tab.press("Backspace")
            tab.until("document.getElementById('last').textContent.startsWith('undone')")
            del expected[shown(tab)]
            tab.evaluate("document.getElementById('last').textContent = ''")
        for key in "210":
            expected[press(tab, key)] = keys[key]
        tab.press("+")
        tab.write("bird")
        tab.press("Enter")
        tab.until("document.querySelectorAll('#classes button').length === 3")
        expected[press(tab, "3")] = keys["3"]
        assert read(folder) == expected
        second = chromium.tab(labelling.address)
        for i in range(6):  # turn by turn: no image twice
            for each, key in ((tab, "13"[i % 2]), (second, "2")):
                file = press(each, key)
                assert file not in expected
                expected[file] = keys[key]
        assert read(folder) == expected
        labelling.end(signal.SIGKILL)
        assert read(folder) == expected
        tab.press("1")
        tab.until("!document.getElementById('problem').hidden")
        assert "Not saved" in tab.evaluate("document.getElementById('problem').textContent")

        labelling = Labelling(folder)  # the classes are known
        tab = chromium.tab(labelling.address)
        shown(tab)
        tab.press("Backspace")  # of before
        tab.until("document.getElementById('last').textContent.startsWith('undone')")
        del expected[shown(tab)]
        assert read(folder) == expected
        while shown(tab):
            if tab.evaluate("document.querySelector('.here').dataset.state") == "failed":
                assert "This image cannot be read" in tab.evaluate("document.querySelector('.here').innerText")
                tab.press("1")  # it can have no label
                tab.until("!document.getElementById('problem').hidden")
                assert press(tab, "-") == "050.png"
            else:
                file = press(tab, "2")
                expected[file] = keys["2"]
            if len(expected) == COUNT - 1:
                break
        tab.until("document.body.innerText.includes('Every image has an answer')")
        assert tab.evaluate("document.querySelectorAll('#stage b[onmouseover], #last b').length") == 0
        out = labelling.end()
    assert expected.keys() == {*names()} - {"050.png"}
    assert read(folder) == expected
    assert "next: python launch.py train --images=" in out


MEASURE = """
window.took = [];
(() => {
let from = 0, before = "";
document.addEventListener("keydown", () => { from = performance.now(); before = here(); }, true);
function here() { return document.querySelector(".here")?.dataset.file; }
new MutationObserver(() => {
  const next = from && here() !== before && document.querySelector(".here img");
  if (next) { took.push(performance.now() - from); from = 0; }
}).observe(document.getElementById("stage"), { childList: true });
})();
"""


def resident(pid: int) -> int:
    """Memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_key_takes_less_than_50_ms_with_20000_images_and_memory_stays_flat(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    (tmp_path / "images").mkdir()
    for i in range(20_000):
        if i % 1000 == 0:
            Image.fromarray(photograph + np.uint8(i // 1000)).save(tmp_path / f"images/{i:05}.jpg")
        else:
            os.link(tmp_path / f"images/{i // 1000 * 1000:05}.jpg", tmp_path / f"images/{i:05}.jpg")
    labelled = "".join(f"{i:05}.jpg,cat\n" for i in range(15_000))
    (tmp_path / "labels.csv").write_text(f"file,label\n{labelled}")
    with browser() as chromium:
        labelling = Labelling(tmp_path, "--classes=cat,dog")
        tab = chromium.tab(labelling.address)
        assert shown(tab) == "15000.jpg"
        tab.evaluate(MEASURE)
        memory = []
        for i in range(60):
            time.sleep(0.1)  # people are slower still: the images ahead are loaded by then
            press(tab, "1")
            if i in (9, 59):
                memory.append(resident(labelling.process.pid))
        took = sorted(tab.evaluate("took"))
        labelling.end()
    print(f"a key: {took[len(took) // 2]:.0f} ms (median), {took[-1]:.0f} ms at most; memory {memory}")
    assert len(took) == 60
    assert len(read(tmp_path)) == 15_060
    assert took[15] < 50  # a quarter of them, since other tests run beside this one
    assert memory[1] - memory[0] < 50e6
