"""nginx and HAProxy as processes on loopback ports, with temporary configurations."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from certificates import Certificates, KeyAndChain
from network import server_port
from tcp_server import HOST
from times import until

GUARD = 60.0
"""Seconds after which a test fails that waits for what a gateway must let through."""
INTERVAL = 0.05
"""The polling interval of the tests."""


class Backend(Protocol):
    """The ports of a Milvus, simulated or real."""

    @property
    def internal_port(self) -> int: ...

    @property
    def public_port(self) -> int: ...


class LoggedRequest(NamedTuple):
    """One line of a gateway's access log."""

    time: float
    """Seconds since the epoch."""
    status: int
    """The HTTP status: 200 also for an RPC that failed with a gRPC status."""
    path: str


@dataclass(eq=False)
class Gateway(ABC):
    """A gateway in a process group: ``async with Nginx(server) as gateway``.

    It routes each of the two gRPC services to its port. The port stays the same over restarts.
    """

    name: ClassVar[str]
    """The program, which is also the name of its Debian package."""

    backend: Backend
    tls: KeyAndChain | None = field(default=None, kw_only=True)
    port: int = field(default=0, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.rest_port: int = getattr(self.backend, "rest_port", 0) or 9
        self.secure = self.tls is not None
        self.folder = Path(tempfile.mkdtemp(prefix=f"milvus-import-{self.name}-"))
        self.flag = self.folder / "flag"
        """A file: nginx acts by its option ``flagged`` while it exists."""
        if self.tls is not None:
            self.write_certificate(self.tls)

    @property
    def uri(self) -> str:
        return f"{'https' if self.secure else 'http'}://localhost:{self.port}"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        shutil.rmtree(self.folder)

    def write_certificate(self, pair: KeyAndChain) -> None:
        """Write the key and the certificates that the gateway presents after its next (re)load."""
        (self.folder / "tls.pem").write_bytes(b"".join(pair))

    async def start(self) -> None:
        """Start the gateway and wait until it accepts connections."""
        self.port = self.port or server_port()
        (self.folder / "config").write_text(self.config())
        start = len(self.output)
        self._spawn()
        await until(lambda: self._ready(start) or not self.running)
        if not self.running:
            raise RuntimeError(f"{self.name} did not start:\n{self.output[start:]}")

    async def stop(self) -> None:
        """End the gateway as its Debian service does for a restart: nginx finishes its requests.

        A worker of nginx that has just been started may keep serving a connection as long as
        requests arrive. systemd ends it after some seconds.
        """
        process = self._running_process()
        process.send_signal(self.stop_signal)
        with suppress(AssertionError):
            await until(lambda: process.poll() is not None, 10.0)
        await self.kill()

    async def kill(self) -> None:
        """End the gateway and its workers by SIGKILL."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            await until(lambda: process.poll() is not None)

    async def freeze(self) -> None:
        """Stop the gateway by SIGSTOP: its connections stay open, nothing is forwarded."""
        os.killpg(self._running_process().pid, signal.SIGSTOP)

    async def thaw(self) -> None:
        """Continue after freeze()."""
        os.killpg(self._running_process().pid, signal.SIGCONT)

    async def reload(self) -> None:
        """Let the gateway read its configuration and certificates again."""
        (self.folder / "config").write_text(self.config())
        start, signalled = len(self.output), 0.0

        def reloaded() -> bool:
            nonlocal signalled
            if time.monotonic() > signalled + 1:
                # Again: HAProxy loses the signal if it arrives immediately after the start.
                self._running_process().send_signal(self.reload_signal)
                signalled = time.monotonic()
            return re.search(self.reloaded, self.output[start:]) is not None

        await until(reloaded)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def output(self) -> str:
        """What all starts have written to stderr."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests that have ended, in order."""
        path = self.folder / "access.log"
        lines = path.read_text().splitlines() if path.exists() else []
        found = (re.fullmatch(r"request ([0-9.]+) ([0-9]+) (/\S+)", line) for line in lines)
        return [LoggedRequest(float(m[1]), int(m[2]), m[3]) for m in found if m]

    async def logged(self, count: int) -> list[LoggedRequest]:
        """Return the requests once there are so many: they are logged after the response."""
        await until(lambda: len(self.requests) >= count)
        return self.requests

    @abstractmethod
    def config(self) -> str:
        """Return the text of the configuration."""

    @abstractmethod
    def command(self, program: str) -> list[str]:
        """Return how the program is started in the foreground."""

    stop_signal: ClassVar[signal.Signals]
    reload_signal: ClassVar[signal.Signals]
    started: ClassVar[str]
    """A pattern of the output that follows a start."""
    reloaded: ClassVar[str]
    """A pattern of the output that follows a reload."""

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{self.name} is not running:\n{self.output}")
        return self.process

    def _spawn(self) -> None:
        search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        program = shutil.which(self.name, path=search)
        if program is None:
            raise RuntimeError(
                f"{self.name} is not installed. Install it: apt-get install -y {self.name}"
            )
        with (
            (self.folder / "output").open("ab") as output,
            (self.folder / "access.log").open("ab") as log,
        ):
            self.process = subprocess.Popen(
                self.command(program),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=output,
                process_group=0,
            )

    def _ready(self, start: int) -> bool:
        """Return whether it accepts connections and signals."""
        if re.search(self.started, self.output[start:]) is None:
            return False
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


@dataclass(eq=False)
class Nginx(Gateway):
    """nginx: ``server``, ``location`` and ``http`` are directives of those blocks."""

    name = "nginx"
    stop_signal = signal.SIGQUIT
    reload_signal = signal.SIGHUP
    started = r"start worker process \d+"
    reloaded = r"start worker process \d+\n(.*\n)*.*(gracefully shutting down|exited with code)"

    _: KW_ONLY
    http2: bool = True
    http: str = ""
    server: str = ""
    location: str = ""
    flagged: str = ""
    """A directive for each location that applies while the file ``flag`` exists."""
    server_name: str = "localhost"
    internal: str = "grpc_pass grpc://internal;"
    """The route of the internal service."""

    def command(self, program: str) -> list[str]:
        return [program, "-p", str(self.folder), "-c", "config", "-e", "stderr"]

    def config(self) -> str:
        options = f"{'ssl ' if self.secure else ''}{'http2' if self.http2 else ''}"
        certificate = "ssl_certificate tls.pem; ssl_certificate_key tls.pem;"
        user = "user root;" if os.geteuid() == 0 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "\n".join(f"  {kind}_temp_path {self.folder};" for kind in kinds)
        location = self.location
        if self.flagged:
            location += f"if (-f {self.flag}) {{ {self.flagged} }}"
        others = ""  # requests for another host name
        if self.server_name != "localhost":
            others = f"server {{ listen {HOST}:{self.port} {options}; ssl_reject_handshake on; }}"
        return f"""
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
{folders}
  log_format requests 'request $msec $status $uri';
  access_log access.log requests;
  {self.http}
  upstream internal {{ server {HOST}:{self.backend.internal_port}; keepalive 8; }}
  upstream public {{ server {HOST}:{self.backend.public_port}; keepalive 8; }}
  upstream rest {{ server {HOST}:{self.rest_port}; }}
  {others}
  server {{
    listen {HOST}:{self.port} {options};
    server_name {self.server_name};
    {certificate if self.secure else ""}
    {self.server}
    location /milvus.proto.proxy.Proxy/ {{ {location} {self.internal} }}
    location /milvus.proto.milvus.MilvusService/ {{ {location} grpc_pass grpc://public; }}
    location /v2/vectordb/ {{ {location} proxy_pass http://rest; }}
    location / {{ return 404; }}
  }}
}}
"""


@dataclass(eq=False)
class HAProxy(Gateway):
    """HAProxy: ``frontend`` are directives of that section; ``bind`` are options of its bind."""

    name = "haproxy"
    stop_signal = signal.SIGTERM
    reload_signal = signal.SIGUSR2
    started = reloaded = r"Loading success"

    _: KW_ONLY
    alpn: str = "h2,http/1.1"
    bind: str = ""
    frontend: str = ""
    server_timeout: float = 60.0

    def command(self, program: str) -> list[str]:
        return [program, "-W", "-db", "-f", "config"]

    def config(self) -> str:
        bind = f"{HOST}:{self.port} {self.bind}"
        if self.secure:
            bind += f" ssl crt {self.folder}/tls.pem"
            bind += f" alpn {self.alpn}" if self.alpn else ""
        return f"""
global
  maxconn 500
  hard-stop-after 5s
  log stdout format raw local0 info
defaults
  mode http
  log global
  log-format "request %Ts.%ms %ST %HPO"
  option dontlognull
  timeout connect 1s
  timeout client 60s
  timeout server {round(self.server_timeout * 1000)}ms
  retries 0
frontend gateway
  bind {bind}
  {self.frontend}
  use_backend internal if {{ path_beg /milvus.proto.proxy.Proxy/ }}
  use_backend public if {{ path_beg /milvus.proto.milvus.MilvusService/ }}
  use_backend rest if {{ path_beg /v2/vectordb/ }}
  default_backend unrouted
backend internal
  server milvus {HOST}:{self.backend.internal_port} proto h2
backend public
  server milvus {HOST}:{self.backend.public_port} proto h2
backend rest
  server milvus {HOST}:{self.rest_port}
backend unrouted
  http-request return status 404
"""


def configured(
    kind: type[Gateway],
    backend: Backend,
    *,
    nginx: Mapping[str, Any] | None = None,
    haproxy: Mapping[str, Any] | None = None,
    **both: Any,
) -> Gateway:
    """Return a gateway with the options of its kind, and those for both."""
    return kind(backend, **both, **((nginx if kind is Nginx else haproxy) or {}))


def responding(kind: type[Gateway], backend: Backend, status: int, **nginx: Any) -> Gateway:
    """Return a gateway that responds with this HTTP status to every request."""
    redirect = 300 <= status < 400
    address = " https://localhost/" if redirect else ""
    rule = f"redirect scheme https code {status}" if redirect else f"return status {status}"
    return configured(
        kind,
        backend,
        nginx={"location": f"return {status}{address};", **nginx},
        haproxy={"frontend": f"http-request {rule}"},
    )


def requiring_certificates(
    kind: type[Gateway],
    backend: Backend,
    certificates: Certificates,
    version: str = "1.3",
    **more: Any,
) -> Gateway:
    """Return a gateway that requires certificates of clients, with one version of TLS."""
    verify = f"ssl_protocols TLSv{version}; ssl_verify_client on; ssl_client_certificate ca.pem;"
    gateway = configured(kind, backend, tls=certificates.server, nginx={"server": verify}, **more)
    if isinstance(gateway, HAProxy):
        gateway.bind = f"ca-file {gateway.folder}/ca.pem verify required"
        gateway.bind += f" ssl-min-ver TLSv{version} ssl-max-ver TLSv{version}"
    (gateway.folder / "ca.pem").write_bytes(certificates.ca)
    return gateway
