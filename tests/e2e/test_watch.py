# SPDX-License-Identifier: Apache-2.0
"""The watcher in a running node: a blocklist's listing and its end by webhook, other routes, an open
relay, the API, the checklist. Against real NSD and a web server of the tests' own."""
import http.server
import json
import os
import smtplib
import socket
import subprocess
import threading
import time

import pytest

from identity_net import NameServer
from node import OUTPOST, free_port, greets, wait_until
from test_identity import FIRST, SECOND, domain_records, dkim_record, source_records

HEAD = """$TTL 1
. IN SOA ns.root. h.root. 1 3600 600 1209600 1
. IN NS ns.root.
ns.root. IN A 127.0.1.1
example. IN TXT "a top-level domain"
net. IN TXT "another"
arpa. IN TXT "a third"
mail.lab.example. IN A 192.0.2.1
2.0.0.127.bl.spamcop.net. IN A 127.0.0.2
"""
LISTED = '1.2.0.127.bl.spamcop.net. IN A 127.0.0.2\n1.2.0.127.bl.spamcop.net. IN TXT "seen in a trap"\n'


def zones(key, extra=""):
    shop = domain_records("shop.example", dkim_record(key, "shop.example"))
    return {".": HEAD + source_records() + extra, "shop.example": shop.replace("$TTL 3600", "$TTL 1")}


