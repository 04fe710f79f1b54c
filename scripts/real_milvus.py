"""A real Milvus 2.3.5 standalone, taken from its PyPI wheel, for the demo and for tests/real.

    with RealMilvus() as milvus:
        ...  # a client of milvus.uri

The first start on a machine downloads 58 MB and unpacks 246 MB into the user's cache folder; after
that a start takes 2 to 3 s. A server takes some 250 MB of memory and 200 MB of the temporary
folder. It listens on all interfaces, for want of a setting; its parts talk over loopback.
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

if sys.platform != "win32":  # why_not() answers there too
    import fcntl

NAME = "milvus-2.3.5"
PIN = Path(__file__).resolve().parent.parent / "requirements" / "milvus-server.txt"

# Fixed in the server, which never looks at MILVUS_RUN_DIR: its pid file goes to the first of these
# it can write to, server_id_<pid> to the second, and it removes neither.
_RUN_FOLDERS = (Path("/run/milvus"), Path("/tmp/milvus"))  # noqa: S108

# Turns into the server, to be killed when its parent ends, in whatever way. (A preexec_fn could ask
# for that too, but would fork a process in which gRPC's threads may be running.)
_LAUNCHER = """
import ctypes, os, signal, sys
parent, program, *variables = sys.argv[1:]
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(parent):
    os.execve(program, [program, "run", "standalone"], dict(v.split("=", 1) for v in variables))
