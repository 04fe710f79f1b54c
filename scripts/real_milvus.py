"""A Milvus 2.3.5 standalone server from its PyPI wheel, for the demo and tests/real.

    with RealMilvus() as milvus:
        ...  # connect a client to milvus.uri

The first start on a machine downloads 58 MB and unpacks 246 MB into the user's cache folder; later
starts take 2 to 3 s. A server uses about 250 MB of memory and 200 MB of the temporary folder. It
listens on all interfaces (there is no setting); its components communicate over loopback.
"""

from __future__ import annotations

import atexit
import http.client
import json
import lzma
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

if sys.platform != "win32":  # why_not() runs there too
    import fcntl

NAME = "milvus-2.3.5"
ROOT = Path(__file__).resolve().parent.parent
PIN = ROOT / "requirements" / "milvus-server.txt"

# Hard-coded in the server, which ignores MILVUS_RUN_DIR: it writes its pid file to the first of
# these that is writable, server_id_<pid> to the second, and removes neither.
_RUN_FOLDERS = (Path("/run/milvus"), Path("/tmp/milvus"))  # noqa: S108

# Executes the server, which the kernel kills when its parent ends. (A preexec_fn could do this too,
# but would fork a process in which gRPC's threads may be running.)
_LAUNCHER = """
import ctypes, os, signal, sys
parent, program, *variables = sys.argv[1:]
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(parent):
    os.execve(program, [program, "run", "standalone"], dict(v.split("=", 1) for v in variables))
"""

# Without this file the embedded etcd uses ports 2379 and 2380, despite milvus.yaml.
_ETCD = """\
listen-client-urls: http://127.0.0.1:{etcd_port}
advertise-client-urls: http://127.0.0.1:{etcd_port}
listen-peer-urls: http://127.0.0.1:{etcd_peer_port}
initial-advertise-peer-urls: http://127.0.0.1:{etcd_peer_port}
initial-cluster: default=http://127.0.0.1:{etcd_peer_port}
data-dir: data/etcd
"""

# Log texts of a server whose port is in use. Most components then stop the server, the metrics
# component only logs it, and the proxy silently uses another port.
_PORT_IN_USE = ("address already in use", "Proxy get available port when init")


def why_not() -> str | None:
    """Return a sentence why the server cannot run on this machine, or None if it can."""
    if sys.platform != "linux":
        return f"Milvus 2.3.5 from PyPI runs on Linux only, and this is {platform.system()}."
    if platform.machine() != "x86_64":
        return f"Milvus 2.3.5 from PyPI is built for x86_64, and this is {platform.machine()}."
    if platform.libc_ver()[0] != "glibc":
        return "Milvus 2.3.5 from PyPI needs glibc, and this Linux has another C library."
    return None


