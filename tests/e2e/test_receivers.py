# SPDX-License-Identifier: Apache-2.0
"""Postfix and Exim receive with STARTTLS what the node delivers by MX; and what DNS may say."""
import pathlib
import re
import subprocess
import tempfile

import pytest

import frame
from node import wait_until

BODY = b"Hello\r\n.\r\n..two dots\r\n\r\ntabs\tand  blanks \r\n" + b"0123456789" * 99 + b"\r\n" + b"line\r\n" * 2000


@pytest.fixture
def mx_node(make_node, tls_files):
    """Delivers by MX, and trusts the authority of the receivers."""
    return make_node(config=f'ca-file = "{tls_files[0]}"\noutbound-tls = verified\n'
                            'stream "transactional" { retry-first = 1s  retry-max = 2s }').start()


def content(recipient, subject):
    return (f"From: app@lab.example\r\nTo: {recipient}\r\nSubject: {subject}\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\n"
            f"Message-ID: <{subject.replace(' ', '.')}@lab.example>\r\nX-Folded: one\r\n\ttwo  \r\n\r\n").encode() + BODY


def is_unchanged(received, sent):
    """What was sent is the end of what lies in the mailbox; in front there are only trace fields."""
    if not received.endswith(sent):
        return False
    added = received[:-len(sent)]
    return all(re.match(rb"(?i)(received|return-path|delivered-to|x-original-to|envelope-to|delivery-date|dkim-signature):|[ \t]",
                        line) for line in added.splitlines())


def check_delivery(node, server, domain):
    sent = content(f"you@{domain}", f"by MX to {domain}")
    name = node.send(f"you@{domain}", content=sent)
    node.wait_for_state(name, "delivered")
    received = wait_until("the mailbox", lambda: [m for m in server.messages() if f"by MX to {domain}".encode() in m])
    assert len(received) == 1 and is_unchanged(received[0], sent), received
    event = node.trace(name)["recipients"][0]["events"][-1]
    assert event["tls"].startswith("TLSv1."), event
    return event


def test_postfix_receives_over_verified_starttls(mx_node, postfix):
    check_delivery(mx_node, postfix, "postfix.example")
    assert "TLS connection established from" in postfix.log()


def test_exim_receives_over_verified_starttls(mx_node, exim):
    check_delivery(mx_node, exim, "exim.example")
    assert " X=TLS1" in exim.log()


def test_outcomes_are_kept_apart_for_each_recipient(mx_node, postfix):
    """250, 451 and 550 in one transaction; the sender gets a report about the last."""
    recipients = ["one@postfix.example", "defer@postfix.example", "bad@postfix.example"]
    name = mx_node.send(recipients, sender="reports@postfix.example", content=content(recipients[0], "three fates"))
    wait_until("three fates", lambda: mx_node.states(name) == {
        recipients[0]: "delivered", recipients[1]: "queued", recipients[2]: "bounced"}, 20, 0.1)
    report = wait_until("the report", lambda: [m for m in postfix.messages() if b"multipart/report" in m])[0]
    assert b"Action: failed" in report and b"bad@postfix.example" in report and b"5.1.1" in report
    assert b"Diagnostic-Code: smtp; 550 5.1.1" in report


def test_the_next_mx_is_tried_where_the_first_is_dead(peer, make_node):
    """two.example: a host that nobody has, then one that answers."""
    node = make_node(config='stream "transactional" { retry-first = 1s }').start()
    with SinkInPeer(peer) as sink:
        name = node.send("you@two.example")
        wait_until("the sink", lambda: sink.received() == 1, 60)
        node.wait_for_state(name, "delivered", 60)


def test_a_domain_that_takes_no_mail_bounces(mx_node):
    name = mx_node.send("you@null.example")
    mx_node.wait_for_state(name, "bounced")
    assert "5.1.10" in mx_node.cli("trace", name)


def test_a_domain_that_does_not_exist_waits_for_a_second_answer(mx_node):
    """One NXDOMAIN may be a zone in the making: only the same answer a minute later is final."""
    name = mx_node.send("you@missing.example")
    wait_until("an attempt", lambda: "missing.example does not exist" in mx_node.cli("trace", name, code=None))
    assert mx_node.states(name) == {"you@missing.example": "queued"}


def test_an_mx_that_points_at_loopback_is_not_contacted(mx_node):
    """Neither delivered nor a loop: the address is refused when we would connect."""
    name = mx_node.send("you@own.example")
    wait_until("an attempt", lambda: len(mx_node.trace(name)["recipients"][0]["events"]) > 1, 20, 0.1)
    assert "delivered" not in mx_node.states(name).values()


class SinkInPeer:
    """The sink as a process in the receivers' network, on port 25."""

    def __init__(self, peer):
        self.peer = peer

    def __enter__(self):
        self.ledger = tempfile.NamedTemporaryFile()
        self.process = subprocess.Popen(self.peer.argv("/usr/bin/python3", pathlib.Path(__file__).parent / "sink.py",
                                                       frame.SINK_IP, "25", self.ledger.name))
        return self

    def received(self):
        return open(self.ledger.name, "rb").read().count(b"\n")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.ledger.close()
