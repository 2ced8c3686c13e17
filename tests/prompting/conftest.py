import pytest

from tests.prompting import server as servers


@pytest.fixture
def server():
    with servers.running() as world:
        yield world
