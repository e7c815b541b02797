"""Manual pages as paragraphs: enough of roff's man and mdoc macros to read their prose.

Headings, paragraphs, list tags and inline macros become text; tables, equations, code and other
unfilled displays are dropped, as `pre` is from web pages. Not a formatter: there is no layout, and
a page that only points to another gives nothing.
Source: man(7), mdoc(7) and roff(7), as in groff 1.22.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# fmt: off
_DROPPED = {
    "TS": "TE", "EQ": "EN", "PS": "PE", "nf": "fi", "EX": "EE", "CS": "CE", "DS": "DE",
    "Rs": "Re", "SO": "SE", "Fo": "Fc", "ig": ".", "de": ".", "am": ".", "de1": ".",
}
_BREAKS = frozenset([
    "PP", "P", "LP", "HP", "TP", "TQ", "sp", "RS", "RE", "Pp", "Lp", "Bl", "El", "Ed", "Bd", "QP",
    "br", "ti", "in", "ta", "OP", "VS", "VE", "BS", "BE", "AS", "nf",
])
_HEADINGS = frozenset(["SH", "SS", "Sh", "Ss"])
_ALTERNATING = frozenset(["BR", "IR", "RB", "BI", "IB", "RI"])
_PLAIN = frozenset(["B", "I", "SM", "SB", "R", "UL"])
_IGNORED = frozenset([
    "TH", "Dd", "Dt", "Os", "ad", "na", "hy", "nh", "ne", "nr", "ds", "rr", "ft", "ll", "pl", "ps",
    "vs", "tr", "so", "fi", "EE", "UE", "ME", "In", "Fd",
])
_CLOSING = frozenset([".", ",", ":", ";", ")", "]", "?", "!"])
# fmt: on


def man_page(source: str) -> list[str]:
    """Read one manual page; return its headings and paragraphs in order, each on one line.

    source: the page's roff source. A heading with nothing below it is left out.
    """
    page = _Page(source.replace("\\\n", " ").splitlines())
    while (line := page.next_line()) is not None:
        if line.startswith((".", "'")):
            _request(line[1:].strip(), page)
        elif not line.strip():
            page.end_paragraph()
        else:
            page.add(unescape(line))
    page.end_paragraph()
    return _without_empty_headings(page.paragraphs, page.headings)


class _Page:
    """The page so far: lines left to read, finished paragraphs, words of the one being filled."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.paragraphs: list[str] = []
        self.headings: dict[int, int] = {}  # place among the paragraphs -> level
        self.words: list[str] = []
        self.name = ""
        self.section = ""

    def next_line(self) -> str | None:
        self.at += 1
        return self.lines[self.at - 1] if self.at <= len(self.lines) else None

    def add(self, text: str) -> None:
        if text.strip():
            self.words.append(text.strip())

    def end_paragraph(self) -> None:
        text = " ".join(" ".join(self.words).split())
        if text:
            self.paragraphs.append(text)
        self.words = []

    def add_heading(self, text: str, level: int) -> None:
        self.end_paragraph()
        self.add(text)
        if self.words:
            self.headings[len(self.paragraphs)] = level
            if level == 1:
                self.section = text.strip().upper()
        self.end_paragraph()


def _without_empty_headings(paragraphs: list[str], headings: dict[int, int]) -> list[str]:
    kept = []
    for place, text in enumerate(paragraphs):
        following = headings.get(place + 1, 1 if place + 1 == len(paragraphs) else 3)
        if place not in headings or headings[place] < following:
            kept.append(text)
    return kept


def _request(line: str, page: _Page) -> None:
    name, _, rest = line.partition(" ")
    name = name.split('\\"')[0].strip()
    if name == "nf" and page.section == "SYNOPSIS":
        page.end_paragraph()
    elif name in _DROPPED:
        _skip(_DROPPED[name], page)
    elif name in _HEADINGS:
        text = " ".join(map(unescape, split_arguments(rest)))
        page.add_heading(text or unescape(page.next_line() or ""), 1 if name[1] in "Hh" else 2)
    elif name == "Bd" and ("-literal" in rest or "-unfilled" in rest):
        _skip("Ed", page)
    elif name in _BREAKS:
        page.end_paragraph()
    elif name in ("IP", "AP", "It"):
        page.end_paragraph()
        words = split_arguments(rest)
        if name == "IP":
            words = words[:1]
        page.add(_mdoc(words, page) if name == "It" else " ".join(map(unescape, words)))
    elif name in _ALTERNATING:
        page.add(unescape("".join(split_arguments(rest))))
    elif name in _PLAIN:
        page.add(unescape(" ".join(split_arguments(rest))))
    elif name in ("QW", "PQ"):
        _tcl_quote(name, split_arguments(rest), page)
    elif name in ("UR", "MT"):
        page.add(unescape(rest))
    elif name == "Nd":
        page.add("- " + _mdoc(split_arguments(rest), page))
    elif name in ("if", "ie", "el"):
        _skip_block(line, page)
    elif name not in _IGNORED and len(name) == 2 and name[0].isupper() and name[1].islower():
        page.add(_mdoc([name, *split_arguments(rest)], page))


