# SPDX-License-Identifier: Apache-2.0
"""NSD with one zone, the root, in which every name of these tests lives."""
import pathlib
import re
import shutil
import subprocess

import frame
from node import DNS_PORT, OUTPOST, wait_until

HEAD = f"""$ORIGIN .
$TTL 60
. IN SOA ns.lab.example. admin.lab.example. {{serial}} 3600 600 86400 1
. IN NS ns.lab.example.
ns.lab.example. A 127.0.0.1
lab.example. MX 10 mx.lab.example.
mx.lab.example. A {frame.POSTFIX_IP}
postfix.example. MX 10 mx.postfix.example.
mx.postfix.example. A {frame.POSTFIX_IP}
exim.example. MX 10 mx.exim.example.
mx.exim.example. A {frame.EXIM_IP}
sink.example. MX 10 mx.sink.example.
mx.sink.example. A {frame.SINK_IP}
two.example. MX 10 dead.two.example.
two.example. MX 20 mx.sink.example.
dead.two.example. A {frame.PEER_NET}99
null.example. MX 0 .
own.example. MX 10 mx.own.example.
mx.own.example. A 127.0.0.1
"""


class Dns:
    """`add` records and look again; answers on ports 53 and DNS_PORT of 127.0.0.1."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.records, self.serial = [], 1
        self._write()
        (self.path / "nsd.conf").write_text(f"""server:
    ip-address: 127.0.0.1@{DNS_PORT}
    ip-address: 127.0.0.1@53
    username: ""
    chroot: ""
    database: ""
    server-count: 1
    zonesdir: "{self.path}"
    pidfile: "{self.path}/pid"
    xfrdfile: "{self.path}/xfrd"
    zonelistfile: "{self.path}/zones"
    xfrdir: "{self.path}"
remote-control:
    control-enable: yes
    control-interface: "{self.path}/ctl"
zone:
    name: "."
    zonefile: "root.zone"
""")
        program = shutil.which("nsd") or "/usr/sbin/nsd"
        log = open(self.path / "log", "wb")
        self.process = subprocess.Popen([program, "-c", str(self.path / "nsd.conf"), "-d"], stdout=log, stderr=log)
        wait_until("NSD", lambda: self.ask("ns.lab.example", "A") == ["127.0.0.1"])

    def _write(self):
        (self.path / "root.zone").write_text(HEAD.format(serial=self.serial) + "\n".join(self.records) + "\n")

    def ask(self, name, kind):
        import dns.exception
        import dns.resolver
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], DNS_PORT, 2
        try:
            return [record.to_text() for record in resolver.resolve(name + ".", kind)]
        except dns.exception.DNSException:
            return []

    def txt(self, name):
        """For python3-dkim: the joined strings of a TXT record."""
        name = name.decode() if isinstance(name, bytes) else name
        found = self.ask(name.rstrip("."), "TXT")
        return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', found[0])).replace("\\", "").encode() if found else None

    def add(self, records):
        self.records += records
        self.serial += 1
        self._write()
        done = subprocess.run(["nsd-control", "-c", str(self.path / "nsd.conf"), "reload", "."], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        wait_until("the new zone", lambda: [line for line in self.ask("", "SOA") if f" {self.serial} " in line])

    def add_key(self, key, domains, selector="s1"):
        """Publishes a key under many domains."""
        lines = []
        for domain in domains:
            done = subprocess.run([OUTPOST, "dkim", "record", "--key", str(key), "--domain", domain, "--selector",
                                   selector], stdout=subprocess.PIPE, check=True)
            lines.append(done.stdout.decode().strip())
        self.add(lines)

    def close(self):
        self.process.terminate()
        self.process.wait()
