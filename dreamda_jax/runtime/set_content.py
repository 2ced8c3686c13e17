"""Reads what sets are, by the bytes of their images, and says so where that takes long."""

import hashlib

from dreamda_jax.data import content
from dreamda_jax.data.content import Content
from dreamda_jax.data.files import run_settings
from dreamda_jax.data.files.known_digests import KnownDigests
from dreamda_jax.data.sources import Source
from dreamda_jax.runtime.heartbeat import waiting


def content_of(source: Source, *, what: str, verify: bool = False) -> Content | None:
    """What a set of files or of pixels is; None for a set of records, whose files are one digest.

    Args:
      source: the set.
      what: it is called, such as "the training set".
      verify: reads every file, whatever is known of it.

    Raises:
      UserError: a label that names no class.
    """
    if not len(source) or isinstance(source[0].content, bytes):
        return None
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more

    with waiting(lambda: f"reading {what}: {done:,} of {len(source):,} images"):
        return content.read_content(source, report=count, verify=verify)


def identity_of(
    source: Source, *, what: str, verify: bool = False, known: Content | None = None
) -> str:
    """What decides whether a set is the one that a run was begun with; see `content`.

    Args:
      source: the set.
      what: it is called.
      verify: reads every file, whatever is known of it.
      known: its content, where that has been read.

    Raises:
      UserError: a label that names no class, or a file of records cannot be read.
    """
    found = known or content_of(source, what=what, verify=verify)
    if found is not None:
        return found.identity
    digest = hashlib.sha256(source.fingerprint().encode())
    files = KnownDigests(verify=verify)
    with waiting(f"reading the files of {what}"):
        for file in sorted(getattr(source, "record_files", ())):
            digest.update(bytes.fromhex(files.sha256(file)))
    files.save()
    return content.IDENTITY + digest.hexdigest()


def leaked(trained_on: Content | None, held_out: Content | None, source: Source) -> content.Shared:
    """Which images of a held-out set are trained on; none where that cannot be told."""
    if trained_on is None or held_out is None:
        return content.Shared(0, (), all_of_second=False)
    return content.shared_images(trained_on, held_out, source)


def same_images(first: Content | None, second: Content | None) -> bool:
    """Whether two sets have the same images, in whatever order."""
    return (
        first is not None and second is not None and sorted(first.digests) == sorted(second.digests)
    )


def digests_of(
    source: Source, *, name: str, verify: bool = False, known: Content | None = None
) -> dict[str, str]:
    """A set's digests in the settings of a run; see `run_settings.by_content`.

    Args:
      source: the set.
      name: of the section that names it.
      verify: reads every file, whatever is known of it.
      known: its content, where that has been read.
    """
    what = f"the images of section {name}"
    identity = identity_of(source, what=what, verify=verify, known=known)
    return run_settings.by_content(source.fingerprint(), identity, name=name)