"""

# Without a file of its own the embedded etcd takes 2379 and 2380, whatever milvus.yaml says.
_ETCD = """\
listen-client-urls: http://127.0.0.1:{etcd_port}
advertise-client-urls: http://127.0.0.1:{etcd_port}
listen-peer-urls: http://127.0.0.1:{etcd_peer_port}
initial-advertise-peer-urls: http://127.0.0.1:{etcd_peer_port}
initial-cluster: default=http://127.0.0.1:{etcd_peer_port}
data-dir: data/etcd
"""

# What a server logs that found a port taken. Some parts then end it, metrics only complains, and
# the proxy quietly serves on another one.
_PORT_TAKEN = ("address already in use", "Proxy get available port when init")


def why_not() -> str | None:
    """Say in a sentence why no such server can run on this machine; None if it can."""
    if sys.platform != "linux":
        return f"Milvus 2.3.5 from PyPI runs on Linux only, and this is {platform.system()}."
    if platform.machine() != "x86_64":
        return f"Milvus 2.3.5 from PyPI is built for x86_64, and this is {platform.machine()}."
    if platform.libc_ver()[0] != "glibc":
        return "Milvus 2.3.5 from PyPI needs glibc, and this Linux has another C library."
    return None


class RealMilvus:
    """A Milvus server on free ports of its own, with data that go when it stops.

    ``authorization`` makes it ask for credentials (user root, password Milvus). ``cache_dir`` keeps
    the unpacked server, by default ``milvus-import`` in the user's cache folder; if it cannot be
    written to, the server is unpacked beside the data and goes with them.

    ``public_port`` and ``internal_port`` (a usual Milvus has 19530 and 19529) are 0 before the
    first start, then the same until stop(). ``data_dir`` is the server's working folder, which
    paths in its Import are relative to; ``log_path``, in it, has the output of all its starts.
    """

    def __init__(self, *, authorization: bool = False, cache_dir: Path | None = None) -> None:
        self.public_port = 0
        self.internal_port = 0
        self.data_dir = Path(tempfile.gettempdir()) / f"{NAME}-{secrets.token_hex(6)}"
        self.log_path = self.data_dir / "milvus.log"
        self._authorization = authorization
        self._cache_dir = cache_dir
        self._ports: dict[str, int] = {}
        self._process: _Process | None = None

    @property
    def uri(self) -> str:
        """Where clients are served."""
        return f"http://127.0.0.1:{self.public_port}"

    @property
    def internal_uri(self) -> str:
        """Where the proxy serves other parts of Milvus (2.3.5 has no GetImportProgress there)."""
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
        """Start, after kill() on the same data and ports, and return once it serves.

        ``timeout`` is in seconds and counts from when the process runs; a download comes on top.
        After kill() it takes 8 to 50 s, for the server waits for its old leases to run out. Polls
        are answered then; CheckHealth hangs and imports stay pending for some 30 s more.

        Raises:
            RuntimeError: It is running, cannot run here, could not be downloaded, died, or was not
                ready in time; then the text ends with its last log lines. Data stay until stop().
        """
        if self.alive():
            raise RuntimeError("this Milvus is running already")
        trouble = why_not() or _run_folder_trouble()
        if trouble:
            raise RuntimeError(trouble)
        atexit.register(self.stop)
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        server = _server(self._cache_dir, self.data_dir)
        if self._ports:
            self._launch(server, timeout)
            return
        self._configure(server)
        try:
            self._launch(server, timeout)
        except _PortTakenError:  # between our look and the server's: rare, so once
            self._configure(server)
            self._launch(server, timeout)

    def alive(self) -> bool:
        """Say whether the process is there; a paused one is."""
        return self._process is not None and self._process.wait(0) is None

    def kill(self) -> None:
        """End it by SIGKILL, like a crash; the data stay, and start() goes on with them."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """Freeze it by SIGSTOP: connections stay, nothing answers. RuntimeError if it has ended."""
        self._running().signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after pause(), by SIGCONT. RuntimeError if it has ended."""
        self._running().signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it (SIGTERM, SIGKILL 3 s later) and remove its data; start() would begin afresh."""
        if self._process is not None:
            self._process.signal(signal.SIGTERM)
            self._process.signal(signal.SIGCONT)  # a paused one does not notice the first
            if self._process.wait(3) is None:
                self.kill()
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self._ports = {}
        atexit.unregister(self.stop)

    def _running(self) -> _Process:
        if self._process is None or not self.alive():
            raise RuntimeError("this Milvus is not running")
        return self._process

    def _configure(self, server: Path) -> None:
        """Choose ports and write the configuration of a server that has no data yet."""
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
            "system_log_path": "",  # no files beside what it prints
            "authorization_enabled": str(self._authorization).lower(),
        }
        text = _filled_in(template, values | self._ports)
        text = text.replace("\n  ip:", "\n  ip: 127.0.0.1")  # where the parts look for each other
        (configs / "milvus.yaml").write_text(text)
        (configs / "etcd.yaml").write_text(_ETCD.format_map(self._ports))
        shutil.copy(server / "glog.conf", configs)

    def _launch(self, server: Path, timeout: float) -> None:
        # None of our own variables: a PROXY_PORT among them would override milvus.yaml.
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
            serves = self._serves()
            code = process.wait(0.05)
            log = self.log_path.read_bytes()[log_start:].decode(errors="replace")
            if any(words in log for words in _PORT_TAKEN):
                raise _PortTakenError(f"Milvus found a port taken:\n{_last_words(log)}")
            if code is not None:
                words = f"Milvus ended while it started (exit code {code})"
                raise RuntimeError(f"{words}:\n{_last_words(log)}")
            if serves:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"Milvus not ready after {timeout:g} s:\n{_last_words(log)}")

    def _serves(self) -> bool:
        """Ask /healthz, which turns from 500 to 200 when all parts, and thus gRPC, serve."""
        asked = http.client.HTTPConnection("127.0.0.1", self._ports["metrics_port"], timeout=2)
        try:
            asked.request("GET", "/healthz")
            return asked.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asked.close()


class _PortTakenError(RuntimeError):
    """Another process took a port between our look at it and the server's."""