class RealMilvus:
    """A Milvus server on free ports; its data are removed when it stops.

    ``authorization`` enables authorization (user root, password Milvus). The unpacked server is in
    ``milvus-import`` in the user's cache folder; if that is not writable, it is unpacked next to
    the data and removed with them.

    ``public_port`` and ``internal_port`` (19530 and 19529 by default in Milvus) are 0 before the
    first start, then unchanged until stop(). ``data_dir`` is the server's working folder, to which
    paths of imports are relative; ``log_path``, in it, has the output of all starts.
    """

    def __init__(self, *, authorization: bool = False) -> None:
        self.public_port = 0
        self.internal_port = 0
        self.data_dir = Path(tempfile.gettempdir()) / f"{NAME}-{secrets.token_hex(6)}"
        self.log_path = self.data_dir / "milvus.log"
        self._authorization = authorization
        self._ports: dict[str, int] = {}
        self._process: _Process | None = None

    @property
    def uri(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.public_port}"

    @property
    def internal_uri(self) -> str:
        """The address of the proxy's internal service (without GetImportProgress in 2.3.5)."""
        return f"http://127.0.0.1:{self.internal_port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 60.0) -> None:
        """Start the server, after kill() with the same data and ports, and wait until it is ready.

        ``timeout`` is in seconds and starts with the process; a download is not included. After
        kill() a start takes 8 to 50 s, because the server waits until its old leases expire. It
        then responds to polls; CheckHealth hangs and imports stay pending for about 30 s more.

        Raises RuntimeError, with the last log lines, if the server is running, cannot run on this
        machine, could not be downloaded, ended, or was not ready in time. stop() deletes data.
        """
        if self.alive():
            raise RuntimeError("this Milvus is running already")
        reason = why_not() or _run_folder_problem()
        if reason:
            raise RuntimeError(reason)
        atexit.register(self.stop)
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        server = _server(self.data_dir)
        if self._ports:
            self._launch(server, timeout)
            return
        self._configure(server)
        try:
            self._launch(server, timeout)
        except _PortInUseError:  # taken by another process since _free_ports(): rare
            self._configure(server)
            self._launch(server, timeout)

    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._process is not None and self._process.wait(0) is None

    def kill(self) -> None:
        """Kill the server (SIGKILL); the data are kept for the next start()."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Stop the server (SIGTERM, SIGKILL after 3 s) and remove its data."""
        if self._process is not None:
            self._process.signal(signal.SIGTERM)
            if self._process.wait(3) is None:
                self.kill()
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self._ports = {}
        atexit.unregister(self.stop)

    def _configure(self, server: Path) -> None:
        """Choose ports and write the configuration of a server without data."""
        template = (server / "config.yaml.template").read_text()
        names = re.findall(r"{{ *(\w+_port)\b", template)
        self._ports = _free_ports([*names, "etcd_peer_port", "metrics_port"])
        self.public_port = self._ports["proxy_port"]
        self.internal_port = self._ports["proxy_internal_port"]
        data, configs = self.data_dir / "data", self.data_dir / "configs"
        shutil.rmtree(data, ignore_errors=True)
        configs.mkdir(exist_ok=True)
        values: dict[str, object] = {
            "etcd_data_dir": data / "etcd",
            "local_storage_dir": data,
            "rocksmq_data_dir": data / "rocksmq",
            "system_log_path": "",  # log to stdout only
            "authorization_enabled": str(self._authorization).lower(),
        }
        text = _fill_in(template, values | self._ports)
        text = text.replace(
            "\n  ip:", "\n  ip: 127.0.0.1"
        )  # for connections between the components
        (configs / "milvus.yaml").write_text(text)
        (configs / "etcd.yaml").write_text(_ETCD.format_map(self._ports))
        shutil.copy(server / "glog.conf", configs)

    def _launch(self, server: Path, timeout: float) -> None:
        # Without the variables of this process: a PROXY_PORT would override milvus.yaml.
        variables = {
            "DEPLOY_MODE": "STANDALONE",
            "ETCD_CONFIG_PATH": str(self.data_dir / "configs" / "etcd.yaml"),
            "HOME": str(self.data_dir),
            "LD_LIBRARY_PATH": str(server / "bin"),
            "METRICS_PORT": str(self._ports["metrics_port"]),
        }
        before = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._process = _Process(server / "bin" / "milvus", variables, self.log_path)
        try:
            self._await(self._process, timeout, before)
        except BaseException:
            self.kill()
            raise

    def _await(self, process: _Process, timeout: float, log_start: int) -> None:
        deadline = time.monotonic() + timeout
        while True:
            ready = self._is_ready()
            code = process.wait(0.05)
            log = self.log_path.read_bytes()[log_start:].decode(errors="replace")
            if any(text in log for text in _PORT_IN_USE):
                raise _PortInUseError(f"a port of Milvus is in use:\n{_last_lines(log)}")
            if code is not None:
                message = f"Milvus ended during its start (exit code {code})"
                raise RuntimeError(f"{message}:\n{_last_lines(log)}")
            if ready:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"Milvus is not ready after {timeout:g} s:\n{_last_lines(log)}")

    def _is_ready(self) -> bool:
        """Request /healthz, which returns 200 once all components, and thus gRPC, are ready."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["metrics_port"], timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class _PortInUseError(RuntimeError):
    """Another process took a port between _free_ports() and the start of the server."""


class _Process:
    """The process of the server, and the thread that starts it and waits for its end.

    Linux kills the process (PR_SET_PDEATHSIG) when the *thread* that started it ends. A start() in
    a worker thread would therefore end the server with that worker; this thread lives as long as
    the server.
    """

    def __init__(self, program: Path, variables: dict[str, str], log: Path) -> None:
        self._command = [sys.executable, "-IS", "-c", _LAUNCHER, str(os.getpid()), str(program)]
        self._command += [f"{name}={value}" for name, value in variables.items()]
        self._log = log
        self._started: Future[subprocess.Popen[bytes]] = Future()
        self._thread = threading.Thread(target=self._keep, name=NAME, daemon=True)
        self._thread.start()
        self._popen = self._started.result()

    def _keep(self) -> None:
        try:
            with self._log.open("ab") as log:
                popen = subprocess.Popen(
                    self._command,
                    cwd=self._log.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,  # Ctrl-C must not reach the server: stop() ends it
                )
        except OSError as error:
            self._started.set_exception(error)
            return
        self._started.set_result(popen)
        popen.wait()
        with suppress(OSError):
            (_RUN_FOLDERS[1] / f"server_id_{popen.pid}").unlink()
            _RUN_FOLDERS[1].rmdir()  # if empty: other users could not write to it

    def signal(self, number: int) -> None:
        """Send a signal if the process is running."""
        self._popen.send_signal(number)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end; return the exit code (-9: SIGKILL), or None after the timeout."""
        self._thread.join(timeout)
        return None if self._thread.is_alive() else self._popen.returncode


