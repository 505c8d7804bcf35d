# SPDX-License-Identifier: Apache-2.0
"""`outpost domain check` and `outpost source check` against real NSD: good, bad, slow, lying and
DNSSEC-signed zones, fake blocklists, a policy over HTTPS."""
import contextlib
import json
import os
import pathlib
import pty
import signal
import socketserver
import ssl
import subprocess
import threading
import time
import xml.etree.ElementTree

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from identity_net import NameServer, Proxy, Silent, Web
from node import OUTPOST, ROOT, wait_until

FIRST, SECOND, PROXY, WEB = "127.0.1.1", "127.0.1.2", "127.0.1.9", "127.0.3.1"
SOURCES = ["127.0.2.1", "127.0.2.2", "127.0.2.3", "127.0.2.4"]
HEAD = """$TTL 3600
. IN SOA ns.root. h.root. 1 3600 600 1209600 300
. IN NS ns.root.
ns.root. IN A 127.0.1.1
example. IN TXT "a top-level domain"
org. IN TXT "another"
arpa. IN TXT "a third"
mail.lab.example. IN A 192.0.2.1
mail.lab.example. IN TXT "v=spf1 a -all"
"""


def domain_records(name, dkim, ns_ips=(FIRST, FIRST)):
    servers = "".join(f"{name}. IN NS ns{i}.{name}.\nns{i}.{name}. IN A {ip}\n" for i, ip in enumerate(ns_ips))
    return "$TTL 3600\n" + servers + f"""{name}. IN SOA ns0.{name}. h.{name}. 7 3600 600 1209600 300
{name}. IN MX 10 mail.lab.example.
{name}. IN TXT "v=spf1 ip4:127.0.2.0/24 -all"
_dmarc.{name}. IN TXT "v=DMARC1; p=reject; rua=mailto:d@{name}"
{dkim}"""


def source_records():
    lines = []
    for index, ip in enumerate(SOURCES):
        last = ip.split(".")[3]
        lines.append(f"{last}.2.0.127.in-addr.arpa. IN PTR out{index}.lab.example.")
        lines.append(f"out{index}.lab.example. IN A {ip}")
        lines.append(f'out{index}.lab.example. IN TXT "v=spf1 ip4:{ip} -all"')
    return "\n".join(lines) + "\n"


def shop_zones(key, extra="", ns_ips=(FIRST, FIRST)):
    """The root with our sources, and one good domain; extra: more of its records."""
    return {".": HEAD + source_records(),
            "shop.example": domain_records("shop.example", dkim_record(key, "shop.example"), ns_ips) + extra}


def dkim_record(key, domain):
    return subprocess.run([OUTPOST, "dkim", "record", "--key", str(key), "--domain", domain, "--selector", "s1"],
                          stdout=subprocess.PIPE, check=True).stdout.decode()


def write_config(path, domains, key, resolver, extra=""):
    lines = ['hostname = "mail.lab.example"', f'data-dir = "{path}"', f'control = "{path}/ctl"',
             f'resolver = {{ "{resolver}" }}', extra]
    for domain in domains:
        lines.append(f'domain "{domain}" {{ dkim "s1" {{ key = "{key}" }} }}')
    for index, ip in enumerate(SOURCES):
        lines.append(f'source "s{index}" {{ address = "{ip}"  ehlo = "out{index}.lab.example" }}')
    lines.append('pool "main" { sources = { "s0", "s1", "s2", "s3" } }')
    config = path / "outpost.conf"
    config.write_text("\n".join(lines) + "\n")
    return config


def run(*argv, timeout=60):
    return subprocess.run([OUTPOST, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          check=False)


def check(*argv, code=None, word="domain"):
    done = run(word, "check", "--json", *argv)
    assert code is None or done.returncode == code, done.stdout.decode() + done.stderr.decode()
    return json.loads(done.stdout)["results"]


def worst(results, check_id, part=None):
    order = ["pass", "skip", "warn", "error", "fail"]
    found = [r for r in results if r["id"] == check_id and part in (None, r["part"])]
    assert found, check_id
    return max(found, key=lambda r: order.index(r["status"]))


@pytest.fixture
def servers():
    made = []
    yield made.append
    for server in made:
        server.close()


@pytest.fixture
def shop(tmp_path, dkim_keys, servers):
    """One good domain on one name server: its configuration."""
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"])))
    return write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)