class _Process:
    """The server's process, and the thread that starts it and waits for its end.

    When Linux kills a process at its parent's end, "parent" is the *thread* that started it: a
    start() in a worker thread would lose the server as that worker ends. This thread stays.
    """

    def __init__(self, program: Path, variables: dict[str, str], log: Path) -> None:
        self._command = [sys.executable, "-IS", "-c", _LAUNCHER, str(os.getpid()), str(program)]
        self._command += [f"{name}={value}" for name, value in variables.items()]
        self._log = log
        self._born: Future[subprocess.Popen[bytes]] = Future()
        self._thread = threading.Thread(target=self._keep, name=NAME, daemon=True)
        self._thread.start()
        self._popen = self._born.result()

    def _keep(self) -> None:
        try:
            with self._log.open("ab") as log:
                popen = subprocess.Popen(
                    self._command,
                    cwd=self._log.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,  # a terminal's Ctrl-C reaches us, and we stop it then
                )
        except OSError as error:
            self._born.set_exception(error)
            return
        self._born.set_result(popen)
        popen.wait()
        with suppress(OSError):
            (_RUN_FOLDERS[1] / f"server_id_{popen.pid}").unlink()
            _RUN_FOLDERS[1].rmdir()  # if empty; left behind, it would keep out other users

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        self._popen.send_signal(number)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait up to so many seconds for its end; the exit code (-9: SIGKILL), None if it runs."""
        self._thread.join(timeout)
        return None if self._thread.is_alive() else self._popen.returncode


def _free_ports(names: list[str]) -> dict[str, int]:
    with ExitStack() as held:  # all at once, so that they differ
        sockets = {name: held.enter_context(socket.socket()) for name in names}
        for bound in sockets.values():
            bound.bind(("", 0))  # on all interfaces, as the server will
        return {name: bound.getsockname()[1] for name, bound in sockets.items()}


def _filled_in(template: str, values: dict[str, object]) -> str:
    """Replace each ``{{ name(type): default }}``."""

    def value(match: re.Match[str]) -> str:
        return str(values.get(match[1], match[2] or ""))

    return re.sub(r"{{ *(\w+)(?:\(\w+\))?(?:: *(.*?))? *}}", value, template)


def _last_words(log: str) -> str:
    """Give the last lines, shortened; if there was a Go panic, those before its long stack."""
    lines = log.splitlines()
    panic = next((i for i, line in enumerate(lines) if line.startswith("panic:")), len(lines))
    return "\n".join(line[:300] for line in lines[max(0, panic - 9) : panic + 1])


def _run_folder_trouble() -> str | None:
    nearest = [folder if folder.exists() else folder.parent for folder in _RUN_FOLDERS]
    if any(os.access(folder, os.W_OK | os.X_OK) for folder in nearest):
        return None
    return (
        f"Milvus 2.3.5 has to write to {_RUN_FOLDERS[1]}, whatever MILVUS_RUN_DIR says, and may "
        f"not: {nearest[1]} belongs to user id {nearest[1].stat().st_uid}. Remove it as that user."
    )


def _server(cache_dir: Path | None, spare: Path) -> Path:
    """Find the unpacked server, or download and unpack it: in the cache, else beside the data."""
    try:
        return _made((cache_dir or _cache()) / NAME)
    except OSError:
        return _made(spare / "server")


def _cache() -> Path:
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / "milvus-import"
    except RuntimeError as error:
        raise OSError("this user has no home") from error


def _made(home: Path) -> Path:
    """Fill this folder unless it is whole; of several processes one does it, the others wait.

    Raises:
        OSError: It could not be written.
        RuntimeError: The download failed.
    """
    if _is_whole(home):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    part = home.with_name(f"{NAME}.part")
    with home.with_name(f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(home):
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)
            try:
                _make(part)
                part.rename(home)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return home


def _make(home: Path) -> None:
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


def _is_whole(home: Path) -> bool:
    try:
        return bool(json.loads((home / "stamp.json").read_bytes()) == _stamp(home))
    except (OSError, ValueError):
        return False


def _stamp(home: Path) -> dict[str, object]:
    """Say what the folder was made from, and the size of each file in it."""
    files = sorted({*home.glob("*.*"), *home.glob("bin/*")} - {home / "stamp.json"})
    sizes = {str(file.relative_to(home)): file.stat().st_size for file in files}
    return {"pin": PIN.read_text(), "sizes": sizes}


def _download(folder: Path) -> Path:
    print("downloading Milvus 2.3.5 (58 MB, only this once) ...", file=sys.stderr, flush=True)
    words = ["download", "--no-deps", "--require-hashes", "-r", str(PIN), "-d", str(folder)]
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    done = subprocess.run([*_pip(), *words, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.rpartition("ERROR:")[2].strip() or "pip gave no reason"
        raise RuntimeError(
            f"Milvus 2.3.5 could not be downloaded: {said.splitlines()[0]}\n"
            f"Make this work, then try again: pip download --no-deps -r {PIN}"
        )
    return next(folder.glob("*.whl"))


def _pip() -> list[str]:
    for python in filter(None, (sys.executable, shutil.which("python3"))):
        pip = [python, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0:
            return pip
    raise RuntimeError(
        "Milvus 2.3.5 could not be downloaded for want of pip: run python3 -m ensurepip, or "
        "install the package python3-pip"
    )
