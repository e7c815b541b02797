"""Packages fetched by the ecosystems' own clients: pip, npm and apt, each run as a subprocess.

Nothing is installed, built or executed, and nothing needs administrator's rights. What comes back
is the archive as published, with its hash; `archives` reads it without unpacking it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from isoloss.errors import InputError

Progress = Callable[[str, int, int | None], None]
"""Called as progress(what is being done, amount done, amount in all or None where unknown)."""

_OFFLINE = "check the network, or"
_FALLBACK = "use python-stdlib, which needs no download"
_POLL_SECONDS = 0.25

# pip asks every source distribution for its metadata and would run its setup.py for the answer.
# This stands in for setuptools as the build backend, for that one subprocess, and answers from the
# request instead: name and version, as pinned. So pip downloads and nothing of the package runs.
_INERT_BACKEND = """\
import os


class _Inert:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        name, version = os.environ["ISOLOSS_PINNED"].split("==")
        folder = f"{name}-{version}.dist-info"
        os.makedirs(os.path.join(metadata_directory, folder))
        with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as out:
            out.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        return folder


__legacy__ = _Inert()
"""


@dataclass(frozen=True)
class Download:
    """One package as published: name, version, SHA-256 of the archive, where the archive lies."""

    package: str
    version: str
    sha256: str
    path: Path


def pip_download(
    name: str, version: str, folder: Path, *, options: Sequence[str] = ()
) -> tuple[Download, ...]:
    """Download a source distribution from the Python package index without running any of it.

    options: further arguments for pip, such as `--no-index --find-links FOLDER`.
    Raises InputError if pip is missing or cannot reach the package.
    """
    inert = folder / "inert"
    (inert / "setuptools").mkdir(parents=True)
    (inert / "setuptools" / "__init__.py").write_text("", "utf-8")
    (inert / "setuptools" / "build_meta.py").write_text(_INERT_BACKEND, "utf-8")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"),
        *("--no-build-isolation", "--use-pep517", "--disable-pip-version-check", "--no-input"),
        *("--progress-bar", "off", "--dest", str(folder), *options, f"{name}=={version}"),
    ]
    # Prepended, so that it is found before any installed setuptools.
    path = os.pathsep.join([str(inert), *filter(None, [os.environ.get("PYTHONPATH")])])
    wanted = f"{name} {version} from the Python package index"
    _run(
        command,
        wanted,
        {"PYTHONPATH": path, "ISOLOSS_PINNED": f"{name}=={version}"},
        missing="install pip (python -m ensurepip)",
    )
    shutil.rmtree(inert)
    return _downloads(folder, wanted, lambda path: (name, version))


def npm_download(name: str, version: str, folder: Path) -> tuple[Download, ...]:
    """Download a package's archive from the npm registry (`npm pack`, scripts off).

    Raises InputError if npm is missing or cannot reach the package.
    """
    wanted = f"{name} {version} from npm"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"{wanted} needs npm: install Node.js (apt install npm), or {_FALLBACK}")
    command = [npm, "pack", f"{name}@{version}", "--ignore-scripts", "--silent"]
    _run([*command, "--pack-destination", str(folder)], wanted, {"NO_UPDATE_NOTIFIER": "1"})
    return _downloads(folder, wanted, lambda path: (name, version))


def apt_download(
    packages: Sequence[str],
    folder: Path,
    *,
    size: int | None = None,
    progress: Progress | None = None,
    instead: str = _FALLBACK,
) -> tuple[tuple[Download, ...], tuple[str, ...]]:
    """Download Debian packages (`apt-get download`); returns them and the names apt does not know.

    The machine's package lists are used first; where they are absent or stale, lists are fetched
    into a private folder, which needs no administrator's rights.
    size: bytes expected in all, for progress. instead: what to do without them, for messages.
    Raises InputError if apt is missing, or no package can be had.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise InputError(
            f"{_several(packages)} come from Debian and need apt-get, which this system lacks: "
            f"run it on Debian or Ubuntu, or {instead}"
        )
    options = ["-q", "-o", "Dpkg::Use-Pty=0"]
    if os.geteuid() == 0:
        options += ["-o", "APT::Sandbox::User=root"]
    wanted = f"{_several(packages)} from Debian"

    def attempt(options: list[str], names: Sequence[str]) -> None:
        command = [apt, *options, "download", *names]
        _run(command, wanted, {}, folder, size, progress, instead=instead)

    known = _known_to_apt(packages, options)
    try:
        if len(known) < len(packages):
            raise InputError("the package lists are absent or old")
        attempt(options, known)
    except InputError:
        options = [*options, *_private_lists(folder)]
        _run([apt, *options, "update"], "Debian's package lists", {}, instead=instead)
        known = _known_to_apt(packages, options)
        if not known:
            raise InputError(
                f"apt knows none of {_several(packages)} on this system; they are Debian 12's: "
                f"run it there, or {instead}"
            ) from None
        attempt(options, known)
    shutil.rmtree(folder / "apt", ignore_errors=True)
    return _downloads(folder, wanted, _name_of_deb), tuple(sorted(set(packages) - set(known)))


