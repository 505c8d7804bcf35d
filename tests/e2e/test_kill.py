# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments, with ledgers that the node does not write and a sender that never sends
twice: nothing acknowledged is lost, nothing refused arrives, and every extra copy is named.

OUTPOST_E2E_SEED repeats the moments and sizes of a run that failed, as far as processes allow.
"""
import collections
import os
import pathlib
import random
import subprocess
import time

from node import free_port, wait_until

HERE = pathlib.Path(__file__).resolve().parent
COUNT, KILLS = 20000, 10
SEED = int(os.environ.get("OUTPOST_E2E_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


class Ledgers:
    """Sets of (message, recipient), as fault (a) of the design names them: offered, acknowledged …"""

    def __init__(self, sent, received):
        self.digest, self.ids = {}, {}
        self.offered, self.acknowledged, self.refused = set(), set(), set()
        self.silent, self.half_open = [], []
        recipients = {}
        for line in sent.read_text().splitlines():
            fate, token, *rest = line.split()
            if fate == "offered":
                self.digest[token] = rest[0]
                recipients[token] = rest[1].split(",")
                self.offered |= set(recipients[token])
            elif fate == "acknowledged":
                self.ids[token] = rest[0]
                self.acknowledged |= set(recipients[token])
            elif fate == "refused":
                self.refused |= set(recipients[token])
            elif fate == "silent":
                self.silent.append(line)
            elif fate == "half-open":
                self.half_open.append(line)
        self.copies = collections.Counter()
        self.wrong = []
        for line in received.read_text().splitlines():
            token, addresses, digest = line.split()
            self.copies.update(addresses.split(","))
            if self.digest.get(token) != digest:
                self.wrong.append(token)


def acknowledged_count(path):
    return path.read_bytes().count(b"\nacknowledged ") if path.exists() else 0


def kill_at_random_moments(node, sender, sent, generator):
    """Each kill comes when a random share of the messages has been acknowledged, then a moment more."""
    done = 0
    for at in sorted(generator.sample(range(COUNT // 20, COUNT * 9 // 10), KILLS)):
        wait_until(f"{at} acknowledged", lambda at=at: acknowledged_count(sent) >= at or sender.poll() is not None, 120)
        time.sleep(generator.random() / 50)
        node.kill()
        node.start()
        done += 1
    return done


def test_nothing_acknowledged_is_lost_and_copies_are_named(make_node, tmp_path, note):
    generator = random.Random(SEED)
    sink_port, sent, received = free_port(), tmp_path / "sent", tmp_path / "received"
    sink = subprocess.Popen(["/usr/bin/python3", HERE / "sink.py", "127.0.0.1", str(sink_port), received])
    node = make_node(route=sink_port, config='stream "transactional" { retry-first = 1s  retry-max = 2s }')
    node.start()
    sender = subprocess.Popen(["/usr/bin/python3", HERE / "sender.py", str(node.port), str(COUNT), "50", sent, str(SEED)])
    try:
        kills = kill_at_random_moments(node, sender, sent, generator)
        assert sender.wait(300) == 0
        node.drain(120)
        check(node, Ledgers(sent, received), kills, note)
        wait_until("balanced books", lambda: node.json("audit", code=None)["balanced"], 20, 0.2)
    finally:
        sender.kill()
        sink.kill()
        sender.wait()
        sink.wait()


def check(node, ledgers, kills, note):
    arrived = set(ledgers.copies)
    extra = {address: count - 1 for address, count in ledgers.copies.items() if count > 1}
    note(f"kill -9: {COUNT} messages, {kills} kills (seed {SEED}): {len(ledgers.acknowledged)} recipients acknowledged, "
         f"{len(arrived - ledgers.acknowledged)} arrived without an answer, {sum(extra.values())} extra copies, "
         f"{len(ledgers.half_open)} connections half-open")
    assert ledgers.silent == [], "the node did not answer"
    assert ledgers.acknowledged - arrived == set(), "acknowledged and lost"
    assert arrived - ledgers.offered == set(), "never offered"
    assert arrived & ledgers.refused == set(), "refused, yet delivered"
    assert ledgers.wrong == [], "bodies differ"
    unnamed = [address for address in extra if not comes_to_be_named(node, address)]
    assert unnamed == [], (f"extra copies that the history does not name (seed {SEED})", stories(node, unnamed))


def stories(node, addresses):
    return "\n".join(node.cli("trace", "--recipient", address) for address in addresses[:2])


def comes_to_be_named(node, address):
    """The scribe writes what happened within a second or so."""
    try:
        return wait_until("the story", lambda: is_named(node, address), 5, 0.1)
    except AssertionError:
        return False


def is_named(node, address):
    """The story of the recipient says that it may have been delivered more than once."""
    stories = node.json("trace", "--recipient", address)
    recipients = [recipient for story in stories for recipient in story["recipients"] if recipient["address"] == address]
    return any(recipient.get("possible_duplicate") for recipient in recipients)
