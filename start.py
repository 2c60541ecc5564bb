#!/usr/bin/env python3
"""Sets l2s-node up in `.venv` beside this file and runs it; needs nothing but Python 3.11, 3.12 or 3.13.

    python3 start.py                    the demo: the bundled clip through the flowers world to the NDI sender "l2s"
    python3 start.py ARGS...            l2s ARGS... ("python3 start.py list", "python3 start.py run --in ndi:cam")
    python3 start.py test [ARGS...]     with the test extras: ruff, mypy and pytest ARGS...

A stamp in `.venv` says what was installed. While it holds, a start only compares it and becomes `l2s`: that is the
show's start, so nothing heavy is imported on the way. It is written last, so that the next start repairs a set-up
that was interrupted. This file keeps to syntax that older Pythons read, to be able to tell them which one is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "l2s-installed"
UNFINISHED = VENV / "l2s-unfinished"
LOG = VENV / "l2s-install.log"
PYTHONS = ((3, 11), (3, 12), (3, 13))
DEMO = ("run", "--in", f"file:{ROOT / 'presets' / 'demo' / 'bottles.mp4'}", "--out", "ndi:l2s",
        "--world", "flowers", "--size", "small")  # fmt: skip
PINS = ("--constraint", str(ROOT / "constraints.txt"))
CPU_GB, CUDA_GB = 4, 12
"""What an environment takes on disk while it is made, with PyTorch for the CPU and with CUDA's libraries."""


class SetupError(Exception):
    """One sentence: what is missing and the command that mends it."""


class NoBuildError(SetupError):
    """The package index was reached and has no such build."""