def test_a_good_domain_passes_in_every_form(shop, tmp_path):
    done = run("domain", "check", "--config", shop, "--junit", tmp_path / "j.xml", "--timeout", "20s")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"\nshop.example from source s3\n" in done.stdout
    results = check("--config", shop, code=0)
    assert {r["status"] for r in results} <= {"pass", "skip", "warn"}
    assert worst(results, "ns.agree")["status"] == "pass"
    assert worst(results, "ns.resolver")["status"] == "pass"
    for wanted in ("ptr.forward", "spf.pass", "dkim.record", "dmarc.align_dkim", "dmarc.align_spf", "mx.hosts"):
        assert worst(results, wanted)["status"] == "pass", wanted
    suite = xml.etree.ElementTree.parse(tmp_path / "j.xml").getroot().find("testsuite")
    assert int(suite.get("tests")) == len(suite.findall("testcase")) == len(results)
    assert suite.get("failures") == "0"
    nagios = run("domain", "check", "--nagios", "--config", shop)
    assert nagios.returncode in (0, 1) and nagios.stdout.count(b"\n") == 1
    assert b"OUTPOST " in nagios.stdout and b"| pass=" in nagios.stdout
    assert json.loads((tmp_path / "identity" / "checks.json").read_text())["passed"]


def test_what_changed_since_the_last_good_check_is_said(shop, tmp_path, dkim_keys, servers):
    check("--config", shop, code=0)
    zones = shop_zones(dkim_keys["rsa"])
    zones["shop.example"] = zones["shop.example"].replace("10 mail.lab.example", "0 ")
    servers(NameServer(tmp_path / "second", SECOND, zones))
    results = check("--config", shop, "--resolver", SECOND, code=1)
    assert worst(results, "mx.exists")["before"] == "10 mail.lab.example"
    assert worst(results, "ns.resolver")["status"] == "fail"  # the first server says otherwise


def test_name_servers_that_disagree_are_found(tmp_path, dkim_keys, servers):
    good = shop_zones(dkim_keys["rsa"], ns_ips=(FIRST, SECOND))
    servers(NameServer(tmp_path / "first", FIRST, good))
    old = good["shop.example"].replace("v=spf1 ip4:127.0.2.0/24", "v=spf1 mx").replace(". 7 3600", ". 6 3600")
    servers(NameServer(tmp_path / "second", SECOND, {"shop.example": old}))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    results = check("--config", config, code=1)
    assert worst(results, "ns.agree", "ns1.shop.example")["status"] == "fail"
    assert worst(results, "ns.agree", "ns0.shop.example")["status"] == "pass"


def test_f50_a_silent_or_lame_name_server_is_could_not_tell(tmp_path, dkim_keys, servers):
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"], ns_ips=(FIRST, "127.0.1.3", SECOND))))
    servers(NameServer(tmp_path / "second", SECOND, {"else.example": "$TTL 60\nelse.example. IN SOA a. b. 1 1 1 1 1\n"
                                                     "else.example. IN NS a.\n"}))
    servers(Silent("127.0.1.3"))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    begun = time.monotonic()
    results = check("--config", config, code=75)
    assert time.monotonic() - begun < 8
    silent = worst(results, "ns.agree", "ns1.shop.example")
    lame = worst(results, "ns.agree", "ns2.shop.example")
    assert silent["status"] == "error" and "in time" in silent["detail"]
    assert lame["status"] == "error" and "REFUSED" in lame["detail"]
    assert worst(results, "ns.resolver")["status"] == "pass"


def test_f50_answers_too_long_for_udp_come_over_tcp(tmp_path, dkim_keys, servers):
    long = "".join(f'shop.example. IN TXT "verification {i} {"x" * 200}"\n' for i in range(20))
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"], long)))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    results = check("--config", config, code=0)
    assert worst(results, "ns.agree")["status"] == worst(results, "ns.resolver")["status"] == "pass"


def rcode(code):
    def twist(question, reply):
        message = dns.message.make_response(dns.message.from_wire(question))
        message.set_rcode(code)
        return message.to_wire()
    return twist


def wrong_id(question, reply):
    return bytes([reply[0] ^ 1, reply[1]]) + reply[2:]


