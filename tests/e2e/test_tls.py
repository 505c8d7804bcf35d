# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with real TLS, on the way in (A6, A7, A9) and out (H6, H7): the cases of hostile
input that the simulation, which passes bytes through, cannot show."""
import socket
import ssl
import subprocess

import pytest

from node import free_port, wait_until


@pytest.fixture
def tls_node(make_node, sink, tls_files):
    ca, cert, key = tls_files
    node = make_node(route=sink.port)
    port = free_port()
    node.write(route=sink.port, listen=f'listen "tls" {{ address = {{ "127.0.0.1:{port}" }} tls = starttls '
                                       f'cert = {{ "{cert}" }} key = {{ "{key}" }} networks = {{ "127.0.0.0/8" }} }}')
    node.tls_port, node.ca = port, ca
    return node.start()


class Wire:
    """A client that says what it likes."""

    def __init__(self, port, alpn=None, ca=None):
        self.raw = self.link = socket.create_connection(("127.0.0.1", port), 10)
        self.context = ssl.create_default_context(cafile=str(ca)) if ca else None
        if alpn and self.context:
            self.context.set_alpn_protocols(alpn)
        assert self.reply().startswith("220")

    def reply(self):
        """One whole reply; empty where the connection has ended."""
        text = b""
        while not (text.endswith(b"\r\n") and text.rstrip().split(b"\r\n")[-1][3:4] in (b" ", b"")):
            try:
                piece = self.link.recv(4096)
            except OSError:
                piece = b""
            if not piece:
                break
            text += piece
        return text.decode()

    def say(self, text):
        self.link.sendall(text if isinstance(text, bytes) else text.encode() + b"\r\n")
        return self.reply()

    def starttls(self):
        assert self.say("EHLO client.example").startswith("250")
        assert self.say("STARTTLS").startswith("220")
        self.link = self.context.wrap_socket(self.raw, server_hostname="localhost")

    def close(self):
        self.link.close()


def test_a6_bytes_behind_starttls_close_without_a_handshake(tls_node):
    wire = Wire(tls_node.tls_port)
    wire.say("EHLO client.example")
    assert wire.say(b"STARTTLS\r\nMAIL FROM:<a@lab.example>\r\n").startswith("554 5.5.0")
    assert wire.reply() == ""
    wire.close()


def test_a6_after_the_handshake_the_session_begins_anew(tls_node):
    wire = Wire(tls_node.tls_port, ca=tls_node.ca)
    assert wire.say("STARTTLS now").startswith(("501", "503"))
    wire.starttls()
    assert wire.say("MAIL FROM:<a@lab.example>").startswith("503 5.5.1")
    assert "STARTTLS" not in wire.say("EHLO client.example")
    assert wire.say("STARTTLS").startswith("503 5.5.1")
    wire.close()


def test_a7_clear_bytes_after_close_notify_are_never_read(tls_node, sink):
    wire = Wire(tls_node.tls_port, ca=tls_node.ca)
    wire.starttls()
    for command in ("EHLO client.example", "MAIL FROM:<a@lab.example>", "RCPT TO:<you@sink.example>", "DATA"):
        assert wire.say(command)[0] in "23"
    wire.link.sendall(b"From: a@lab.example\r\n\r\nhalf\r\n")
    wire.link.settimeout(5)
    try:
        raw = wire.link.unwrap()
        raw.sendall(b"other half\r\n.\r\n")
        assert not raw.recv(4096).startswith(b"250")
    except OSError:
        pass  # the node has closed already
    assert tls_node.send("last@sink.example")
    wait_until("the next message", lambda: sink.messages)
    assert [message.recipients for message in sink.messages] == [[b"last@sink.example"]]


def test_a9_a_foreign_alpn_is_refused_and_ours_is_taken(tls_node):
    wire = Wire(tls_node.tls_port, alpn=["http/1.1"], ca=tls_node.ca)
    with pytest.raises(ssl.SSLError, match="(?i)no application protocol|alert"):
        wire.starttls()
    wire = Wire(tls_node.tls_port, alpn=["smtp"], ca=tls_node.ca)
    wire.starttls()
    assert wire.say("EHLO client.example").startswith("250")
    wire.close()


def test_a_renewed_certificate_is_read_on_reload(tls_node, tls_files, tmp_path):
    """New sessions see the file as it is; so a renewal needs no restart."""
    _, cert, key = tls_files
    mine = [tmp_path / "c.pem", tmp_path / "k.pem"]
    for source, target in zip((cert, key), mine):
        target.write_bytes(source.read_bytes())
    text = tls_node.config_path.read_text().replace(str(cert), str(mine[0])).replace(str(key), str(mine[1]))
    tls_node.config_path.write_text(text)
    tls_node.process.send_signal(1)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "1", "-subj", "/CN=renewed", "-keyout", mine[1], "-out", mine[0]], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tls_node.process.send_signal(1)

    def shown():
        wire = Wire(tls_node.tls_port)
        wire.say("EHLO client.example")
        wire.say("STARTTLS")
        link = ssl._create_unverified_context().wrap_socket(wire.raw)
        return b"renewed" in link.getpeercert(binary_form=True)
    wait_until("the new certificate", shown)


def test_h6_where_tls_is_required_nothing_leaves_in_clear(make_node, sink):
    node = make_node(config=f'route "*" {{ to = {{ "127.0.0.1:{sink.port}" }} tls = required }}').start()
    name = node.send("you@sink.example")
    wait_until("an attempt", lambda: "deferred" in node.cli("trace", name, code=None))
    assert sink.messages == [] and node.states(name) == {"you@sink.example": "queued"}
    assert "4.7." in node.cli("trace", name)


def test_h7_an_unknown_authority_delivers_at_may_and_waits_at_verified(make_node, postfix):
    may = make_node(name="may").start()
    name = may.send("may@postfix.example")
    may.wait_for_state(name, "delivered")
    assert "TLSv1." in may.cli("trace", name)
    strict = make_node(name="strict", config="outbound-tls = verified").start()
    name = strict.send("strict@postfix.example")
    wait_until("an attempt", lambda: "deferred" in strict.cli("trace", name, code=None))
    assert strict.states(name) == {"strict@postfix.example": "queued"}
    assert "certificate" in strict.cli("trace", name)
    assert not any(b"strict@postfix.example" in message for message in postfix.messages())