def _known_to_apt(packages: Sequence[str], options: Sequence[str]) -> list[str]:
    command = ["apt-cache", *options, "policy", *packages]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False
        )
    except OSError:
        return list(packages)
    known: set[str] = set()
    name = ""
    for line in done.stdout.splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            known.add(name)
    return [package for package in packages if package in known]


def _private_lists(folder: Path) -> list[str]:
    state = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    return [
        *("-o", f"Dir::State::lists={state / 'lists'}"),
        *("-o", f"Dir::Cache={state / 'cache'}"),
    ]


def _run(
    command: Sequence[str],
    wanted: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    *,
    missing: str = "",
    instead: str = _FALLBACK,
) -> None:
    """Run a client to its end in `folder`; raise InputError with its own last word if it fails."""
    try:
        process = subprocess.Popen(
            command, cwd=folder, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **environment},
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot fetch {wanted}: {command[0]} does not run ({error})") from None
    with process:
        try:
            talk = _wait(process, wanted, folder, size, progress)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        if "No module named pip" in talk and missing:
            raise InputError(f"cannot fetch {wanted}: {missing}, or {instead}")
        client = "pip" if "pip" in command else Path(command[0]).name
        word = _last_word(talk)
        raise InputError(f"{client} could not fetch {wanted} ({word}); {_OFFLINE} {instead}")


def _wait(
    process: subprocess.Popen[str],
    wanted: str,
    folder: Path | None,
    size: int | None,
    progress: Progress | None,
) -> str:
    while True:
        try:
            return process.communicate(timeout=_POLL_SECONDS)[1]
        except subprocess.TimeoutExpired:
            if progress is not None:
                done = 0 if folder is None else _size_of(folder)
                progress(f"downloading {wanted}", done, size)


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.glob("**/*.deb"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # renamed by the client between the two calls
            continue
    return total


def _last_word(talk: str) -> str:
    lines = [line.strip() for line in talk.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "E:", "npm error", "npm ERR"))]
    word = (errors or lines or ["it gave no reason"])[-1]
    return word.removeprefix("ERROR: ").removeprefix("E: ")[:200]


def _downloads(
    folder: Path, wanted: str, name_of: Callable[[Path], tuple[str, str]]
) -> tuple[Download, ...]:
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        name, version = name_of(path)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        found.append(Download(name, version, digest, path))
    if not found:
        raise InputError(f"nothing came of fetching {wanted}; {_OFFLINE} {_FALLBACK}")
    return tuple(found)


def _name_of_deb(path: Path) -> tuple[str, str]:
    name, version, _ = path.name.split("_", 2)
    return name, unquote(version)


def _several(packages: Sequence[str]) -> str:
    if len(packages) <= 3:
        return ", ".join(packages)
    return f"{packages[0]} and {len(packages) - 1} other packages"
