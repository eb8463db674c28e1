"""Write tests/slow.txt, the tests that `make check` leaves out, from the times of a whole run.

Those that are marked as long .ci/run leaves out too: it has the book to build.

`make test PYTEST_ADDOPTS=--junitxml=times.xml` runs them, then `python tools/slow_tests.py times.xml`.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).parent.parent / "tests"
# Seconds, from a cold compilation cache; with them `make check` stays within 90 s on two cores.
MOST, LONG = 0.6, 20


def main(times: str) -> None:
    slow = {}
    for case in ElementTree.parse(times).iter("testcase"):
        parts = case.get("classname", "").split(".")[1:]
        path = TESTS.joinpath(*parts).with_suffix(".py")
        seconds = float(case.get("time", 0))
        if path.exists() and seconds > MOST:
            name = f"{path.relative_to(TESTS)}::{case.get('name', '').partition('[')[0]}"
            slow[name] = max(slow.get(name, 0), seconds)
    lines = [name + (" long" if slow[name] > LONG else "") for name in sorted(slow)]
    (TESTS / "slow.txt").write_text("\n".join(lines) + "\n")
    long = sum(seconds > LONG for seconds in slow.values())
    print(f"{len(slow)} tests take more than {MOST} s, {long} of them more than {LONG} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
