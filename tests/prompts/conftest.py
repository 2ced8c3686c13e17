import pytest

from tests.support import chat_server as servers


@pytest.fixture
def server():
    with servers.running() as world:
        yield world
