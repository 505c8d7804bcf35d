# SPDX-License-Identifier: Apache-2.0
"""Every message of the corpus tests/data/mime that the node accepts arrives byte-identical but for
the headers that are added and the removals that are promised, and two foreign verifiers (python3-dkim,
OpenDKIM) find its signature good; what is refused is counted by reason."""
import collections
import email.parser
import email.policy
import email.utils
import pathlib
import re
import smtplib
import subprocess

import dkim
import pytest

from node import message_id, wait_until

CORPUS = pathlib.Path(__file__).resolve().parents[1] / "data" / "mime"
REMOVED = re.compile(rb"(?i)(bcc|return-path|content-length|x-outpost-[a-z-]+)[ \t]*:")
ADDED = re.compile(rb"(?i)(received|dkim-signature|date|message-id):")


def corpus():
    """(name, content) of each file, with CRLF lines: bare CR and LF are refused at the door."""
    for path in sorted(CORPUS.rglob("*")):
        if path.is_file() and path.name not in ("SOURCES.md", ".gitattributes") and path.parent != CORPUS:
            content = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
            yield str(path.relative_to(CORPUS)), content if content.endswith(b"\r\n") else content + b"\r\n"


def fields_of(content):
    """The raw fields, and the body with the empty line before it."""
    if content.startswith(b"\r\n"):
        return [], content
    header, border, body = content.partition(b"\r\n\r\n")
    fields = [field for field in re.split(rb"(?<=\r\n)(?![ \t])", header + border[:2]) if field]
    return fields, border[2:] + body


def is_same(sent, received):
    """What left is what came, less the removals, plus fields of the kinds that we may add."""
    sent_fields, sent_body = fields_of(sent)
    fields, body = fields_of(received)
    kept = [field for field in sent_fields if not REMOVED.match(field)]
    at = 0
    for field in fields:
        if at < len(kept) and field == kept[at]:
            at += 1
        elif not ADDED.match(field):
            return False
    return at == len(kept) and body in (sent_body, b"\r\n" + sent_body)


def from_domain(content):
    """The domain of the From field, where a tolerant parser finds one."""
    head = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(content, headersonly=True)
    address = email.utils.parseaddr(str(head.get("From", "")))[1]
    domain = address.rpartition("@")[2].lower()
    return domain if re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", domain) else None


def submit(node, messages):
    """name → id, and reply text → names of what was refused."""
    accepted, refused = {}, collections.defaultdict(list)
    for number, (name, content) in enumerate(messages):
        with smtplib.SMTP("127.0.0.1", node.port, timeout=20) as client:
            client.ehlo("client.example")
            client.docmd("MAIL", "FROM:<app@lab.example> BODY=8BITMIME")
            client.rcpt(f"n{number}@sink.example")
            code, text = client.docmd("DATA")
            assert code == 354, text
            client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
            code, text = client.getreply()
        if code == 250:
            accepted[name] = message_id(text)
        else:
            refused[f"{code} {text.decode()}"].append(name)
    return accepted, refused


@pytest.fixture(scope="module")
def delivered(tmp_path_factory, dns, dkim_keys):
    """[(name, sent, received)] of all that was accepted, and what was refused."""
    from node import Node
    from sink import Sink
    messages = list(corpus())
    domains = sorted({domain for domain in (from_domain(content) for _, content in messages) if domain})
    dns.add_key(dkim_keys["rsa"], domains, "s1")
    sections = "\n".join(f'domain "{domain}" {{ dkim "s1" {{ key = "{dkim_keys["rsa"]}" }} }}' for domain in domains)
    sink = Sink()
    node = Node(tmp_path_factory.mktemp("corpus") / "node", config=sections, route=sink.port).start()
    accepted, refused = submit(node, messages)
    wait_until("everything at the sink", lambda: len(sink.messages) >= len(accepted), 60)
    by_number = {message.recipients[0]: message.content for message in sink.messages}
    result = [(name, content, by_number[f"n{number}@sink.example".encode()])
              for number, (name, content) in enumerate(messages) if name in accepted]
    yield result, refused
    node.close()
    sink.close()


