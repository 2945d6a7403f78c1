#!/usr/bin/env python3
"""Prints "N passed, N failed" from the JUnit file that ctest writes. A skipped test counts as failed:
a test that did not run proves nothing. Exit code 1 when any failed."""

import sys
import xml.etree.ElementTree as ElementTree


def main() -> int:
    failed = []
    cases = ElementTree.parse(sys.argv[1]).getroot().findall("testcase")
    for case in cases:
        if case.get("status") != "run":
            failed.append(f"{case.get('name')} ({case.get('status')})")
    for name in failed:
        print(f"not passed: {name}")
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
