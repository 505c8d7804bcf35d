# SPDX-License-Identifier: Apache-2.0
"""An operator at work: the queue, its actions over a restart, explanations, the books, reload, stop."""
import os
import re
import signal
import smtplib
import socket
import subprocess

import pytest

from node import OUTPOST, free_port, wait_until


@pytest.fixture
def waiting(node):
    """Three messages that wait: their receiver says 451. Retries are far apart."""
    node.stop()
    node.write('stream "transactional" { retry-first = 1h }\nstream "bulk" { retry-first = 1h }', route=node_route(node))
    node.start()
    names = [node.send(f"defer{i}@sink.example", headers=f"X-Outpost-Tag: order-{i}\r\n") for i in range(3)]
    wait_until("three deferred", lambda: node.json("stats")["since_start"]["deferred"] >= 3)
    assert all(node.is_known(name) for name in names)
    return node, names


def node_route(node):
    return re.search(r'route "\*" \{ to = \{ "127.0.0.1:(\d+)"', node.config_path.read_text()).group(1)


def queue(node, *filters):
    return {entry["id"]: entry for entry in node.json("queue", "list", *filters)["entries"]}


def test_the_queue_says_what_waits_and_why(waiting):
    node, names = waiting
    entries = queue(node)
    assert set(entries) == set(names)
    entry = entries[names[0]]
    assert entry["state"] == "queued" and entry["tries"] == 1 and "451 4.2.1" in entry["reason"], entry
    assert set(queue(node, "--tag", "order-1")) == {names[1]}
    assert set(queue(node, "--recipient", "defer2@sink.example")) == {names[2]}
    assert set(queue(node, "--domain", "sink.example")) == set(names)
    assert queue(node, "--domain", "other.example") == {}
    text = node.cli("explain", names[0])
    assert "451 4.2.1 come back later" in text and "defer0@sink.example" in text, text
    raw = node.cli("queue", "show", names[0], "--raw")
    assert "Subject: Hello" in raw and "X-Outpost-Tag" not in raw


def test_hold_release_cancel_and_bounce_survive_a_restart(waiting, sink):
    node, names = waiting
    node.cli("queue", "hold", names[0], "--reason", "bad link")
    node.cli("queue", "cancel", names[1], "--reason", "wrong list")
    node.kill()
    node.start()
    entries = queue(node)
    assert set(entries) == {names[0], names[2]}
    assert entries[names[0]]["state"] == "held", entries[names[0]]
    assert "held" in node.cli("explain", names[0])
    wait_until("the reason in the story", lambda: "bad link" in node.cli("trace", names[0]))
    node.cli("queue", "release", names[0])
    wait_until("another attempt", lambda: queue(node)[names[0]]["tries"] >= 2 and
               queue(node)[names[0]]["state"] == "queued")
    node.wait_for_state(names[1], "cancelled")
    assert "wrong list" in node.cli("trace", names[1])
    node.cli("queue", "bounce", names[2], "--reason", "gone")
    wait_until("the report", lambda: sink.find(b"multipart/report"))
    node.wait_for_state(names[2], "bounced")


def test_actions_on_nothing_say_so(node):
    assert "nothing waits" in node.cli("queue", "list")
    node.cli("queue", "hold", "01AAAAAAAAAAAAAAAAAAAAAAAA", "--reason", "x", code=1)
    node.cli("explain", "01AAAAAAAAAAAAAAAAAAAAAAAA", code=1)
    node.cli("trace", "01AAAAAAAAAAAAAAAAAAAAAAAA", code=1)


def test_the_books_balance(node, sink):
    for i in range(20):
        node.send([f"you{i}@sink.example", f"reject{i}@sink.example"], sender="app@sink.example")
    node.drain()
    report = wait_until("balanced books", lambda: balanced(node), 20, 0.1)
    assert report["balanced"], report
    assert len(node.json("trace", "--recipient", "you7@sink.example")) == 1


def balanced(node):
    report = node.json("audit", code=None)
    return report if report["balanced"] else None


def test_flush_tries_at_once(waiting):
    node, names = waiting
    node.cli("queue", "flush", "--domain", "sink.example")
    wait_until("second tries", lambda: [e["tries"] for e in queue(node).values()] == [2, 2, 2])
    assert names


def test_a_story_is_found_by_every_name(node, sink):
    name = node.send("you@sink.example", headers="X-Outpost-Tag: order-4711\r\nMessage-ID: <one@lab.example>\r\n")
    node.wait_for_state(name, "delivered")
    for by in (["--tag", "order-4711"], ["--recipient", "you@sink.example"], ["--message-id", "<one@lab.example>"]):
        assert [story["id"] for story in node.json("trace", *by)] == [name], by
    text = node.cli("trace", name)
    assert "accepted" in text and "delivered" in text and "250 2.0.0 kept" in text, text
    assert node.stop() == 0
    offline = subprocess.run([OUTPOST, "trace", name, "--history", str(node.path / "history")], check=True,
                             stdout=subprocess.PIPE)
    assert b"delivered" in offline.stdout


