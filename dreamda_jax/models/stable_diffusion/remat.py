"""Rematerialisation of a network's blocks from outside: activations are computed twice, not kept.

By `flax.linen.intercept_methods`, so that no model is forked. A block that is called becomes a pure
function of its parameters under `jax.checkpoint`: the backward pass runs its forward pass again
instead of reading what that had stored. Between blocks everything is kept.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax

_ABOVE: ContextVar[tuple[str, ...]] = ContextVar("path above a rematerialised block", default=())


@contextmanager
def rematerialised(blocks: tuple[type[nn.Module], ...]) -> Iterator[None]:
    """Within it, calls of modules of these classes are rematerialised; others are left alone.

    Other interceptors apply inside a block as well; a module's place in the network is then
    `full_path`, since the block stands alone.

    Args:
      blocks: classes whose instances have parameters only, and draw nothing random.
    """

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple,
        kwargs: dict,
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        inside = isinstance(module.parent, nn.Module)  # not the block itself, standing alone
        if context.method_name != "__call__" or not isinstance(module, blocks) or not inside:
            return next_fun(*args, **kwargs)
        alone, path = module.clone(parent=None), full_path(module)

        def call(params: Any, *arrays: Any) -> Any:
            token = _ABOVE.set(path)
            try:
                return alone.apply({"params": params}, *arrays, **kwargs)
            finally:
                _ABOVE.reset(token)

        return jax.checkpoint(call)(module.variables["params"], *args)

    with nn.intercept_methods(intercept):
        yield


def full_path(module: nn.Module) -> tuple[str, ...]:
    """A bound module's path from the network's root, inside of a rematerialised block too."""
    return (*_ABOVE.get(), *module.path)
