# SPDX-License-Identifier: Apache-2.0
"""The node under test: its configuration, its life and its commands; and small helpers."""
import json
import os
import pathlib
import re
import signal
import smtplib
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTPOST = os.environ.get("OUTPOST", str(ROOT / "build-test" / "src" / "cli" / "outpost"))
DNS_PORT = 5353


def wait_until(what, is_true, timeout_s=20.0, pause_s=0.01):
    """Polls; the answer of is_true() once it is true."""
    until = time.monotonic() + timeout_s
    while True:
        answer = is_true()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout_s:.0f} s for: {what}")
        time.sleep(pause_s)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def greets(port, host="127.0.0.1"):
    try:
        with socket.create_connection((host, port), 2) as link:
            link.settimeout(5)
            return link.recv(100).startswith(b"220")
    except OSError:
        return False


class Node:
    """One node in a folder of its own. `config` is added to what every test needs."""

    def __init__(self, path, config="", listen="", route=None):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None
        self.config_path = self.path / "outpost.conf"
        self.log = self.path / "node.log"
        self.write(config, listen, route)

    def write(self, config="", listen="", route=None):
        way_out = f'route "*" {{ to = {{ "127.0.0.1:{route}" }} }}' if route else ""
        self.config_path.write_text(f"""hostname = "mail.lab.example"
data-dir = "."
control = "control.sock"
log = "./node.log"
slot-bytes = 4M
resolver = {{ "127.0.0.1:{DNS_PORT}" }}
connection-per-ip-max = 500
connection-per-net-max = 500
listen "in" {{ address = {{ "127.0.0.1:{self.port}" }} networks = {{ "127.0.0.0/8" }} }}
{listen}
{way_out}
{config}
""")

    def start(self, wait=True, environment=None):
        out = open(self.path / "stdout", "ab")
        self.process = subprocess.Popen([OUTPOST, "serve", "--config", str(self.config_path)], stdout=out,
                                        stderr=out, stdin=subprocess.DEVNULL, env=environment)
        if wait:
            wait_until("the node's greeting", self._is_up)
        return self

    def _is_up(self):
        assert self.process.poll() is None, "the node ended: " + self.output()
        return greets(self.port)

    def output(self):
        text = (self.path / "stdout").read_text(errors="replace")
        if self.log.exists():
            text += self.log.read_text(errors="replace")
        return text[-3000:]

    def stop(self, number=signal.SIGTERM, timeout_s=20):
        """The exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def cli(self, *argv, code=0):
        """Standard output of a command, which must end with this code (None: any)."""
        done = subprocess.run([OUTPOST] + [str(word) for word in argv] + ["--config", str(self.config_path)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        assert code is None or done.returncode == code, (argv, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode("utf-8", "replace")

    def json(self, *argv, code=0):
        return json.loads(self.cli(*argv, "--json", code=code))

    def send(self, recipients, sender="app@lab.example", content=None, headers=""):
        """One message by smtplib; its id."""
        recipients = [recipients] if isinstance(recipients, str) else recipients
        if content is None:
            content = f"From: {sender}\r\nTo: {recipients[0]}\r\nSubject: Hello\r\n{headers}\r\nHello\r\n".encode()
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.ehlo("client.example")
            client.mail(sender)
            for recipient in recipients:
                code, text = client.rcpt(recipient)
                assert code == 250, (code, text)
            code, text = client.data(content)
            assert code == 250, (code, text)
            return message_id(text)

    def messages_open(self):
        return self.json("stats")["queue"]["messages"]

    def drain(self, timeout_s=30):
        wait_until("an empty queue", lambda: self.messages_open() == 0, timeout_s, 0.05)

    def trace(self, name, timeout_s=10):
        """The story of one message, once the scribe has written it."""
        def ask():
            done = subprocess.run([OUTPOST, "trace", name, "--json", "--config", str(self.config_path)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            return json.loads(done.stdout)[0] if done.returncode == 0 else None
        return wait_until(f"the story of {name}", ask, timeout_s, 0.05)

    def is_known(self, name):
        """A message has its name in the history a moment after its acceptance."""
        return self.trace(name)["id"] == name

    def states(self, name):
        return {recipient["address"]: recipient["state"] for recipient in self.trace(name)["recipients"]}

    def wait_for_state(self, name, state, timeout_s=20):
        wait_until(f"{name} {state}", lambda: set(self.states(name).values()) == {state}, timeout_s, 0.05)


def message_id(reply):
    text = reply.decode() if isinstance(reply, bytes) else reply
    found = re.search(r"queued as ([0-9A-Z]{26})", text)
    assert found, text
    return found.group(1)
