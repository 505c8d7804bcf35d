# SPDX-License-Identifier: Apache-2.0
"""`outpost dmarc`: messages signed here and evaluated, results given by hand, records judged, all over
zone files; and what checkdmarc is documented to say of the same records."""
import json
import subprocess

import pytest

from node import OUTPOST

EXIT = {"pass": 0, "none": 0, "warn": 0, "fail": 1, "permerror": 1, "temperror": 75}


def run(*arguments, message=b""):
    return subprocess.run([OUTPOST, "dmarc", *map(str, arguments)], input=message, capture_output=True, check=False,
                          timeout=60)


def ask(tmp_path, zone, *arguments, message=b""):
    """The JSON reply; the exit code fits it, and the words for people begin with no other result."""
    path = tmp_path / "test.zone"
    path.write_text(zone + "unrelated.example. 300 IN A 192.0.2.99\n")
    done = run(*arguments, "--zone", path, "--json", message=message)
    reply = json.loads(done.stdout)
    assert done.returncode == EXIT[reply["result"]], done
    assert reply["steps"]
    told = run(*arguments, "--zone", path, message=message)
    assert told.returncode == done.returncode and f"\n{reply['result']}" in told.stdout.decode()
    return reply


def txt(name, *strings):
    return f"{name}. 300 IN TXT " + " ".join('"' + text.replace('"', '\\"') + '"' for text in strings) + "\n"


REJECT = txt("_dmarc.shop.example", "v=DMARC1; p=reject; sp=quarantine")


# --- a whole message ---

@pytest.fixture
def signed(tmp_path):
    """(message signed for shop.example, zone with its key)"""
    key = tmp_path / "k.pem"
    done = subprocess.run([OUTPOST, "dkim", "genkey", "--type", "ed25519", "--out", key, "--domain", "shop.example",
                           "--selector", "s1"], capture_output=True, check=True, text=True)
    message = b"From: a@shop.example\r\nTo: b@c.example\r\nSubject: x\r\n\r\nHello\r\n"
    done_sign = subprocess.run([OUTPOST, "dkim", "sign", "--key", key, "--domain", "shop.example", "--selector", "s1",
                                "-"], input=message, capture_output=True, check=True)
    return done_sign.stdout, done.stdout


SPF = txt("shop.example", "v=spf1 ip4:192.0.2.1 -all")
FROM_THERE = ("--ip", "192.0.2.1", "--mail-from", "bounce@shop.example", "--helo", "mx.shop.example")
FROM_ELSEWHERE = ("--ip", "192.0.2.2", "--mail-from", "bounce@shop.example", "--helo", "mx.shop.example")


@pytest.mark.parametrize("path, change, result, spf, dkim", [
    (FROM_THERE, None, "pass", "pass", "pass"),
    (FROM_ELSEWHERE, None, "pass", "fail", "pass"),
    (FROM_THERE, (b"Hello", b"Hullo"), "pass", "pass", "fail"),
    (FROM_ELSEWHERE, (b"Hello", b"Hullo"), "fail", "fail", "fail"),
])
def test_a_message_by_spf_and_dkim(tmp_path, signed, path, change, result, spf, dkim):
    message = signed[0].replace(*change) if change else signed[0]
    reply = ask(tmp_path, REJECT + SPF + signed[1], "check", "-", *path, message=message)
    assert (reply["result"], reply["spf"]["result"], reply["dkim"][0]["result"]) == (result, spf, dkim)
    assert reply["policy"] == "reject" and reply["disposition"] == ("reject" if result == "fail" else "none")
    assert reply["domain"] == reply["organizational_domain"] == "shop.example"
    assert reply["dkim"][0]["domain"] == "shop.example" and reply["dkim"][0]["selector"] == "s1"


def test_without_ip_only_dkim_counts(tmp_path, signed):
    reply = ask(tmp_path, REJECT + signed[1], "check", "-", message=signed[0])
    assert reply["result"] == "pass" and reply["spf"] is None and reply["aligned"] == {"spf": False, "dkim": True}


def test_a_key_that_cannot_be_asked_for_is_temperror(tmp_path, signed):
    zone = REJECT + "; @servfail s1._domainkey.shop.example\n"
    assert ask(tmp_path, zone, "check", "-", message=signed[0])["result"] == "temperror"


@pytest.mark.parametrize("header, words", [
    (b"From: a@shop.example\r\nFrom: a@shop.example\r\n", "several From fields"),
    (b"From: a@shop.example, b@other.example\r\n", "several domains"),
    (b"Subject: x\r\n", "no From field"),
    (b"From: a@[192.0.2.1]\r\n", "without a domain"),
    (b"no colon\r\n", ""),
])
def test_a_message_without_one_author_is_permerror(tmp_path, header, words):
    reply = ask(tmp_path, REJECT, "check", "-", message=header + b"\r\nx\r\n")
    assert reply["result"] == "permerror" and reply["disposition"] == "none" and words in reply["steps"][0]


# --- results given by hand ---

