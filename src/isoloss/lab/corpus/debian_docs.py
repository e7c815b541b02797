"""`debian-docs`: clean English technical prose from forty documentation packages of Debian.

Packages are read in the order below, best text per download first; of two paragraphs nearly alike
the first is kept. Each page is a document and a unit of the split, long ones in pieces. Left out of
every package: pages of highlighted source, indices, and copies of the pages' own source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from isoloss.lab.corpus.archives import read_members
from isoloss.lab.corpus.clean import Paragraph, Seen, html_paragraphs, plain_paragraphs, prose
from isoloss.lab.corpus.clients import Download, Progress
from isoloss.lab.corpus.roff import man_page
from isoloss.lab.corpus.text_files import Document, cut

# fmt: off
PACKAGES = (
    "exim4-doc-html", "r-doc-html", "postgresql-doc-15", "c++-annotations-html", "anarchism",
    "libreoffice-help-en-us", "swi-prolog-doc", "python-sqlalchemy-doc", "git-doc", "clang-19-doc",
    "python-django-doc", "vim-runtime", "fp-docs-3.2.2", "slurm-wlm-doc", "ant-doc", "ffmpeg-doc",
    "perl-doc", "python3.11-doc", "systemd", "derby-doc", "llvm-19-doc", "erlang-doc", "racket-doc",
    "rust-doc", "sqlite3-doc", "ghc-doc", "twisted-doc", "zsh-doc", "buildbot-doc", "nova-doc",
    "ganeti-doc", "proftpd-doc", "tomcat10-docs", "lava-server-doc", "rsyslog-doc", "swift-doc",
    "bind9-doc", "cinder-doc", "neutron-doc", "emacs-common",
)
# fmt: on

_PAGES = ("*.html", "*.htm")
_WANTED = {
    "vim-runtime": ("*/doc/*.txt",),
    "perl-doc": ("usr/share/man/man[13]/*",),
    "systemd": ("usr/share/man/*", "*/doc/systemd/*"),
    "emacs-common": ("*/etc/NEWS*", "*/etc/*-NEWS", "*/etc/PROBLEMS", "*/etc/DEBUG", "*/etc/TODO"),
}
_UNWANTED = (
    "*/_sources/*",
    "*/src/*",
    "*/_modules/*",
    "*genindex*",
    "*/search.html",
    "*/doc-index*",
)


def read_debian_docs(
    downloads: Sequence[Download], progress: Progress | None = None
) -> Iterator[Document]:
    """Read the packages in their order here and yield their prose, repetitions dropped."""
    seen = Seen()
    by_name = {download.package: download for download in downloads}
    for number, package in enumerate(PACKAGES):
        if package not in by_name:
            continue
        for name, text in _texts(by_name[package], seen):
            for part, piece in enumerate(cut(text)):
                yield Document(piece, f"{package}/{name}", f"{package}/{name}#{part}")
        if progress is not None:
            progress("cleaning debian-docs (packages)", number + 1, len(PACKAGES))


def _texts(download: Download, seen: Seen) -> Iterator[tuple[str, str]]:
    patterns = _WANTED.get(download.package, _PAGES)

    def wanted(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns) and not any(
            fnmatchcase(name, pattern) for pattern in _UNWANTED
        )

    for name, content in read_members(download.path, wanted):
        text = prose(_paragraphs(name, content.decode("utf-8", "replace")), seen)
        if text:
            yield name, text


def _paragraphs(name: str, text: str) -> list[Paragraph]:
    if name.endswith((".html", ".htm")):
        return html_paragraphs(text)
    if "/man/" in name:
        # The prose rules find a heading by its place before a paragraph that is kept.
        return [Paragraph(line, line.isupper() and len(line) < 60) for line in man_page(text)]
    return plain_paragraphs(text)