def _free_ports(names: list[str]) -> dict[str, int]:
    with ExitStack() as held:  # held together, so that they differ
        sockets = {name: held.enter_context(socket.socket()) for name in names}
        for bound in sockets.values():
            bound.bind(("", 0))  # on all interfaces, as the server does
        return {name: bound.getsockname()[1] for name, bound in sockets.items()}


def _fill_in(template: str, values: dict[str, object]) -> str:
    """Replace each ``{{ name(type): default }}``."""

    def value(match: re.Match[str]) -> str:
        return str(values.get(match[1], match[2] or ""))

    return re.sub(r"{{ *(\w+)(?:\(\w+\))?(?:: *(.*?))? *}}", value, template)


def _last_lines(log: str) -> str:
    """Return the last lines, shortened; for a Go panic, those before the stack trace."""
    lines = log.splitlines()
    panic = next((i for i, line in enumerate(lines) if line.startswith("panic:")), len(lines))
    return "\n".join(line[:300] for line in lines[max(0, panic - 9) : panic + 1])


def _run_folder_problem() -> str | None:
    nearest = [folder if folder.exists() else folder.parent for folder in _RUN_FOLDERS]
    if any(os.access(folder, os.W_OK | os.X_OK) for folder in nearest):
        return None
    return (
        f"Milvus 2.3.5 cannot write to {_RUN_FOLDERS[1]}, which it needs: {nearest[1]} belongs to "
        f"user id {nearest[1].stat().st_uid}. Remove it as that user."
    )


def _server(spare: Path) -> Path:
    """Return the unpacked server, in the cache or, if that is not writable, in ``spare``."""
    try:
        return _unpacked(_cache() / NAME)
    except OSError:
        return _unpacked(spare / "server")


def _cache() -> Path:
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = configured if configured.is_absolute() else Path.home() / ".cache"
        return base / "milvus-import"
    except RuntimeError as error:
        raise OSError("the user has no home folder") from error


def _unpacked(home: Path) -> Path:
    """Download and unpack the server unless it is complete; one process at a time.

    Raises OSError if the folder is not writable, RuntimeError if the download failed.
    """
    if _is_complete(home):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    part = home.with_name(f"{NAME}.part")
    with home.with_name(f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_complete(home):
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)
            try:
                _unpack(part)
                part.rename(home)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return home


def _unpack(home: Path) -> None:
    (home / "bin").mkdir(parents=True)
    wheel = _download(home)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            packed = home / name.removeprefix("milvus/data/")
            if packed.suffix == ".lzma":
                target = packed.with_suffix("")
                with lzma.open(archive.open(name)) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            elif name.startswith("milvus/data/"):
                packed.write_bytes(archive.read(name))
    wheel.unlink()
    (home / "bin" / "milvus").chmod(0o755)
    (home / "stamp.json").write_text(json.dumps(_stamp(home)))


def _is_complete(home: Path) -> bool:
    try:
        return bool(json.loads((home / "stamp.json").read_bytes()) == _stamp(home))
    except (OSError, ValueError):
        return False


def _stamp(home: Path) -> dict[str, object]:
    """Return the pin of the server and the size of each file in the folder."""
    files = sorted({*home.glob("*.*"), *home.glob("bin/*")} - {home / "stamp.json"})
    sizes = {str(file.relative_to(home)): file.stat().st_size for file in files}
    return {"pin": PIN.read_text(), "sizes": sizes}


def _download(folder: Path) -> Path:
    print("downloading Milvus 2.3.5 (58 MB, once) ...", file=sys.stderr, flush=True)
    command = ["download", "--no-deps", "--require-hashes", "-r", str(PIN), "-d", str(folder)]
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    pip = [*_pip(), *command, *options]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.rpartition("ERROR:")[2].strip() or "pip printed no reason"
        raise RuntimeError(
            f"Milvus 2.3.5 could not be downloaded: {reason.splitlines()[0]}\n"
            f"Try again when this command works: pip download --no-deps -r {PIN}"
        )
    return next(folder.glob("*.whl"))


def _pip() -> list[str]:
    """Return the command of pip, which environments created by uv do not have."""
    tools = ROOT / ".venvs" / "tools" / "bin" / "python"
    return [str(tools) if tools.exists() else sys.executable, "-m", "pip"]