@pytest.mark.parametrize("zone, arguments, wanted", [
    (REJECT, ("--dkim", "pass:shop.example"), ("pass", "none", "reject", "p")),
    (REJECT, ("--dkim", "fail:shop.example"), ("fail", "reject", "reject", "p")),
    (REJECT, ("--spf", "pass:other.example", "--dkim", "pass:third.example,pass:x.shop.example"),
     ("pass", "none", "reject", "p")),
    (REJECT, ("--spf", "softfail:shop.example"), ("fail", "reject", "reject", "p")),
    (REJECT, ("--spf", "temperror:shop.example"), ("temperror", "none", "reject", "p")),
    ("", ("--dkim", "pass:shop.example"), ("none", "none", None, None)),
    ("; @timeout _dmarc.shop.example\n", ("--dkim", "pass:shop.example"), ("temperror", "none", None, None)),
    # hostile-input G1: strings are joined without a blank; two records are none
    (txt("_dmarc.shop.example", "v=DMARC1; p=rej", "ect"), (), ("fail", "reject", "reject", "p")),
    (REJECT + txt("_dmarc.shop.example", "v=DMARC1; p=none"), (), ("none", "none", None, None)),
    (REJECT + txt("_dmarc.shop.example", "v=spf1 -all"), (), ("fail", "reject", "reject", "p")),
    (txt("_dmarc.shop.example", "v=DMARC1; p=reject; t=y"), (), ("fail", "quarantine", "reject", "p")),
    (txt("_dmarc.shop.example", "v=DMARC1; p=reject; pct=0"), (), ("fail", "quarantine", "reject", "p")),
    (txt("_dmarc.shop.example", "v=DMARC1; p=reject; pct=50"), (), ("fail", "reject", "reject", "p")),
    (txt("_dmarc.shop.example", "v=DMARC1; p=reject; pct=50"), ("--sample", "50"),
     ("fail", "quarantine", "reject", "p")),
    (txt("_dmarc.shop.example", "v=DMARC1; rua=mailto:a@shop.example"), (), ("fail", "none", "none", "p")),
])
def test_given_results(tmp_path, zone, arguments, wanted):
    reply = ask(tmp_path, zone, "check", "--from", "shop.example", *arguments)
    assert (reply["result"], reply["disposition"], reply["policy"], reply["policy_tag"]) == wanted


@pytest.mark.parametrize("zone, tag", [
    ("a.shop.example. 300 IN A 192.0.2.7\n", "sp"),
    ("b.a.shop.example. 300 IN A 192.0.2.7\n", "sp"),  # an empty name above another exists (RFC 8020)
    ("", "np"),
])
def test_np_is_for_names_that_do_not_exist(tmp_path, zone, tag):
    zone += txt("_dmarc.shop.example", "v=DMARC1; p=none; sp=quarantine; np=reject")
    zone += "shop.example. 300 IN A 192.0.2.8\n"
    reply = ask(tmp_path, zone, "check", "--from", "a.shop.example")
    assert reply["policy_tag"] == tag and reply["result"] == "fail"


def test_where_the_two_ways_disagree_it_is_said(tmp_path):
    zone = (txt("_dmarc.mail.shop.co.uk", "v=DMARC1; p=reject; psd=n") + txt("_dmarc.shop.co.uk", "v=DMARC1; p=none"))
    arguments = ("check", "--from", "mail.shop.co.uk", "--dkim", "pass:shop.co.uk")
    reply = ask(tmp_path, zone, *arguments)
    assert reply["result"] == "fail" and reply["organizational_domain"] == "mail.shop.co.uk"
    other = reply["disagreement"]
    assert (other["discovery_method"], other["result"], other["organizational_domain"]) == ("psl", "pass", "shop.co.uk")
    turned = ask(tmp_path, zone, *arguments, "--psl")
    assert turned["result"] == "pass" and turned["disagreement"]["discovery_method"] == "treewalk"


@pytest.mark.parametrize("zone, arguments", [
    ("", ("--from", "a.b.shop.co.uk")),
    (txt("_dmarc.mail.shop.co.uk", "v=DMARC1; p=reject"),
     ("--from", "mail.shop.co.uk", "--dkim", "pass:mail.shop.co.uk")),
    (txt("_dmarc.shop.co.uk", "v=DMARC1; p=reject"), ("--from", "mail.shop.co.uk", "--dkim", "pass:x.shop.co.uk")),
    (txt("_dmarc.shop.co.uk", "v=DMARC1; p=reject") + "; @servfail _dmarc.uk\n", ("--from", "mail.shop.co.uk")),
])
def test_no_disagreement_is_made_up(tmp_path, zone, arguments):
    assert ask(tmp_path, zone, "check", *arguments)["disagreement"] is None


def test_hostile_input_g7_odd_names_are_never_aligned(tmp_path):
    reply = ask(tmp_path, REJECT, "check", "-", message=b"DKIM-Signature: v=1; a=rsa-sha256; d=sh op.example\x01; s=s; "
                b"h=from; bh=AA==; b=AA==\r\nFrom: a@shop.example\r\n\r\n")
    assert reply["result"] == "fail" and reply["dkim"][0]["result"] == "permerror"
    reply = ask(tmp_path, txt("_dmarc.xn--bcher-kva.example", "v=DMARC1; p=reject"), "check", "--from",
                "b\u00fccher.example", "--dkim", "pass:xn--bcher-kva.example")
    assert reply["result"] == "pass" and reply["domain"] == "xn--bcher-kva.example"


