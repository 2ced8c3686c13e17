"""What all entry points share: flags, `--config`, `--help`, and errors a person can act on.

Like the entry points, this file may know ml_collections; below it everything takes keyword
arguments.
"""

import dataclasses
import pathlib
import re
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from dreamda_jax.errors import UserError
from dreamda_jax.settings import failures, sections, streams

FLAGS = flags.FLAGS
_QUOTES = "\"'"


def define_config_flag() -> None:
    """`--config FILE`, with every field overridable as `--config.section.field=value`."""
    if "config" not in FLAGS:  # entry points are imported side by side in tests
        config_flags.DEFINE_config_file(
            "config",
            None,
            "Configuration file, such as configs/fashion.py. Any field of it can be set as "
            "--config.section.field=value; of a checkpoint's noise schedule as "
            f"--config.model.scheduler.FIELD=value, where FIELD is {_listed(sections.Scheduler)}.",
            lock_config=True,
        )


def _listed(section: type) -> str:
    *names, last = (field.name for field in dataclasses.fields(section))
    return f"{', '.join(names)} or {last}"


def define_dry_run_flag() -> None:
    """`--dry_run`, for entry points that cost time or money."""
    if "dry_run" not in FLAGS:
        flags.DEFINE_bool("dry_run", False, "Say what would be made and at what cost, and stop.")


def define_verify_flag() -> None:
    """`--verify`, for entry points that compare files with those an earlier start read."""
    if "verify" not in FLAGS:
        flags.DEFINE_bool(
            "verify", False, "Read every file again, whatever is known from earlier starts."
        )


def define_host_flags() -> None:
    """`--coordinator_address` and the like, for entry points that run on many hosts."""
    if "num_processes" in FLAGS:
        return
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "host:port of process 0, the same on every host. Not needed under Slurm and on TPU pods.",
    )
    flags.DEFINE_integer("num_processes", None, "How many hosts take part.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
    flags.DEFINE_float("join_timeout", 300.0, "Seconds to wait for the other hosts.", lower_bound=1)


def host_flags() -> dict[str, Any]:
    """The values of those flags, by the names of `distributed.Flags`."""
    names = ("coordinator_address", "num_processes", "process_id", "join_timeout")
    return {name: FLAGS[name].value for name in names}


def read_config() -> dict[str, Any]:
    """The resolved configuration as nested plain dicts.

    Raises:
      UserError: no `--config` was given, or the file is not there.
    """
    try:
        config = FLAGS.config
        if config is None:
            raise UserError("no configuration given: add --config configs/fashion.py (or your own)")
        return config.to_dict()
    except OSError as error:  # ml_collections keeps a file that did not load until it is used
        raise UserError(_not_loaded(error)) from error


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags and runs `main`; the process exits with its result.

    0 is success, 1 a `UserError` or what the system refuses (printed without a traceback), 2 flags
    that do not parse, 141 a reader of the output that went away.
    """
    failures.watch_streams()
    streams.show_only_printable()
    if any(argument in ("--help", "-h", "-help") for argument in sys.argv[1:]):
        # absl's own --help exits with 1 and shows the flags of absl itself.
        _guarded(lambda: print(_help(sys.modules["__main__"])), [])
    _make_config_importable(sys.argv)
    # JAX logs every accelerator it does not find; absl would print that.
    logging.set_verbosity(logging.WARNING)
    # Pillow's limit is half of ours, which refuses by the header alone.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse_flags)


def _help(module: types.ModuleType) -> str:
    lines = [(module.__doc__ or "").strip(), "", "Flags:"]
    own = FLAGS.get_key_flags_for_module(sys.argv[0])  # absl's name for the main module
    names = ("config", "dry_run", "verify", "coordinator_address", "num_processes", "process_id")
    shared = [FLAGS[name] for name in (*names, "join_timeout") if name in FLAGS]
    for flag in [*shared, *own]:
        default = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)


def _not_loaded(error: OSError) -> str:
    tried = re.findall(r"Attempted \[.*?\]:\s*(\S+)", f"{error} {error.__cause__ or ''}")
    path = tried[-1] if tried else "the configuration"
    return (
        f"no configuration could be loaded from {path} (working directory {pathlib.Path.cwd()}): "
        "give the path of a file such as configs/fashion.py"
    )


def _make_config_importable(argv: list[str]) -> None:
    """Lets a configuration import its neighbours (`configs.defaults`) from anywhere."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, _, value = argument.lstrip("-").partition("=")
        if name == "config":
            path = pathlib.Path((value or following).split(":")[0])
            sys.path.append(str(path.resolve().parent.parent))


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        rest = FLAGS(argv)
    except flags.Error as error:
        # What a configuration itself refuses; any other error of one keeps its traceback.
        refused = re.search(r"Traceback.*\nValueError: (.+)", str(error), re.DOTALL)
        failures.fail(f"configuration: {refused[1].strip()}" if refused else str(error), code=2)
    except OSError as error:
        failures.fail(_not_loaded(error), code=1)
    except NameError as error:
        failures.fail(
            f"a configuration is a Python file such as configs/fashion.py ({error})", code=2
        )
    except (ImportError, AttributeError, TypeError, KeyError, ValueError, SyntaxError) as error:
        near = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', str(error))
        if near:  # ml_collections' own words, without the layers of quotes they come in
            failures.fail(f"unknown config field {near[2]!r}; did you mean {near[1]!r}?", code=2)
        if isinstance(error, KeyError | AttributeError):
            failures.fail(
                f"unknown config field {str(error).strip(_QUOTES)!r} (a method has options of its "
                "own: configs/methods.py)",
                code=2,
            )
        failures.fail(f"configuration: {error}", code=2)
    if len(rest) > 1:
        failures.fail(f"unexpected argument {rest[1]!r}: flags start with --", code=2)
    return rest


def _guarded(main: Callable[[], int | None], _: list[str]) -> None:
    code = None
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        failures.fail(str(error), code=1)
    except failures.LostOutput as lost:
        failures.fail_of_output(lost)
    except OSError as error:
        failures.fail_of_system(error)
    except ValueError as error:
        if "jax" in sys.modules or "jax" not in str(error).lower():
            raise
        # JAX reads the environment as it is imported, and is not there if it cannot.
        failures.fail(f"JAX does not take a setting of the environment: {error}", code=1)
    sys.exit(code or 0)
