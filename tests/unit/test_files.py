"""A file is the old one or the new one, whole, and nothing is left beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.files import beside, write_whole


@pytest.mark.parametrize("content", ["Verlust 3\r\n\u00fc", b"\x89PNG\r\n\x00"])
def test_a_file_holds_what_was_given_to_the_byte(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "result"
    path.write_text("old and longer than the new one", encoding="utf-8")
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "result", tmp_path / "link"
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_stops_the_writing_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "result"
    path.write_text("old", encoding="utf-8")

    def stop(source: Path, target: Path) -> None:
        assert Path(source) == beside(path)
        assert source.read_text(encoding="utf-8") == "new"
        raise error

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "result", tmp_path / ("long" * 70)):
        with pytest.raises(InputError) as caught:
            write_whole(path, "new")
        assert str(caught.value).startswith(f"{path}: cannot be written (")
        assert "\n" not in str(caught.value)
