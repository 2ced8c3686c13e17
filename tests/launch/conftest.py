import pytest

from tests.launch.stand_ins import Cluster


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)
