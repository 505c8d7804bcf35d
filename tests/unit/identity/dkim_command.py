# SPDX-License-Identifier: Apache-2.0
"""`outpost dkim verify --zone` over tests/data/dkim, by RFC 8301 and as before it (--allow-sha1).
For bench/identity: dkim_command.py OUTPOST; exit 1 where one is not right."""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

DATA = pathlib.Path("tests/data/dkim")
BEST = ["pass", "fail", "temperror", "permerror"]
WANTED = {"pass": {"pass"}, "fail": {"fail"}, "invalid": {"permerror", "temperror"}}


def quoted(text):
    return '"' + "".join("\\" + c if c in '"\\' else c if " " <= c <= "~" else f"\\{ord(c):03}" for c in text) + '"'


def zone():
    """The records of dns.tsv as a master file."""
    lines = []
    for text in (DATA / "dns.tsv").read_text(encoding="latin-1").splitlines():
        name, *rest = text.split(None, 1)[:2] if text.strip() else ["#"]
        record = rest[0].strip() if rest else ""
        if name.startswith("#") or record in ("", "NXDOMAIN"):
            continue
        parts = " ".join(quoted(record[at:at + 255]) for at in range(0, len(record), 255))
        lines.append(f"; @servfail {name}" if record.startswith("~~") else f"{name}. 300 IN TXT {parts}")
    return "\n".join(lines) + "\n"


def verify(outpost, path, zone_path, options):
    """The best result of the signatures, and the longest key."""
    run = subprocess.run([outpost, "dkim", "verify", "--json", "--zone", zone_path, *options, str(path)],
                         capture_output=True, check=False)
    if not run.stdout:
        return run.stderr.decode(), 0
    signatures = json.loads(run.stdout)["signatures"]
    return min((s["result"] for s in signatures), key=BEST.index), max(s["key_bits"] for s in signatures)


def fault(outpost, row, zone_path):
    name, wanted, algorithm = row.split("\t")[:3]
    old, bits = verify(outpost, DATA / name, zone_path, ["--allow-sha1"])
    strict, _ = verify(outpost, DATA / name, zone_path, [])
    is_weak = algorithm.endswith("-sha1") or (algorithm.startswith("rsa") and 0 < bits < 1024)
    if old not in WANTED[wanted] or strict not in ({"permerror"} if is_weak else WANTED[wanted]):
        return f"{name}: got {old}, by RFC 8301 {strict}, expected {wanted}"
    return ""


def main():
    begun = time.monotonic()
    rows = (DATA / "expected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    with tempfile.NamedTemporaryFile("w", suffix=".zone") as file:
        file.write(zone())
        file.flush()
        faults = [text for text in (fault(sys.argv[1], row, file.name) for row in rows) if text]
    print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)
    print(f"{'dkim: the command over its corpus, twice':44} {len(rows):7} cases  {len(rows) - len(faults):7} right  "
          f"{time.monotonic() - begun:9.6f} s")
    return 1 if faults or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
