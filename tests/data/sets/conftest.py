"""A finished set of a few shards."""

import pytest

from tests.support.small_records import finish, new_layout, write_all


@pytest.fixture
def complete(tmp_path):
    layout = new_layout(tmp_path / "run")
    write_all(layout)
    finish(layout)
    return layout
