"""What the tests of the book share: where the chapters are, and how they are read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "book/_ext")]

import harness as harness  # noqa: E402
import pdf as pdf  # noqa: E402
import release as release  # noqa: E402
import repository as repository  # noqa: E402
import sync  # noqa: E402

CHAPTERS = sync.chapters()
NAMES = [p.stem for p in CHAPTERS]
HTML = ROOT / "_build" / "html"
WRITTEN = sorted(p.relative_to(HTML).as_posix() for p in HTML.glob("book/*.html"))
WIDTHS = (1280, 390)  # a window, and a telephone


def resize(browser, width: int) -> None:
    """The size of the page itself: a window cannot be made as narrow as a telephone."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def tracked_files() -> list[Path]:
    """The repository's files, as far as they are on disk; all of them where there is no git."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        hidden = {".venv", "_build", ".git", "__pycache__"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.parts)]
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


FRONT_MATTER = (ROOT / "book/start.md").read_text().split("---\n")[1]


def build_book(
    folder: Path, chapters: dict[str, str], address: str, execute: str = "off", *builders: str
) -> Path:
    """The _build of a small book with the settings and extensions of this one: pages, and what is named."""
    (folder / "tools").mkdir()
    for name in ("book/_ext", "book/_static"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("tools/repository.py", "book/references.bib", "book/bibliography.md"):
        shutil.copy(ROOT / name, folder / name)
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"] = {"execute_notebooks": execute}
    config["repository"] = {"url": f"https://github.com/{repository.UNKNOWN}/lrcore", "branch": "main"}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    root, *others = [f"book/{name}.md" for name in (*chapters, "bibliography")]
    contents = {"format": "jb-book", "root": root, "chapters": [{"file": file} for file in others]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents))
    for name, text in chapters.items():
        (folder / f"book/{name}.md").write_text(f"---\n{FRONT_MATTER}---\n\n{text}")
        (folder / f"book/{name}.ipynb").touch()  # its pair; the pages look whether there is one

    unset = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "-n", "--keep-going"]
    for builder in ("", *builders):
        done = subprocess.run(
            command + ["--builder", "custom", "--custom-builder", builder] * bool(builder),
            cwd=folder,
            env=unset | {repository.VARIABLE: address, "LRCORE_SCALE": "smoke", "LRCORE_PAGES": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build"