def wrong_question(question, reply):
    other = dns.message.make_query("other.example", "A", id=int.from_bytes(question[:2], "big"))
    return dns.message.make_response(other).to_wire()


def cut(question, reply):
    message = dns.message.make_response(dns.message.from_wire(question))
    message.flags |= dns.flags.TC
    return message.to_wire()


@pytest.mark.parametrize("twist", [rcode(dns.rcode.SERVFAIL), rcode(dns.rcode.REFUSED), lambda *_: None, wrong_id,
                                   wrong_question, cut, lambda question, reply: reply[:20], lambda *_: b"\0" * 12],
                         ids=["servfail", "refused", "silent", "wrong-id", "wrong-question", "cut-no-tcp", "half",
                              "garbage"])
def test_f50_f54_dns_that_lies_or_stalls_is_never_a_pass_or_fail(shop, servers, twist):
    servers(Proxy(PROXY, FIRST, twist=twist))
    begun = time.monotonic()
    results = check("--config", shop, "--resolver", PROXY, "--timeout", "6s", code=75)
    assert time.monotonic() - begun < 9
    assert {r["status"] for r in results} <= {"error", "skip"}, [r for r in results if r["status"] == "pass"]


def test_twenty_domains_and_four_sources_take_less_than_three_seconds(tmp_path, dkim_keys, servers, note):
    names = [f"d{i}.example" for i in range(20)]
    zones = {".": HEAD + source_records()}
    for name in names:
        zones[name] = domain_records(name, dkim_record(dkim_keys["rsa"], name), (PROXY, PROXY))
    servers(NameServer(tmp_path / "first", FIRST, zones))
    proxy = Proxy(PROXY, FIRST, delay_s=0.02)
    servers(proxy)
    config = write_config(tmp_path, names, dkim_keys["rsa"], PROXY)
    begun = time.monotonic()
    results = check("--config", config, code=0)
    took = time.monotonic() - begun
    note(f"20 domains x 4 sources through a proxy of 20 ms: {took:.2f} s, {len(results)} results, {proxy.count} "
         "questions")
    assert len([r for r in results if r["id"] == "spf.pass"]) == 80
    assert took < 3


def test_progress_is_shown_on_a_terminal_only(shop):
    master, slave = pty.openpty()
    with subprocess.Popen([OUTPOST, "domain", "check", "--config", str(shop), "--json"], stdout=subprocess.PIPE,
                          stderr=slave) as process:
        os.close(slave)
        process.stdout.read()
        seen = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            seen += part
    os.close(master)
    assert b"of" in seen and b"checks" in seen and b"#" in seen
    assert run("domain", "check", "--config", shop).stderr == b""


def sign(path, name, text):
    """The zone signed, and its key's file (ldns-utils)."""
    file = path / (name.strip(".") or "root")
    file.write_text(text)
    key = subprocess.run(["ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name], cwd=path, stdout=subprocess.PIPE,
                         check=True).stdout.decode().strip()
    subprocess.run(["ldns-signzone", "-o", name, "-i", "20200101", "-e", "20400101", str(file), str(path / key)],
                   cwd=path, check=True)
    ds = (path / f"{key}.ds").read_text()
    return (path / (file.name + ".signed")).read_text(), path / f"{key}.key", ds


@pytest.mark.parametrize("is_broken", [False, True], ids=["good", "bogus"])
def test_dnssec_signed_zones(tmp_path, dkim_keys, servers, is_broken):
    shop = domain_records("shop.example", dkim_record(dkim_keys["ed25519"], "shop.example"))
    signed, _, ds = sign(tmp_path, "shop.example.", shop)
    if is_broken:
        signed = signed.replace("v=spf1 ip4:127.0.2.0/24", "v=spf1 ip4:127.0.9.0/24").replace("h.shop.example",
                                                                                               "i.shop.example")
    root = HEAD + source_records() + "shop.example. IN NS ns0.shop.example.\nns0.shop.example. IN A 127.0.1.1\n" + ds
    signed_root, anchor, _ = sign(tmp_path, ".", root)
    servers(NameServer(tmp_path / "first", FIRST, {".": signed_root, "shop.example": signed}))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["ed25519"], FIRST, f'trust-anchor = "{anchor}"')
    results = check("--config", config, code=1 if is_broken else 0)
    state = worst(results, "dnssec.state")
    if is_broken:
        assert state["status"] == "fail" and "broken" in state["found"]
        assert worst(results, "spf.record")["status"] == worst(results, "spf.pass")["status"] == "error"
    else:
        assert state["found"] == "signed, validated"


