"""The tests of this folder run nginx and HAProxy: apt-get install -y nginx haproxy."""

from __future__ import annotations

import pytest
from certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return make_certificates()
