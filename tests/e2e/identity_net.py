# SPDX-License-Identifier: Apache-2.0
"""Name servers, slow and lying ones, and a web server: the net that checks of domains look at."""
import asyncio
import http.server
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading

import dns.exception
import dns.message
import dns.query
import dns.rcode

from node import wait_until


class NameServer:
    """NSD on one address, port 53, with whole zones by name."""

    def __init__(self, path, address, zones):
        self.path, self.address = pathlib.Path(path), address
        self.path.mkdir(parents=True, exist_ok=True)
        blocks = []
        for index, (name, text) in enumerate(zones.items()):
            (self.path / f"{index}.zone").write_text(text)
            blocks.append(f'zone:\n    name: "{name}"\n    zonefile: "{index}.zone"\n')
        (self.path / "nsd.conf").write_text(f"""server:
    ip-address: {address}@53
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
    control-enable: no
""" + "".join(blocks))
        program = shutil.which("nsd") or "/usr/sbin/nsd"
        with open(self.path / "log", "wb") as log:
            self.process = subprocess.Popen([program, "-c", str(self.path / "nsd.conf"), "-d"], stdout=log, stderr=log)
        wait_until(f"NSD on {address}", self.answers)

    def answers(self):
        assert self.process.poll() is None, (self.path / "log").read_text()
        try:
            reply = dns.query.udp(dns.message.make_query(".", "SOA"), self.address, timeout=0.2)
        except (dns.exception.Timeout, OSError):
            return False
        return reply.rcode() in (dns.rcode.NOERROR, dns.rcode.REFUSED)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Proxy:
    """Passes UDP questions on after delay_s; `twist(question, reply)` may change or drop (None) the answer."""

    def __init__(self, address, upstream, delay_s=0.0, twist=None):
        self.address, self.upstream, self.delay_s, self.twist = address, upstream, delay_s, twist
        self.count = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.ready.wait(10)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        self.loop.run_forever()
        self.loop.close()

    async def _serve(self):
        proxy = self

        class Front(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, addr):
                proxy.count += 1
                proxy.loop.call_later(proxy.delay_s, lambda: proxy.loop.create_task(proxy._pass(self, data, addr)))

        self.transport, _ = await self.loop.create_datagram_endpoint(Front, local_addr=(self.address, 53))
        self.ready.set()

    async def _pass(self, front, data, addr):
        proxy = self

        class Back(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport
                transport.sendto(data)

            def datagram_received(self, reply, _):
                self.transport.close()
                said = proxy.twist(data, reply) if proxy.twist else reply
                if said is not None:
                    front.transport.sendto(said, addr)

            def error_received(self, _):
                self.transport.close()

        await self.loop.create_datagram_endpoint(Back, remote_addr=(self.upstream, 53))

    def close(self):
        def end():
            self.transport.abort()
            self.loop.call_soon(self.loop.stop)
        self.loop.call_soon_threadsafe(end)
        self.thread.join(10)


class Web:
    """HTTPS on one address; pages by path: (status, content type, body)."""

    def __init__(self, address, cert, key, pages):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, kind, body = pages.get(self.path, (404, "text/plain", b"none"))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if status // 100 == 3:
                    self.send_header("Location", "https://elsewhere.example/")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients that refuse our certificate

        self.server = Server((address, 443), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Silent:
    """A bound port that never answers."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))

    def close(self):
        self.socket.close()
