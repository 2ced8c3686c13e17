"""Floating-point operations of a traced program, loops multiplied out.

XLA's own `Lowered.cost_analysis()` counts the body of a `scan` once, whatever its length, so it
cannot price a sampler. This walks the jaxpr that is about to be lowered and counts matrix products
and convolutions (2 per multiply-add), which are 99 % of a U-Net; elementwise work is left out.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend import core


def count_flops(function: Callable[..., Any], *args: Any, loops_once: bool = False) -> float:
    """FLOPs of one call of `function` on arguments of these shapes; nothing is computed.

    Args:
      function: traceable by JAX.
      *args: arrays or `jax.ShapeDtypeStruct`s.
      loops_once: counts loop bodies once, as XLA does, for comparison with it.

    Raises:
      ValueError: the program has a `while` loop with matrix products, whose length is not known.
    """
    return _jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr, loops_once, None)


def count_flops_within(scope: str, function: Callable[..., Any], *args: Any) -> tuple[float, float]:
    """(FLOPs of one call, those of them in a scope); `function` is traced once.

    Args:
      scope: of `jax.named_scope`; gradients of what happens in it count too.
      function: traceable by JAX. Of one that is mapped over devices, one device's share is counted.
      *args: arrays or `jax.ShapeDtypeStruct`s.

    Raises:
      ValueError: see `count_flops`.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return _jaxpr_flops(jaxpr, False, None), _jaxpr_flops(jaxpr, False, scope)


def _jaxpr_flops(jaxpr: Any, loops_once: bool, scope: str | None) -> float:
    """`scope` is None once it has been entered: a loop's body is traced anew and does not say."""
    return sum(_equation_flops(equation, loops_once, scope) for equation in jaxpr.eqns)


def _equation_flops(equation: Any, loops_once: bool, scope: str | None) -> float:
    name, params = equation.primitive.name, equation.params
    if scope is not None and scope in _scopes(equation):
        scope = None
    if scope is not None and name in ("dot_general", "conv_general_dilated"):
        return 0.0
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        depth = math.prod(left[axis] for axis in contracted)
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * depth
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out_axis = params["dimension_numbers"].rhs_spec[0]
        per_output = math.prod(kernel) / kernel[out_axis]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * per_output
    inner = [_jaxpr_flops(jaxpr, loops_once, scope) for jaxpr in inner_jaxprs(params)]
    if name == "scan" and not loops_once:
        return params["length"] * sum(inner)
    if name == "while" and not loops_once and sum(inner) > 0:
        raise ValueError("cannot count the FLOPs of a while loop of unknown length; use scan")
    if name == "cond":
        return max(inner)
    return sum(inner)


def _scopes(equation: Any) -> set[str]:
    """Names of the scopes an equation was traced in; a gradient's are "transpose(jvp(name))"."""
    return set(re.split(r"[/()]", str(equation.source_info.name_stack)))


def inner_jaxprs(params: Mapping[str, Any]) -> list[Any]:
    """The jaxprs among an equation's parameters: a loop's body, the branches of a condition."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found
