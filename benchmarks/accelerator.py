"""How fast and how right this is on a real card: one command, nothing fetched.

    python benchmarks/accelerator.py
    python benchmarks/accelerator.py --minutes=15 --sections=a,b,c,d,e
    python benchmarks/accelerator.py --sections=c --rows=1,8,64,256 --dtypes=bfloat16,float16
    python benchmarks/accelerator.py --size=micro --allow_cpu    # minutes, to see that it works

Stable Diffusion 1.5 with random weights that are drawn on the card. Sections, in order of worth:
a correctness · b the card's ceilings · c the U-Net alone · d the whole `generate` · e steps of
training and fine-tuning · f PyTorch, where it is installed · g one card, two, … Each has its share
of the time, ends with its table and a line of JSON, and takes nothing of the others with it when it
fails. What is not begun in time is said to be not run. The files of benchmarks/accelerator_check
say what each measures and how; what takes long is compilation, which is never inside a timing.

Exit code 0: all went well. 1: a section failed, or a result is out of its bound. 2: there is no
accelerator, a package is missing, or an option is wrong.

Sections a to c need jax, flax, numpy, and what the networks' classes need: diffusers, transformers.
"""

import argparse
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # of a checkout that is not installed

# (module, share of the time)
SECTIONS = {
    "a": ("correctness", 2.0),
    "b": ("ceilings", 0.5),
    "c": ("unet_rows", 3.0),
    "d": ("whole_generate", 3.0),
    "e": ("training_steps", 3.0),
    "f": ("against_torch", 3.0),
    "g": ("several_cards", 2.0),
}
DTYPES = ("bfloat16", "float16", "float32")


def main() -> int:
    """Runs the sections; returns the exit code."""
    flags = _parse_flags()
    from benchmarks.accelerator_check import start

    start.prepare()
    try:
        devices = start.find_devices(allow_cpu=flags.allow_cpu)
    except start.NoAcceleratorError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    try:
        return run(flags, devices)
    except ModuleNotFoundError as error:  # of what every section needs
        needed = "benchmarks/README.md names the packages that have to be there"
        print(f"{Path(__file__).name}: {error}; {needed}", file=sys.stderr)
        return 2


def run(flags: argparse.Namespace, devices: list) -> int:
    """Measures on these devices; see `main`."""
    from benchmarks.accelerator_check import report, setup, start, timing, weights
    from dreamda_jax.runtime.chips import chip_of

    size = weights.size_named(flags.size)
    about = {"size": size.name, **start.describe(devices)}
    limits = start.memory_limits(devices)
    prepared = setup.Setup(
        size=size,
        devices=devices,
        chip=chip_of(devices[0]),
        memory_limit=min(limits) if limits else None,
        rows=tuple(flags.rows),
        dtypes=tuple(flags.dtypes),
        loop_seconds=1.0 if size.name == "sd15" else 0.02,
    )
    print("  ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    different = start.unlike(devices)
    if different is not None:
        print(f"note: {different}", flush=True)
        about["note"] = different
    whole = timing.Clock(60 * flags.minutes)
    found = report.Report(about, flags.output)
    for place, name in enumerate(flags.sections):
        shares = [SECTIONS[other][1] for other in flags.sections[place:]]
        section = report.Section(name, SECTIONS[name][0])
        if whole.left <= 0:
            found.not_run(section, "no time left")
            continue
        # What a section leaves goes to those after it.
        clock = timing.Clock(whole.left * shares[0] / sum(shares))
        try:
            module = importlib.import_module(f"benchmarks.accelerator_check.{SECTIONS[name][0]}")
            section.title = module.TITLE
            module.measure(prepared, section, clock)
        except report.NotHere as reason:
            found.not_run(section, str(reason))
            continue
        except Exception as error:  # the rest goes on
            report.note_error(section, error)
        found.finish(section)
    return 1 if found.has_failed else 0


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=8.0, help="for all sections; default 8")
    add("--sections", type=_chosen(SECTIONS), default=["a", "b", "c", "d"], help="default a,b,c,d")
    add("--size", choices=["sd15", "micro"], default="sd15", help="of the networks")
    add("--rows", type=_numbers, default=[2, 32, 128], help="of the U-Net; default 2,32,128")
    add("--dtypes", type=_chosen(DTYPES), default=["bfloat16"], help=f"of {', '.join(DTYPES)}")
    add("--allow_cpu", action="store_true", help="run on the CPU where there is no accelerator")
    add("--output", type=Path, help="a file that the lines of JSON are appended to")
    return parser.parse_args()


def _chosen(known):  # type: ignore[no-untyped-def]
    def parse(text: str) -> list[str]:
        words = list(dict.fromkeys(text.split(",")))
        strangers = [word for word in words if word not in known]
        if strangers:
            raise argparse.ArgumentTypeError(
                f"unknown {', '.join(strangers)} (there are: {', '.join(known)})"
            )
        return words

    return parse


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(word) for word in text.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers from 1 on")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
