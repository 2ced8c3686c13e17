"""Flags of XLA for tests; importing this sets nothing, as importing conftest does."""

import importlib.metadata

QUICK = (
    "--xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_parallel_codegen_split_count=1"  # several modules cost more than they save
)
"""Little optimisation: compiling takes most of the time of these tests."""

# By way of MLIR: twice the time of a compilation. Later ones know no other way, and XLA ends the
# process at a flag that it does not know.
if [int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2]] < [0, 11]:
    QUICK += " --xla_cpu_use_fusion_emitters=false"
