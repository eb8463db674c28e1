"""Results of long computations are found beside the chapter, in the checkout, or on GitHub."""

import io
import json

import pytest

from lrcore import book


def test_results_beside_the_chapter_come_first(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "rat.json").write_text('{"here": 1}')
    monkeypatch.chdir(tmp_path)
    assert book.results("rat") == {"here": 1}


def test_results_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "T176_2018_05_03" in book.results("rat")["sessions"]


def test_results_from_where_lrcore_was_installed(tmp_path, monkeypatch):
    class Installed:
        def read_text(self, name):
            return json.dumps({"url": "https://github.com/you/it.git", "vcs_info": {"commit_id": "abc"}})

    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(book, "distribution", lambda name: Installed())
    monkeypatch.setattr(
        book, "urlopen", lambda address, timeout: asked.append(address) or io.BytesIO(b'{"a": 2}')
    )
    assert book.results("other") == {"a": 2}
    assert asked == ["https://raw.githubusercontent.com/you/it/abc/book/results/other.json"]


def test_missing_results_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="^nothing.json: expected in results/"):
        book.results("nothing")