@pytest.fixture(scope="module")
def web_cert(tmp_path_factory):
    path = tmp_path_factory.mktemp("web")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "30", "-subj", "/CN=mta-sts.shop.example", "-addext",
                    "subjectAltName=DNS:mta-sts.shop.example,DNS:shop.example",
                    "-keyout", "key.pem", "-out", "cert.pem"], cwd=path, check=True, stderr=subprocess.DEVNULL)
    return path / "cert.pem", path / "key.pem"


STS = f'_mta-sts.shop.example. IN TXT "v=STSv1; id=1"\nmta-sts.shop.example. IN A {WEB}\n'
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.lab.example\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize("page, policy_status, mx_status", [
    ((200, "text/plain", POLICY), "pass", "pass"),
    ((200, "text/plain", POLICY.replace(b"mail.lab", b"*.other")), "pass", "fail"),
    ((200, "text/plain", POLICY.replace(b"enforce", b"testing")), "warn", "pass"),
    ((200, "text/plain", b"version: STSv2\n"), "fail", None),
    ((301, "text/plain", POLICY), "fail", None),
    ((404, "text/plain", POLICY), "fail", None),
    ((200, "text/plain", POLICY + b"x: y\n" * 20000), "fail", None),
], ids=["good", "other-mx", "testing", "version", "redirect", "missing", "huge"])
def test_g9_the_mta_sts_policy_is_fetched(tmp_path, dkim_keys, servers, web_cert, page, policy_status, mx_status):
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"], STS)))
    servers(Web(WEB, *web_cert, {"/.well-known/mta-sts.txt": page}))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST, f'ca-file = "{web_cert[0]}"')
    results = check("--config", config)
    assert worst(results, "sts.policy")["status"] == policy_status, worst(results, "sts.policy")
    if mx_status:
        assert worst(results, "sts.mx")["status"] == mx_status


def test_g9_a_policy_server_that_is_down_is_could_not_tell_and_a_bad_certificate_fails(tmp_path, dkim_keys, servers,
                                                                                       web_cert):
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"], STS)))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    results = check("--config", config, code=75)
    assert worst(results, "sts.policy")["status"] == worst(results, "sts.mx")["status"] == "error"
    servers(Web(WEB, *web_cert, {"/.well-known/mta-sts.txt": (200, "text/plain", POLICY)}))
    assert worst(check("--config", config, code=1), "sts.policy")["status"] == "fail"


def test_the_listeners_certificate_and_its_tlsa_record(tmp_path, dkim_keys, servers, tls_files):
    ca, cert, key = tls_files
    listen = f'listen "mx" {{ address = {{ "127.0.0.1:25" }}  tls = starttls  cert = "{cert}"  key = "{key}"  ' \
             'networks = { "127.0.0.0/8" } }'
    zones = shop_zones(dkim_keys["rsa"])
    bad = "_25._tcp.mail.lab.example. IN TLSA 3 1 1 " + "00" * 32 + "\n"
    root = zones["."]
    zones["."] = root + bad
    server = NameServer(tmp_path / "first", FIRST, zones)
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST, listen)
    results = check("--config", config, code=1)
    assert worst(results, "cert.name")["status"] == worst(results, "cert.age")["status"] == "pass"
    assert worst(results, "cert.chain")["status"] == "warn"  # our authority is not the world's
    tlsa = worst(results, "tlsa.valid", "mail.lab.example")
    server.close()
    assert tlsa["status"] == "fail" and tlsa["mend"].startswith("_25._tcp.mail.lab.example. IN TLSA 3 1 1 ")
    zones["."] = root + tlsa["mend"]
    servers(NameServer(tmp_path / "again", FIRST, zones))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST, listen + f'\nca-file = "{ca}"')
    results = check("--config", config, code=0)
    assert worst(results, "tlsa.valid")["status"] == worst(results, "cert.chain")["status"] == "pass"
    config.write_text(config.read_text().replace('hostname = "mail.lab.example"', 'hostname = "other.lab.example"'))
    assert worst(check("--config", config, code=1), "cert.name")["status"] == "fail"