@pytest.mark.parametrize("broken,line,words", [
    ('hostnam = "x.example"', 1, "hostname"),
    ('hostname = "x.example"\nlisten "a" { adress = { "127.0.0.1:1" } }', 2, "address"),
    ('hostname = "x.example"\nroute "*" { to = { "127.0.0.1:25" }  tls = requird }', 2, "required"),
    ('hostname = "x.example"\nlisten "a" {\n  address = { "127.0.0.1:1" }\n', None, "}"),
    ('hostname = "x.example"\nmessage-bytes-max = 3', 2, "message-bytes-max"),
])
def test_a_broken_configuration_is_named_with_file_line_and_suggestion(tmp_path, broken, line, words):
    path = tmp_path / "outpost.conf"
    path.write_text(broken + "\n")
    done = subprocess.run([OUTPOST, "config", "check", "--config", str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode()
    assert done.returncode == 1 and words in text, text
    assert re.search(rf"outpost\.conf:{line or '[0-9]+'}: ", text), text


def test_a_source_that_this_host_lacks_is_refused_at_check(tmp_path):
    path = tmp_path / "outpost.conf"
    path.write_text('hostname = "x.example"\nlisten "a" { address = { "127.0.0.1:1" } networks = { "127.0.0.0/8" } }\n'
                    'source "a" { address = "198.51.100.7" }\npool "main" { sources = { "a" } }\n')
    done = subprocess.run([OUTPOST, "config", "check", "--config", str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 1 and b"198.51.100.7" in done.stdout and b"outpost.conf:3: " in done.stdout, done.stdout


def test_a_broken_reload_keeps_the_running_configuration(node, sink):
    good = node.config_path.read_text()
    node.config_path.write_text(good + "nonsense = 1\n")
    node.process.send_signal(signal.SIGHUP)
    wait_until("the complaint", lambda: f"outpost.conf:{len(good.splitlines()) + 1}: " in node.output())
    node.send("you@sink.example")
    wait_until("the sink", lambda: sink.messages)
    port = free_port()
    node.config_path.write_text(good + f'listen "more" {{ address = {{ "127.0.0.1:{port}" }} '
                                       'networks = { "127.0.0.0/8" } }\n')
    node.process.send_signal(signal.SIGHUP)
    wait_until("the new listener", lambda: socket_opens(port))


def socket_opens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def test_sigterm_finishes_what_runs_and_exits_0(node):
    with smtplib.SMTP("127.0.0.1", node.port) as idle, smtplib.SMTP("127.0.0.1", node.port) as busy:
        idle.ehlo()
        busy.ehlo()
        busy.mail("app@lab.example")
        busy.rcpt("you@sink.example")
        assert busy.docmd("DATA")[0] == 354
        node.process.send_signal(signal.SIGTERM)
        assert idle.getreply()[0] == 421
        busy.send(b"From: app@lab.example\r\n\r\nlast words\r\n.\r\n")
        assert busy.getreply()[0] == 250
        assert node.process.wait(15) == 0
        idle.close()
        busy.close()
    node.start()
    node.drain()
    assert node.json("stats")["spool"]["accepted_messages"] == 1


def test_a_second_instance_is_refused(node):
    done = subprocess.run([OUTPOST, "serve", "--config", str(node.config_path)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, check=False)
    assert done.returncode != 0
    assert socket_opens(node.port)
    assert node.json("stats")["version"]


def test_the_node_tells_the_service_manager_that_it_is_ready(make_node, sink, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind(path)
        box.settimeout(10)
        node = make_node(route=sink.port)
        node.start(wait=False, environment=dict(os.environ, NOTIFY_SOCKET=path))
        told = box.recv(4096)
        assert b"READY=1" in told
        assert socket_opens(node.port)


def test_a_spool_at_rest_is_checked(node, sink):
    for i in range(10):
        node.send(f"you{i}@sink.example")
    node.kill()
    text = node.cli("spool", "check")
    assert text
    assert node.json("spool", "check")


def test_dkim_verify_reads_keys_from_a_master_file(node, sink, tmp_path, dkim_keys):
    zone, message = tmp_path / "keys.zone", tmp_path / "message.eml"
    message.write_bytes(b"From: app@lab.example\r\nSubject: x\r\n\r\nHello\r\n")
    key = ["--key", str(dkim_keys["rsa"]), "--domain", "lab.example", "--selector", "s1"]
    zone.write_bytes(subprocess.run([OUTPOST, "dkim", "record"] + key, check=True, stdout=subprocess.PIPE).stdout)
    signed = subprocess.run([OUTPOST, "dkim", "sign"] + key + [str(message)], check=True, stdout=subprocess.PIPE).stdout
    message.write_bytes(signed)
    verify = [OUTPOST, "dkim", "verify", "--zone", str(zone), "--json", str(message)]
    done = subprocess.run(verify, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0 and b'"result"' in done.stdout and b'"pass"' in done.stdout, done.stdout
    message.write_bytes(signed.replace(b"Hello", b"Hallo"))
    done = subprocess.run(verify, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b'"fail"' in done.stdout, done.stdout
