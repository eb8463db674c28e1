"""What the tests of the book share: where the chapters are, and how they are read."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import release as release  # noqa: E402
import repository as repository  # noqa: E402
import sync  # noqa: E402

CHAPTERS = sync.chapters()
NAMES = [p.stem for p in CHAPTERS]


def tracked_files() -> list[Path]:
    """The repository's files, as far as they are on disk; all of them where there is no git."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        hidden = {".venv", "_build", ".git", "__pycache__"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.parts)]
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
