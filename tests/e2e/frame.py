# SPDX-License-Identifier: Apache-2.0
"""The frame of these tests: name spaces of their own for network, mounts and processes.

Ports 25 and 53 are free in it, no packet leaves the machine, and every process that a test leaves
behind dies with it. A second network, joined by one cable, holds the receivers: their addresses
(192.0.2.0/24, RFC 5737) must not be the node's own, to which it never delivers.
"""
import os
import subprocess
import sys
import time

MARK = "OUTPOST_E2E_FRAME"
PEER_NET = "192.0.2."
POSTFIX_IP, EXIM_IP, SINK_IP = PEER_NET + "10", PEER_NET + "11", PEER_NET + "12"
NODE_IP = PEER_NET + "1"


def is_inside():
    return os.environ.get(MARK) in ("root", "user")


def _variants():
    """As root; as a user with mapped ids (package uidmap); as a user with one id."""
    common = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() == 0:
        return [["unshare"] + common]
    user = ["unshare", "--user", "--map-root-user"]
    return [user + ["--map-auto"] + common, user + common]


def enter(arguments):
    """Starts pytest again inside; returns only where no frame can be made."""
    for variant in _variants():
        done = subprocess.run(variant + ["true"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            os.environ[MARK] = "root" if os.geteuid() == 0 else "user"
            os.execvp(variant[0], variant + [sys.executable, "-m", "pytest"] + arguments)


class Peer:
    """The receivers' network. Its life hangs on one sleeping process."""

    def __init__(self):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "100000"])
        mine = os.readlink("/proc/self/ns/net")
        until = time.monotonic() + 10
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == mine and time.monotonic() < until:
            time.sleep(0.01)
        self._host("ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns",
                   str(self.holder.pid))
        self._host("ip", "addr", "add", NODE_IP + "/24", "dev", "cable0")
        self._host("ip", "link", "set", "cable0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
        for address in (POSTFIX_IP, EXIM_IP, SINK_IP):
            self.run("ip", "addr", "add", address + "/24", "dev", "cable1")
        self.run("ip", "link", "set", "cable1", "up")

    @staticmethod
    def _host(*argv):
        subprocess.run(argv, check=True)

    def argv(self, *argv):
        """The command line that runs argv in the receivers' network."""
        return ["nsenter", "--target", str(self.holder.pid), "--net"] + [str(word) for word in argv]

    def run(self, *argv):
        subprocess.run(self.argv(*argv), check=True)

    def close(self):
        self.holder.kill()
        self.holder.wait()
