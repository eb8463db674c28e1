"""Make .venv ready: the pinned packages and lrcore itself; nothing to do when nothing changed.

Run by `make` with any Python >= 3.11, so it uses the standard library only.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY, PLACE = VENV / "ready", VENV / "place"  # the keys of what was installed, and where
NEEDED_GB = 3


def place() -> str:
    """Where .venv was made, and with what: its scripts hold the path, its packages the version."""
    return f"{sys.version} {ROOT}"


def key() -> str:
    parts = [place()] + [(ROOT / name).read_text() for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def run(*command: object) -> bool:
    return subprocess.run([str(part) for part in command], cwd=ROOT).returncode == 0


def main() -> None:
    if sys.version_info < (3, 11):
        sys.exit(f"lrcore needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    if READY.exists() and READY.read_text() == key() and PYTHON.exists():
        return

    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not PYTHON.exists():
        sys.exit(f"{ROOT} has {free:.1f} GB free; the environment and the book need {NEEDED_GB} GB")
    print("Installing the packages of requirements.txt into .venv (a minute or two) ...", flush=True)
    READY.unlink(missing_ok=True)
    if not (PYTHON.exists() and PLACE.exists() and PLACE.read_text() == place()):
        if not run(sys.executable, "-m", "venv", "--clear", VENV):
            sys.exit("This Python makes no virtual environments; on Debian: apt-get install python3-venv")
        PLACE.write_text(place())
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    if not run(*pip, "-r", "requirements.txt"):
        sys.exit(
            "pip could not install requirements.txt (its message is above). Most often the network "
            "or the package index is out of reach; then run make again."
        )
    if not run(*pip, "--no-deps", "--no-build-isolation", "-e", "."):
        sys.exit("pip could not install lrcore itself (its message is above)")
    READY.write_text(key())


if __name__ == "__main__":
    main()
