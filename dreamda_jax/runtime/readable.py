"""Rates, sizes and operations in words."""


def readable_rate(per_second: float, unit: str = "image") -> str:
    """Such as "12.34 images/s"; three digits of what is slow, as large images on a CPU are."""
    digits = ".2f" if per_second >= 0.1 else ".3g"
    return f"{per_second:{digits}} {unit}s/s"


def readable_bytes(count: float) -> str:
    """Such as "3.4 GB", in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def readable_flops(flops: float) -> str:
    """Such as "1,450 TFLOP" or "0.0123 TFLOP"."""
    tera = flops / 1e12
    return f"{tera:,.0f} TFLOP" if tera >= 100 else f"{tera:.3g} TFLOP"
