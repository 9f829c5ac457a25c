"""models: the published weights that can be read, at 80 columns."""

import pytest
import safetensors.numpy
from numpy import zeros

from efficient_jax.commands.models import models
from efficient_jax.errors import UserError
from efficient_jax.models.pretrained import ZOO


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("EFFICIENT_JAX_WEIGHTS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def test_each_name_is_a_row_of_80_columns(capsys):
    models()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines if line.strip()} >= set(ZOO)


def test_a_search_shows_what_is_here(tmp_path, capsys):
    (tmp_path / "weights").mkdir()
    safetensors.numpy.save_file({"a": zeros(1)}, tmp_path / "weights/vit_small_patch14_dinov2.lvd142m.safetensors")
    models("patch14_dinov2")
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if "dinov2" in line]
    assert shown[0] == ["vit_small_patch14_dinov2.lvd142m", "*", "22.1M", "93.4", "518", "Apache-2.0"]
    assert [row[0][:8] for row in shown] == ["vit_smal", "vit_base", "vit_larg", "vit_gian"]
    assert all("*" not in row for row in shown[1:])


def test_gated_weights_are_said_to_be(capsys):
    models("dinov3")
    assert "its licence must be accepted on Hugging Face" in capsys.readouterr().out


def test_a_search_that_finds_nothing_is_refused():
    with pytest.raises(UserError, match=r"^--search: no name contains 'resnext50'; did you mean 'resnet50"):
        models("resnext50")
