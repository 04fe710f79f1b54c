"""The tests of this folder run nginx and HAProxy: apt-get install -y nginx haproxy."""

from __future__ import annotations

import pytest
from gateway_process import Gateway, HAProxy, Nginx


@pytest.fixture(params=[Nginx, HAProxy], ids=["nginx", "haproxy"])
def kind(request: pytest.FixtureRequest) -> type[Gateway]:
    """Each test with this argument runs with each of the two."""
    found: type[Gateway] = request.param
    return found
