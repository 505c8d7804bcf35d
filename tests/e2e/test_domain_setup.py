# SPDX-License-Identifier: Apache-2.0
"""`outpost domain add`, `records`, `rotate` and `flatten` with real NSD: what is printed, loaded unchanged, makes every
check pass; updates with TSIG against a server that verifies them, sent by us and by BIND's nsupdate."""
import json
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import threading
import time

import dkim
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import pytest
import yaml

from identity_net import NameServer, Proxy
from node import OUTPOST, free_port, greets, wait_until
from test_identity import sign

FIRST, SECOND, PRIMARY = "127.0.1.21", "127.0.1.22", "127.0.1.23"
SOURCES = ["127.0.2.21", "127.0.2.22"]
ROOT = """$TTL 3600
. IN SOA ns.root. h.root. 1 3600 600 1209600 300
. IN NS ns.root.
ns.root. IN A 127.0.1.21
example. IN TXT "a top-level domain"
arpa. IN TXT "another"
mail.lab.example. IN A 192.0.2.1
mail.lab.example. IN TXT "v=spf1 a -all"
news.example. IN TXT "v=spf1 ip4:198.51.100.0/25 ip4:198.51.100.128/25 include:deep.example ~all"
deep.example. IN TXT "v=spf1 ip6:2001:db8:7::/48 -all"
"""


def zone_head(name, servers=(FIRST,)):
    text = f"$TTL 3600\n{name}. IN SOA ns0.{name}. h.{name}. 7 3600 600 1209600 300\n"
    for index, ip in enumerate(servers):
        text += f"{name}. IN NS ns{index}.{name}.\nns{index}.{name}. IN A {ip}\n"
    return text