def listener(cert, key, more='networks = { "127.0.0.0/8" }', tls="starttls"):
    return f'listen "mx" {{ address = {{ "127.0.4.1:25" }}  tls = {tls}  cert = "{cert}"  key = "{key}"  {more} }}'


def other_cert(path, *, days=3650, name="mail.lab.example"):
    """A certificate that no authority has signed: (cert, key)."""
    (path / "other.ext").write_text(f"subjectAltName=DNS:{name}\n")
    for argv in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout",
                  "other.key", "-out", "other.csr"],
                 ["x509", "-req", "-in", "other.csr", "-signkey", "other.key", "-days", str(days), "-extfile", "other.ext",
                  "-out", "other.crt"]):
        subprocess.run(["openssl", *argv], cwd=path, check=True, stderr=subprocess.DEVNULL)
    return path / "other.crt", path / "other.key"


def test_each_certificate_check_passes_warns_and_fails(shop, tmp_path, dkim_keys, tls_files):
    """cert.name, cert.age, cert.chain"""
    ca, cert, key = tls_files
    mine, mine_key = tmp_path / "own.crt", tmp_path / "own.key"
    logins = 'auth = required'
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST,
                          listener(mine, mine_key, logins) + f'\nca-file = "{ca}"')

    def states(source, source_key):
        mine.write_bytes(source.read_bytes())
        mine_key.write_bytes(source_key.read_bytes())
        results = check("--config", config)
        return {key: worst(results, f"cert.{key}") for key in ("name", "age", "chain", "running")}
    good = states(cert, key)
    assert [good[k]["status"] for k in ("name", "age", "chain")] == ["pass"] * 3, good
    assert good["running"]["status"] == "skip" and "is the node running" in good["running"]["detail"]
    (tmp_path / "x").mkdir()
    bad = states(*other_cert(tmp_path / "x", days=0, name="elsewhere.example"))
    assert [bad[k]["status"] for k in ("name", "age", "chain")] == ["fail"] * 3, bad
    assert all(bad[k]["mend"].startswith("certbot ") for k in ("name", "age", "chain"))
    near = states(*other_cert(tmp_path / "x", days=10))
    assert [near[k]["status"] for k in ("name", "age", "chain")] == ["pass", "warn", "fail"], near
    assert [v["status"] for v in states(cert, key).values()][:3] == ["pass"] * 3  # what certbot would have put there


class Mail:
    """A mail server that answers by the first word of each command; no answer for a word: it hangs up."""

    def __init__(self, address, answers, tls=None, port=25):
        mail = self
        self.heard = []

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                if "" in answers:
                    self.wfile.write(answers[""])
                for line in self.rfile:
                    mail.heard.append(line.strip().decode())
                    word = line.split(b":")[-1].strip().strip(b"<>").split(b"@")[0].decode() \
                        if line.startswith(b"RCPT") else line.split()[0].decode()
                    if word not in answers:
                        return
                    self.wfile.write(answers[word])
                    if word == "STARTTLS":
                        with contextlib.suppress(OSError, ssl.SSLError):
                            tls.wrap_socket(self.connection, server_side=True).recv(100)
                        return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
        self.server = Server((address, port), Session)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize("answers, words", [
    ({"": b"220 x\r\n", "EHLO": b"250 x\r\n", "STARTTLS": b"454 4.7.0 not now\r\n"}, "not now"),
    ({"": b"hello\r\n"}, "SMTP"), ({}, "in time"), ({"": b"220 x\r\n"}, "closed"),
    ({"": b"220 x\r\n", "EHLO": b"250 x\r\n", "STARTTLS": b"220 x\r\ngarbage, no TLS\r\n"}, ""),
], ids=["no-tls", "no-smtp", "silent", "hangs-up", "no-handshake"])
def test_a_listener_that_shows_no_certificate_could_not_be_told(shop, tmp_path, dkim_keys, tls_files, servers, answers,
                                                                words):
    """cert.running"""
    _, cert, key = tls_files
    servers(Mail("127.0.4.1", answers, ssl.create_default_context()))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST, listener(cert, key))
    begun = time.monotonic()
    running = worst(check("--config", config, code=75), "cert.running")
    assert time.monotonic() - begun < 8
    assert running["status"] == "error" and words in running["detail"], running


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_running_listener_that_still_shows_the_old_certificate_is_found(shop, make_node, tmp_path, tls_files, dkim_keys,
                                                                         tls):
    """cert.running: fail, and the command that it prints makes it a pass"""
    _, cert, key = tls_files
    mine, mine_key = tmp_path / "own.crt", tmp_path / "own.key"
    mine.write_bytes(cert.read_bytes())
    mine_key.write_bytes(key.read_bytes())
    node = make_node(listen=listener(mine, mine_key, tls=tls), config=f'domain "shop.example" {{ dkim "s1" {{ key = '
                     f'"{dkim_keys["rsa"]}" }} }}\nchecks-every = 0s  lists-every = 0s').start()
    argv = ("--config", node.config_path, "--resolver", FIRST)
    assert worst(check(*argv), "cert.running")["status"] == "pass"
    new, new_key = other_cert(tmp_path)
    mine.write_bytes(new.read_bytes())
    mine_key.write_bytes(new_key.read_bytes())
    old = worst(check(*argv), "cert.running")
    assert old["status"] == "fail" and "still shows the old certificate" in old["detail"]
    assert old["mend"] == "systemctl reload outpost\n"
    node.process.send_signal(signal.SIGHUP)  # what it does
    wait_until("the new certificate", lambda: worst(check(*argv), "cert.running")["status"] == "pass")


