"""Write descriptions of each class for `generate`, by a language model or from word lists.

    python -m dreamda_jax.prompts --config configs/pets.py --config.prompts.model=gpt-4o-mini
    python -m dreamda_jax.prompts --config configs/pets.py --config.prompts.model=llama3.2 \
        --config.prompts.base_url=http://localhost:11434/v1
    python -m dreamda_jax.prompts --config configs/fashion.py --config.prompts.writer=template
    python -m dreamda_jax.generate --config configs/fashion.py \
        --config.prompt.file=runs/prompts.jsonl

The key of an endpoint is read from the environment variable OPENAI_API_KEY (`key_variable`) and is
written nowhere. Run the same command again to continue a job that was interrupted.
"""

import contextlib
import functools
import threading
from typing import Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

command_line.define_config_flag()
command_line.define_dry_run_flag()


def main() -> int:
    """Runs the job so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax.runtime import interrupt

    job = functools.partial(_prompts, command_line.read_config(), flags.FLAGS.dry_run)
    return interrupt.exit_code(job)


def _prompts(config: dict[str, Any], dry_run: bool, stop: threading.Event) -> int | None:
    from dreamda_jax.prompts import build, fill, store, summary
    from dreamda_jax.runtime.progress import Progress

    parts = build.prompting(config)
    options, output = parts.options, parts.output
    store.check_settings(output, parts.settings)
    there = store.read(output, parts.label_names)
    if all(len(texts) >= options.per_class for texts in there.values()):
        print(f"nothing left to do: {output} has {options.per_class:,} descriptions of each class")
        print(summary.next_command(output))
        return 0
    print(
        summary.start(
            options,
            counts=[len(texts) for texts in there.values()],
            classes=options.classes or f"section source ({config['source'].get('kind')})",
            output=output,
        ),
        flush=True,
    )
    writer = build.open_writer(options, stop)
    if dry_run:
        return 0
    with store.open_store(output, parts.settings, parts.label_names) as opened:
        wanted = options.per_class * len(parts.label_names)
        done = sum(min(len(texts), options.per_class) for texts in opened.accepted.values())
        with contextlib.closing(Progress(wanted, done, unit="description")) as progress:
            outcome = fill.fill(
                opened,
                writer,
                parts.validator,
                per_class=options.per_class,
                batch=options.batch,
                max_misses=options.max_attempts,
                stop=stop,
                progress=progress,
            )
        if outcome.stopped:
            return None
        missing = fill.lacking(opened, options.per_class)
        if missing:
            raise summary.unfinished(
                outcome, missing, output=output, max_attempts=options.max_attempts
            )
        print(summary.end(outcome, opened.accepted, output=output, per_class=options.per_class))
    return 0


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "prompts"))
