"""`python -m dreamda_jax.generate` that leaves JAX's own event counts in a file.

    python benchmarks/counted_generate.py counts.json --config configs/fashion.py

Counts are by event, such as /jax/compilation_cache/cache_hits. benchmarks/start_up.py and
tests/runtime/test_compilation_cache.py read them.
"""

import atexit
import collections
import json
import runpy
import sys
from pathlib import Path

import jax

if __name__ == "__main__":
    events: collections.Counter[str] = collections.Counter()
    jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))
    target = Path(sys.argv.pop(1))
    atexit.register(lambda: target.write_text(json.dumps(events)))
    runpy.run_module("dreamda_jax.generate", run_name="__main__", alter_sys=True)
