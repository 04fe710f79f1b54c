"""The configurations of docs/gateways.md, with other addresses and certificates."""

from __future__ import annotations

import pytest
from certificates import Certificates
from gateway_process import HAProxy, Nginx
from pages import code_block, replace
from tcp_server import HOST

from milvus_import import ImportClient, TLSConfig
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class PageNginx(Nginx):
    def config(self) -> str:
        assert isinstance(self.backend, FakeMilvus)
        block = replace(
            code_block("gateways.md", "upstream milvus_public", r"\w+"),
            {
                "http://127.0.0.1:19530": self.backend.rest_uri,
                "127.0.0.1:19530": f"{HOST}:{self.backend.public_port}",
                "127.0.0.1:19529": f"{HOST}:{self.backend.internal_port}",
                "listen 443": f"listen {HOST}:{self.port}",
                "server_name milvus.example.org": "server_name localhost",
                "/etc/nginx/tls/milvus.crt": "tls.pem",
                "/etc/nginx/tls/milvus.key": "tls.pem",
            },
        )
        head = super().config().partition("  upstream")[0]
        return f"{head}\n{block}\n}}\n"


class PageHAProxy(HAProxy):
    def config(self) -> str:
        return replace(
            code_block("gateways.md", "backend milvus_public", r"\w+"),
            {
                "127.0.0.1:19530": f"{HOST}:{self.backend.public_port}",
                "127.0.0.1:19529": f"{HOST}:{self.backend.internal_port}",
                "bind :443": f"bind {HOST}:{self.port}",
                "/etc/haproxy/milvus.pem": str(self.folder / "tls.pem"),
            },
        )


@pytest.mark.parametrize("kind", [PageNginx, PageHAProxy])
async def test_configuration_of_the_page(
    fake: FakeMilvus, certificates: Certificates, kind: type[PageNginx | PageHAProxy]
) -> None:
    fake.add_job(job_id="1")
    tls = TLSConfig(ca=certificates.ca)
    async with kind(fake, tls=certificates.server) as gateway:
        async with ImportClient(gateway.uri, tls=tls) as client:
            assert await client.check() == "internal"
            await client.get_import_progress("1", metadata={"client_request_id": "a"})
            assert fake.received[-1].values("client_request_id") == ["a"]
        async with ImportClient(gateway.uri, tls=tls, service="public") as client:
            assert await client.check() == "public"
        if kind is PageNginx:
            async with ImportClient(gateway.uri, tls=tls, service="rest") as client:
                assert (await client.get_import_progress("1")).service == "rest"
