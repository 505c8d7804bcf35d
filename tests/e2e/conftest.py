# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests. They run the real binary (environment OUTPOST) among real
clients, receivers and name servers, in a frame of their own (frame.py)."""
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import frame  # noqa: E402
import parts  # noqa: E402
import receivers  # noqa: E402
from node import OUTPOST, Node  # noqa: E402
from sink import Sink  # noqa: E402


def pytest_configure(config):
    if frame.is_inside() or config.option.collectonly:
        return
    parts.fetch_all()
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    frame.enter([str(word) for word in config.invocation_params.args])
    pytest.exit("no name spaces: end-to-end tests need unshare(1), as root or as a user who may", 1)


NOTES = pytest.StashKey()


@pytest.fixture(scope="session")
def note(request):
    """note(text): told at the end of the run, also where all is well."""
    return request.config.stash.setdefault(NOTES, []).append


def pytest_terminal_summary(terminalreporter, config):
    for text in config.stash.get(NOTES, []):
        terminalreporter.write_line("note: " + text)


@pytest.fixture(scope="session")
def peer():
    """The receivers' network."""
    network = frame.Peer()
    yield network
    network.close()


@pytest.fixture(scope="session", autouse=True)
def dns(tmp_path_factory, peer):
    from zone import Dns
    server = Dns(tmp_path_factory.mktemp("dns"))
    yield server
    server.close()


@pytest.fixture
def make_node(tmp_path):
    """A node with a folder of its own; ended with the test."""
    nodes = []

    def make(name="node", **options):
        nodes.append(Node(tmp_path / name, **options))
        return nodes[-1]
    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def sink():
    server = Sink()
    yield server
    server.close()


@pytest.fixture
def node(make_node, sink):
    """A node that delivers everything to the sink, and retries after a second."""
    return make_node(route=sink.port, config='stream "transactional" { retry-first = 1s  retry-max = 2s }').start()


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    """An authority and a certificate of localhost, the node and the receivers: (ca, cert, key)."""
    path = tmp_path_factory.mktemp("tls")
    names = "DNS:localhost,DNS:mail.lab.example,DNS:mx.lab.example,DNS:mx.postfix.example,DNS:mx.exim.example,IP:127.0.0.1"
    (path / "leaf.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n"
                                     "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for argv in (
            ["req", "-x509", *curve, "-days", "3650", "-subj", "/CN=Test CA",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.crt"],
            ["req", *curve, "-subj", "/CN=mail.lab.example", "-keyout", "leaf.key", "-out", "leaf.csr"],
            ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650",
             "-extfile", "leaf.ext", "-out", "leaf.crt"]):
        subprocess.run(["openssl"] + argv, cwd=path, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path / "ca.crt", path / "leaf.crt", path / "leaf.key"


@pytest.fixture(scope="session")
def dkim_keys(tmp_path_factory):
    """An RSA and an Ed25519 key: {"rsa": path, "ed25519": path}."""
    path = tmp_path_factory.mktemp("keys")
    for kind in ("rsa", "ed25519"):
        subprocess.run([OUTPOST, "dkim", "genkey", "--type", kind, "--out", str(path / f"{kind}.pem"), "--domain",
                        "lab.example", "--selector", "s1"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    return {kind: path / f"{kind}.pem" for kind in ("rsa", "ed25519")}


@pytest.fixture(scope="session")
def postfix(tmp_path_factory, peer, tls_files):
    if not parts.tree("postfix"):
        pytest.skip("the package postfix could not be fetched")
    server = receivers.Postfix(tmp_path_factory.mktemp("postfix"), peer, tls_files)
    yield server
    server.close()


@pytest.fixture(scope="session")
def exim(tmp_path_factory, peer, tls_files):
    if not parts.tree("exim"):
        pytest.skip("the package exim4-daemon-light could not be fetched")
    server = receivers.Exim(tmp_path_factory.mktemp("exim"), peer, tls_files)
    yield server
    server.close()
