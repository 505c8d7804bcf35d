# SPDX-License-Identifier: Apache-2.0
"""A client that never sends a message twice, with a ledger of its own.

  python3 sender.py PORT COUNT SESSIONS LEDGER SEED

Each line of the ledger is written before the next step is taken: "offered TOKEN", then "acknowledged
TOKEN ID", "refused TOKEN CODE" or "unanswered TOKEN". Every message has one or two recipients, of
which the address is the token. After a lost connection the session goes on with its next message.

Where a reply does not come for a minute, "silent TOKEN" says that the node holds the connection and
should have spoken, "half-open TOKEN" that the kernel knows no other end: the node died as it was made.
"""
import asyncio
import hashlib
import random
import re
import subprocess
import sys

REPLY_S = 60


class Source:
    """Numbers the messages, and writes what became of them."""

    def __init__(self, count, ledger, seed):
        self.next, self.count, self.ledger = 0, count, ledger
        self.random = random.Random(seed)

    def take(self):
        """(token, recipients, content), or None after the last."""
        if self.next >= self.count:
            return None
        self.next += 1
        token = f"t{self.next:06}"
        size = self.random.choice([200, 2000, 5000, 20000])
        body = (f"{token} " + "abcdefghij" * 6 + "\r\n") * max(1, size // 70)
        digest = hashlib.sha256(body.encode()).hexdigest()
        recipients = [f"{token}.{letter}@sink.example" for letter in "ab"[:self.random.choice([1, 1, 2])]]
        header = f"From: app@lab.example\r\nTo: {recipients[0]}\r\nSubject: {token}\r\nX-Token: {token}\r\n\r\n"
        self.ledger.write(f"offered {token} {digest} {','.join(recipients)}\n".encode())
        return token, recipients, (header + body).encode()

    def tell(self, fate, token, detail=""):
        self.ledger.write(f"{fate} {token} {detail}\n".encode())


class Client:
    def __init__(self, port, source):
        self.port, self.source = port, source
        self.token = self.reader = self.writer = None

    async def reply(self):
        try:
            async with asyncio.timeout(REPLY_S):
                line = await self.reader.readline()
                while line[3:4] == b"-":
                    line = await self.reader.readline()
        except TimeoutError:
            self.tell_silence()
            raise
        if not line:
            raise ConnectionError("closed")
        return line.decode().rstrip()

    def tell_silence(self):
        port = self.writer.get_extra_info("sockname")[1]
        found = subprocess.run(["ss", "-Htan", "state", "established", f"( sport = :{self.port} and dport = :{port} )"],
                               check=False, stdout=subprocess.PIPE).stdout.decode()
        self.source.tell("silent" if found else "half-open", self.token, " ".join(found.split()))

    async def connect(self):
        """Returns with a session, however long that takes: the node is restarted meanwhile."""
        while True:
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
                if (await self.reply())[:3] == "220":
                    self.writer.write(b"EHLO client.example\r\n")
                    if (await self.reply())[:3] == "250":
                        return
            except OSError:
                pass
            self.close()
            await asyncio.sleep(0.02)

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def send(self, recipients, content):
        """The last reply: the one after the dot, or the first refusal."""
        commands = ["MAIL FROM:<app@lab.example>"] + [f"RCPT TO:<{address}>" for address in recipients] + ["DATA"]
        self.writer.write("\r\n".join(commands + [""]).encode())
        answers = [await self.reply() for _ in commands]
        if any(answer[0] not in "23" for answer in answers):
            return next(answer for answer in answers if answer[0] not in "23")
        self.writer.write(content + b".\r\n")
        return await self.reply()

    async def run(self):
        while True:
            message = self.source.take()
            if not message:
                return
            token, recipients, content = message
            self.token = token
            if not self.writer:
                await self.connect()
            try:
                self.record(token, await self.send(recipients, content))
            except (OSError, asyncio.IncompleteReadError):
                self.source.tell("unanswered", token)
                self.close()

    def record(self, token, answer):
        if answer.startswith("250"):
            self.source.tell("acknowledged", token, re.search(r"queued as (\S+)", answer).group(1))
        else:
            self.source.tell("refused", token, answer[:3])
            self.close()


async def main():
    port, count, sessions, path, seed = sys.argv[1:]
    with open(path, "ab", buffering=0) as ledger:
        source = Source(int(count), ledger, int(seed))
        await asyncio.gather(*(Client(int(port), source).run() for _ in range(int(sessions))))


if __name__ == "__main__":
    asyncio.run(main())
