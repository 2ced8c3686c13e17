"""`pytest --timings`: by file the seconds, those of compilation, and the memory."""

import os
import resource
from collections import defaultdict
from pathlib import Path

import pytest

_COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--timings", action="store_true", help="Show seconds and memory by file.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--timings"):
        config.pluginmanager.register(Timings(), "timings")


class Timings:
    """Measures in the process that runs a test, and adds up in the one that reports."""

    def __init__(self) -> None:
        self._compiled = 0.0
        self._peak = 0
        self._seconds: dict[str, float] = defaultdict(float)
        self._compiling: dict[str, float] = defaultdict(float)
        self._tests: dict[str, int] = defaultdict(int)
        self._raised: dict[str, int] = defaultdict(int)
        self._workers: dict[str, tuple[int, int]] = {}
        self._listening = False

    def _listen(self) -> None:
        import jax  # after conftest has said which platform

        def add(name: str, seconds: float, **_: object) -> None:
            if name in _COMPILING:
                self._compiled += seconds

        jax.monitoring.register_event_duration_secs_listener(add)
        self._listening = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        if call.when == "setup" and not self._listening:
            self._listen()
        if call.when == "teardown":
            worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            maps = Path("/proc/self/maps")
            num_maps = len(maps.read_bytes().splitlines()) if maps.exists() else 0
            raised = peak - self._peak if self._peak else 0
            measured = (self._compiled, worker, peak, num_maps, raised)
            item.user_properties.append(("timings", measured))
            self._compiled, self._peak = 0.0, peak
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.split("::")[0]
        self._seconds[file] += report.duration
        for name, value in report.user_properties:
            if name == "timings" and report.when == "teardown":
                compiled, worker, peak, num_maps, raised = value
                self._compiling[file] += compiled
                self._raised[file] += raised
                self._tests[file] += 1
                before = self._workers.get(worker, (0, 0))
                self._workers[worker] = (max(before[0], peak), max(before[1], num_maps))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._tests:
            return
        terminalreporter.section(
            "by file: seconds, tracing and compiling, tests, MiB by which a worker's peak rose"
        )
        for file in sorted(self._seconds, key=self._seconds.__getitem__, reverse=True):
            terminalreporter.write_line(
                f"{self._seconds[file]:8.1f} {self._compiling[file]:8.1f} {self._tests[file]:5d}"
                f" {self._raised[file]:6d}  {file}"
            )
        total, compiling = sum(self._seconds.values()), sum(self._compiling.values())
        terminalreporter.write_line(f"{total:8.1f} {compiling:8.1f} {sum(self._tests.values()):5d}")
        for worker, (peak, num_maps) in sorted(self._workers.items()):
            terminalreporter.write_line(f"{worker}: {peak:,} MiB at most, {num_maps:,} memory maps")