def _skip(end: str, page: _Page) -> None:
    """Pass over a display; a heading ends it too, as pages rely on."""
    page.end_paragraph()
    while (line := page.next_line()) is not None:
        if line.startswith((".", "'")):
            name = line[1:].strip().partition(" ")[0]
            if name == end:
                return
            if name in _HEADINGS and end != ".":
                page.at -= 1
                return


def _skip_block(line: str, page: _Page) -> None:
    depth = line.count("\\{") - line.count("\\}")
    while depth > 0 and (following := page.next_line()) is not None:
        depth += following.count("\\{") - following.count("\\}")


def _tcl_quote(name: str, words: list[str], page: _Page) -> None:
    quoted = f'"{words[0]}"' if words else ""
    after = words[1] if len(words) > 1 else ""
    page.add(unescape(f"({quoted}{after})" if name == "PQ" else quoted + after))


def split_arguments(text: str) -> list[str]:
    """Split a request's arguments at spaces; double quotes hold together, two of them are one."""
    text = text.split('\\"')[0] if not text.startswith('"') else text
    return [
        quoted.replace('""', '"') if quoted or plain == "" else plain
        for quoted, plain in _ARGUMENT.findall(text)
    ]


def _mdoc(words: list[str], page: _Page) -> str:
    """Words of an mdoc line with its inline macros carried out."""
    out: list[str] = []
    closers: list[str] = []
    glue = False

    def put(text: str) -> None:
        nonlocal glue
        if out and (glue or text in _CLOSING or out[-1] in ("(", "[")):
            out[-1] += text
        else:
            out.append(text)
        glue = False

    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in _ENCLOSURES:
            opening, closing = _ENCLOSURES[word]
            put(opening)
            glue = True
            closers.append(closing)
        elif word in _SPECIAL:
            at, text = _SPECIAL[word](words, at, page)
            if text:
                put(text)
        elif word in ("Ns", "Ap"):
            if word == "Ap" and out:
                out[-1] += "'"
            glue = True
        elif word in _FIXED:
            put(_FIXED[word])
        elif not (word in _INLINE or (len(word) == 2 and word[0] == "%")):
            put(unescape(word))
    while closers:
        closing = closers.pop()
        # Punctuation that ends the line stands outside the brackets.
        if out and len(out[-1]) > 1 and out[-1][-1] in ".,;:" and words[-1] in _CLOSING:
            out[-1] = out[-1][:-1] + closing + out[-1][-1]
        elif out:
            out[-1] += closing
    return " ".join(out)


def _flag(words: list[str], at: int, page: _Page) -> tuple[int, str]:
    if at < len(words) and words[at] not in _INLINE and words[at] not in _CLOSING:
        return at + 1, "-" + unescape(words[at])
    return at, "-"


def _argument(words: list[str], at: int, page: _Page) -> tuple[int, str]:
    return (at, "") if at < len(words) and words[at] not in _CLOSING else (at, "file ...")


def _page_name(words: list[str], at: int, page: _Page) -> tuple[int, str]:
    if at < len(words) and words[at] not in _CLOSING and words[at] not in _INLINE:
        page.name = page.name or unescape(words[at])
        return at + 1, unescape(words[at])
    return at, page.name


def _cross_reference(words: list[str], at: int, page: _Page) -> tuple[int, str]:
    if at + 1 < len(words) and words[at + 1][:1].isdigit():
        return at + 2, f"{unescape(words[at])}({words[at + 1]})"
    return at, ""


def _function(words: list[str], at: int, page: _Page) -> tuple[int, str]:
    if at >= len(words):
        return at, ""
    name, arguments = words[at], list[str]()
    at += 1
    while at < len(words) and words[at] not in _CLOSING and words[at] not in _INLINE:
        arguments.append(unescape(words[at]))
        at += 1
    return at, f"{unescape(name)}({', '.join(arguments)})"


