# SPDX-License-Identifier: Apache-2.0
"""The node kills itself at named places (core/crash.h) while mail flows; ledgers as in test_kill.py:
nothing acknowledged is lost, and every extra copy is named.
"""
import os
import pathlib
import signal
import subprocess

import pytest

from node import free_port, wait_until
from test_kill import Ledgers, check

HERE = pathlib.Path(__file__).resolve().parent
COUNT, SEED = 1500, 1
# place, and at which time there; some come once a message, others once a batch, a segment or less
PLACES = ["after_dot:200", "batch.before_write:15", "batch.written:15", "batch.synced:15", "index.published:200",
          "attempt.written:100", "dot.next:100", "reply.read:100", "outcome.sent:100", "rotate.sealed:1",
          "rotate.old_synced:1", "rotate.header:1", "consumer.output:1", "consumer.position:1"]
AT_FIRST_START = ["slot.created:2", "slot.zeroed:2"]
AT_NEXT_START = ["recover:5"]


def crash_environment(place):
    return dict(os.environ, OUTPOST_CRASH=place)


def dies(node):
    wait_until("the node's death", lambda: node.process.poll() is not None, 20)
    assert node.process.returncode == -signal.SIGKILL, node.output()


@pytest.mark.parametrize("place", PLACES + AT_FIRST_START + AT_NEXT_START)
def test_a_crash_at_a_named_place_loses_nothing(make_node, tmp_path, place):
    sink_port, sent, received = free_port(), tmp_path / "sent", tmp_path / "received"
    sink = subprocess.Popen(["/usr/bin/python3", HERE / "sink.py", "127.0.0.1", str(sink_port), received])
    node = make_node(route=sink_port, config='stream "transactional" { retry-first = 1s  retry-max = 2s }')
    node.start(wait=place not in AT_FIRST_START, environment=crash_environment(place))
    if place in AT_FIRST_START:
        dies(node)
        node.start()
    sender = subprocess.Popen(["/usr/bin/python3", HERE / "sender.py", str(node.port), str(COUNT), "20", sent, str(SEED)])
    try:
        if place in AT_NEXT_START:
            wait_until("mail", lambda: sent.exists() and sent.read_bytes().count(b"\nacknowledged ") >= COUNT // 4, 30)
            node.kill()
            node.start(wait=False, environment=crash_environment(place))
        if place not in AT_FIRST_START:
            dies(node)
            node.start()
        assert sender.wait(120) == 0
        node.drain(60)
        check(node, Ledgers(sent, received), 1, lambda text: None)
        wait_until("balanced books", lambda: node.json("audit", code=None)["balanced"], 20, 0.2)
    finally:
        sender.kill()
        sink.kill()
        sender.wait()
        sink.wait()