def main(args: list[str]) -> int:
    testing = args[:1] == ["test"]
    try:
        if not is_installed(testing):
            install(testing)
        return check(ROOT, args[1:]) if testing else hand_over(args or list(DEMO))
    except SetupError as err:
        print(f"l2s: {err}", file=sys.stderr)
        return 1
    except OSError as err:  # a full disk, a folder that may not be written
        print(f"l2s: {explain(str(err)) or err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("l2s: stopped; start again and it begins where that is safe", file=sys.stderr)
        return 130


def hand_over(args: list[str]) -> int:
    """Become `l2s ARGS...` (-P: a file of the working directory never shadows a module)."""
    command = [str(PYTHON), "-P", "-m", "l2s_node", *args]
    if os.name != "nt":
        os.execv(command[0], command)
    import signal
    import subprocess

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the console hands Ctrl-C to the child as well; it finishes the show
    return subprocess.call(command)


def check(root: Path, pytest_args: list[str]) -> int:
    """Lint, format, types and tests of the project in `root`; pytest's closing lines come last."""
    import subprocess

    tools = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
    words, failed = [], False
    for tool in tools:
        done = subprocess.run([str(PYTHON), "-m", *tool], cwd=root, text=True, capture_output=True)
        failed |= done.returncode != 0
        words.append(" ".join(tool) + (": FAILED" if done.returncode else ": ok"))
        if done.returncode:
            print(done.stdout + done.stderr)
    print(", ".join(words), flush=True)
    tests = subprocess.call([str(PYTHON), "-m", "pytest", *pytest_args], cwd=root)
    return tests or int(failed)


# ---- what is installed


def stamp() -> str:
    """What an environment that fits was made of: the two files, this folder (the install points here), its Python."""
    digest = hashlib.sha256()
    for part in ((ROOT / "pyproject.toml").read_bytes(), (ROOT / "constraints.txt").read_bytes(),
                 os.fsencode(ROOT), os.fsencode(os.path.realpath(PYTHON))):  # fmt: skip
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def read_stamp() -> list[str]:
    """[digest, extras] of the environment, or [] without a finished one."""
    try:
        return STAMP.read_text(encoding="ascii").split("\n")[:2]
    except OSError:
        return []


def is_installed(testing: bool) -> bool:
    found = read_stamp()
    return PYTHON.exists() and found[:1] == [stamp()] and (not testing or found[1:] == ["test"])


# ---- the set-up


def install(testing: bool) -> None:
    """Make or mend `.venv`. The stamp goes first and comes last; in between, `UNFINISHED` tells that it can't be
    trusted: pip, once killed, may take a half-copied package for a whole one."""
    testing = testing or read_stamp()[1:] == ["test"]
    if UNFINISHED.exists() or not venv_works():
        make_venv(find_python())
    STAMP.unlink(missing_ok=True)
    UNFINISHED.touch()
    LOG.write_text("", encoding="utf-8")
    install_torch()
    project = f"{ROOT}[test]" if testing else str(ROOT)
    pip("the other packages", "--editable", project, *PINS)
    STAMP.write_text(f"{stamp()}\n{'test' if testing else ''}", encoding="ascii")
    UNFINISHED.unlink()
    if sys.platform == "linux" and not os.path.exists("/run/avahi-daemon/socket"):
        say("NDI finds its sources by avahi, which doesn't run here: sudo apt install avahi-daemon")


def say(text: str) -> None:
    print(f"l2s: {text}", flush=True)


def venv_works() -> bool:
    return python_version(str(PYTHON), "import pip") in PYTHONS


def make_venv(base: str) -> None:
    import shutil
    import subprocess

    version = python_version(base, "import ensurepip, venv")
    if version is None:
        name = "python{}.{}-venv".format(*python_version(base) or PYTHONS[-1])
        raise SetupError(f"{base} lacks its venv module: sudo apt install {name}, then start again")
    need_disk(CPU_GB)
    say(f"setting up {VENV} with {base}, once; this takes a minute or a few")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    made = subprocess.run([base, "-m", "venv", str(VENV)], text=True, capture_output=True)
    if made.returncode:
        raise SetupError(explain(made.stdout + made.stderr) or f"{base} -m venv failed: {error_line(made.stderr)}")


def python_version(python: str, code: str = "") -> tuple[int, int] | None:
    """(major, minor) of an interpreter that can run `code`, else None."""
    import subprocess

    ask = f"{code}\nimport sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run([python, "-I", "-c", ask], text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.fullmatch(r"(\d+) (\d+)\s*", said.stdout) if said.returncode == 0 else None
    return (int(found[1]), int(found[2])) if found else None


def find_python() -> str:
    """An interpreter that PyTorch is built for: this one if it will do, else the newest on the path."""
    if sys.maxsize < 2**32:
        raise SetupError("this is a 32-bit Python, and PyTorch is 64-bit only: install a 64-bit Python 3.13")
    if sys.platform == "darwin" and os.uname().machine == "x86_64":
        raise SetupError(
            "PyTorch is built for Apple silicon only: start with an arm64 Python (brew install python@3.13)"
        )
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    import shutil

    for major, minor in reversed(PYTHONS):
        path = shutil.which(f"python{major}.{minor}")
        if path and python_version(path) == (major, minor):
            return path
    mend = {"darwin": "brew install python@3.13", "win32": "winget install Python.Python.3.13 and py -3.13 start.py"}
    here = "{}.{}".format(*sys.version_info[:2])
    raise SetupError(
        f"l2s-node needs Python 3.11, 3.12 or 3.13, and this is {here}: "
        + mend.get(sys.platform, "sudo apt install python3.13-venv and python3.13 start.py")
    )


def need_disk(gigabytes: int) -> None:
    import shutil

    free = shutil.disk_usage(ROOT).free / 1e9
    if free < gigabytes:
        raise SetupError(
            f"the set-up needs {gigabytes} GB and {ROOT} has {free:.1f} GB left: free some, then start again"
        )


# ---- PyTorch: the build that fits. The plain one brings CUDA's libraries on Linux and none on Windows and macOS.


def has_nvidia() -> bool:
    import shutil

    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def torch_pin() -> str | None:
    """The version in constraints.txt."""
    found = re.search(r"^torch==([\w.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def install_torch() -> None:
    """Leave PyTorch to pip unless its plain build is the wrong one here; then ask for the right one, by pip where its
    index or a folder is set up for that, else by uv, which knows PyTorch's own index."""
    pin = torch_pin()
    ask = "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != sys.argv[1])"
    if pin is None or run([str(PYTHON), "-I", "-c", ask, pin])[0] == 0:
        return
    if sys.platform == "linux" and not has_nvidia():
        try:
            pip("PyTorch for the CPU", f"torch=={pin}+cpu", *PINS)
        except NoBuildError:
            if not uv_torch("cpu", pin):
                need_disk(CUDA_GB)
                say("the CPU build of PyTorch can't be reached; taking the plain one with CUDA's libraries (some GB)")
    elif sys.platform == "win32" and has_nvidia() and not uv_torch("auto", pin):
        say("PyTorch's build for NVIDIA can't be reached; taking the plain one, which uses the CPU only")
    elif sys.platform == "linux":
        need_disk(CUDA_GB)


def uv_torch(backend: str, pin: str) -> bool:
    """Install PyTorch from its own index; False where that can't be reached."""
    pip("uv", "uv")
    say(f"PyTorch ({backend}) from its own index ...")
    brief = {"UV_HTTP_TIMEOUT": "20", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_RETRIES": "1"}
    uv = [str(PYTHON), "-I", "-m", "uv", "pip", "install", "--python", str(PYTHON)]
    return run([*uv, "--torch-backend", backend, f"torch=={pin}", *PINS], brief)[0] == 0


# ---- running pip


def pip(what: str, *args: str) -> None:
    """`pip install ARGS...`, with its downloads named in the terminal and all that it says in the log.

    Raises:
        SetupError: what went wrong, in one sentence.
    """
    say(f"installing {what} ...")
    flags = ["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "--timeout", "20"]
    code, said = run([str(PYTHON), "-I", "-m", "pip", "install", *flags, *args], {"PIP_USER": "0"})
    if code:
        cause = explain(said)
        missing = re.search(r"No matching distribution found for (\S+)", said)
        if missing and not cause:
            raise NoBuildError(f"there is no build of {missing[1]} for this system and Python: try python3.12 start.py")
        raise SetupError(cause or f"installing {what} failed: {error_line(said)} (all of it is in {LOG})")


def run(command: list[str], variables: dict[str, str] | None = None) -> tuple[int, str]:
    """Run `command`; its exit code and its output, which goes into the log as well."""
    import subprocess

    env = {**os.environ, **(variables or {})}
    said = []
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env
        ) as child,
    ):
        assert child.stdout is not None
        try:
            for line in (raw.decode("utf-8", "replace") for raw in child.stdout):
                said.append(line)
                log.write(line)
                if found := re.match(r"\s*Downloading ([^-\s]+)-([^-\s]+)\S* (\(.*\))", line):
                    print("    ", *found.groups(), flush=True)
            return child.wait(), "".join(said)
        finally:
            if child.poll() is None:  # interrupted: no pip goes on behind the back of the next start
                child.terminate()


CAUSES = (
    (r"No space left on device|\[Errno 28\]|not enough space on the disk",
     "the disk is full: free some GB (df -h . shows it), then start again"),
    (r"CERTIFICATE_VERIFY_FAILED",
     "the network's certificate is not trusted: set PIP_CERT to its file (export PIP_CERT=...), then start again"),
    (r"Failed to establish a new connection|NewConnectionError|Name or service not known|getaddrinfo failed|"
     r"name resolution|Network is unreachable|Connection refused|ConnectTimeout|Read timed out|ProxyError|"
     r"Could not connect|NameResolutionError",
     "the package index can't be reached: connect to the internet (or set PIP_INDEX_URL), then start again"),
)  # fmt: skip


def explain(text: str) -> str | None:
    """The sentence for what `text`, the words of venv or pip, says; None where none fits."""
    return next((sentence for pattern, sentence in CAUSES if re.search(pattern, text)), None)


def error_line(text: str) -> str:
    """The first line that pip marks as an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "it said nothing")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
