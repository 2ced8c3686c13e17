"""How many networks the comparisons draw: a few; `--hypothesis-profile=thorough` draws 200."""

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # those tests are skipped
    pass
else:
    _COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    settings.register_profile("few", max_examples=10, derandomize=True, **_COMMON)
    settings.register_profile("thorough", max_examples=200, **_COMMON)
    settings.load_profile("few")
