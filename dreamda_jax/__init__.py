"""DreamDA in JAX: expand a small labelled image set with Stable Diffusion (arXiv 2403.12803)."""

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamda_jax.synthesis.pipeline import DreamDAPipeline

__all__ = ["DreamDAPipeline"]
__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> Any:
    if name == "DreamDAPipeline":  # lazily: it imports JAX and Flax
        from dreamda_jax.synthesis.pipeline import DreamDAPipeline

        return DreamDAPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _say_interrupted(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("\nstopped by SIGINT", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# A command is being started (`python -m` or the console's): Ctrl-C while it imports what it needs,
# before `runtime.interrupt` listens, is one line too. The process still ends by the signal.
if sys.argv[:1] == ["-m"] or (sys.argv and Path(sys.argv[0]).stem == "dreamda"):
    sys.excepthook = _say_interrupted
