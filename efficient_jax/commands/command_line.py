"""The command line: `python launch.py` in a checkout, `efficient-jax` where the package is installed."""

import errno
import logging
import os
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

from efficient_jax.commands import HELP
from efficient_jax.errors import UserError

USAGE = """python launch.py [COMMAND] [--flag=value ...]

    train      the stages of a config, in order (the default; without any flag:
               configs/quickstart.py); --images=FOLDER chooses the config by
               your images
    evaluate   trained members, alone and together, on the test images
    predict    trained members on a folder of new images
    select     which images of a folder to label next, with a model or without
    explain    a page: where trained members look, and whether to trust that
    explore    a page: the data, and what the augmentation of a config does
    label      a page in the browser on which a folder of images is labelled
    export     trained members as files for PyTorch (timm), JAX or onnxruntime
    sweep      many runs of one config, resumable, with a table at the end
    bench      how fast a config trains on these devices, and what bounds it
    models     published weights to begin with: size, cost and licence of each

`python launch.py COMMAND --help` shows the flags of a command and, with
--config=FILE, every key of the config, which --config.key=value overrides. A
config or sweep is looked for in the current folder, then among those of the
package; all other paths are of the current folder. Bad input ends with one line
and exit code 2. Ctrl-C and SIGTERM finish the step under way, save and end with
75; a second Ctrl-C, or a signal outside of training, ends at once with 130. The
same command carries on from the last checkpoint.
"""
NEXT = {
    "train": "read the images, check every stage, train",
    "evaluate": "read the images of the run, predict, compare",
    "predict": "read the new images, predict",
    "select": "read the images, compute their features, choose",
    "explain": "read the images of the run, draw the maps of each member",
    "explore": "read the images, measure them, write the page",
    "label": "read the names of the images, open the page",
    "export": "read the weights, write the file, compare it with ours",
    "sweep": "train the trials that are missing, one after the other",
    "bench": "compile a step of every stage, measure it",
    "models": "list published weights",
}
"""Command -> its next steps, for the line that is shown before anything is loaded."""
NAMING = ("--config", "--images", "--from", "--sweep", "--members")
"""Flags that the first line repeats."""
HUGE_PAGES = "glibc.malloc.hugetlb"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def run() -> None:
    """Runs the command of `sys.argv` and ends the process with its exit code."""
    with_huge_pages(Path("/sys/kernel/mm/transparent_hugepage/enabled"))
    try:
        code = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    if code and _several():  # an orderly end would wait for others, which may be gone
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def with_huge_pages(modes: Path) -> None:
    """Starts the process anew with memory in huge pages, where Linux gives them to programs that ask for them.

    XLA allocates the temporary memory of every step on CPU anew, and the kernel clears it page by page: large networks
    wait for it. glibc asks for huge pages, and reads the variable that tells it to when a process starts.

    A process that Python was not started for with `sys.argv`, such as a fork, stays as it is: it would become another.

    Args:
        modes: file of the kernel with the chosen mode in brackets; it need not exist.
    """
    if sys.orig_argv[-len(sys.argv) :] != sys.argv:
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if HUGE_PAGES not in tunables and modes.is_file() and "[madvise]" in modes.read_text():
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE_PAGES}=1".lstrip(":")
        os.execv(sys.executable, sys.orig_argv)


def main(argv: list[str]) -> int:
    """Runs a command and returns its exit code; what a user can put right is one line on standard error.

    Args:
        argv: the command, "train" if it is left out, and its flags.
    """
    command, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("train", argv)
    if argv and argv[0] in HELP:
        from efficient_jax.commands.files import PROGRAM

        return _shown(lambda: print(USAGE.replace("python launch.py", PROGRAM)))
    helps = bool(set(HELP) & set(rest))
    if not helps and command in NEXT:
        print(first_line(command, rest), flush=True)  # loading JAX takes seconds
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's lines about slow compilation; the time is shown instead
    try:
        import jax
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is not installed: pip install -e .", file=sys.stderr)
        return 2

    from efficient_jax import distributed
    from efficient_jax.commands import flags, function_of
    from efficient_jax.commands.files import HOME
    from efficient_jax.commands.help import print_help
    from efficient_jax.training.stopping import Stopped

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # Orbax speaks of every save, and of a failed one asyncio and the threads left behind complain beside our one line.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda of: None if isinstance(of.exc_value, RuntimeError) else sys.__unraisablehook__(of)
    cores_are_devices()
    jax.config.update("jax_compilation_cache_dir", str(cache / "efficient_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if str(HOME) not in sys.path:
        sys.path.insert(0, str(HOME))  # configs import each other
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which a script's background job ignores
    try:
        if helps:
            return _shown(lambda: print_help(command, rest))
        arguments = flags.parse(command, rest)
        function_of(command)(**arguments)
    except UserError as error:
        print("error:", *str(error).split(), file=sys.stderr)  # one line, also where it quotes somebody's exception
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        what = f"error: cannot write {error.filename or 'a file'}: {error.strerror}"
        print(f"{what}; make room, and give the same command again", file=sys.stderr)
        return 2
    except jax.errors.JaxRuntimeError as error:
        if not distributed.ended(error):
            raise
        what = f"error: another process has ended ({str(error).splitlines()[0]})"
        print(f"{what}; the same command in all of them carries on from the last checkpoint", file=sys.stderr)
        return 75
    except Stopped as stopped:
        print(f"{stopped}; the same command carries on from there", file=sys.stderr)
        return 75  # EX_TEMPFAIL
    except KeyboardInterrupt:
        carries_on = "; the same command carries on from the last checkpoint" if command in ("train", "sweep") else ""
        print(f"stopped{carries_on}", file=sys.stderr)
        return 130
    return 0


def first_line(command: str, argv: list[str]) -> str:
    """Returns what a command begins with: what it is about to load, and what comes next; a long line is wrapped.

    Args:
        command: a key of `NEXT`.
        argv: the flags after the command.
    """
    named = [flag for flag in argv if flag.partition("=")[0] in NAMING]
    line = f"{' '.join([command, *named])}: loading JAX; next: {NEXT[command]}"
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def _several() -> bool:
    """Returns whether several processes train the model; without JAX there is one."""
    if "jax" not in sys.modules:
        return False
    from efficient_jax import distributed

    return distributed.several()


def cores_are_devices() -> None:
    """Makes each CPU core a device of JAX; before the first computation, see `training/parallel.py`."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("NPROC", str(max(16, 2 * cores)))
    jax.config.update("jax_num_cpu_devices", cores)


def _shown(show: Callable[[], None]) -> int:
    """Shows help, also to a program such as `head` that reads a part of it only."""
    try:
        show()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