def run(*argv, code=0):
    done = subprocess.run([OUTPOST, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90,
                          check=False)
    assert code is None or done.returncode == code, (done.returncode, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


@pytest.fixture
def servers():
    """`servers(name, address, zones)` starts one, in the place of an earlier one at that address."""
    made = {}

    def start(path, address, zones):
        if address in made:
            made[address].close()
        made[address] = NameServer(path, address, zones)
    yield start
    for server in made.values():
        server.close()


@pytest.fixture
def config(tmp_path):
    lines = ['hostname = "mail.lab.example"', f'data-dir = "{tmp_path}"', f'control = "{tmp_path}/ctl"',
             f'resolver = {{ "{FIRST}" }}', 'pool "main" { sources = { "s0", "s1" } }']
    for index, ip in enumerate(SOURCES):
        lines.append(f'source "s{index}" {{ address = "{ip}"  ehlo = "out{index}.lab.example" }}')
    path = tmp_path / "outpost.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def printed_zones(config, domain, bare, *options):
    """The zones of a new domain as printed, each loaded unchanged behind its head."""
    def of(zone):
        return run("domain", "records", domain, "--config", config, "--format", "zone", "--in", zone, *options)
    root = ROOT + of("lab.example") + of("2.0.127.in-addr.arpa")
    whole = run("domain", "records", domain, "--config", config, "--format", "zone", *options)
    return {".": root, domain: bare + whole}


@pytest.mark.parametrize("options", [[], ["--ed25519"], ["--bounce", "none"]], ids=["plain", "two-keys", "no-bounce"])
def test_what_is_printed_makes_every_check_pass(tmp_path, config, servers, options):
    servers(tmp_path / "bare", FIRST, {".": ROOT, "shop.example": zone_head("shop.example")})
    said = run("domain", "add", "shop.example", "--config", config, *options)
    assert "s2026a._domainkey.shop.example." in said or "._domainkey.shop.example." in said
    made = (tmp_path / "domains.d" / "shop.example.conf").read_text()
    zones = printed_zones(config, "shop.example", zone_head("shop.example"))
    for name, text in zones.items():
        file = tmp_path / "one.zone"
        file.write_text(text)
        checker = shutil.which("nsd-checkzone") or "/usr/sbin/nsd-checkzone"
        subprocess.run([checker, name, str(file)], check=True, stdout=subprocess.DEVNULL)
    servers(tmp_path / "full", FIRST, zones)
    results = json.loads(run("domain", "check", "--config", config, "--json"))["results"]
    bad = [r for r in results if r["status"] not in ("pass", "skip", "warn")]
    assert not bad, bad
    assert {r["id"] for r in results if r["status"] == "warn"} <= {"dmarc.policy", "dmarc.subdomains", "ns.count"}, [
        (r["id"], r["found"]) for r in results if r["status"] == "warn"]
    for wanted in ("ptr.forward", "ehlo.resolves", "spf.pass", "spf.helo", "dkim.record", "dmarc.align_spf",
                   "dmarc.align_dkim", "mx.exists", "tlsrpt.record"):
        assert {r["status"] for r in results if r["id"] == wanted} == {"pass"}, wanted
    again = json.loads(run("domain", "records", "shop.example", "--config", config, "--json"))
    assert {r["state"] for r in again["records"] if not r["optional"]} == {"there"}
    run("domain", "add", "shop.example", "--config", config)  # once more: nothing new
    assert (tmp_path / "domains.d" / "shop.example.conf").read_text() == made
    reject = run("domain", "records", "shop.example", "--config", config, "--dmarc-stage", "reject")
    assert '"v=DMARC1; p=reject; rua=mailto:dmarc@shop.example"' in reject


def test_a_further_domain_points_at_the_first(tmp_path, config, servers):
    bare = {".": ROOT, "shop.example": zone_head("shop.example"), "news.example": zone_head("news.example")}
    servers(tmp_path / "bare", FIRST, bare)
    run("domain", "add", "shop.example", "--config", config)
    said = run("domain", "add", "news.example", "--config", config, "--like", "shop.example")
    assert 'news.example. 3600 IN TXT "v=spf1 redirect=shop.example"' in said
    assert re.search(r"(s\d{4}a)\._domainkey\.news\.example\. 3600 IN CNAME \1\._domainkey\.shop\.example\.", said)
    zones = printed_zones(config, "shop.example", zone_head("shop.example"))
    zones["."] = zones["."].replace("news.example. IN TXT", ";")
    zones["news.example"] = zone_head("news.example") + run(
        "domain", "records", "news.example", "--config", config, "--format", "zone", "--in", "news.example")
    servers(tmp_path / "full", FIRST, zones)
    results = json.loads(run("domain", "check", "--config", config, "--json"))["results"]
    assert not [r for r in results if r["status"] in ("fail", "error")]


def test_an_existing_record_is_merged_and_the_tools_take_the_forms(tmp_path, config, servers):
    zone = zone_head("shop.example") + """shop.example. IN TXT "v=spf1 include:news.example mx ~all"
shop.example. IN TXT "verification=a; b"
shop.example. IN TXT "odd\\027\\010 'q'"
shop.example. IN MX 10 mail.lab.example.
"""
    servers(tmp_path / "first", FIRST, {".": ROOT, "shop.example": zone})
    run("domain", "add", "shop.example", "--config", config)
    data = json.loads(run("domain", "records", "shop.example", "--config", config, "--format", "json"))
    bill = data["spf"][0]
    assert bill["after"] == f"v=spf1 ip4:{SOURCES[0]} ip4:{SOURCES[1]} include:news.example mx ~all"
    assert bill["lookups"] == bill["lookups_before"] == 3
    assert [(t["term"], t["lookups"]) for t in bill["terms"]] == [
        ("include:news.example", 2), ("include:deep.example", 1), ("mx", 1)]
    for record in data["records"]:
        assert {"name", "type", "ttl", "value", "data", "zone", "state", "optional"} <= set(record)
        assert record["type"] != "TXT" or ("".join(record["strings"]) == record["value"] and
                                           all(len(s) <= 255 for s in record["strings"]))
    octodns = yaml.safe_load(run("domain", "records", "shop.example", "--config", config, "--format", "octodns"))
    txt = [r for r in octodns[""] if r["type"] == "TXT"][0]
    assert sorted(txt["values"]) == sorted([bill["after"], "verification=a\\; b", "odd\x1b\n 'q'"])
    assert octodns["_dmarc"]["value"] == "v=DMARC1\\; p=none\\; rua=mailto:dmarc@shop.example"
    for form in ("terraform-route53", "terraform-cloudflare"):
        text = run("domain", "records", "shop.example", "--config", config, "--format", form)
        blocks = re.findall(r'^resource "\w+" "([\w-]+)" \{\n((?:  .*\n)+)\}$', text, re.M)
        assert len(blocks) > 5 and len({label for label, _ in blocks}) == len(blocks)
        for _, body in blocks:
            for line in body.splitlines():
                assert re.fullmatch(r'  \w+ += (var\.zone_id|\d+|"(\\.|[^"\\])*"|\[("(\\.|[^"\\])*"(, )?)+\])', line), line
    node = shutil.which("node")
    if node:  # the file is JavaScript: run it with the words of DNSControl defined
        script = run("domain", "records", "shop.example", "--config", config, "--format", "dnscontrol")
        words = "const f=(...a)=>a;const A=f,AAAA=f,TXT=f,MX=f,CNAME=f,CAA=f,TLSA=f,TTL=f,D=f,NewRegistrar=f;"
        words += "const NewDnsProvider=f,DnsProvider=f,NO_PURGE=0;"
        subprocess.run([node, "-e", words + script], check=True)


class Primary:
    """A primary name server for updates: TCP, TSIG verified, each change kept as text."""

    def __init__(self, address, keyring):
        self.keyring, self.zones, self.said = keyring, [], []
        self.socket = socket.create_server((address, 53))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                conn, _ = self.socket.accept()
            except OSError:
                return
            with conn:
                size = conn.recv(2, socket.MSG_WAITALL)
                if len(size) == 2:
                    wire = conn.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
                    reply = self._answer(wire)
                    conn.sendall(len(reply).to_bytes(2, "big") + reply)

    def _answer(self, wire):
        try:
            message = dns.message.from_wire(wire, keyring=self.keyring)
        except (dns.tsig.BadSignature, dns.message.UnknownTSIGKey):
            header = bytearray(wire[:12])
            header[2], header[3] = header[2] | 0x80, dns.rcode.NOTAUTH
            header[4:12] = b"\0" * 8
            return bytes(header)
        assert message.opcode() == dns.opcode.UPDATE and message.had_tsig
        self.zones.append(message.zone[0].name.to_text())
        for rrset in message.update:
            if rrset.deleting == dns.rdataclass.ANY or rrset.rdclass == dns.rdataclass.ANY:
                self.said.append(f"delete {rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}")
            for rdata in rrset:
                self.said.append(f"add {rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}")
        return dns.message.make_response(message).to_wire()

    def close(self):
        self.socket.close()


SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="


def key_file(path, secret):
    path.write_text(f'key "up.example" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n')
    return path


def test_updates_are_sent_with_tsig_and_nsupdate_sends_the_same(tmp_path, config, servers):
    zone = zone_head("shop.example") + 'shop.example. IN TXT "v=spf1 mx ~all"\nshop.example. IN TXT "a \\"b\\"; c"\n'
    servers(tmp_path / "first", FIRST, {".": ROOT, "shop.example": zone})
    run("domain", "add", "shop.example", "--config", config)
    ring = dns.tsigkeyring.from_text({"up.example.": ("hmac-sha256", SECRET)})
    key = key_file(tmp_path / "key", SECRET)
    primary = Primary(PRIMARY, ring)
    args = ["domain", "records", "shop.example", "--config", config, "--in", "shop.example", "--format", "nsupdate"]
    text = run(*args, "--send", "--server", PRIMARY, "--key", key)
    ours, primary.said = primary.said, []
    assert primary.zones == ["shop.example."] and len(ours) > 8
    assert any(line.startswith("add shop.example. 3600 TXT") and '"a \\"b\\"; c"' in line for line in ours)
    assert "delete shop.example. TXT" in ours
    if shutil.which("nsupdate"):
        assert text.startswith(f"server {PRIMARY} 53\nzone shop.example.\n")
        script = text
        subprocess.run(["nsupdate", "-v", "-k", str(key)], input=script.encode(), check=True, timeout=30)
        assert sorted(primary.said) == sorted(ours)
    bad = key_file(tmp_path / "bad", "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Q=")
    done = subprocess.run([OUTPOST, *map(str, args), "--send", "--server", PRIMARY, "--key", str(bad)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"NOTAUTH" in done.stderr, done.stderr
    primary.close()


def test_a_key_rotates_when_all_name_servers_show_it(tmp_path, config, servers):
    heads = {".": ROOT, "shop.example": zone_head("shop.example", (FIRST, SECOND))}
    servers(tmp_path / "a", FIRST, heads)
    servers(tmp_path / "b", SECOND, heads)
    run("domain", "add", "shop.example", "--config", config)
    rotate = ["domain", "rotate", "shop.example", "--config", config, "--json"]
    begun = json.loads(run(*rotate))
    assert begun["stage"] == "publish" and begun["moved"]
    new = begun["new"]
    assert "active = no" in (tmp_path / "domains.d" / "shop.example.conf").read_text()
    assert "resolver" in json.loads(run(*rotate, code=75))["waits_for"]
    full = dict(heads, **{"shop.example": heads["shop.example"] + begun["records"]})
    servers(tmp_path / "c", FIRST, full)
    half = json.loads(run(*rotate, code=75))
    assert half["stage"] == "publish" and "ns1.shop.example" in half["waits_for"], half
    servers(tmp_path / "d", SECOND, full)
    looked = json.loads(run(*rotate, "--status"))
    assert looked["stage"] == "publish" and not looked["moved"]
    switched = json.loads(run(*rotate))
    assert switched["stage"] == "retire" and switched["new"] == new and "until" in switched["waits_for"]
    assert json.loads(run(*rotate, code=75))["stage"] == "retire"


class Running:
    """A node on `config` that looks every second and delivers to the sink."""

    def __init__(self, path, config, sink):
        self.path, self.config, self.sink, self.port = path, config, sink, free_port()
        with open(config, "a") as file:
            file.write(f"""checks-every = 1s
lists-every = 1s
alert-group = 0s
log = "{path}/log"
slot-bytes = 4M
listen "in" {{ address = {{ "127.0.0.1:{self.port}" }} networks = {{ "127.0.0.0/8" }} }}
route "*" {{ to = {{ "127.0.0.1:{sink.port}" }} }}
""")
        with open(path / "stdout", "ab") as out:
            self.process = subprocess.Popen([OUTPOST, "serve", "--config", str(config)], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL)
        wait_until("the greeting", lambda: greets(self.port))
        wait_until("the API", lambda: subprocess.run([OUTPOST, "stats", "--config", str(config)], check=False,
                                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0)

    def said(self, text):
        return (self.path / "log").read_text().count(text)

    def signature(self, number):
        """The selectors that message `number` arrives with."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.sendmail("a@shop.example", [f"n{number}@sink.example"],
                            f"From: a@shop.example\r\nTo: n@sink.example\r\nSubject: {number}\r\n\r\nHello\r\n")
        wanted = f"n{number}@sink.example".encode()
        content = wait_until(
            "its arrival", lambda: [m.content for m in list(self.sink.messages) if wanted in m.recipients])[0]
        selectors = re.findall(rb"\bs=([a-z0-9]+);", b"".join(
            field for field in re.split(rb"\r\n(?![ \t])", content) if field.startswith(b"DKIM-Signature")))
        for index in range(len(selectors)):
            assert dkim.DKIM(content).verify(index, dnsfunc=ask_txt), (index, content)
        return sorted(selector.decode() for selector in selectors)

    def events(self, check):
        done = subprocess.run(["curl", "-s", "--unix-socket", str(self.path / "ctl"), "http://outpost/v1/checks/events"],
                              stdout=subprocess.PIPE, check=True)
        return [e for e in reversed(json.loads(done.stdout)["events"]) if e["id"] == check]

    def reload(self):
        before = self.said("configuration reloaded")
        self.process.send_signal(signal.SIGHUP)
        wait_until("the reload", lambda: self.said("configuration reloaded") > before)

    def close(self):
        self.process.terminate()
        assert self.process.wait(20) == 0


def ask_txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    reply = dns.query.udp(dns.message.make_query(name, "TXT"), FIRST, timeout=timeout)
    return b"".join(reply.answer[0][0].strings) if reply.answer else None


@pytest.fixture
def running(tmp_path, config, sink):
    made = []

    def start():
        made.append(Running(tmp_path, config, sink))
        return made[-1]
    yield start
    for node in made:
        node.close()


@pytest.fixture
def closing():
    made = []

    def keep(thing):
        made.append(thing)
        return thing
    yield keep
    for thing in made:
        thing.close()


def make_old(file):
    """A domain whose keys are to be replaced every week, and are years old."""
    text = re.sub(r'since = "[^"]*"', 'since = "2020-01-01T00:00:00Z"', file.read_text())
    file.write_text(re.sub(r'(domain "shop.example" \{)', r'\1\n    rotate = 7d', text))


def published(config):
    return zone_head("shop.example") + run(
        "domain", "records", "shop.example", "--config", config, "--format", "zone", "--in", "shop.example")


def test_a_running_node_rotates_two_keys_by_age(tmp_path, config, servers, running, closing):
    servers(tmp_path / "a", FIRST, {".": ROOT, "shop.example": zone_head("shop.example")})
    run("domain", "add", "shop.example", "--config", config, "--ed25519")
    file = tmp_path / "domains.d" / "shop.example.conf"
    old = sorted(re.findall(r'dkim "(\w+)"', file.read_text()))
    before = published(config)
    servers(tmp_path / "b", FIRST, {".": ROOT, "shop.example": before})
    make_old(file)
    asked = []
    proxy = closing(Proxy(SECOND, FIRST, twist=lambda question, reply: asked.append(question) or reply))
    config.write_text(config.read_text().replace(f'resolver = {{ "{FIRST}" }}', f'resolver = {{ "{proxy.address}" }}'))
    node = running()
    assert node.signature(1) == old
    wait_until("new keys", lambda: node.said("rotation of shop.example: publish"))
    wait_until("the event", lambda: [e["status"] for e in node.events("dkim.rotate")] == ["warn"])
    event = node.events("dkim.rotate")[0]
    status = json.loads(run("domain", "rotate", "shop.example", "--config", config, "--status", "--json"))
    new = sorted(status["new"].split())
    assert len(new) == 2 and not set(new) & set(old)
    assert event["mend"] == status["records"] and all(selector in event["found"] for selector in new)
    assert "dkim.rotate" in run("alert", "list", "--config", config, code=None)
    rounds = node.said("configuration reloaded")
    assert rounds == 1  # the new keys are known to the node, and still do not sign
    for number in range(2, 5):  # looked for, not seen, not used
        count = len(asked)
        wait_until("another look", lambda at=count: any(s.encode() in question for question in asked[at:] for s in new))
        assert node.signature(number) == old
    servers(tmp_path / "c", FIRST, {".": ROOT, "shop.example": before + status["records"]})
    wait_until("the switch", lambda: node.said("rotation of shop.example: retire"))
    wait_until("the reload", lambda: node.said("configuration reloaded") == 2)
    assert node.signature(5) == new
    wait_until("the event", lambda: [e["status"] for e in node.events("dkim.rotate")] == ["warn", "pass"])
    file.write_text(re.sub(r'until = "[^"]*"', 'until = "2020-01-01T00:00:00Z"', file.read_text()))
    node.reload()
    wait_until("the end", lambda: node.said("rotation of shop.example: idle"))
    wait_until("the reload", lambda: node.said("configuration reloaded") == 4)
    servers(tmp_path / "d", FIRST, {".": ROOT, "shop.example": published(config)})
    assert node.signature(6) == new and sorted(re.findall(r'dkim "(\w+)"', file.read_text())) == new
    assert sorted(p.name.split(".")[-2] for p in (tmp_path / "domains.d" / "keys").iterdir()) == new


def test_a_rotation_that_the_node_may_not_make_is_told_once(tmp_path, config, servers, running):
    servers(tmp_path / "a", FIRST, {".": ROOT, "shop.example": zone_head("shop.example")})
    run("domain", "add", "shop.example", "--config", config)
    file = tmp_path / "domains.d" / "shop.example.conf"
    servers(tmp_path / "b", FIRST, {".": ROOT, "shop.example": published(config)})
    make_old(file)
    lock = tmp_path / "domains.d" / "shop.example.conf.lock"
    lock.unlink()
    lock.mkdir()  # cannot be opened, by root either
    node = running()
    wait_until("the problem", lambda: node.events("dkim.rotate"))
    event = node.events("dkim.rotate")[0]
    assert event["status"] == "fail" and ".conf.lock" in event["found"]
    assert event["mend"] == f"outpost domain rotate shop.example --scheduled --config {config}\n"
    done = node.said("configuration reloaded")
    for _ in range(2):  # a reload has it tried again at once
        node.reload()
        assert node.signature(done) == re.findall(r'dkim "(\w+)"', file.read_text())
    assert len(node.events("dkim.rotate")) == 1 and node.said(" -> fail: found " + event["found"]) == 1
    lock.rmdir()
    wait_until("the rotation", lambda: node.said("rotation of shop.example: publish") == 1)
    wait_until("its event", lambda: [e["status"] for e in node.events("dkim.rotate")] == ["fail", "warn"])


def test_a_node_stops_in_time_while_its_rotation_waits_for_a_silent_resolver(tmp_path, config, servers, running):
    servers(tmp_path / "a", FIRST, {".": ROOT, "shop.example": zone_head("shop.example")})
    run("domain", "add", "shop.example", "--config", config)
    file = tmp_path / "domains.d" / "shop.example.conf"
    make_old(file)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((SECOND, 53))
        config.write_text(config.read_text().replace(f'resolver = {{ "{FIRST}" }}', f'resolver = {{ "{SECOND}" }}'))
        silent.settimeout(30)
        node = running()
        wait_until("new keys", lambda: node.said("rotation of shop.example: publish"))
        new = re.search(r'dkim "(\w+)" \{.*active = no', file.read_text()).group(1).encode()
        while new not in silent.recv(4096):
            pass
        begun = time.monotonic()
        node.process.terminate()
        assert node.process.wait(20) == 0
        assert time.monotonic() - begun < 10


def test_a_running_node_tells_when_flattened_addresses_have_changed(tmp_path, config, servers, running):
    zone = zone_head("shop.example") + 'shop.example. IN TXT "v=spf1 include:news.example -all"\n'
    servers(tmp_path / "a", FIRST, {".": ROOT, "shop.example": zone})
    run("domain", "add", "shop.example", "--config", config)
    flat = run("domain", "flatten", "shop.example", "--config", config, "--keep")
    servers(tmp_path / "b", FIRST, {".": ROOT, "shop.example": zone_head("shop.example") + flat})
    node = running()
    first = node.events("spf.flatten")
    changed = {".": ROOT.replace("2001:db8:7::/48", "2001:db8:8::/48"), "shop.example": zone_head("shop.example") + flat}
    servers(tmp_path / "c", FIRST, changed)
    wait_until("the event", lambda: node.events("spf.flatten"), 30)
    event = node.events("spf.flatten")[0]
    assert not first and event["status"] == "warn"
    assert event["mend"] == "outpost domain flatten shop.example --keep\n"
    flat = run("domain", "flatten", "shop.example", "--config", config, "--keep")
    assert "2001:db8:8::/48" in flat
    again = json.loads(run("domain", "flatten", "shop.example", "--config", config, "--keep", "--json"))
    assert again["source"] == "v=spf1 include:news.example -all" and again["changed"]  # not published yet
    run("domain", "flatten", "shop.example", "--config", config, "--watch", code=1)
    servers(tmp_path / "d", FIRST, {**changed, "shop.example": zone_head("shop.example") + flat})
    assert run("domain", "flatten", "shop.example", "--config", config, "--watch") == "unchanged\n"
    wait_until("its end", lambda: [e["status"] for e in node.events("spf.flatten")] == ["warn", "pass"], 30)


def test_a_record_over_the_limit_is_flattened(tmp_path, config, servers):
    many = "".join(f'n{i}.example. IN TXT "v=spf1 ip4:10.{i}.0.0/16 a:h.example -all"\n' for i in range(8))
    zone = zone_head("shop.example") + 'shop.example. IN TXT "v=spf1 ' + " ".join(
        f"include:n{i}.example" for i in range(8)) + ' -all"\n'
    servers(tmp_path / "first", FIRST, {".": ROOT + many + "h.example. IN A 192.0.2.7\n", "shop.example": zone})
    done = subprocess.run([OUTPOST, "domain", "add", "shop.example", "--config", str(config)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"16 look-ups" in done.stderr and b"flatten" in done.stderr
    assert b"include:n0.example: 2" in done.stderr
    assert not (tmp_path / "domains.d" / "shop.example.conf").exists()
    flat = json.loads(run("domain", "flatten", "shop.example", "--config", config, "--keep", "--json"))
    assert (flat["lookups_before"], flat["lookups_after"]) == (16, 0)
    assert flat["records"][0]["value"] == "v=spf1 ip4:10.0.0.0/13 ip4:192.0.2.7 -all"
    assert run("domain", "flatten", "shop.example", "--config", config, "--watch") == "unchanged\n"
    servers(tmp_path / "second", FIRST, {".": ROOT + many + "h.example. IN A 192.0.2.8\n", "shop.example": zone})
    assert "changed" in run("domain", "flatten", "shop.example", "--config", config, "--watch", code=1)


@pytest.mark.parametrize("argv, code, text", [
    (["add", "co.uk"], 2, "public suffix"), (["add", "localhost"], 2, "public suffix"), (["add", "a b"], 2, "no domain"),
    (["add", "192.0.2.1"], 2, "address"), (["add", "a." * 130 + "example"], 2, "253"), (["add"], 2, "one domain"),
    (["add", ("a" * 60 + ".") * 4 + "exam.ple"], 2, "253"),
    (["add", "x.example", "--format", "bind"], 2, "--format is"), (["add", "x.example", "--rua", "nobody"], 2, "--rua"),
    (["add", "x.example", "--dmarc-stage", "p"], 2, "--dmarc-stage"), (["add", "x.example", "--bimi", "x"], 2, "--bimi"),
    (["add", "x.example", "--send"], 2, "--server"), (["records", "x.example"], 1, "domain add"),
    (["rotate", "x.example"], 1, "domain add"), (["add", "x.example", "--ip", "1.2"], 2, "--ip"),
    (["add", "x.example", "--like", "y.example"], 1, "--like"),
])
def test_bad_input_is_told(tmp_path, config, argv, code, text):
    zone = tmp_path / "zone"
    zone.write_text("x.example. IN SOA a. b. 1 1 1 1 1\n")
    extra = [] if argv[0] == "rotate" else ["--zone", str(zone)]
    done = subprocess.run([OUTPOST, "domain", *argv, "--config", str(config), *extra], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert (done.returncode, text in done.stderr.decode()) == (code, True), done.stderr.decode()


@pytest.mark.parametrize("text", [None, "x.example. IN NONSENSE 1\n"], ids=["missing", "broken"])
@pytest.mark.parametrize("argv", [["domain", "add", "x.example"], ["domain", "records", "x.example"],
                                  ["domain", "rotate", "x.example"], ["domain", "flatten", "x.example"],
                                  ["domain", "check", "--any", "x.example"], ["source", "check"],
                                  ["address", "check", "a@x.example"], ["spf", "check", "--ip", "192.0.2.1", "--mail-from",
                                                                        "a@x.example"],
                                  ["dmarc", "check", "--domain", "x.example"]], ids=lambda argv: " ".join(argv[:2]))
def test_a_zone_file_that_cannot_be_used_is_wrong_usage(tmp_path, config, argv, text):
    zone = tmp_path / "zone"
    if text:
        zone.write_text(text)
    extra = ["--config", str(config)] if argv[0] in ("domain", "source") and "--any" not in argv else []
    done = subprocess.run([OUTPOST, *argv, "--zone", str(zone), *extra], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode == 2 and str(zone) in done.stderr.decode(), done
    assert "--help" not in done.stderr.decode() and done.stdout == b""


def test_dns_that_cannot_tell_makes_nothing(tmp_path, config):
    zone = tmp_path / "zone"
    zone.write_text("x.example. IN SOA a. b. 1 1 1 1 1\n; @servfail bounce.x.example\n")
    done = subprocess.run([OUTPOST, "domain", "add", "x.example", "--config", str(config), "--zone", str(zone)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 75 and b"could not tell" in done.stderr
    assert not (tmp_path / "domains.d").exists() and done.stdout == b""


def test_a_silent_resolver_is_told_within_its_time(config):
    begun = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((SECOND, 53))
        done = subprocess.run([OUTPOST, "domain", "add", "x.example", "--config", str(config), "--resolver", SECOND],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 75 and b"could not tell" in done.stderr, done.stderr
    assert time.monotonic() - begun < 8


def test_a_source_without_address_is_said(tmp_path):
    config, zone = tmp_path / "outpost.conf", tmp_path / "zone"
    config.write_text(f'hostname = "m.x.example"\ndata-dir = "{tmp_path}"\nsource "a" {{ ehlo = "a.x.example" }}\n')
    zone.write_text("x.example. IN SOA a. b. 1 1 1 1 1\n")
    done = subprocess.run([OUTPOST, "domain", "add", "x.example", "--config", str(config), "--zone", str(zone)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b'source "a" has no address' in done.stderr, done.stderr


def test_tlsa_is_printed_where_the_zone_is_signed(tmp_path, config, servers):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "30", "-subj", "/CN=mail.shop.example", "-addext", "subjectAltName=DNS:mail.shop.example",
                    "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    text = config.read_text().replace("mail.lab.example", "mail.shop.example") + """listen "in" {
    address = { "127.0.0.1:0" }
    tls = starttls
    cert = "cert.pem"
    key = "key.pem"
    networks = { "127.0.0.0/8" }
}
"""
    config.write_text(text)
    for is_signed in (False, True):
        signed, root = zone_head("shop.example"), ROOT
        if is_signed:
            signed, _, ds = sign(tmp_path, "shop.example.", signed)
            root += zone_head("shop.example").split("\n", 2)[2] + ds
        servers(tmp_path / str(is_signed), FIRST, {".": root, "shop.example": signed})
        records = json.loads(run("domain", "add", "shop.example", "--config", config, "--json"))["records"]
        tlsa = [r["data"] for r in records if r["type"] == "TLSA"]
        assert bool(tlsa) == is_signed, records
    public = subprocess.run("openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform DER | openssl sha256",
                            shell=True, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout.decode().split()[-1]
    assert tlsa == [f"3 1 1 {public}"]
