#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random records and zones through pyspf and through `outpost spf check`: the results agree, but
for the differences that `explained` names. usage: spf_pyspf.py OUTPOST [SEED [COUNT]]; without
pyspf (package python3-spf) there is nothing to compare with: exit 77, skipped."""
import ipaddress
import json
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    import spf
except ImportError:
    print("spf_pyspf: no pyspf here (package python3-spf)")
    sys.exit(77)

DOMAINS = ["a.test", "b.test", "c.test", "d.e.test", "mail.a.test", "x-1.test", "_spf.a.test"]
V4 = [f"192.0.2.{n}" for n in range(1, 6)]
V6 = [f"2001:db8::{n}" for n in range(1, 4)]
ZONE = {}


def answer(name, qtype, *_):
    """Takes the place of pyspf's resolver."""
    name = name.lower().rstrip(".")
    records = ZONE.get(name, [])
    if ("TIMEOUT", "") in records:
        raise spf.TempError("no answer")
    form = {"TXT": lambda v: [v.encode("latin-1")], "MX": lambda v: (10, v),
            "AAAA": lambda v: ipaddress.ip_address(v).packed}
    return [((name, kind), form.get(kind, str)(value)) for kind, value in records if kind == qtype]


def explained(theirs, words, ours):
    """Where pyspf goes another way, and why ours is right."""
    lookups = [step for step in ours["steps"] if step["kind"] == "lookup"]
    asks_names = any(step["text"].startswith("PTR ") for step in lookups)
    if "trivial recursion" in words:
        return "an include of itself is an error when it is evaluated, not before (RFC 7208 5.2)"
    if "foo= MUST appear at most once" in words:
        return "redirect and exp may be there once; unknown modifiers are ignored (6)"
    if "Void lookup limit" in words and asks_names:
        return "the client's names count once, their addresses not: the sender writes them (5.5)"
    if theirs == "temperror" and asks_names:
        return "a name of the client without answer is skipped (5.5)"
    if theirs == "temperror" and not any(step["detail"] == "no answer" for step in lookups):
        return "a host that matches ends the search, whatever the next ones would say (5.4)"
    if ours["result"] == "permerror" and "not printable ASCII" in ours["problem"]:
        return "a tab is no blank between terms (4.6.1)"
    if ours["result"] == "permerror" and "bad macro" in ours["problem"] and "0" in ours["problem"]:
        return "keep no part: the number MUST be nonzero (7.3)"
    return None


def macro(rand):
    return ("%{" + rand.choice("slodiphvSLODIPHV") + rand.choice(["", "", "1", "2", "20", "0"]) +
            rand.choice(["", "", "r"]) + rand.choice(["", "", "-", ".", "+-", "/"]) + "}")


def domain_spec(rand):
    kind = rand.random()
    if kind < .65:
        return rand.choice(DOMAINS) + rand.choice(["", "", "."])
    if kind < .93:
        return rand.choice(["", "x.", "_i."]) + macro(rand) + rand.choice(["", ".a.test", ".test"])
    return rand.choice(["foo", "1.2.3.4", "a..test", "a.-b", "foo:bar/b.test", "%%%_.test",
                        "%(d).test", "a.t3st", "a.123", "a" * 64 + ".test"])


def prefix(rand):
    good = ["", "", "", "", "/24", "/32", "/0", "//64", "//128", "/24//64"]
    return rand.choice(good * 6 + ["/33", "//129", "/024", "/a", "/24/64"])


def term(rand):
    sign = rand.choice(["", "", "+", "-", "~", "?"])
    return sign + rand.choice([
        lambda: rand.choice(["a", "mx", "A", "MX"]) + prefix(rand),
        lambda: rand.choice(["a", "mx"]) + ":" + domain_spec(rand) + prefix(rand),
        lambda: "include:" + domain_spec(rand),
        lambda: "ip4:" + rand.choice(V4 * 4 + ["192.0.2", "1.2.3.4.5"]) +
        rand.choice(["", "/24", "/0", "/31"]),
        lambda: "ip6:" + rand.choice(V6 * 4 + ["::ffff:192.0.2.1", "1::2::3"]) +
        rand.choice(["", "/64", "/0"]),
        lambda: "exists:" + domain_spec(rand),
        lambda: "ptr" + rand.choice(["", ":" + domain_spec(rand)]),
        lambda: "all"])() if rand.random() < .9 else rand.choice(["redirect=", "exp=", "foo="]) + \
        domain_spec(rand)


def record(rand):
    return "v=spf1" + "".join(rand.choice([" ", " ", "  "]) + term(rand)
                              for _ in range(rand.randint(1, 5)))


def make_zone(rand):
    ZONE.clear()
    for name in DOMAINS:
        records = [("TXT", record(rand))] if rand.random() < .9 else []
        records += [("TXT", "other text")] if rand.random() < .1 else []
        records += [("A", rand.choice(V4)) for _ in range(rand.randint(0, 2))]
        records += [("AAAA", rand.choice(V6)) for _ in range(rand.randint(0, 1))]
        records += [("MX", rand.choice(DOMAINS)) for _ in range(rand.randint(0, 2))]
        ZONE[name] = records if rand.random() < .96 else [("TIMEOUT", "")]
    for last in range(1, 6):
        ZONE[f"{last}.2.0.192.in-addr.arpa"] = [("PTR", rand.choice(DOMAINS))
                                                for _ in range(rand.randint(0, 2))]


def line(name, kind, value):
    if kind == "TIMEOUT":
        return f"; @timeout {name}"
    if kind == "TXT":
        cut = [value[at:at + 255] for at in range(0, len(value), 255)]
        return f"{name}. TXT " + " ".join(f'"{text}"' for text in cut)
    form = {"MX": f"10 {value}.", "PTR": f"{value}."}
    return f"{name}. {kind} {form.get(kind, value)}"


def compare(outpost, rand, zone):
    """None, or what differs without a reason."""
    make_zone(rand)
    zone.write_text("".join(line(name, kind, value) + "\n" for name, records in ZONE.items()
                            for kind, value in records), encoding="ascii")
    client, helo = rand.choice(V4 + V6), rand.choice(DOMAINS)
    sender = rand.choice(["user", "foo-bar", "a.b"]) + "@" + rand.choice(DOMAINS[:4])
    theirs, _, words = spf.query(i=client, s=sender, h=helo, receiver="unknown", strict=True,
                                 timeout=1).check()
    run = subprocess.run([outpost, "spf", "check", "--json", "--zone", str(zone), "--ip", client,
                          "--mail-from", sender, "--helo", helo], capture_output=True, check=False)
    ours = json.loads(run.stdout)
    if ours["result"] == theirs or explained(theirs, str(words), ours):
        return None
    return (f"{client} {sender} {helo}: pyspf {theirs} ({words}), ours {ours['result']} "
            f"({ours['problem']})\n{zone.read_text(encoding='ascii')}")


def main():
    outpost, seed, count = (sys.argv[1:] + [None, None])[:3]
    rand = random.Random(int(seed or 7208))
    spf.DNSLookup = answer
    with tempfile.TemporaryDirectory() as folder:
        zone = pathlib.Path(folder, "random.zone")
        faults = [text for text in (compare(outpost, rand, zone) for _ in range(int(count or 150)))
                  if text]
    print("\n".join(faults))
    print(f"spf_pyspf: {count or 150} random zones, {len(faults)} differ without a reason")
    return 1 if faults else 0


sys.exit(main())