def unescape(text: str) -> str:
    """Carry out roff's escapes in running text: characters by name, fonts and motions dropped."""
    return _ESCAPE.sub(_escape, text) if "\\" in text else text


def _escape(match: re.Match[str]) -> str:
    long, short, single = match["long"], match["short"], match["single"]
    name = long or short
    if name is not None:
        if name.startswith("u") and len(name) >= 5:
            try:
                return chr(int(name[1:], 16))
            except (ValueError, OverflowError):
                return ""
        return _CHARACTERS.get(name, "")
    return _SINGLES.get(single, "") if single is not None else ""


_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\ |[^\s"])[^\s]*(?:(?<=\\) \S*)*)')
_ESCAPE = re.compile(
    r"\\(?:"
    r"\"[^\n]*"  # a comment
    r"|f(?:\[[^\]]*\]|\(..|.)"  # fonts
    r"|s[+-]?(?:\(\d\d|\[[^\]]*\]|\d)"  # sizes
    r"|[hvwXZbLlDox]'[^']*'|[nMmgkVY](?:\[[^\]]*\]|\(..|.)"  # motions, registers, colours
    r"|\*?(?:\[(?P<long>[^\]]*)\]|\((?P<short>..))|\*."  # named characters and strings
    r"|(?P<single>.))"
)
# fmt: off
_CHARACTERS = {
    "em": "--", "en": "-", "hy": "-", "mi": "-", "aq": "'", "dq": '"', "lq": '"', "rq": '"',
    "oq": "'", "cq": "'", "bu": "*", "co": "(C)", "rg": "(R)", "tm": "(TM)", "rs": "\\",
    "Bq": '"', "bq": ",", "ti": "~", "ha": "^", "ga": "`", "mu": "x", "pl": "+", "eq": "=",
    "<=": "<=", ">=": ">=", "!=": "!=", "->": "->", "<-": "<-", "+-": "+/-", "de": " degrees",
    "sl": "/", "ba": "|", "at": "@", "sh": "#", "Do": "$", "lB": "[", "rB": "]", "lC": "{",
    "rC": "}", "la": "<", "ra": ">", "if": "infinity", "pc": ".", "mc": "u", "S": "", "q": '"',
    "Le": "<=", "Ge": ">=", "Ne": "!=", "Lt": "<", "Gt": ">", "Am": "&", "Ba": "|", "Pi": "pi",
    "Lq": '"', "Rq": '"', 'L"': '"', 'R"': '"', "*m": "u", "12": "1/2", "14": "1/4",
}
_SINGLES = {
    "-": "-", "e": "\\", " ": " ", "~": " ", "0": " ", "\\": "\\", "'": "'", "`": "`", ".": ".",
}
_ENCLOSURES = {
    "Op": ("[", "]"), "Oo": ("[", "]"), "Dq": ('"', '"'), "Do": ('"', '"'), "Qq": ('"', '"'),
    "Sq": ("'", "'"), "So": ("'", "'"), "Ql": ("'", "'"), "Pq": ("(", ")"), "Po": ("(", ")"),
    "Bq": ("[", "]"), "Bo": ("[", "]"), "Aq": ("<", ">"), "Ao": ("<", ">"), "Brq": ("{", "}"),
}
_FIXED = {
    "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD", "Dx": "DragonFly",
    "Ux": "UNIX", "At": "AT&T UNIX", "St": "the standard",
}
_SPECIAL: dict[str, Callable[[list[str], int, _Page], tuple[int, str]]] = {
    "Fl": _flag, "Ar": _argument, "Nm": _page_name, "Xr": _cross_reference, "Fn": _function,
}
_INLINE = frozenset([
    *_ENCLOSURES, *_SPECIAL, *_FIXED,
    "Em", "Sy", "Li", "Va", "Vt", "Fa", "Ft", "Pa", "Ev", "Dv", "Er", "Ic", "Cm", "Cd", "Tn", "No",
    "Ad", "An", "Ms", "Sx", "Lk", "Mt", "Fd", "In", "Fo", "Fc", "Xo", "Xc", "Bk", "Ek", "Ns", "Ap",
    "Lb", "Rv", "Ex", "Bf", "Ef", "Sm", "Dc", "Qc", "Sc", "Bc", "Ac", "Oc", "Pc", "It", "Nd", "Pf",
])
# fmt: on
