# SPDX-License-Identifier: Apache-2.0
"""Two other validators, python3-dkim and Mail::DKIM, over tests/data/arc, where `outpost arc verify` has every
result (tests/unit/identity/arc_command.py); what one seals the others validate."""
import collections
import json
import pathlib
import subprocess

import dkim
import pytest

from node import OUTPOST

HERE = pathlib.Path(__file__).resolve().parent
CASES = [json.loads(line) for line in (HERE.parent / "data" / "arc" / "cases.jsonl").open()]
EXIT = {"pass": 0, "none": 0, "fail": 1, "temperror": 75}

# Where Mail::DKIM says otherwise than the set and we.
MAIL_DKIM = {
    "ams_fields_a_sha1": ("pass", "takes rsa-sha1, which RFC 8301 3.1 forbids"),
    "as_fields_a_sha1": ("pass", "takes rsa-sha1, which RFC 8301 3.1 forbids"),
    "as_fields_b_512": ("pass", "takes RSA keys under 1024 bits, against RFC 8301 3.2"),
    "ams_fields_c_na": ("fail", "reads a missing c= as simple/simple; the set, made for the drafts, as relaxed"),
    "as_fields_d_invalid": ("invalid", "its name for a fail whose cause is the key"),
    "as_fields_h_present": ("invalid", "its name for a fail whose cause is the key"),
    "public_key_na": ("invalid", "its name for a fail whose cause is the key"),
    "public_key_invalid": ("invalid", "its name for a fail whose cause is the key"),
}
# Where python3-dkim does: it stops at a seal with cv=fail and gives no status at all.
PYTHON_DKIM = {name: (None, "gives no status after cv=fail; RFC 8617 5.2 step 2 says fail") for name in (
    "cv_fail_i1_as_cv_fail", "cv_fail_i2_as2_fail", "cv_fail_i2_as1_fail")}


def wanted(case):
    return case["cv"] or "fail"


def zone_line(name, text):
    parts = " ".join('"' + text[at:at + 255].replace("\\", "\\\\").replace('"', '\\"') + '"'
                     for at in range(0, max(len(text), 1), 255))
    return f"{name}. 300 IN TXT ({parts})\n"


def run(*arguments, message=b"", zone=None):
    command = [OUTPOST, "arc", *arguments]
    if zone is not None:
        command += ["--zone", str(zone)]
    return subprocess.run(command + ["-"], input=message, capture_output=True, check=False, timeout=60)


def verify(message, zone):
    done = run("verify", "--json", message=message, zone=zone)
    reply = json.loads(done.stdout)
    assert done.returncode == EXIT[reply["result"]], done
    return reply


def python_dkim(message, txt):
    def dnsfunc(name, timeout=5):
        name = name.decode() if isinstance(name, bytes) else name
        text = txt.get(name.rstrip("."))
        return text.encode() if text else None
    status = dkim.arc_verify(message, dnsfunc=dnsfunc)[0]
    return status.decode().lower() if status else None


def test_python_dkim_agrees_but_for_what_is_explained():
    for case in CASES:
        status = python_dkim(case["message"].replace("\n", "\r\n").encode(), case["txt"])
        told = PYTHON_DKIM.get(case["name"], (wanted(case), ""))[0]
        assert status == told or (told == "none" and status is None), case["name"]


def mail_dkim(cases):
    done = subprocess.run(["perl", str(HERE / "mail_dkim_arc.pl")], capture_output=True, text=True, check=True,
                          input="".join(json.dumps(case) + "\n" for case in cases), timeout=120)
    return dict(line.split("\t") for line in done.stdout.splitlines())


def test_mail_dkim_agrees_but_for_what_is_explained(note):
    results = mail_dkim(CASES)
    for case in CASES:
        told = MAIL_DKIM.get(case["name"], (wanted(case), ""))[0]
        assert results[case["name"]] == told, case["name"]
    causes = collections.Counter(cause for _, cause in MAIL_DKIM.values())
    note(f"arc: {len(CASES)} cases right; Mail::DKIM differs in {len(MAIL_DKIM)}: "
         + "; ".join(f"{count} {cause}" for cause, count in causes.items()))


