# SPDX-License-Identifier: Apache-2.0
"""The log: pflogsumm reads what the node writes and counts right; JSON lines are JSON."""
import json
import re
import shutil
import socket
import subprocess

from node import wait_until

PFLOGSUMM = shutil.which("pflogsumm") or "/usr/sbin/pflogsumm"


def test_pflogsumm_counts_what_happened(make_node, sink):
    node = make_node(route=sink.port, config='stream "transactional" { retry-first = 1h }').start()
    for i in range(7):
        node.send(f"you{i}@sink.example")
    for i in range(3):
        node.send(f"reject{i}@sink.example", sender="app@sink.example")
    node.send(["defer@sink.example", "also@sink.example"])
    wait_until("all outcomes", lambda: len(re.findall(r"status=(?:sent|bounced|deferred)", node.log.read_text())) >= 15, 30)
    summary = subprocess.run(["/usr/bin/perl", PFLOGSUMM, str(node.log)], stdout=subprocess.PIPE, check=True).stdout.decode()
    totals = {word: int(count) for count, word in re.findall(r"^\s+(\d+)\s+(received|delivered|deferred|bounced)\b",
                                                              summary, re.M)}
    # 7 + 1 and 3 reports were delivered; pflogsumm does not count reports as received, as with Postfix
    assert totals == {"received": 11, "delivered": 11, "deferred": 1, "bounced": 3}, summary


def test_json_lines_tell_the_same(make_node, sink):
    node = make_node(route=sink.port, config="log-postfix = no\nlog-json = yes").start()
    name = node.send("you@sink.example", headers="X-Outpost-Tag: order-1\r\n")
    lines = wait_until("the line", lambda: [line for line in json_lines(node) if line.get("type") == "delivered"])
    assert lines[0]["id"] == name and lines[0]["rcpt"] == "you@sink.example", lines


def json_lines(node):
    return [json.loads(line) for line in node.log.read_text().splitlines() if line.startswith("{")]


def test_control_characters_of_a_peer_do_not_reach_the_log(make_node, sink):
    node = make_node(route=sink.port).start()

    with socket.create_connection(("127.0.0.1", node.port)) as link:
        link.sendall(b"EHLO \x1b[31mred\x07\r\nMAIL FROM:<a\x1b@x.example>\r\nQUIT\r\n")
        while link.recv(4096):
            pass
    text = node.log.read_bytes()
    assert b"\x1b" not in text and b"\x07" not in text


