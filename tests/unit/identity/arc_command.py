#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real `outpost arc verify --zone` over every case of tests/data/arc, with LF and with CRLF line
ends. usage: arc_command.py OUTPOST [CASE]"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

CASES = pathlib.Path(__file__).resolve().parents[2] / "data/arc/cases.jsonl"
EXIT = {"pass": 0, "none": 0, "fail": 1, "temperror": 75}


def line(name, text):
    parts = " ".join(f'"{text[at:at + 255]}"' for at in range(0, max(len(text), 1), 255))
    return f"{name}. 300 IN TXT ({parts})\n"


def fault(outpost, zone, case, line_end):
    run = subprocess.run([outpost, "arc", "verify", "--json", "--zone", zone, "-"],
                         input=case["message"].replace("\n", line_end).encode(),
                         capture_output=True, check=False)
    if not run.stdout:
        return run.stderr.decode()
    reply = json.loads(run.stdout)
    wanted = case["cv"] or "fail"  # a seal with cv=fail: see SOURCES.md
    if reply["result"] != wanted:
        return f"got {reply['result']}, expected {wanted}: {reply['reason']}"
    if run.returncode != EXIT[wanted]:
        return f"exit {run.returncode} with {wanted}"
    return ""


def main():
    outpost, only = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    count = right = 0
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("w", suffix=".zone") as zone:
        for case in map(json.loads, CASES.open()):
            if only not in case["name"]:
                continue
            zone.seek(0)
            zone.truncate()
            zone.writelines(line(*record) for record in case["txt"].items())
            zone.flush()
            faults = [fault(outpost, zone.name, case, line_end) for line_end in ("\n", "\r\n")]
            count += 1
            right += not any(faults)
            for said in filter(None, faults):
                print(f"{case['name']}: {said}", file=sys.stderr)
    print(f"{'arc: the command over its corpus':44} {count:7} cases  {right:7} right  "
          f"{time.monotonic() - began:9.6f} s")
    return 0 if count and right == count else 1


if __name__ == "__main__":
    sys.exit(main())