# --- the record alone: the answers of checkdmarc's parse_dmarc_record, as its source documents them ---

VALID, WARNS, INVALID = "pass", "warn", "fail"


@pytest.mark.parametrize("text, wanted, words", [
    ("v=DMARC1; p=reject; rua=mailto:a@shop.example", VALID, ""),
    ("V = DMARC1 ;p=reject", VALID, ""),                           # tag name in any case, blanks around '='
    ("v=DMARC1", WARNS, "no p="),                                   # a bare record is p=none
    ("v=DMARC1; rua=mailto:a@shop.example; p=reject", VALID, ""),   # any order
    ("v=DMARC1; p=none", WARNS, "nothing about forged mail"),
    ("v=DMARC1; p=reject; pct=100", WARNS, "gone since RFC 9989"),
    ("v=DMARC1; p=reject; ri=1; rf=afrf", WARNS, "gone since RFC 9989"),
    ("v=DMARC1; p=reject; unknown=1", WARNS, "unknown tag"),
    ("v=DMARC1; p=reject; rua=mailto:a@shop.example!10m", WARNS, "obsolete"),
    ("v=DMARC1; p=reject; rua=https://shop.example/x", WARNS, "mailto:"),
    ("v=DMARC1; p=reject; " + "rua=" + ",".join(f"mailto:{c}@shop.example" for c in "abc"), WARNS, "two addresses"),
    ("v=DMARC1; p=reject; p=none", INVALID, "was there before"),
    ("v=DMARC1; p=rejects", INVALID, "none, quarantine or reject"),
    ("v=DMARC1; p=reject; sp=x", INVALID, "none, quarantine or reject"),
    ("v=DMARC1; p=reject; fo=2", INVALID, "fo="),
    ("v=DMARC1; p=reject; fo=0:1; ruf=mailto:a@shop.example", INVALID, "not both"),
    ("v=DMARC1; p=reject; rua=a@shop.example", INVALID, "mailto:user@example.com"),
    ("v=DMARC1; p=reject; nonsense", INVALID, "name=value"),
    # Here checkdmarc warns and we call it wrong: the value breaks the grammar, though 4.8 discards it.
    ("v=DMARC1; p=reject; adkim=x", INVALID, "r (relaxed) or s (strict)"),
    # No record to a receiver; checkdmarc tells why in its own error classes.
    ("v=dmarc1; p=reject", INVALID, None),
    (" v=DMARC1; p=reject", INVALID, None),
    ("v=spf1 -all", INVALID, None),
])
def test_records_are_judged_as_checkdmarc_documents(tmp_path, text, wanted, words):
    reply = ask(tmp_path, txt("_dmarc.shop.example", text), "record", "shop.example")
    assert reply["result"] == wanted, reply
    if words is None:
        assert reply["record"] is None
    else:
        assert words in " ".join(fault["text"] for fault in reply["faults"])


def test_reports_elsewhere_need_consent_there(tmp_path):
    zone = txt("_dmarc.shop.example", "v=DMARC1; p=reject; rua=mailto:a@rep.example,mailto:b@x.shop.example")
    name = "shop.example._report._dmarc.rep.example"
    reply = ask(tmp_path, zone, "record", "shop.example")
    assert reply["result"] == "fail" and reply["reports"] == [
        {"address": "a@rep.example", "name": name, "authorized": False}]
    assert ask(tmp_path, zone + txt(name, "v=DMARC1"), "check", "--domain", "shop.example")["result"] == "pass"
    assert ask(tmp_path, zone + txt("*._report._dmarc.rep.example", "v=DMARC1;"), "record",
               "shop.example")["result"] == "pass"
    assert ask(tmp_path, zone + f"; @timeout {name}\n", "record", "shop.example")["result"] == "temperror"


@pytest.mark.parametrize("arguments, words", [
    ((), "say check or record"),
    (("check",), "takes a message"),
    (("record",), "takes a domain"),
    (("record", "not a name"), "no domain name"),
    (("check", "--from", "shop.example", "--dkim", "good:shop.example"), "pass:shop.example"),
    (("check", "--from", "shop.example", "--dkim", "pass:"), "pass:shop.example"),
    (("check", "--from", "..", "--dkim", "pass:a.example"), "--from"),
    (("check", "--from", "a.example", "message.eml"), "too much"),
    (("check", "-", "--ip", "1.2.3", "--helo", "x"), "--ip"),
    (("check", "-", "--ip", "1.2.3.4"), "--mail-from"),
    (("check", "-", "--helo", "x"), "--ip"),
    (("check", "--from", "a.example", "--sample", "100"), "0 to 99"),
])
def test_wrong_usage_is_told(tmp_path, arguments, words):
    zone = tmp_path / "empty.zone"
    zone.write_text("x.example. 300 IN A 192.0.2.1\n")
    done = run(*arguments, "--zone", zone)
    assert done.returncode == 2 and words in done.stderr.decode() and not done.stdout
