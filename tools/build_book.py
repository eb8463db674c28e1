"""Build the book: run every chapter on the CPU, with warnings as errors.

_build/html gets the pages, _build/notebooks the chapters as plain notebooks, which the pages offer. With the
argument `notebooks` the pages are left as they are. With `editions`, notebooks for students and for
instructors are made instead, and with `slides` those of a lecture, from the same results.

Sphinx and the execution cache know the chapters' own text only. So what a chapter also depends on
(lrcore, the pins, the scale, the data folder, the repository) goes into a key, and a build that failed is
never continued: its second run would pass without having run the failed chapter.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import execute
import repository
import sync

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
# What each builder makes, and where a notebook of it finds what long computations have left.
MADE = {
    "html": "The book, from index.html",
    "notebooks": "The notebooks",
    "editions": "The editions",
    "slides": "The slides",
}
RESULTS_BESIDE = {"notebooks": ["book"], "editions": ["student", "instructor"], "slides": []}
RESULTS, PAGES = BUILD / ".results-key", BUILD / ".pages-key"


def digest(paths: list[Path], *words: str) -> str:
    total = hashlib.sha256("\0".join(words).encode())
    for path in sorted(paths):
        total.update(path.read_bytes())
    return total.hexdigest()


def unchanged(file: Path, key: str) -> bool:
    return file.exists() and file.read_text() == key


def remove(*names: str) -> None:
    for name in names:
        shutil.rmtree(BUILD / name, ignore_errors=True)


def main() -> None:
    os.chdir(ROOT)
    try:
        hosted = repository.find()
    except ValueError as error:
        sys.exit(str(error))
    environment = {"LRCORE_SCALE": "book"} | os.environ | {"JAX_PLATFORMS": "cpu", "LRCORE_PAGES": "1"}
    scale, data = environment["LRCORE_SCALE"], environment.get("LRCORE_DATA", "")
    core = [p for p in ROOT.glob("lrcore/**/*") if p.suffix in (".py", ".mplstyle")]
    results = digest([*core, ROOT / "requirements.txt"], scale, data, sys.version)
    look = [p for files in ("_ext/*", "_static/**/*") for p in ROOT.glob(f"book/{files}") if p.is_file()]
    settings = [ROOT / name for name in ("_config.yml", "_toc.yml", "tools/repository.py")]
    pages = digest([*look, *settings], results, str(hosted))

    if not unchanged(RESULTS, results):
        remove(".jupyter_cache")
    complete = unchanged(PAGES, pages)  # written by a build that succeeded, and by no other
    if not complete:
        remove("html", *RESULTS_BESIDE, ".doctrees")
    PAGES.unlink(missing_ok=True)
    BUILD.mkdir(exist_ok=True)
    RESULTS.write_text(results)

    os.environ |= environment
    execute.execute(sync.chapters())
    wanted = sys.argv[1:] or ["html", "notebooks"]
    for builder in wanted:
        run(builder, environment)
        if builder in RESULTS_BESIDE:
            remove(f"{builder}/_static")  # which themes leave behind
        for folder in RESULTS_BESIDE.get(builder, ()):
            shutil.copytree(ROOT / "book/results", BUILD / builder / folder / "results", dirs_exist_ok=True)
    PAGES.write_text(pages)
    links = hosted.install if hosted else "not known, so notebooks are offered for download"
    print(f"\nThe repository that its links lead to: {links}")
    for builder in wanted:
        print(f"{MADE[builder]}: {(BUILD / builder).as_uri()}")


def run(builder: str, environment: dict[str, str]) -> None:
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", ".", "-W", "-n", "--keep-going"]
    if builder != "html":
        command += ["--builder", "custom", "--custom-builder", builder]
    if subprocess.run(command, env=environment).returncode:
        for report in sorted((BUILD / builder / "reports").glob("**/*.log")):
            print(f"\n{report.relative_to(ROOT)}\n{report.read_text()}")
        sys.exit("The book was not built: see the messages above")


if __name__ == "__main__":
    main()
