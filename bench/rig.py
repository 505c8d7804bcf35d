# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: a private Debian root with the tools, exact CPU accounting, a count of
sync calls, load and sink, and the relays that are measured.

Nothing is installed on the host but debootstrap. All of it runs as root in a network namespace of
its own, so ports are free and no packet leaves the machine.
"""
import base64
import glob
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SENDER, RECIPIENT = "app@bench.example", "user@sink.example"
LOGIN, PASSWORD = "load", "correct horse battery staple"


def enter_namespace(rig, argv):
    """Makes the rig while there is a network, then starts this program again where only a loopback exists."""
    if os.geteuid():
        raise SystemExit("bench: needs root (a private Debian root, cgroups)")
    if os.environ.get("BENCH_NAMESPACE") != "1":
        rig.set_up()
        os.environ["BENCH_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "-n"] + argv)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Rig:
    """The folder of the measurement: root/ (Debian), and one folder for what a relay keeps."""

    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        self.root = self.path / "root"
        self.bench = self.root / "bench"
        self.sync_file = self.bench / "sync"

    def set_up(self):
        self.path.mkdir(parents=True, exist_ok=True)
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.path], stdout=subprocess.PIPE, check=True)
        if kind.stdout.strip() in (b"tmpfs", b"ramfs"):
            raise SystemExit(f"bench: {self.path} is on a memory file system, where nothing is durable")
        if not all((self.root / "usr" / tool).exists() for tool in ("sbin/smtp-sink", "bin/stunnel4")):
            shutil.rmtree(self.root, ignore_errors=True)
            self._debootstrap()
        self.bench.mkdir(exist_ok=True)
        for path in (self.path, self.root, self.bench):
            path.chmod(0o755)
        (self.root / "tmp").chmod(0o1777)
        self._build()
        key = self.bench / "rsa2048.pem"
        if not key.exists():
            subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, stderr=subprocess.DEVNULL)
        key.chmod(0o644)
        self._certificate()

    def _certificate(self):
        """One P-256 certificate for every server of the STARTTLS cells."""
        cert, key, both = (self.bench / name for name in ("tls.crt", "tls.key", "tls.pem"))
        if not both.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "3650", "-keyout", key, "-out", cert, "-subj", "/CN=relay.bench.example"],
                           check=True, stderr=subprocess.DEVNULL)
            both.write_bytes(key.read_bytes() + cert.read_bytes())
        for path in (cert, key, both):
            path.chmod(0o644)

    def _debootstrap(self):
        missing = [name for name in ("debootstrap", "gcc", "openssl") if not shutil.which(name)]
        if missing:
            print(f"bench: installing {', '.join(missing)}", flush=True)
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, "libc6-dev"],
                           check=True)
        release = dict(line.split("=", 1) for line in open("/etc/os-release").read().split("\n") if "=" in line)
        suite = release.get("VERSION_CODENAME", "bookworm").strip('"')
        print(f"bench: making a Debian root in {self.root} (about a minute)", flush=True)
        with open(self.path / "debootstrap.log", "wb") as log:
            done = subprocess.run(["debootstrap", "--variant=minbase",
                                   "--include=postfix,opendkim,opendkim-tools,stunnel4", suite, self.root],
                                  stdout=log, stderr=log, check=False)
        if done.returncode:
            raise SystemExit(f"bench: no Debian root, see {self.path}/debootstrap.log; is Debian's mirror reachable?")

    def _build(self):
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self.bench / "synccount.so",
                        HERE / "synccount.c", "-ldl"], check=True)
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self.bench / "nowait.so", HERE / "nowait.c"], check=True)
        subprocess.run(["gcc", "-O2", "-o", self.bench / "login", HERE / "login.c"], check=True)

    def data_dir(self):
        """An empty folder on the rig's disk for what a relay keeps."""
        path = self.path / "data"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def chroot(self, *argv):
        return ["chroot", str(self.root)] + [str(word) for word in argv]

    def machine(self):
        cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.path], stdout=subprocess.PIPE, check=True)
        return "%d cores (%s), Linux %s, %s" % (os.cpu_count(), cpu.group(1) if cpu else "?",
                                                os.uname().release, kind.stdout.decode().strip())


def share_nice():
    """A new session is a scheduling group of its own (sched(7), autogroup), which knows nothing of nice(1)."""
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(os.nice(0)))
    except OSError:
        pass


