#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real `outpost spf check --zone` over every case of tests/data/spf: each section becomes a
master file, with the escapes of RFC 1035 5.1. usage: spf_command.py OUTPOST [CASE]"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

CASES = pathlib.Path(__file__).resolve().parents[2] / "data/spf/rfc7208.jsonl"
EXIT = {"pass": 0, "none": 0, "neutral": 0, "softfail": 0, "fail": 1, "permerror": 1,
        "temperror": 75}


def escaped(text, special):
    return "".join(c if " " < c < "\x7f" and c not in special else f"\\{ord(c):03d}" for c in text)


def owner(name):
    return ".".join(escaped(label, '\\"();@$') for label in name.rstrip(".").split(".")) + "."


def quoted(text):
    return '"' + "".join(c if " " <= c < "\x7f" and c not in '\\"' else f"\\{ord(c):03d}"
                         for c in text) + '"'


def pieces(strings):
    """Strings of at most 255 bytes; a TXT record has one at least."""
    cut = [text[at:at + 255] for text in strings for at in range(0, max(len(text), 1), 255)]
    return " ".join(quoted(text) for text in cut or [""])


def line(record):
    name, kind = record["name"], record["type"]
    if kind == "TIMEOUT":
        return f"; @timeout {name}"
    if kind in ("TXT", "SPF"):
        return f"{owner(name)} 300 IN {kind} {pieces(record['strings'])}"
    if kind == "MX":
        return f"{owner(name)} 300 IN MX {record['preference']} {owner(record['data'])}"
    if kind in ("PTR", "CNAME"):
        return f"{owner(name)} 300 IN {kind} {owner(record['data'])}"
    return f"{owner(name)} 300 IN {kind} {record['data']}"


def fault(outpost, zone, case):
    run = subprocess.run([outpost, "spf", "check", "--json", "--zone", zone, "--ip", case["host"],
                          "--mail-from", case["mailfrom"], "--helo", case["helo"]],
                         capture_output=True, check=False)
    if not run.stdout:
        return run.stderr.decode()
    reply = json.loads(run.stdout)
    if reply["result"] not in case["results"]:
        return f"got {reply['result']}, expected {case['results']}: {reply['problem']}"
    if run.returncode != EXIT[reply["result"]]:
        return f"exit {run.returncode} with {reply['result']}"
    words = case["explanation"]
    if words and reply["explanation"] != ("" if words == "DEFAULT" else words):
        return f"explanation \"{reply['explanation']}\", expected \"{words}\""
    return None


def main():
    outpost, begin, count, faults = sys.argv[1], time.monotonic(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        for section in map(json.loads, CASES.read_text(encoding="ascii").splitlines()):
            zone = pathlib.Path(folder, "case.zone")
            zone.write_text("".join(line(record) + "\n" for record in section["zone"]),
                            encoding="ascii")
            for case in section["cases"]:
                if case["id"] not in sys.argv[2:] and sys.argv[2:]:
                    continue
                count += 1
                text = fault(outpost, str(zone), case)
                if text:
                    faults.append(f"{section['section']}: {case['id']}: {text}")
    print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)
    print(f"{'spf: the command over its corpus':44} {count:7} cases  {count - len(faults):7} right  "
          f"{time.monotonic() - begin:9.6f} s")
    return 1 if faults or not count else 0


sys.exit(main())
