"""The command line of a checkout: `python launch.py --help`. An installed package has the same as `efficient-jax`."""

from efficient_jax.commands.command_line import run

if __name__ == "__main__":
    run()
