"""What takes long is watched; what does not is left in peace."""

import io
import time

import pytest
from rich.console import Console

from efficient_jax.data import progress_bar


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def shown(request, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress_bar, "get_console", lambda: Console(file=out, force_terminal=request.param, width=80))

    def run():
        assert list(progress_bar.watched(iter("abc"), "reading", 4, 10)) == ["a", "b", "c"]
        return out.getvalue()

    return run


def test_quick_things_are_not_shown(shown):
    assert "reading" not in shown()


def test_slow_things_are_shown(shown, monkeypatch):
    monkeypatch.setattr(progress_bar, "AFTER", 0.0)
    monkeypatch.setattr(progress_bar, "LINE_EVERY", 0.0)
    said = shown()
    assert said.count("reading") >= 1
    assert "10" in said
    if "\x1b" not in said:
        assert said.splitlines() == ["reading: 4 of 10", "reading: 8 of 10", "reading: 10 of 10"]


def test_work_of_unknown_length_shows_the_elapsed_time(monkeypatch):
    monkeypatch.setattr(progress_bar, "LINE_EVERY", 0.01)
    out = io.StringIO()
    with progress_bar.waiting("compiling", Console(file=out, width=80)):
        while out.getvalue().count("\n") < 2:
            time.sleep(0.001)
    assert set(out.getvalue().splitlines()) == {"compiling, 0 s"}


def test_work_that_is_done_at_once_shows_nothing():
    out = io.StringIO()
    with progress_bar.waiting("compiling", Console(file=out, width=80)):
        pass
    assert out.getvalue() == ""