ROLES = {"": b"220 x\r\n", "EHLO": b"250 x\r\n", "MAIL": b"250 ok\r\n", "QUIT": b"221 bye\r\n",
         "postmaster": b"250 2.1.5 ok\r\n"}


@pytest.mark.parametrize("abuse, status", [
    (b"250 ok\r\n", "pass"), (b"550 5.1.1 no \x1b[31m such user\r\n", "fail"), (b"451 4.7.1 greylisted\r\n", "error"),
    (b"550 5.7.1 we do not like you\r\n", "error"), (b"what\r\n", "error"), (None, "error"),
], ids=["both", "none", "greylisted", "about-us", "garbage", "hangs-up"])
def test_probe_asks_the_mail_host_for_postmaster_and_abuse(tmp_path, dkim_keys, servers, abuse, status):
    """mx.roles"""
    zones = shop_zones(dkim_keys["rsa"])
    zones["."] = zones["."].replace("mail.lab.example. IN A 192.0.2.1", "mail.lab.example. IN A 127.0.4.2")
    servers(NameServer(tmp_path / "first", FIRST, zones))
    host = Mail("127.0.4.2", ROLES | ({"abuse": abuse} if abuse else {}))
    servers(host)
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    quiet = worst(check("--config", config), "mx.roles")
    assert quiet["status"] == "skip" and "--probe" in quiet["detail"] and not host.heard
    results = check("--config", config, "--probe")
    assert worst(results, "mx.roles", "postmaster")["status"] == "pass"
    asked = worst(results, "mx.roles", "abuse")
    assert asked["status"] == status and "\x1b" not in json.dumps(asked, ensure_ascii=False), asked
    assert status != "fail" or "abuse@shop.example" in asked["mend"]
    assert "EHLO out0.lab.example" in host.heard and "MAIL FROM:<>" in host.heard
    assert not [line for line in host.heard if line.startswith("DATA")]


def test_probe_asks_no_private_address_for_a_stranger_and_needs_a_name(tmp_path, dkim_keys, servers):
    zones = shop_zones(dkim_keys["rsa"])
    zones["."] = zones["."].replace("mail.lab.example. IN A 192.0.2.1", "mail.lab.example. IN A 127.0.4.2")
    servers(NameServer(tmp_path / "first", FIRST, zones))
    host = Mail("127.0.4.2", ROLES)
    servers(host)
    argv = ("--any", "--resolver", FIRST, "--probe", "shop.example")
    assert run("domain", "check", *argv).returncode == 2
    results = check(*argv, "--ip", SOURCES[0], "--ehlo", "out0.lab.example")
    assert worst(results, "mx.roles", "abuse")["status"] == "error" and not host.heard


