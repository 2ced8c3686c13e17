"""The HTML report: one static file that needs no network, readable on a phone and on paper.

The page is made with jinja2 and its autoescape: class and file names come from users and appear at
some forty places in text and attributes, and escaping that is on everywhere is safer than a call
at each of them. Should a name get through all the same, the page's Content-Security-Policy allows
no script but the page's own (by its hash), and no request at all.
"""

import base64
import functools
import hashlib
import importlib.resources
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import PIL
from markupsafe import Markup
from PIL import Image

from dreamda_jax.data.files.atomic import write_atomically
from dreamda_jax.evaluate.page import (
    charts,
    numbers,
    tables,
)
from dreamda_jax.printable import shown

_FILES = "evaluate/page/files"
_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_OPEN_GALLERIES = 12
_LONG_TABLE = 24


class GalleryRow(NamedTuple):
    """A seed image and its variants, by their keys in `images`; no seed where it is not known."""

    seed_name: str
    seed_image: str | None
    variant_images: Sequence[str | None]


class Gallery(NamedTuple):
    """The contact sheet of a class."""

    class_name: str
    rows: Sequence[GalleryRow]


class _Picture(NamedTuple):
    uri: str
    width: int
    height: int


def write_page(
    path: Path,
    report: Mapping[str, Any],
    images: Mapping[str, bytes],
    galleries: Sequence[Gallery],
) -> None:
    """Writes the report as one HTML file, replacing an older one in one step.

    Args:
      path: of the file.
      report: what report.json holds, format 1: "title", "created", "versions", "settings", "sets",
        "extractor", "metrics", "per_class", "copies", "diversity", "accuracy", "audit" (of
        `label_audit.audit`, perhaps with "image"), "cost", "advice" and "warnings". A section that
        is None or empty is left out, or said how to get. Accuracies and shares are in [0, 1]; the
        first classifier is the one that others are compared with; "only_classes", which may lack,
        names the class of each run that takes every image for the same. NaN is shown like None. In
        advice and warnings, text between backticks is code.
      images: encoded PNG, JPEG or WebP by key; embedded as they are, so thumbnails keep the page
        small. The keys are those of `galleries`, of "synthetic_image" and "real_image" of pairs,
        and of the audit's "image"; None in their place stands for an image that cannot be shown.
      galleries: a contact sheet per class; those after the first dozen start folded.

    Raises:
      ValueError: an image that is missing in `images`, or is not PNG, JPEG or WebP; a report of
        another format.
    """
    if report["format"] != 1:
        raise ValueError(f"this page shows reports of format 1, not {report['format']!r}")
    style, script = _packaged("style.css"), _packaged("script.js")
    html = _environment().get_template("report.html").render(
        report,
        # Markup: written by us, and of no use if escaped.
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        picture=functools.partial(_picture, images),
        galleries=galleries,
        has_seeds=any(row.seed_image for gallery in galleries for row in gallery.rows),
        open_galleries=_OPEN_GALLERIES,
        long_table=_LONG_TABLE,
        anchors={gallery.class_name: f"class-{n}" for n, gallery in enumerate(galleries, 1)},
        class_rows=tables.class_rows(report["per_class"]),
        accuracies=tables.accuracy_table(report["accuracy"]),
        collapsed=[entry for entry in report["accuracy"] if entry.get("only_classes")],
        label_rows=tables.label_rows(report["audit"]) if report["audit"] else [],
    )  # fmt: skip
    write_atomically(path, shown(html).encode())


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dreamda_jax", _FILES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "significant": numbers.significant,
        "aligned": numbers.aligned,
        "percent": numbers.percent,
        "points": numbers.points,
        "count": numbers.count,
        "duration": numbers.duration,
        "moment": numbers.moment,
        "setting": numbers.setting,
        "measured": numbers.is_number,
        "drawn": charts.metric_range,
        "split_pairs": tables.split_pairs,
        "code": _code,
    }
    environment.filters.update(filters)
    return environment


def _packaged(name: str) -> str:
    return (importlib.resources.files("dreamda_jax") / _FILES / name).read_text("utf-8")


def _picture(images: Mapping[str, bytes], key: str) -> _Picture:
    if key not in images:
        raise ValueError(f"the report names an image {key!r} that it was not given")
    try:
        with Image.open(io.BytesIO(images[key]), formats=list(_MEDIA_TYPES)) as image:
            media_type = _MEDIA_TYPES[str(image.format)]
            width, height = image.size
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"the image {key!r} is neither PNG, JPEG nor WebP") from error
    encoded = base64.b64encode(images[key]).decode()
    return _Picture(f"data:{media_type};base64,{encoded}", width, height)


def _code(text: str) -> Markup:
    """Escapes; what stands between backticks becomes code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one is left over: all are meant as they are
        return Markup.escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else Markup.escape(part)
        for place, part in enumerate(parts)
    )