class Hook:
    """A web server that keeps what it is sent; `status` is its answer."""

    def __init__(self):
        self.got, self.status = [], 200
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                hook.got.append((self.path, dict(self.headers), body))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def items(self, check_id=None):
        found = [item for _, _, body in list(self.got) for item in json.loads(body)["items"]]
        return [item for item in found if check_id in (None, item["id"])]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Watched:
    """A node with one domain and one source, that looks every second."""

    def __init__(self, path, key, extra="", listen="", every="1s"):
        self.path, self.port = path, free_port()
        self.config = path / "outpost.conf"
        self.config.write_text(f"""hostname = "mail.lab.example"
data-dir = "{path}"
control = "{path}/ctl"
log = "{path}/log"
slot-bytes = 4M
resolver = {{ "{FIRST}" }}
checks-every = {every}
lists-every = {every}
alert-group = 0s
listen "in" {{ address = {{ "127.0.0.1:{self.port}" }} networks = {{ "127.0.0.0/8" }} }}
{listen}
domain "shop.example" {{ dkim "s1" {{ key = "{key}" }} }}
source "s0" {{ address = "127.0.2.1"  ehlo = "out0.lab.example" }}
pool "main" {{ sources = {{ "s0" }} }}
{extra}
""")
        self.process = None
        self.start()

    def start(self):
        with open(self.path / "stdout", "ab") as out:
            self.process = subprocess.Popen([OUTPOST, "serve", "--config", str(self.config)], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL)
        wait_until("the greeting and the API", self.is_up)

    def is_up(self):
        assert self.process.poll() is None, (self.path / "stdout").read_text()
        return greets(self.port) and self.is_answering()

    def is_answering(self):
        return subprocess.run([OUTPOST, "stats", "--config", str(self.config)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def cli(self, *argv, code=None):
        done = subprocess.run([OUTPOST, *map(str, argv), "--config", str(self.config)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        assert code is None or done.returncode == code, (argv, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def json(self, *argv, code=None):
        return json.loads(self.cli(*argv, "--json", code=code))

    def ask(self, path):
        done = subprocess.run(["curl", "-s", "--unix-socket", str(self.path / "ctl"), "http://outpost" + path],
                              stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)


@pytest.fixture
def closing():
    made = []

    def keep(thing):
        made.append(thing)
        return thing
    yield keep
    for thing in reversed(made):
        thing.close()


def test_a_listing_and_its_end_are_told_by_webhook_once_each(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    first = NameServer(tmp_path / "listed", FIRST, zones(key, LISTED))
    hook = closing(Hook())
    node = closing(Watched(tmp_path, key, f'alert "duty" {{ url = "{hook.url}/in"  repeat = 4h }}'))
    try:
        wait_until("the listing", lambda: hook.items("list.listed"), 30)
        item = hook.items("list.listed")[0]
        assert (item["kind"], item["source"], item["part"], item["status"]) == ("new", "s0", "bl.spamcop.net", "fail")
        assert "spamcop" in item["mend"] and "seen in a trap" in item["detail"]
        source = node.json("source", "list", code=1)["sources"][0]
        assert source["state"] == "listed"
        assert "bl.spamcop.net" in node.cli("source", "list", code=1)
        assert "list.listed" in node.cli("alert", "list", code=1)
    finally:
        first.close()
    second = closing(NameServer(tmp_path / "free", FIRST, zones(key)))
    wait_until("the end of it", lambda: [i for i in hook.items("list.listed") if i["kind"] == "resolved"], 30)
    assert second and [i["kind"] for i in hook.items("list.listed")] == ["new", "resolved"]
    assert node.json("source", "list")["sources"][0]["state"] != "listed"
    events = [e for e in node.ask("/v1/checks/events")["events"]
              if e["id"] == "list.listed" and e["part"] == "bl.spamcop.net" and e["source"] == "s0"]
    assert [(e["from"], e["status"]) for e in events] == [("fail", "pass"), (None, "fail")]


def test_what_was_told_is_not_told_again_after_a_restart(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    closing(NameServer(tmp_path / "listed", FIRST, zones(key, LISTED)))
    hook = closing(Hook())
    node = closing(Watched(tmp_path, key, f'alert "duty" {{ url = "{hook.url}" }}'))
    wait_until("the listing", lambda: hook.items("list.listed"), 30)
    wait_until("it is kept", lambda: node.json("alert", "list")["routes"][0]["told"])
    node.close()
    told = len(hook.items("list.listed"))
    node.start()
    before = node.json("source", "list")["sources"][0]["checked"]
    wait_until("another look", lambda: node.json("source", "list")["sources"][0]["checked"] > before, 30)
    assert len(hook.items("list.listed")) == told
    assert node.json("source", "list", code=1)["sources"][0]["state"] == "listed"


def test_a_command_gets_the_notice_and_an_open_relay_is_one(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    closing(NameServer(tmp_path / "first", FIRST, zones(key)))
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/got.$$ && env > {tmp_path}/env && mv {tmp_path}/got.$$ {tmp_path}/got\n")
    os.chmod(script, 0o755)
    listen = f'listen "wide" {{ address = {{ "127.0.0.1:{free_port()}" }} networks = {{ "11.0.0.0/8" }} }}'
    node = closing(Watched(tmp_path, key, f'alert "run" {{ type = command  command = "{script}" }}', listen))
    wait_until("the command", (tmp_path / "got").exists, 30)
    items = json.loads((tmp_path / "got").read_text())["items"]
    assert [i["part"] for i in items if i["id"] == "relay.open"] == ["wide"]
    assert "11." in [i for i in items if i["id"] == "relay.open"][0]["found"]
    environment = (tmp_path / "env").read_text()
    assert "PATH=/usr/bin:/bin" in environment and "HOME=" not in environment
    node.close()
    assert node.process.returncode == 0


def test_muted_alerts_wait_and_a_test_notice_does_not(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    closing(NameServer(tmp_path / "first", FIRST, zones(key, LISTED)))
    hook = closing(Hook())
    hook.status = 500
    node = closing(Watched(tmp_path, key, f'alert "duty" {{ url = "{hook.url}"  min-severity = fail }}'))
    wait_until("a failure", lambda: node.json("alert", "list")["routes"][0]["failures"] > 0, 30)
    assert "500" in node.json("alert", "list")["routes"][0]["why"]
    hook.status = 200
    node.cli("alert", "mute", "1h", "--reason", "moving", code=0)
    hook.got.clear()
    node.cli("alert", "test", "duty", code=0)
    wait_until("the test", lambda: hook.got, 30)
    assert json.loads(hook.got[0][2])["test"] is True and not hook.items()
    assert node.json("alert", "list")["mute_reason"] == "moving"
    node.cli("alert", "unmute", code=0)
    wait_until("what waited", lambda: hook.items("list.listed"), 30)
    node.cli("alert", "test", "nobody", code=1)


def test_checks_of_a_domain_come_by_the_api_and_the_checklist_is_ticked(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    closing(NameServer(tmp_path / "first", FIRST, zones(key)))
    node = closing(Watched(tmp_path, key))
    checks = node.ask("/v1/domains/shop.example/checks?fresh=1")
    found = {r["id"]: r["status"] for r in checks["results"]}
    assert found["spf.pass"] == "pass" and found["dkim.record"] == "pass" and checks["domain"] == "shop.example"
    assert "no such domain" in node.ask("/v1/domains/other.example/checks")["error"]
    assert node.ask("/v1/domains")["domains"][0]["domain"] == "shop.example"
    node.cli("domain", "checklist", "shop.example", "--done", "gmail.postmaster", "--note", "by Kim", code=0)
    node.cli("domain", "checklist", "shop.example", "--done", "gmail.dmarc", code=1)
    items = {i["item"]: i for i in node.json("domain", "checklist", code=1)["domains"][0]["items"]}
    assert items["gmail.postmaster"]["state"] == "done" and items["gmail.postmaster"]["done"]["note"] == "by Kim"
    assert items["gmail.both"]["state"] == "met" and items["microsoft.snds"]["state"] == "to_do"
    few = node.json("domain", "checklist", "shop.example", "--stream", "transactional")["domains"][0]["items"]
    assert len(few) < len(items)
    assert json.loads((tmp_path / "identity" / "checklist.json").read_text())["shop.example"]["gmail.postmaster"]


def test_syslog_nagios_and_mail_take_a_notice(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    closing(NameServer(tmp_path / "first", FIRST, zones(key)))
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(tmp_path / "devlog"))
    log.settimeout(30)
    commands = tmp_path / "nagios.cmd"
    os.mkfifo(commands)
    pipe = os.open(commands, os.O_RDWR | os.O_NONBLOCK)
    inbox = []
    mail = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=take_mail, args=(mail, inbox), daemon=True).start()
    node = closing(Watched(tmp_path, key, f"""alert "s" {{ type = syslog  socket = "{tmp_path}/devlog" }}
alert "n" {{ type = nagios  command-file = "{commands}" }}
alert "m" {{ type = mail  url = "smtp://127.0.0.1:{mail.getsockname()[1]}"  to = "duty@elsewhere.example" }}"""))
    for name in "snm":
        node.cli("alert", "test", name, code=0)
    assert log.recv(2000).startswith(b"<21>outpost[")
    wait_until("Nagios", lambda: b"PROCESS_SERVICE_CHECK_RESULT;mail.lab.example;outpost;" in os.read(pipe, 4000))
    wait_until("the mail", lambda: inbox, 30)
    assert "RCPT TO:<duty@elsewhere.example>" in inbox[0] and "Auto-Submitted: auto-generated" in inbox[0]
    log.close()
    os.close(pipe)
    mail.close()


def take_mail(server, inbox):
    """One SMTP dialogue, as text."""
    link, _ = server.accept()
    said, in_data = "", False
    link.sendall(b"220 mx\r\n")
    with link.makefile("rb") as lines:
        for line in lines:
            text = line.decode().rstrip("\r\n")
            said += text + "\n"
            if in_data and text == ".":
                in_data = False
                inbox.append(said)
            elif in_data:
                continue
            elif text == "DATA":
                in_data = True
                link.sendall(b"354 go\r\n")
                continue
            link.sendall(b"250 ok\r\n")
            if text == "QUIT":
                break
    link.close()


def test_a_related_refusal_brings_the_next_look_forward(tmp_path, dkim_keys, closing):
    key = dkim_keys["rsa"]
    closing(NameServer(tmp_path / "first", FIRST, zones(key)))
    mx = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=refuse_mail, args=(mx,), daemon=True).start()
    route = f'route "*" {{ to = {{ "127.0.0.1:{mx.getsockname()[1]}" }} }}'
    node = closing(Watched(tmp_path, key, route, every="7d"))
    with smtplib.SMTP("127.0.0.1", node.port, timeout=20) as client:
        client.sendmail("a@shop.example", ["u@far.example"], b"From: a@shop.example\r\nSubject: x\r\n\r\nhello\r\n")
    wait_until("the log line", lambda: "checking at once" in (tmp_path / "log").read_text(), 30)
    assert "blocked using bl.example" in (tmp_path / "log").read_text()
    mx.close()


def refuse_mail(server):
    while True:
        try:
            link, _ = server.accept()
        except OSError:
            return
        link.sendall(b"220 mx\r\n")
        with link.makefile("rb") as lines:
            for line in lines:
                is_rcpt = line.upper().startswith(b"RCPT")
                link.sendall(b"550 5.7.1 blocked using bl.example\r\n" if is_rcpt else b"250 ok\r\n")
        link.close()


class TimeServer:
    """Answers SNTP questions with a clock that is off by off_s."""

    def __init__(self, off_s):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, args=(off_s,), daemon=True).start()

    def serve(self, off_s):
        while True:
            try:
                packet, client = self.socket.recvfrom(512)
            except OSError:
                return
            now = int((time.time() + off_s + 2208988800) * 2 ** 32).to_bytes(8, "big")
            self.socket.sendto(bytes([0x24, 2]) + bytes(22) + packet[40:48] + now + now, client)

    def close(self):
        self.socket.close()


class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"events": [{"eventAction": "expiration", "eventDate": "2001-02-03T04:05:06Z"}]}).encode()
        self.send_response(200 if self.path == "/v1/domain/shop.example" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_port_25_the_clock_and_the_end_of_a_registration_are_watched(tmp_path, dkim_keys, closing):
    closing(NameServer(tmp_path / "first", FIRST, zones(dkim_keys["rsa"])))
    clock = closing(TimeServer(600))
    registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    node = closing(Watched(tmp_path, dkim_keys["rsa"], f"""probe-host = "127.0.0.1:{free_port()}"
clock-server = "{clock.at}"
rdap-server = "http://127.0.0.1:{registry.server_port}/v1" """))

    def problems():
        return {p["id"]: p for p in node.json("alert", "list")["problems"]}
    wait_until("two of them", lambda: {"port25.reach", "clock.offset"} <= set(problems()), 30)
    found = problems()
    assert found["port25.reach"]["source"] == "s0" and "refused" in found["port25.reach"]["found"]
    assert (found["clock.offset"]["status"], found["clock.offset"]["found"]) in (
        ("fail", "600 s behind"), ("fail", "599 s behind"))
    assert "resolver.answers" not in found and "relay.open" not in found
    text = node.config.read_text()
    port = node.config.read_text().split('probe-host = "127.0.0.1:')[1].split('"')[0]
    with socket.create_server(("127.0.0.1", int(port))):
        wait_until("the way out", lambda: "port25.reach" not in problems(), 30)
    assert text and registry.shutdown() is None
    registry.server_close()


def test_a_stop_does_not_wait_for_checks_that_wait(tmp_path, dkim_keys, closing):
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((FIRST, 53))
    node = closing(Watched(tmp_path, dkim_keys["rsa"], every="7d"))
    asking = subprocess.Popen(["curl", "-s", "--unix-socket", str(tmp_path / "ctl"),
                               "http://outpost/v1/domains/shop.example/checks?fresh=1"], stdout=subprocess.PIPE)
    packet = silent.recvfrom(512)  # the run has begun
    begin = time.monotonic()
    node.close()
    assert time.monotonic() - begin < 5 and packet and node.process.returncode == 0
    assert b"stopping" in asking.communicate(timeout=10)[0]
    silent.close()
