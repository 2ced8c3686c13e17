"""A report in which every name is an attack on the page."""

from dreamda_jax.evaluate.page.page import Gallery, GalleryRow

HOSTILE = '"><script>window.hacked = 1</script><img src=x onerror="hacked = 1">{{ 7 * 7 }}\'&amp;'


def hostile(given):
    """The same report with every name and sentence a piece of HTML."""
    report, images, galleries = given
    kept = {*images, "test", "lower", "higher"}

    def poison(value):
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return HOSTILE if isinstance(value, str) and value not in kept else value

    poisoned = poison(report)
    poisoned["settings"] = {HOSTILE: {HOSTILE: HOSTILE, "list": [HOSTILE]}}
    poisoned["versions"] = {HOSTILE: HOSTILE}
    poisoned["audit"]["labellings"] = {HOSTILE: report["audit"]["labellings"]["seed"]}
    sheets = [
        Gallery(HOSTILE, [GalleryRow(HOSTILE, row.seed_image, row.variant_images)])
        for gallery in galleries
        for row in gallery.rows
    ]
    return poisoned, images, sheets