def test_probe_leaves_out_hosts_that_hold_it_against_who_asks(tmp_path, dkim_keys, servers):
    """mx.roles, data/probe_refusers"""
    zones = shop_zones(dkim_keys["rsa"])
    zones["."] += "com. IN TXT x\naspmx.l.google.com. IN A 127.0.4.2\n"
    zones["shop.example"] = zones["shop.example"].replace("MX 10 mail.lab.example.", "MX 10 aspmx.l.google.com.")
    servers(NameServer(tmp_path / "first", FIRST, zones))
    host = Mail("127.0.4.2", ROLES)
    servers(host)
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    roles = worst(check("--config", config, "--probe"), "mx.roles")
    assert roles["status"] == "skip" and "google" in roles["detail"] and not host.heard


def test_a_resolver_that_cannot_tell_the_mx_leaves_what_depends_on_it_untold(tmp_path, dkim_keys, servers, web_cert):
    """sts.mx, ns.resolver"""
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"], STS)))
    servers(Web(WEB, *web_cert, {"/.well-known/mta-sts.txt": (200, "text/plain", POLICY)}))

    def no_mx(question, reply):
        asked = dns.message.from_wire(question)
        return rcode(dns.rcode.SERVFAIL)(question, reply) if asked.question[0].rdtype == dns.rdatatype.MX else reply
    servers(Proxy(PROXY, FIRST, twist=no_mx))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], PROXY, f'ca-file = "{web_cert[0]}"')
    results = check("--config", config, code=75)
    for wanted in ("sts.mx", "ns.resolver", "mx.exists", "mx.roles"):
        assert worst(results, wanted)["status"] == "error", wanted
    assert worst(results, "sts.policy")["status"] == "pass"


BIMI = f'default._bimi.shop.example. IN TXT "v=BIMI1; l=https://shop.example/logo.svg"\nshop.example. IN A {WEB}\n'


@pytest.mark.parametrize("page, status", [((200, "image/svg+xml", b"<svg/>"), "pass"), ((200, "image/png", b"x"), "fail"),
                                          ((404, "text/plain", b""), "fail"), (None, "error")],
                         ids=["svg", "png", "missing", "down"])
def test_the_logo_is_fetched(tmp_path, dkim_keys, servers, web_cert, page, status):
    """bimi.logo"""
    servers(NameServer(tmp_path / "first", FIRST, shop_zones(dkim_keys["rsa"], BIMI)))
    if page:
        servers(Web(WEB, *web_cert, {"/logo.svg": page}))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST, f'ca-file = "{web_cert[0]}"')
    logo = worst(check("--config", config), "bimi.logo")
    assert logo["status"] == status, logo
    assert status != "fail" or logo["mend"]


LISTS = """2.0.0.127.zen.spamhaus.org. IN A 127.0.0.2
2.0.0.127.bl.spamcop.net. IN A 127.0.0.2
2.0.0.127.b.barracudacentral.org. IN A 127.0.0.2
*.psbl.surriel.com. IN A 127.0.0.2
2.0.0.127.all.s5h.net. IN A 127.255.255.254
2.0.0.127.list.dnswl.org. IN A 127.0.10.0
dbltest.com.dbl.spamhaus.org. IN A 127.0.1.2
net. IN TXT "x"
com. IN TXT "x"
"""


def test_blocklists_are_tested_before_they_are_believed(tmp_path, dkim_keys, servers):
    zones = shop_zones(dkim_keys["rsa"])
    zone = LISTS + '1.2.0.127.zen.spamhaus.org. IN A 127.0.0.4\n1.2.0.127.zen.spamhaus.org. IN TXT "see the page"\n'
    zone += "shop.example.dbl.spamhaus.org. IN A 127.0.1.2\n1.2.0.127.all.s5h.net. IN A 127.0.0.2\n"
    zones["."] += zone
    servers(NameServer(tmp_path / "first", FIRST, zones))
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    results = check("--config", config, word="source", code=1)

    def of(source, part):
        return [r for r in results if r["source"] == source and r["part"] == part][0]

    listed = of("s0", "zen.spamhaus.org")
    assert listed["status"] == "fail" and "XBL" in listed["found"] and "see the page" in listed["detail"]
    assert listed["mend"] == "https://check.spamhaus.org/results/?query=127.0.2.1\n"
    assert of("s1", "zen.spamhaus.org")["status"] == "pass"
    assert of("s0", "bl.spamcop.net")["status"] == "pass"
    for zone_name, word in (("psbl.surriel.com", "everything"), ("all.s5h.net", "public resolvers"),
                            ("truncate.gbudb.net", "dead")):
        assert of("s0", zone_name)["status"] == "warn" and word in of("s0", zone_name)["found"], of("s0", zone_name)
    domain = [r for r in results if r["domain"] == "shop.example" and r["part"] == "dbl.spamhaus.org"][0]
    assert domain["status"] == "fail" and domain["source"] == ""


