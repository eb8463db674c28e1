"""Chapters are run side by side into the cache that Jupyter Book reads; a failed one ends the build."""

import execute
import pytest
from common import ROOT
from jupyter_cache import get_cache

CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

```{{code-cell}} ipython3
print({code})
```
"""


@pytest.mark.slow
def test_what_is_run_is_found_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execute, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    paths = [tmp_path / f"{name}.md" for name in ("one", "two")]
    for path in paths:
        path.write_text(CHAPTER.format(code=f"'{path.stem}'"))
    execute.execute(paths)
    assert {line.split(":")[0] for line in capsys.readouterr().out.splitlines()} == {"one.md", "two.md"}
    cache = get_cache(str(tmp_path / "cache"))
    _, found = cache.merge_match_into_notebook(execute.read(paths[1]))
    assert [cell.outputs[0].text for cell in found.cells if cell.cell_type == "code"] == ["two\n"]
    execute.execute(paths)
    assert capsys.readouterr().out == ""
    paths[0].write_text(CHAPTER.format(code="1 / 0"))
    with pytest.raises(SystemExit, match="(?s)^one.md failed:.*ZeroDivisionError"):
        execute.execute(paths)


def test_the_long_chapters_are_there():
    assert all((ROOT / "book" / f"{name}.md").exists() for name in execute.LONG)
