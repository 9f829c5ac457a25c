"""Importing this module takes the form for CPUs wherever a program has one for each platform.

Otherwise every form is traced, and the compiler drops all but one: a quarter of the time that a tiny stage takes. The
fixture `every_platform` of conftest.py undoes it for a test; processes that begin from nothing have every form too.
"""

import jax

every_platform = jax.lax.platform_dependent


def _of_cpu(*operands, default=None, **forms):
    return forms.get("cpu", default)(*operands)


jax.lax.platform_dependent = _of_cpu