@pytest.fixture
def key(tmp_path):
    """(path of a key, {name: record}, zone file)"""
    path = tmp_path / "s1.pem"
    done = subprocess.run([OUTPOST, "dkim", "genkey", "--out", str(path)], capture_output=True, text=True, check=True)
    txt = {"s1._domainkey.list.example": done.stdout.strip().strip('"')}
    zone = tmp_path / "sealing.zone"
    zone.write_text("".join(zone_line(*record) for record in txt.items()))
    return path, txt, zone


MESSAGE = (b"Authentication-Results: mx.list.example; spf=pass\r\n smtp.mailfrom=a@shop.example;\r\n"
           b"\tdkim=pass header.d=shop.example\r\nAuthentication-Results: other.example; dmarc=fail\r\n"
           b"DKIM-Signature: v=1; a=rsa-sha256; d=shop.example; s=x; h=from; bh=; b=\r\n"
           b"From: a@shop.example\r\nTo: l@list.example\r\nSubject: hello\r\n\r\nWell?\r\n\r\n")


def seal(message, key, *more):
    done = run("seal", "--key", str(key[0]), "--domain", "list.example", "--selector", "s1", "--authserv-id",
               "mx.list.example", *more, message=message, zone=key[2])
    assert done.returncode == 0, done
    return done.stdout


def test_what_we_seal_both_others_validate_and_continue(key):
    once = seal(MESSAGE, key)
    twice = seal(once, key)
    assert b"ARC-Authentication-Results: i=1; mx.list.example;\r\n\tspf=pass" in once
    assert b"dmarc=fail" not in once.partition(b"\r\nAuthentication-Results")[0], "foreign results stay out"
    assert b"arc=pass" in twice.partition(b"i=1;")[0]
    cases = [{"name": name, "txt": key[1], "message": text.decode().replace("\r\n", "\n")}
             for name, text in (("once", once), ("twice", twice))]
    assert mail_dkim(cases) == {"once": "pass", "twice": "pass"}
    for text in (once, twice):
        assert python_dkim(text, key[1]) == "pass"
        assert verify(text, key[2])["result"] == "pass"
    told = b"Authentication-Results: mx.list.example; arc=pass\r\n" + twice  # where it takes cv= from
    fields = dkim.arc_sign(told, b"s1", b"list.example", key[0].read_bytes(), b"mx.list.example")
    third = verify(b"".join(fields) + told, key[2])
    assert third["result"] == "pass" and third["count"] == 3 and third["oldest_pass"] == 0


def test_a_changed_chain_is_sealed_with_cv_fail_and_then_left_alone(key):
    broken = seal(MESSAGE, key).replace(b"Well?", b"Evil!")
    assert verify(broken, key[2])["result"] == "fail"
    marked = seal(broken, key)
    assert b"cv=fail" in marked and verify(marked, key[2])["result"] == "fail"
    again = run("seal", "--key", str(key[0]), "--domain", "list.example", "--selector", "s1", message=marked,
                zone=key[2])
    assert again.returncode == 1 and not again.stdout and b"cv=fail" in again.stderr


@pytest.mark.parametrize("how", ["timeout", "servfail"])
def test_dns_that_fails_is_temperror_and_nothing_is_sealed(key, tmp_path, how):
    sealed = seal(MESSAGE, key)
    zone = tmp_path / "bad.zone"
    zone.write_text(f"; @{how} s1._domainkey.list.example\nlist.example. 300 IN TXT \"x\"\n")
    assert verify(sealed, zone)["result"] == "temperror"
    done = run("seal", "--key", str(key[0]), "--domain", "list.example", "--selector", "s1", message=sealed, zone=zone)
    assert done.returncode == 75 and not done.stdout


G3 = [b"AAAA", b"", b"MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIWmlgix/84GJ+dfgjm7LTc9EPdfkftlgiPpCq4/kbDAZmU0VvYKDljjleJ1dfvS"
      b"+CGy9U/kk1tG3EeEvb82xAcCAwEAAQ=="]


@pytest.mark.parametrize("public_key", G3)
def test_hostile_input_g3_a_useless_key_fails_the_chain(key, tmp_path, public_key):
    zone = tmp_path / "g3.zone"
    zone.write_text(zone_line("s1._domainkey.list.example", "v=DKIM1; p=" + public_key.decode()))
    assert verify(seal(MESSAGE, key), zone)["result"] == "fail"
