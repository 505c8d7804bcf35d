# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand recipients wait: memory stays small, and a restart accepts again within a second."""
import subprocess
import sys
import time

from node import free_port, greets, wait_until

COUNT, PER_MESSAGE = 100000, 100


def rss_mb(node):
    for line in open(f"/proc/{node.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


FILL = """
import smtplib, sys
client = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
client.ehlo("client.example")
for first in range(0, int(sys.argv[2]), int(sys.argv[3])):
    client.docmd("MAIL", "FROM:<app@lab.example>")
    for number in range(first, first + int(sys.argv[3])):
        client.putcmd("RCPT", f"TO:<user{number}@d{number % 1000}.example>")
    for number in range(int(sys.argv[3])):
        assert client.getreply()[0] == 250
    code, text = client.data(b"From: app@lab.example\\r\\nSubject: x\\r\\n\\r\\nHello\\r\\n")
    assert code == 250, text
"""


def test_100000_queued_recipients(make_node, note):
    """The way out is shut: the route leads to a port where nobody listens."""
    node = make_node(route=free_port(), config="").start()
    wait_until("the figures", lambda: node.json("stats"))
    idle_mb = rss_mb(node)
    subprocess.run([sys.executable, "-c", FILL, str(node.port), str(COUNT), str(PER_MESSAGE)], check=True)
    waiting = node.json("stats")["queue"]
    assert waiting["messages"] == COUNT // PER_MESSAGE
    full_mb = rss_mb(node)
    node.kill()
    start = time.monotonic()
    node.start(wait=False)
    wait_until("the greeting", lambda: greets(node.port), 10, 0.002)
    seconds = time.monotonic() - start
    wait_until("all of them scheduled", lambda: node.json("stats")["queue"]["messages"] == COUNT // PER_MESSAGE)
    after_mb = rss_mb(node)
    note(f"{COUNT} queued recipients: {full_mb - idle_mb:.1f} MB above idle ({idle_mb:.1f} MB), {after_mb - idle_mb:.1f} MB "
         f"after a restart, which greets after {seconds * 1000:.0f} ms")
    assert seconds < 1.0
    assert full_mb - idle_mb <= 25 and after_mb - idle_mb <= 25
