"""What all entry points share: flags, `--config`, `--help`, and errors a person can act on.

Like the entry points, this file may know ml_collections; below it everything takes keyword
arguments.
"""

import re
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from dreamda_jax.errors import UserError
from dreamda_jax.settings import config_errors, config_files, failures, streams

FLAGS = flags.FLAGS


def define_config_flag() -> None:
    """`--config FILE`, with every field overridable as `--config.section.field=value`."""
    if "config" not in FLAGS:  # entry points are imported side by side in tests
        config_flags.DEFINE_config_file(
            "config",
            None,
            "Configuration: the name of one that comes with the package, such as fashion, or a "
            "file. Any field of it can be set as --config.section.field=value.",
            lock_config=True,
        )


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
        if config is None and not FLAGS["config"].present:
            raise UserError(
                "no configuration given: add --config with a file of your own, or one of "
                + ", ".join(config_files.names())
            )
        # Of a file that is not there any attribute raises what loading it raised.
        to_dict = getattr(config, "to_dict", None)
        if to_dict is None:
            raise UserError(
                f"get_config() of the configuration returns {type(config).__name__} and not a "
                "ConfigDict: begin with config = defaults.get_config() of dreamda_jax.configs, "
                "change its fields, and return it"
            )
        return to_dict()
    except OSError as error:  # ml_collections keeps a file that did not load until it is used
        raise UserError(_not_loaded(error)) from error


def run(main: Callable[[], int | None], options: Callable[[str | None], str] | None = None) -> None:
    """Parses the flags and runs `main`; the process exits with its result.

    Args:
      main: the command.
      options: what --help says of the configuration's fields, of one section or of all.

    0 is success, 1 a `UserError` or what the system refuses (printed without a traceback), 2 flags
    that do not parse, 141 a reader of the output that went away.
    """
    failures.watch_streams()
    streams.show_only_printable()
    if (asked := _asked_for_help(sys.argv[1:])) is not None:
        # absl's own --help exits with 1 and shows the flags of absl itself.
        failures.exit_with(lambda: print(_help(sys.modules["__main__"], options, asked or None)))
    config_files.find(sys.argv)
    # JAX logs every accelerator it does not find; absl would print that.
    logging.set_verbosity(logging.WARNING)
    # Pillow's limit is half of ours, which refuses by the header alone.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    app.run(lambda argv: failures.exit_with(main), flags_parser=_parse_flags)


def _asked_for_help(arguments: list[str]) -> str | None:
    """The section that is asked about; "": all; None: nobody asks."""
    for argument in arguments:
        name, _, section = argument.partition("=")
        if name in ("--help", "-h", "-help"):
            return section
    return None


def _help(
    module: types.ModuleType, options: Callable[[str | None], str] | None, section: str | None
) -> str:
    if section is not None and options is not None:
        return options(section)
    lines = [(module.__doc__ or "").strip(), "", "Flags:"]
    own = FLAGS.get_key_flags_for_module(sys.argv[0])  # absl's name for the main module
    names = ("config", "dry_run", "verify", "coordinator_address", "num_processes", "process_id")
    shared = [FLAGS[name] for name in (*names, "join_timeout") if name in FLAGS]
    for flag in [*shared, *own]:
        default = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    if options is not None:
        lines += [
            "",
            "Fields of a configuration, with their defaults before the file that --config names:",
            "(--help=SECTION shows one section alone)",
            "",
            options(None),
        ]
    return "\n".join(lines)


def _not_loaded(error: OSError) -> str:
    tried = re.findall(r"Attempted \[.*?\]:\s*(\S+)", f"{error} {error.__cause__ or ''}")
    path = tried[-1] if tried else "the configuration"
    return config_files.not_found(path)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        rest = FLAGS(argv)
    except flags.Error as error:
        failures.fail(config_errors.of_flags(str(error)), code=2)
    except OSError as error:
        failures.fail(_not_loaded(error), code=1)
    except Exception as error:  # what a configuration file raises as it is loaded
        failures.fail(config_errors.of_loading(error, argv), code=2)
    if len(rest) > 1:
        meant = f": --config {rest[1]}?" if rest[1] in config_files.names() else ""
        failures.fail(f"unexpected argument {rest[1]!r}{meant or ': flags start with --'}", code=2)
    return rest