def test_any_domain_is_checked_without_a_configuration(shop, tmp_path):
    done = subprocess.run([OUTPOST, "domain", "check", "--any", "--resolver", FIRST, "shop.example"], cwd=tmp_path / "first",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"(s1): RSA, 2048 bits" in done.stdout
    other = run("domain", "check", "--any", "--resolver", FIRST, "nowhere.example")
    assert other.returncode == 1 and b"no zone" in other.stdout


def test_a_bare_domain_is_all_green_with_what_is_printed(tmp_path, dkim_keys, servers):
    """A zone with nothing but its SOA; the records of --mend, put into NSD unchanged, are enough."""
    shop = (f"$TTL 3600\nshop.example. IN SOA ns0.shop.example. h.shop.example. 7 3600 600 1209600 300\n"
            f"shop.example. IN NS ns0.shop.example.\nshop.example. IN NS ns1.shop.example.\n"
            f"ns0.shop.example. IN A {FIRST}\nns1.shop.example. IN A {FIRST}\n")
    server = NameServer(tmp_path / "first", FIRST, {".": HEAD, "shop.example": shop})
    config = write_config(tmp_path, ["shop.example"], dkim_keys["rsa"], FIRST)
    done = run("domain", "check", "--mend", "--config", config)
    server.close()
    assert done.returncode == 1, done.stderr
    root = HEAD
    for line in done.stdout.decode().splitlines(keepends=True):
        if line.split(" ")[0].endswith("shop.example."):
            shop += line
        else:
            root += line
    servers(NameServer(tmp_path / "again", FIRST, {".": root, "shop.example": shop}))
    results = check("--config", config, code=0)
    assert {r["id"] for r in results if r["status"] == "warn"} <= {"dmarc.policy"}, results


def test_usage_is_told(shop):
    for argv, code, text in ((["--any"], 2, b"needs the name"), (["--config", shop, "else.example"], 2, b"--any"),
                             (["--any", "a b"], 2, b"no domain name"), (["--any", "x.example", "--ip", "1.2"], 2, b"no IP"),
                             (["--any", "x.example", "--timeout", "1y"], 2, b"duration"),
                             (["--any", "x.example", "--zone", "/nowhere"], 2, b"/nowhere")):
        done = run("domain", "check", *argv)
        assert done.returncode == code and text in done.stderr, (argv, done)


def test_the_command_of_the_readme_says_what_the_readme_shows():
    """README, "Check any domain in one command": run as printed, in a shell that has nothing else."""
    section = (ROOT / "README.md").read_text().split("## Check any domain in one command")[1].split("\n## ")[0]
    command, shown = section.split("\nWithout")[0].split("    $ ", 1)[1].split("\n", 1)
    shown = [line[4:] for line in shown.rstrip().splitlines()]
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          env={"PATH": f"{pathlib.Path(OUTPOST).parent}:/usr/bin:/bin"})
    assert done.returncode == 1 and done.stderr == b"", done
    assert [line.rstrip() for line in done.stdout.decode().splitlines()] == shown


@pytest.mark.parametrize("typed, shown", [("Bücher.example", "xn--bcher-kva.example"),
                                          ("p\u0430ypal.example", "xn--pypal-4ve.example")], ids=["idn", "mixed-script"])
def test_g7_an_international_name_is_compared_and_shown_as_an_a_label(tmp_path, typed, shown):
    zone = tmp_path / "idn.zone"
    zone.write_text(f"{shown}. IN SOA ns1.{shown}. h.{shown}. 1 3600 600 1209600 300\n{shown}. IN NS ns1.{shown}.\n"
                    f'{shown}. IN TXT "v=spf1 -all"\n')
    done = run("domain", "check", "--any", "--zone", zone, typed)
    assert done.stdout.isascii() and shown.encode() in done.stdout, done
    results = check("--any", "--zone", zone, typed)
    assert {r["domain"] for r in results} == {shown} and worst(results, "spf.record")["status"] == "pass"
    assert check("--any", "--zone", zone, shown) == results