class Group:
    """A control group: what is started in it, and all its children, are accounted together."""

    def __init__(self, name):
        is_v1 = os.path.exists("/sys/fs/cgroup/cpuacct")
        self.is_v1 = is_v1
        base = "/sys/fs/cgroup/cpuacct" if is_v1 else "/sys/fs/cgroup"
        self.path = f"{base}/outpost-bench-{os.getpid()}-{name}"
        os.makedirs(self.path, exist_ok=True)

    def start(self, argv, **options):
        def enter():
            with open(self.path + "/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))
            os.setsid()
            share_nice()
        return subprocess.Popen([str(word) for word in argv], preexec_fn=enter, **options)

    def run(self, argv, **options):
        process = self.start(argv, **options)
        if process.wait():
            raise RuntimeError(f"{argv[0]} … {argv[-1]}: exit {process.returncode}")

    def cpu_s(self):
        if self.is_v1:
            return int(open(self.path + "/cpuacct.usage").read()) / 1e9
        return int(re.search(r"usage_usec (\d+)", open(self.path + "/cpu.stat").read()).group(1)) / 1e6

    def pids(self):
        return [int(word) for word in open(self.path + "/cgroup.procs").read().split()]

    def pss_mb(self):
        """Proportional set size: shared pages are divided among those who share them."""
        total = 0
        for pid in self.pids():
            try:
                text = open(f"/proc/{pid}/smaps_rollup").read()
                total += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
            except (OSError, AttributeError):
                pass
        return total / 1024

    def end(self):
        """Ends what runs in the group, politely first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + 15
            while self.pids() and time.monotonic() < until:
                for pid in self.pids():
                    try:
                        os.kill(pid, number)
                    except OSError:
                        pass
                time.sleep(0.1)

    def remove(self):
        self.end()
        try:
            os.rmdir(self.path)
        except OSError:
            pass


class Sync:
    """The count of synccount.c, and the environment that preloads it."""

    def __init__(self, rig, delay_us):
        self.rig, self.delay_us = rig, delay_us
        with open(rig.sync_file, "wb") as file:
            file.write(bytes(4096))
        os.chmod(rig.sync_file, 0o666)

    def environment(self, is_inside):
        prefix = "/bench" if is_inside else str(self.rig.bench)
        return dict(os.environ, LD_PRELOAD=prefix + "/synccount.so", BENCH_SYNC_FILE=prefix + "/sync",
                    BENCH_SYNC_DELAY_US=str(self.delay_us))

    def count(self):
        with open(self.rig.sync_file, "rb") as file:
            return int.from_bytes(file.read(8), "little")


def wait_until(what, is_true, timeout_s=30.0, pause_s=0.02):
    until = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {timeout_s:.0f} s for: {what}")
        time.sleep(pause_s)


def greets(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as link:
            link.settimeout(5)
            is_greeted = link.recv(100).startswith(b"220")
            link.sendall(b"QUIT\r\n")
            link.recv(100)
            return is_greeted
    except OSError:
        return False


class Sink:
    """smtp-sink, which counts what it has received and, where asked, keeps it."""

    def __init__(self, rig, group, port, is_kept=False):
        self.rig, self.group = rig, group
        self.dump = rig.bench / "dump"
        if is_kept:
            shutil.rmtree(self.dump, ignore_errors=True)
            self.dump.mkdir()
            self.dump.chmod(0o777)
        self.out = rig.bench / "sink.out"
        keep = ["-D", "/bench/dump/all."] if is_kept else []
        self.process = group.start(rig.chroot("/usr/sbin/smtp-sink", "-4", "-u", "postfix", "-c", *keep,
                                              f"127.0.0.1:{port}", "1024"), stdout=open(self.out, "wb"))
        wait_until("the sink", lambda: greets(port))
        self.base = self._total()

    def _total(self):
        with open(self.out, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 200))
            found = re.findall(rb"mesg=\s*(\d+)[ \r\n]", file.read())
        return int(found[-1]) if found else 0

    def count(self):
        return self._total() - self.base

    def digests(self):
        """Of the bodies that were kept: digest → how often."""
        found = {}
        for message in (self.dump / "all.").read_bytes().split(b"X-Client-Addr: ")[1:]:
            body = message.partition(b"\n\n")[2].rstrip(b"\n")
            digest = hashlib.sha256(body).hexdigest()
            found[digest] = found.get(digest, 0) + 1
        return found

    def end(self):
        self.process.terminate()
        self.process.wait()


class Stunnel:
    """Speaks STARTTLS for a load tool that cannot: to the relay (is_client), or to what the relay sends."""

    def __init__(self, rig, group, name, port, to_port, is_client):
        way = "client = yes" if is_client else "cert = /bench/tls.pem"
        (rig.bench / f"{name}.conf").write_text(
            f"foreground = yes\nsyslog = no\ndebug = 3\npid =\n[{name}]\naccept = 127.0.0.1:{port}\n"
            f"connect = 127.0.0.1:{to_port}\nprotocol = smtp\n{way}\n")
        self.process = group.start(rig.chroot("/usr/bin/stunnel4", f"/bench/{name}.conf"),
                                   env=dict(os.environ, LD_PRELOAD="/bench/nowait.so"), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=open(rig.bench / f"{name}.log", "wb"))
        wait_until(f"{name} (see {rig.bench}/{name}.log)", lambda: connects(port))


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
        return True
    except OSError:
        return False


def send(rig, group, port, count, sessions, bytes_each, is_reconnect=False, login=None):
    """The load: count messages in so many sessions; returns when the last was answered."""
    if login:
        name, password = login
        auth = base64.b64encode(b"\0" + name.encode() + b"\0" + password.encode()).decode()
        group.run([rig.bench / "login", "127.0.0.1", port, sessions, count, bytes_each, SENDER, RECIPIENT, auth])
        return
    keep = [] if is_reconnect else ["-d"]
    group.run(rig.chroot("/usr/sbin/smtp-source", "-4", *keep, "-s", sessions, "-m", count, "-l", bytes_each,
                         "-f", SENDER, "-t", RECIPIENT, "-S", "Order 4711", f"127.0.0.1:{port}"))


class Outpost:
    """The relay under test, as configured by default: history and log on, everything durable."""

    name = "outpost"

    def __init__(self, rig, group, binary):
        self.rig, self.group, self.binary = rig, group, str(binary)
        self.process = None

    def start(self, sync, port, sink_port, is_signed=False, is_login=False, is_tls=False, extra=""):
        self.data = self.rig.data_dir()
        (self.data / "password").write_text(PASSWORD + "\n")
        (self.data / "password").chmod(0o600)
        (self.data / "outpost.conf").write_text(self._config(port, sink_port, is_signed, is_login, is_tls) + extra)
        self.launch(sync, port)
        # a node that has run for a while has its spare spool files, a new one makes them in its first seconds
        wait_until("spare spool files", lambda: self.spare_count() >= 4, 60)

    def spare_count(self):
        try:
            return self.ask("/v1/stats")["spool"]["free_slots"]
        except OSError:
            return 0  # the control socket opens after the listeners

    def launch(self, sync, port):
        self.process = self.group.start([self.binary, "serve", "--config", self.data / "outpost.conf"],
                                        env=sync.environment(False), stdin=subprocess.DEVNULL,
                                        stdout=open(self.data / "stdout", "ab"), stderr=subprocess.STDOUT)
        wait_until("outpost's greeting", lambda: greets(port) or self._must_run(), pause_s=0.005)

    def _must_run(self):
        if self.process.poll() is not None:
            raise RuntimeError("outpost ended: " + (self.data / "stdout").read_text()[-2000:])
        return False

    def _config(self, port, sink_port, is_signed, is_login, is_tls):
        key = f'dkim "s1" {{ key = "{self.rig.bench}/rsa2048.pem" }}' if is_signed else ""
        way_in = 'auth = required  auth-in-clear = yes' if is_login else 'networks = { "127.0.0.0/8" }'
        way_out = ""
        if is_tls:
            way_in += f'  tls = starttls  tls-required = yes  cert = {{ "{self.rig.bench}/tls.pem" }}'
            way_out = "tls = required"
        return f"""hostname = "relay.bench.example"
data-dir = "{self.data}"
control = "{self.data}/control.sock"
log = "{self.data}/node.log"
connection-per-ip-max = 1000
connection-per-net-max = 1000
listen "bench" {{ address = {{ "127.0.0.1:{port}" }}  {way_in} }}
credential "{LOGIN}" {{ secret-file = "password" }}
domain "bench.example" {{ {key} }}
route "*" {{ to = {{ "127.0.0.1:{sink_port}" }}  {way_out} }}
"""

    def ask(self, path):
        link = http.client.HTTPConnection("localhost")
        link.sock = socket.socket(socket.AF_UNIX)
        link.sock.connect(str(self.data / "control.sock"))
        link.request("GET", path)
        reply = json.loads(link.getresponse().read())
        link.close()
        return reply

    def is_settled(self):
        """Nothing waits, and the scribe has written all of it."""
        stats = self.ask("/v1/stats")
        return stats["queue"]["messages"] == 0 and stats.get("history", {}).get("caught_up", True)

    def is_written(self):
        """The scribe has written all that was accepted (accept-only runs)."""
        return self.ask("/v1/stats").get("history", {}).get("caught_up", True)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        self.group.end()


class Postfix:
    """Postfix in the rig's root, with what measures best over a loopback: no chroot of its daemons,
    no client limits, no reverse look-ups, no connection cache, log to a file. With is_signed,
    OpenDKIM is its milter."""

    name = "postfix"
    MASTER = """127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""

    def __init__(self, rig, group):
        self.rig, self.group = rig, group

    def start(self, sync, port, sink_port, is_signed=False, is_login=False, is_tls=False, is_accept_only=False):
        if is_login:
            raise RuntimeError("no login is set up for Postfix")
        for queue in ("active", "incoming", "deferred", "hold", "maildrop", "defer", "bounce", "corrupt"):
            for path in glob.glob(str(self.rig.root / "var/spool/postfix" / queue / "*")):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        (self.rig.root / "var/log/mail.log").write_text("")
        etc = self.rig.root / "etc/postfix"
        (etc / "main.cf").write_text(self._main(port, sink_port, is_signed, is_tls, is_accept_only))
        (etc / "master.cf").write_text(self.MASTER.format(port=port))
        if is_signed:
            self._start_opendkim(port + 9)
        self.group.run(self.rig.chroot("/usr/sbin/postfix", "start"), env=sync.environment(True),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("Postfix's greeting", lambda: greets(port))

    def _main(self, port, sink_port, is_signed, is_tls, is_accept_only):
        settings = {
            "compatibility_level": "3.6", "myhostname": "relay.bench.example", "mydestination": "",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_recipient_restrictions": "permit_mynetworks, reject",
            "relayhost": f"[127.0.0.1]:{sink_port}", "alias_maps": "", "local_recipient_maps": "",
            "smtpd_peername_lookup": "no", "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0", "default_process_limit": "100",
            "default_destination_concurrency_limit": "20", "initial_destination_concurrency": "20",
            "smtp_connection_cache_on_demand": "no", "in_flow_delay": "0", "message_size_limit": "50000000",
            "maillog_file": "/var/log/mail.log",
            "import_environment": "MAIL_CONFIG MAIL_LOGTAG TZ LANG=C LD_PRELOAD BENCH_SYNC_FILE BENCH_SYNC_DELAY_US",
            "export_environment": "TZ MAIL_CONFIG LANG LD_PRELOAD BENCH_SYNC_FILE BENCH_SYNC_DELAY_US",
        }
        if is_signed:
            settings.update({"smtpd_milters": f"inet:127.0.0.1:{port + 9}", "milter_default_action": "tempfail"})
        if is_tls:  # with reuse of connections, without which it has 3/4 of the rate at twice the CPU
            settings.update({
                "smtpd_tls_security_level": "encrypt", "smtpd_tls_cert_file": "/bench/tls.crt",
                "smtpd_tls_key_file": "/bench/tls.key", "smtp_tls_security_level": "encrypt",
                "smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache",
                "smtp_tls_connection_reuse": "yes", "smtp_connection_cache_on_demand": "yes",
                "smtp_connection_cache_destinations": f"[127.0.0.1]:{sink_port}",
                "default_destination_concurrency_limit": "50", "initial_destination_concurrency": "50",
            })
        if is_accept_only:
            settings["defer_transports"] = "smtp relay"
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    def _start_opendkim(self, port):
        (self.rig.bench / "opendkim.conf").write_text(f"""Mode s
Canonicalization relaxed/relaxed
Domain bench.example
Selector s1
KeyFile /bench/rsa2048.pem
Socket inet:{port}@127.0.0.1
Syslog no
InternalHosts 127.0.0.1
RequireSafeKeys no
PidFile /bench/opendkim.pid
""")
        self.group.run(self.rig.chroot("/usr/sbin/opendkim", "-x", "/bench/opendkim.conf"))

    def is_settled(self):
        queues = [self.rig.root / "var/spool/postfix" / name for name in ("active", "incoming", "deferred")]
        return not any(files for queue in queues for _, _, files in os.walk(queue))

    def is_written(self):
        return True

    def stop(self):
        subprocess.run(self.rig.chroot("/usr/sbin/postfix", "stop"), check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.group.end()


class Peak(threading.Thread):
    """Samples memory beside a run, but never takes more than a few per cent of one core for it."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.pss_mb, self.processes = group, 0.0, 0
        self.is_over = threading.Event()

    def run(self):
        pause_s = 0.2
        while not self.is_over.wait(pause_s):
            before = time.thread_time()
            self.pss_mb = max(self.pss_mb, self.group.pss_mb())
            self.processes = max(self.processes, len(self.group.pids()))
            pause_s = max(0.2, 30 * (time.thread_time() - before))

    def end(self):
        self.is_over.set()
        self.join()
