"""Write tests/slow.txt, the tests that `make check` leaves out, from the times of a whole run.

`make test PYTEST_ADDOPTS=--junitxml=times.xml` runs them, then `python tools/slow_tests.py times.xml`.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).parent.parent / "tests"
# Seconds, from a cold compilation cache; with them `make check` stays within 90 s on two cores.
MOST = 0.6


def main(times: str) -> None:
    slow = set()
    for case in ElementTree.parse(times).iter("testcase"):
        parts = case.get("classname", "").split(".")[1:]
        path = TESTS.joinpath(*parts).with_suffix(".py")
        if path.exists() and float(case.get("time", 0)) > MOST:
            slow.add(f"{path.relative_to(TESTS)}::{case.get('name', '').partition('[')[0]}")
    (TESTS / "slow.txt").write_text("\n".join(sorted(slow)) + "\n")
    print(f"{len(slow)} tests take more than {MOST} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