def test_accepted_and_refused_are_told(delivered, note):
    result, refused = delivered
    note(f"corpus mime: {len(result)} accepted, {sum(map(len, refused.values()))} refused")
    for reply, names in sorted(refused.items(), key=lambda item: -len(item[1])):
        note(f"  {len(names):4} {reply}   (such as {names[0]})")
    assert len(result) > 100


def test_content_is_byte_identical(delivered):
    changed = [(name, sent, received) for name, sent, received in delivered[0] if not is_same(sent, received)]
    assert [name for name, _, _ in changed] == [], changed[:10]


def test_python_dkim_verifies_every_signature(delivered, dns, note):
    result = [(name, received) for name, _, received in delivered[0] if b"d=" in signature(received)]
    bad = [name for name, received in result if not dkim.verify(received, dnsfunc=lambda name, timeout=5: dns.txt(name))]
    note(f"python3-dkim verified {len(result) - len(bad)} of {len(result)} signatures")
    assert bad == [] and len(result) > 100


def signature(received):
    """Our own signature: the first field, above everything that came."""
    fields = fields_of(received)[0]
    return fields[0] if fields and fields[0].lower().startswith(b"dkim-signature:") else b""


def only_ours(received):
    """Without the signatures that came with it: some are broken on purpose, and OpenDKIM then says nothing."""
    fields, body = fields_of(received)
    kept = fields[:1] + [field for field in fields[1:] if not field.lower().startswith(b"dkim-signature:")]
    return b"".join(kept) + body


def test_opendkim_verifies_every_signature(delivered, dns, tmp_path, note):
    """opendkim -t reads a message as its filter would. Keys come from a file: its resolver knows no .test names."""
    result = [(name, only_ours(received)) for name, _, received in delivered[0] if signature(received)]
    domains = {re.search(rb"d=([^;]+);", signature(received)).group(1).decode() for _, received in result}
    key = dns.txt(f"s1._domainkey.{sorted(domains)[0]}").decode()
    (tmp_path / "keys").write_text("".join(f"s1._domainkey.{domain} {key}\n" for domain in domains))
    config = tmp_path / "opendkim.conf"
    config.write_text(f"Syslog no\nMode v\nTestDNSData {tmp_path}/keys\nRequireSafeKeys no\n")
    bad = []
    for number, (name, received) in enumerate(result):
        path = tmp_path / str(number)
        path.write_bytes(received)
        done = subprocess.run(["opendkim", "-x", str(config), "-t", str(path)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if b"verification (s=s1" not in done.stdout or b"succeeded" not in done.stdout:
            bad.append((name, done.stdout[-300:]))
    note(f"OpenDKIM verified {len(result) - len(bad)} of {len(result)} signatures")
    assert bad == []


def test_every_accepted_message_of_a_known_domain_is_signed(delivered):
    unsigned = [name for name, sent, received in delivered[0] if from_domain(sent) and not signature(received)]
    assert unsigned == []


@pytest.mark.parametrize("kinds", [["ed25519"], ["rsa", "ed25519"]])
def test_ed25519_alone_and_beside_rsa(make_node, sink, dns, dkim_keys, kinds):
    domain = "-".join(kinds) + ".example"
    for kind in kinds:
        dns.add_key(dkim_keys[kind], [domain], kind)
    keys = "\n".join(f'dkim "{kind}" {{ key = "{dkim_keys[kind]}" }}' for kind in kinds)
    node = make_node(route=sink.port, config=f'domain "{domain}" {{\n{keys}\n}}').start()
    node.send("you@sink.example", sender=f"app@{domain}")
    received = wait_until("the sink", lambda: sink.messages)[0].content
    found = dkim.DKIM(received)
    assert len(re.findall(rb"(?im)^dkim-signature:", received)) == len(kinds)
    assert all(found.verify(idx=index, dnsfunc=lambda name, timeout=5: dns.txt(name)) for index in range(len(kinds)))
