"""models: the published weights that can be read."""

from rich.console import Console

from efficient_jax.errors import UserError, nearest
from efficient_jax.models import cost
from efficient_jax.models.pretrained import ZOO, files
from efficient_jax.report import layout

HEADERS = ["init", "parameters", "GFLOP", "px", "licence"]


def models(search: str = "") -> None:
    """Lists the published weights that can be read, by the names with which `init` of a stage begins from them.

    The name alone is enough, `config.STAGE.init=NAME`: the model and the normalisation of images follow from it, and
    keys of `config.STAGE.model` change single settings. GFLOP are billions of multiplications and additions for one
    image of px x px pixels (timm counts both as one). An asterisk: the file is on this machine, in the folder weights,
    in that of EFFICIENT_JAX_WEIGHTS or in the cache of Hugging Face, or it is installed. Nothing is downloaded. Other
    files of these architectures can be read too: init=FILE.

    Args:
        search: shows only names that contain this, such as dinov2; empty: all.

    Raises:
        UserError: no name contains `search`.
    """
    names = [name for name in ZOO if search.lower() in name]
    if not names:
        raise UserError(f"--search: no name contains {search!r}{nearest(search, ZOO)}")
    console = Console(markup=False, highlight=False)
    costs = cost.kept()
    console.print(layout.rich_table(HEADERS, [_row(name, costs[name]) for name in names]))
    if any(ZOO[name].gated for name in names):
        console.print("DINOv3: its licence must be accepted on Hugging Face before the file can be downloaded.")


def _row(name: str, figures: cost.Cost) -> list[str]:
    entry = ZOO[name]
    millions, billions = f"{figures.parameters / 1e6:.1f}M", f"{figures.flops / 1e9:.1f}"
    mark = " *" if files.is_here(name) else ""
    return [f"{name}{mark}", millions, billions, str(entry.preprocessing.size[0]), entry.licence]
