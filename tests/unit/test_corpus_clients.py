"""The package clients: what they are asked, what they leave, what is said when they fail."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus import clients
from isoloss.lab.corpus.clients import apt_download, npm_download, pip_download


def _program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}", "utf-8")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stands first in the path."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_pip_brings_an_sdist_and_runs_nothing_of_it(tmp_path: Path, target: Path) -> None:
    pytest.importorskip("pip")
    trap, index = tmp_path / "setup-was-run", tmp_path / "index"
    index.mkdir()
    setup = f"open({str(trap)!r}, 'w').write('ran')\nfrom setuptools import setup\nsetup()\n"
    info = "Metadata-Version: 1.0\nName: oldtext\nVersion: 0.6\n"
    with tarfile.open(index / "oldtext-0.6.tar.gz", "w:gz") as tar:
        for name, content in (("setup.py", setup), ("PKG-INFO", info), ("a.txt", "text")):
            member = tarfile.TarInfo(f"oldtext-0.6/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    options = ["--no-index", "--find-links", str(index)]
    (download,) = pip_download("oldtext", "0.6", target, options=options)
    assert not trap.exists()
    assert (download.package, download.version) == ("oldtext", "0.6")
    assert download.path.read_bytes() == (index / "oldtext-0.6.tar.gz").read_bytes()
    assert [path.name for path in target.iterdir()] == ["oldtext-0.6.tar.gz"]


def test_pip_says_why_it_failed_in_one_line(tmp_path: Path, target: Path) -> None:
    pytest.importorskip("pip")
    options = ["--no-index", "--find-links", str(tmp_path)]
    with pytest.raises(InputError, match=r"pip could not fetch absent 1\.0 .*python-stdlib") as e:
        pip_download("absent", "1.0", target, options=options)
    assert "\n" not in str(e.value)


def test_npm_is_asked_to_run_no_scripts(programs: Path, target: Path) -> None:
    _program(programs, "npm", f'echo "$@" > {target.parent}/asked\necho x > {target}/p-1.tgz\n')
    (download,) = npm_download("@scope/p", "1.0", target)
    asked = (target.parent / "asked").read_text("utf-8")
    assert asked.startswith("pack @scope/p@1.0 --ignore-scripts")
    assert (download.package, download.version) == ("@scope/p", "1.0")


def test_missing_clients_say_what_to_install(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    monkeypatch.setenv("PATH", str(target))
    with pytest.raises(InputError, match=r"install Node\.js.*python-stdlib"):
        npm_download("p", "1.0", target)
    with pytest.raises(InputError, match=r"need apt-get.*python-stdlib"):
        apt_download(["a", "b"], target)


def test_a_python_without_pip_says_how_to_get_it(
    programs: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(programs, "python", 'echo "$0: No module named pip" >&2\nexit 1\n')
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    with pytest.raises(InputError, match=r"install pip \(python -m ensurepip\)"):
        pip_download("p", "1.0", target)


def test_a_failing_client_is_quoted(programs: Path, target: Path) -> None:
    _program(programs, "npm", "echo 'npm error 404 not found' >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"npm could not fetch p 1\.0 .*404 not found"):
        npm_download("p", "1.0", target)


APT_CACHE = """
shift; shift; shift
for name in "$@"; do
  case "$name" in
    gone) ;;
    known*) printf '%s:\\n  Installed: (none)\\n  Candidate: 1.0\\n' "$name" ;;
  esac
done
"""


def test_apt_brings_what_it_knows_and_names_the_rest(programs: Path, target: Path) -> None:
    _program(programs, "apt-cache", APT_CACHE)
    script = 'case "$*" in *update*) ;; *) printf x > known-a_1%3a2.0-1_all.deb ;; esac\n'
    _program(programs, "apt-get", script)
    said: list[tuple[str, int, int | None]] = []
    found, absent = apt_download(
        ["known-a", "gone"], target, size=1, progress=lambda *words: said.append(words)
    )
    assert [(one.package, one.version) for one in found] == [("known-a", "1:2.0-1")]
    assert absent == ("gone",)
    assert not (target / "apt").exists()


def test_apt_without_lists_fetches_its_own(programs: Path, target: Path) -> None:
    _program(programs, "apt-cache", f"[ -e {target}/updated ] && {{ {APT_CACHE} }}\nexit 0\n")
    script = (
        f'case "$*" in *Dir::State::lists*update*) : > {target}/updated ;;\n'
        "*download*) rm updated; printf x > known_1_all.deb ;; esac\n"
    )
    _program(programs, "apt-get", script)
    found, absent = apt_download(["known"], target)
    assert [one.package for one in found] == ["known"]
    assert absent == ()


def test_apt_that_knows_nothing_says_where_to_run(programs: Path, target: Path) -> None:
    _program(programs, "apt-cache", "exit 0\n")
    _program(programs, "apt-get", "exit 0\n")
    with pytest.raises(InputError, match=r"apt knows none of gone .*Debian 12"):
        apt_download(["gone"], target)


def test_progress_is_told_while_a_client_runs(
    programs: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_POLL_SECONDS", 0.02)
    _program(programs, "apt-cache", APT_CACHE)
    script = "printf 12345 > known_1_all.deb\nwhile [ ! -e go ]; do sleep 0.02; done; rm go\n"
    _program(programs, "apt-get", script)
    said: list[tuple[str, int, int | None]] = []

    def note(what: str, done: int, total: int | None) -> None:
        said.append((what, done, total))
        if done == 5:
            (target / "go").touch()

    apt_download(["known"], target, size=5, progress=note)
    assert said[-1] == ("downloading known from Debian", 5, 5)
