# SPDX-License-Identifier: Apache-2.0
"""liboutpost-check as its users find it: installed, found by pkg-config, the ten-line example built and
run, no foreign name seen; and in a program with a poll loop of its own, against real NSD."""
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from identity_net import NameServer, Proxy, Silent
from node import OUTPOST

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(OUTPOST).resolve().parents[2]
DOMAINS = ROOT / "tests/data/check/domains.zone"
FIRST, PROXY = "127.0.1.1", "127.0.1.9"
IP = "127.0.2.1"
HEAD = """$TTL 3600
. IN SOA ns.root. h.root. 1 3600 600 1209600 300
. IN NS ns.root.
ns.root. IN A 127.0.1.1
example. IN TXT "a top-level domain"
arpa. IN TXT "another"
1.2.0.127.in-addr.arpa. IN PTR out.lab.example.
out.lab.example. IN A 127.0.2.1
"""


def zone(key, name):
    record = subprocess.run([OUTPOST, "dkim", "record", "--key", str(key), "--domain", name, "--selector", "s1"],
                            stdout=subprocess.PIPE, check=True).stdout.decode()
    return f'{name}. IN TXT "v=spf1 ip4:127.0.2.0/24 -all"\n_dmarc.{name}. IN TXT "v=DMARC1; p=reject"\n{record}'


@pytest.fixture
def servers():
    made = []
    yield made.append
    for server in made:
        server.close()


def told_by(*words, **options):
    done = subprocess.run([str(word) for word in words], check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, **options)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


class Installed:
    """The library in a tree of its own, and compilers' words for it."""

    def __init__(self, tree):
        told_by("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", tree)
        pc = next(tree.rglob("outpost-check.pc"))
        prefix = next(line.split("=", 1)[1] for line in pc.read_text().splitlines() if line.startswith("prefix="))
        self.prefix, self.where, self.lib = tree / prefix.lstrip("/"), pc.parent, pc.parents[1]
        self.environment = dict(os.environ, LD_LIBRARY_PATH=str(self.lib))
        self.cflags, self.libs = self.pkg_config("--cflags"), self.pkg_config("--libs")

    def pkg_config(self, word):
        return told_by("pkg-config", f"--define-variable=prefix={self.prefix}", word, "outpost-check",
                       env=dict(os.environ, PKG_CONFIG_PATH=str(self.where))).split()

    def static_libs(self):
        """Ours in static form, what it stands on shared, as a distribution has it."""
        ours = [word.replace("-loutpost-check", "-l:liboutpost-check.a") for word in self.libs]
        return ours + told_by("pkg-config", "--libs", *self.pkg_config("--print-requires-private")).split()

    def build(self, source, program, libs=None):
        told_by("cc", "-Wall", "-Wextra", "-Werror", source, *self.cflags, *(libs or self.libs), "-o", program)
        return program


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def program(installed, tmp_path_factory):
    path = installed.build(ROOT / "tests/e2e/check_poll.c", tmp_path_factory.mktemp("check") / "check_poll")
    return path, installed.environment


def names_of(*nm):
    lines = [line.split() for line in told_by("nm", *nm).splitlines()]
    return {words[-1] for words in lines if len(words) == 3}


def test_no_name_but_its_own_leaves_the_library_and_it_needs_no_more_than_it_uses(installed):
    shared = next(installed.lib.glob("liboutpost-check.so.0.*"))
    static = installed.lib / "liboutpost-check.a"
    for names in (names_of("-D", "--defined-only", shared), names_of("-g", "--defined-only", static)):
        foreign = {name for name in names if name != "outpost_check" and not name.startswith("outpost_check_")}
        assert not foreign and len(names) == 12, names
    dynamic = told_by("readelf", "-d", shared)
    assert "soname: [liboutpost-check.so.0]" in dynamic
    for unwanted in ("curl", "sqlite", "jansson", "microhttpd", "confuse", "systemd", "crypt."):
        assert f"lib{unwanted}" not in dynamic, dynamic


def test_the_header_is_fit_for_old_c_and_for_cpp(installed, tmp_path):
    text = '#include <outpost-check.h>\nint main(void) { return outpost_check("a", 0, 0, 0) == 0; }\n'
    (tmp_path / "old.c").write_text(text)
    (tmp_path / "new.cc").write_text(text)
    strict = ["-pedantic", "-Wall", "-Wextra", "-Werror", *installed.cflags, "-c", "-o", tmp_path / "object.o"]
    told_by("cc", "-std=c89", *strict, tmp_path / "old.c")
    if shutil.which("c++"):
        told_by("c++", *strict, tmp_path / "new.cc")


@pytest.mark.parametrize("form", ["shared", "static"])
def test_the_example_is_built_by_pkg_config_and_says_what_the_zone_says(installed, tmp_path, form):
    libs = installed.static_libs() if form == "static" else installed.libs
    example = installed.build(ROOT / "examples/check.c", tmp_path / "example", libs)
    assert ("outpost-check" in told_by("readelf", "-d", example)) == (form == "shared")

    def told(*words):
        return told_by(example, *words, DOMAINS, env=installed.environment)
    assert told("good.example", "192.0.2.1") == "ptr mail.good.example, spf pass, dkim ok, dmarc ok reject"
    assert told("bad.example", "192.0.2.3") == "ptr liar.bad.example, spf permerror, dkim absent, dmarc invalid"
    assert told("sick.example", "192.0.2.5") == "ptr , spf temperror, dkim unknown, dmarc unknown"
    for words, text in ((("good.example",), "NULL"), (("a..b", "192.0.2.1"), "not a domain name"),
                        (("good.example", "192.0.2.1", "/nowhere"), "zone file cannot be read")):
        done = subprocess.run([example, *words], check=False, text=True, capture_output=True, timeout=60,
                              env=installed.environment)
        assert done.returncode == 1 and text in done.stderr, (words, done)


def run(program, server, limit_ms, *domains):
    path, environment = program
    lines = told_by(path, server, IP, limit_ms, *domains, env=environment).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def good(told):
    return told == "ptr=ok:out.lab.example spf=ok:pass dkim=ok:2048 dmarc=ok:reject aligned=1"


def test_a_poll_loop_asks_twenty_domains_through_a_slow_resolver_at_one_time(tmp_path, dkim_keys, program, servers):
    names = [f"d{i}.example" for i in range(20)]
    servers(NameServer(tmp_path / "first", FIRST, {".": HEAD + "".join(zone(dkim_keys["rsa"], name) for name in names)}))
    servers(Proxy(PROXY, FIRST, delay_s=0.02))
    begin = time.monotonic()
    told = run(program, PROXY, 20000, *names)
    assert set(told) == set(names) and all(good(words) for words in told.values()), told
    assert time.monotonic() - begin < 10


def test_what_a_server_does_not_have_is_absent_and_a_dead_server_is_not_known(tmp_path, dkim_keys, program, servers):
    servers(NameServer(tmp_path / "first", FIRST, {".": HEAD + zone(dkim_keys["rsa"], "a.example")}))
    servers(Silent(PROXY))
    told = run(program, FIRST, 20000, "a.example", "b.example")
    assert good(told["a.example"]), told
    assert told["b.example"] == "ptr=ok:out.lab.example spf=absent:none dkim=absent:0 dmarc=absent: aligned=0"
    begin = time.monotonic()
    told = run(program, PROXY, 500, "a.example")
    assert told["a.example"] == "ptr=unknown: spf=unknown:temperror dkim=unknown:0 dmarc=unknown: aligned=-1"
    assert 0.5 <= time.monotonic() - begin < 5
