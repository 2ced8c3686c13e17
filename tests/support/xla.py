"""Flags of XLA for tests; importing this sets nothing, as importing conftest does."""

QUICK = (
    "--xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"  # by way of MLIR: twice the time of a compilation
    " --xla_cpu_parallel_codegen_split_count=1"  # several modules cost more than they save
)
"""Little optimisation: compiling takes most of the time of these tests."""
