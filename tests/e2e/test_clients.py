# SPDX-License-Identifier: Apache-2.0
"""Real clients send: swaks, curl, Python, nodemailer and PHP; in clear, over STARTTLS, with AUTH."""
import base64
import re
import smtplib
import ssl
import subprocess

import pytest

import parts
from node import Node, free_port, message_id, wait_until

HEAD = "From: app@lab.example\r\nTo: you@sink.example\r\nSubject: {}\r\n\r\n"


def run(argv, **options):
    done = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          check=False, **options)
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, text
    return text


def arrived(sink, subject):
    return wait_until(f"{subject} at the sink", lambda: sink.find(b"Subject: " + subject.encode()))[0]


def test_swaks_sends(node, sink):
    text = run(["swaks", "--server", f"127.0.0.1:{node.port}", "--from", "app@lab.example", "--to", "you@sink.example",
                "--header", "Subject: from swaks"])
    message_id(text)
    assert arrived(sink, "from swaks").recipients == [b"you@sink.example"]


def test_curl_sends(node, sink):
    run(["curl", "-sS", f"smtp://127.0.0.1:{node.port}", "--mail-from", "app@lab.example", "--mail-rcpt",
         "you@sink.example", "-T", "-"], input=(HEAD.format("from curl") + "Hello\r\n").encode())
    arrived(sink, "from curl")


def test_smtplib_sends_dots_and_long_mail_unchanged(node, sink):
    body = ".\r\n..\r\n.x\r\n" + "0123456789" * 90 + "\r\n" + "line\r\n" * 50000
    with smtplib.SMTP("127.0.0.1", node.port) as client:
        client.sendmail("app@lab.example", ["you@sink.example"], HEAD.format("from smtplib") + body)
    assert arrived(sink, "from smtplib").content.endswith(b"\r\n\r\n" + body.encode())


def test_nodemailer_sends(node, sink):
    script = f"""require("nodemailer").createTransport({{ host: "127.0.0.1", port: {node.port}, ignoreTLS: true }})
        .sendMail({{ from: "app@lab.example", to: "you@sink.example", subject: "from nodemailer", text: "Hëllo" }})
        .then(i => console.log(i.response), e => {{ console.error(e); process.exit(1); }})"""
    message_id(run(["node", "-e", script], env=parts.node_environment()))
    arrived(sink, "from nodemailer")


def test_php_mail_sends_through_msmtp(node, sink, tmp_path):
    program = f"msmtp --host=127.0.0.1 --port={node.port} --from=app@lab.example -t"
    run(["php", "-d", f'sendmail_path="{program}"', "-r",
         'exit(mail("you@sink.example", "from PHP", "Hello", "From: app@lab.example") ? 0 : 1);'],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    arrived(sink, "from PHP")


@pytest.fixture
def login_node(make_node, sink, tls_files):
    """Submission with STARTTLS and AUTH required; a second port speaks TLS from the start."""
    ca, cert, key = tls_files
    submission, implicit = free_port(), free_port()
    secure = f'cert = {{ "{cert}" }} key = {{ "{key}" }} auth = required'
    node = make_node(route=sink.port, listen=f"""
listen "submission" {{ address = {{ "127.0.0.1:{submission}" }} tls = starttls {secure} }}
listen "smtps" {{ address = {{ "127.0.0.1:{implicit}" }} tls = implicit {secure} }}""")
    added = node.cli("credential", "add", "app")
    node.secret = re.search(r"\b[0-9A-Za-z_-]{20,}\b", added).group(0)
    node.submission, node.implicit, node.ca = submission, implicit, ca
    return node.start()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_over_starttls(login_node, sink, mechanism):
    text = run(["swaks", "--server", f"127.0.0.1:{login_node.submission}", "--tls", "--tls-verify", "--tls-ca-path",
                login_node.ca, "--auth", mechanism, "--auth-user", "app", "--auth-password", login_node.secret, "--from",
                "app@lab.example", "--to", "you@sink.example", "--header", "Subject: by " + mechanism])
    message_id(text)
    arrived(sink, "by " + mechanism)


def test_smtplib_logs_in_over_starttls_and_over_implicit_tls(login_node, sink):
    context = ssl.create_default_context(cafile=str(login_node.ca))
    with smtplib.SMTP("localhost", login_node.submission) as client:
        client.starttls(context=context)
        client.login("app", login_node.secret)
        client.sendmail("app@lab.example", ["you@sink.example"], HEAD.format("starttls") + "Hello\r\n")
    with smtplib.SMTP_SSL("localhost", login_node.implicit, context=context) as client:
        client.login("app", login_node.secret)
        client.sendmail("app@lab.example", ["you@sink.example"], HEAD.format("implicit") + "Hello\r\n")
    received = arrived(sink, "starttls").content
    assert re.search(rb"^Received: .*(\r\n[ \t].*)*with ESMTPSA", received, re.M), received
    arrived(sink, "implicit")


def test_curl_logs_in_over_starttls(login_node, sink):
    run(["curl", "-sS", "--ssl-reqd", "--cacert", login_node.ca, f"smtp://localhost:{login_node.submission}", "-u",
         f"app:{login_node.secret}", "--mail-from", "app@lab.example", "--mail-rcpt", "you@sink.example", "-T", "-"],
        input=(HEAD.format("curl tls") + "Hello\r\n").encode())
    arrived(sink, "curl tls")


def test_a_wrong_password_and_auth_in_clear_are_refused(login_node):
    context = ssl.create_default_context(cafile=str(login_node.ca))
    with smtplib.SMTP("localhost", login_node.submission) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN " + base64.b64encode(b"\0app\0x").decode())[0] in (503, 530, 538)
        assert client.mail("app@lab.example")[0] == 530
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("app", "wrong")


def test_nothing_is_relayed_for_strangers(make_node, sink):
    port = free_port()
    node = make_node(route=sink.port, listen=f'listen "world" {{ address = {{ "127.0.0.1:{port}" }} '
                                             'networks = { "192.0.2.0/24" } }').start()
    assert isinstance(node, Node)
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        replies = [client.mail("app@lab.example")[0], client.rcpt("you@sink.example")[0]]
    assert max(replies) >= 530 and sink.messages == []


def test_a_revoked_credential_no_longer_opens(login_node):
    context = ssl.create_default_context(cafile=str(login_node.ca))
    login_node.cli("credential", "revoke", "app")
    login_node.process.send_signal(1)

    def is_shut():
        """535, or 421 where the reload meets the session itself."""
        try:
            with smtplib.SMTP("localhost", login_node.submission) as client:
                client.starttls(context=context)
                client.login("app", login_node.secret)
        except smtplib.SMTPResponseException as refusal:
            return refusal.smtp_code in (421, 535)
        return False
    wait_until("the credential to be forgotten", is_shut)


