# SPDX-License-Identifier: Apache-2.0
"""A receiving server that keeps what it gets, byte for byte.

In a test it runs in a thread (Sink); the kill test runs it as a process of its own, which writes a
ledger: python3 sink.py HOST PORT LEDGER. Recipients whose local part begins with "defer" get 451, with
"reject" 550; "drop" closes the connection after the message, without an answer.
"""
import asyncio
import hashlib
import re
import sys
import threading


class Message:
    def __init__(self, sender, recipients, content):
        self.sender, self.recipients, self.content = sender, recipients, content


class Session:
    """One connection. Replies to pipelined commands leave together (RFC 2920)."""

    def __init__(self, reader, writer, extensions, keep):
        self.reader, self.writer, self.keep = reader, writer, keep
        self.extensions = extensions
        self.sender, self.recipients = None, []

    def say(self, text):
        self.writer.write(text + b"\r\n")

    def reply_rcpt(self, address):
        if address.startswith(b"defer"):
            return b"451 4.2.1 come back later"
        if address.startswith(b"reject"):
            return b"550 5.1.1 no such user"
        self.recipients.append(address)
        return b"250 2.1.5 ok"

    async def content(self):
        data = await self.reader.readuntil(b"\r\n.\r\n")
        return re.sub(rb"(?m)^\.", b"", data[:-3])

    async def command(self, line):
        """False: the session is over."""
        verb = line[:4].upper()
        if verb == b"EHLO":
            lines = [b"sink"] + self.extensions
            for text in lines[:-1]:
                self.say(b"250-" + text)
            self.say(b"250 " + lines[-1])
        elif verb == b"MAIL":
            self.sender = re.search(rb"<(.*?)>", line).group(1)
            self.recipients = []
            self.say(b"250 2.1.0 ok")
        elif verb == b"RCPT":
            self.say(self.reply_rcpt(re.search(rb"<(.*?)>", line).group(1)))
        elif verb == b"DATA":
            return await self.data()
        elif verb == b"QUIT":
            self.say(b"221 2.0.0 bye")
            return False
        else:
            self.say(b"250 2.0.0 ok")
        return True

    async def data(self):
        if not self.recipients:
            self.say(b"554 5.5.1 no recipients")
            return True
        self.say(b"354 go on")
        await self.writer.drain()
        content = await self.content()
        is_dropped = any(address.startswith(b"drop") for address in self.recipients)
        self.keep(Message(self.sender, self.recipients, content))
        if not is_dropped:
            self.say(b"250 2.0.0 kept")
        return not is_dropped

    async def run(self):
        self.say(b"220 sink ESMTP")
        while True:
            await self.writer.drain()
            line = await self.reader.readline()
            if not line or not await self.command(line):
                return


async def serve(host, port, extensions, keep):
    async def talk(reader, writer):
        try:
            await Session(reader, writer, extensions, keep).run()
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
    return await asyncio.start_server(talk, host, port, limit=64 << 20, backlog=200)


class Sink:
    """In a thread; `messages` grows. extensions: what EHLO offers."""

    def __init__(self, host="127.0.0.1", port=0, extensions=(b"PIPELINING", b"8BITMIME", b"SIZE")):
        self.messages = []
        self.loop = asyncio.new_event_loop()
        server = self.loop.run_until_complete(serve(host, port, list(extensions), self.messages.append))
        self.port = server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def find(self, text):
        return [message for message in self.messages if text in message.content]

    def close(self):
        def cancel():
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.01, self.loop.stop)
        self.loop.call_soon_threadsafe(cancel)
        self.thread.join()
        self.loop.close()


def ledger_line(message):
    token = (re.findall(rb"^X-Token: (\S+)", message.content, re.M) or [b"-"])[0]
    body = message.content.partition(b"\r\n\r\n")[2]
    return b"%s %s %s\n" % (token, b",".join(message.recipients), hashlib.sha256(body).hexdigest().encode())


def main():
    ledger = open(sys.argv[3], "ab", buffering=0)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(serve(sys.argv[1], int(sys.argv[2]), [b"PIPELINING", b"8BITMIME", b"SIZE"],
                                  lambda message: ledger.write(ledger_line(message))))
    loop.run_forever()


if __name__ == "__main__":
    main()
