# SPDX-License-Identifier: Apache-2.0
"""Postfix and Exim as receivers with STARTTLS, unpacked trees run from a folder, port 25 of an
address in the receivers' network. What they take lies in a Maildir; maildir() reads it."""
import os
import pathlib
import re
import shutil
import subprocess

import frame
import parts
from node import wait_until

MASTER = """{ip}:25 inet n - n - - smtpd
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
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
# As the package's postfix-files have them: Debian's own set-up asks for paths of an installed package.
QUEUE_MODES = {"active": 0o700, "bounce": 0o700, "corrupt": 0o700, "defer": 0o700, "deferred": 0o700, "flush": 0o700,
               "hold": 0o700, "incoming": 0o700, "private": 0o700, "saved": 0o700, "trace": 0o700,
               "maildrop": 0o730, "public": 0o710}


def maildir(path):
    """Every message delivered so far, as CRLF lines again, without what the receiver put in front."""
    return [re.sub(rb"\r?\n", b"\r\n", file.read_bytes()) for file in sorted(pathlib.Path(path).glob("**/new/*"))]


def open_way_to(path):
    """Lets the receivers' users into a folder below pytest's, which is private."""
    for folder in [path] + list(path.parents)[:3]:
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)


class Postfix:
    """Takes all of postfix.example; defer@ gets 451 and bad@ 550."""

    def __init__(self, path, peer, tls_files):
        self.path, self.peer = pathlib.Path(path), peer
        self.tree = parts.tree("postfix")
        etc, self.mail = self.path / "etc", self.path / "mail"
        for folder in (etc, self.path / "data", self.mail):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        open_way_to(self.path)
        (etc / "main.cf").write_text(self._main(tls_files))
        (etc / "master.cf").write_text(MASTER.format(ip=frame.POSTFIX_IP))
        self._make_queue()
        shutil.chown(self.path / "data", "games")
        os.chown(self.mail, 65534, 65534)
        self.environment = dict(os.environ, MAIL_CONFIG=str(etc), LD_LIBRARY_PATH=parts.libraries(self.tree))
        self.process = subprocess.Popen(peer.argv(self.tree / "usr/lib/postfix/sbin/master", "-c", etc, "-d"),
                                        env=self.environment)
        wait_until("Postfix", lambda: peer_greets(peer, frame.POSTFIX_IP))

    def _make_queue(self):
        queue = self.path / "queue"
        (queue / "pid").mkdir(parents=True)
        for name, mode in QUEUE_MODES.items():
            (queue / name).mkdir()
            (queue / name).chmod(mode)
            shutil.chown(queue / name, "games", "mail" if mode & 0o070 else None)

    def _main(self, tls_files):
        tree, path = self.tree, self.path
        _, cert, key = tls_files
        chain = self.path / "chain.pem"
        chain.write_text(pathlib.Path(key).read_text() + pathlib.Path(cert).read_text())
        return f"""compatibility_level = 3.6
shlib_directory = {tree}/usr/lib/postfix
daemon_directory = {tree}/usr/lib/postfix/sbin
command_directory = {tree}/usr/sbin
meta_directory = {tree}/etc/postfix
sendmail_path = {tree}/usr/sbin/sendmail
mailq_path = {tree}/usr/sbin/sendmail
newaliases_path = {tree}/usr/sbin/sendmail
queue_directory = {path}/queue
data_directory = {path}/data
mail_owner = games
setgid_group = mail
import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH
maillog_file = {path}/mail.log
maillog_file_prefixes = {path}
myhostname = mx.postfix.example
inet_interfaces = {frame.POSTFIX_IP}
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
smtpd_tls_chain_files = {chain}
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
mydestination =
virtual_mailbox_domains = postfix.example
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {self.mail}
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{defer@postfix.example = 451 4.2.1 later}} {{bad@postfix.example = 550 5.1.1 no user}} }}, reject_unauth_destination
"""

    def messages(self):
        return maildir(self.mail)

    def log(self):
        return (self.path / "mail.log").read_text(errors="replace")

    def close(self):
        self.process.terminate()
        self.process.wait()


class Exim:
    """Takes all of exim.example and verifies DKIM. Its user comes from a wrapped passwd file."""

    def __init__(self, path, peer, tls_files):
        self.path, self.peer = pathlib.Path(path), peer
        tree = parts.tree("exim")
        _, cert, key = tls_files
        for name in ("spool", "log", "mail"):
            (self.path / name).mkdir(parents=True)
            (self.path / name).chmod(0o777)
        open_way_to(self.path)
        pair = self.path / "pair.pem"
        pair.write_bytes(pathlib.Path(cert).read_bytes() + pathlib.Path(key).read_bytes())
        pair.chmod(0o644)
        (self.path / "passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nDebian-exim:x:65533:65533::/:/bin/sh\n")
        (self.path / "group").write_text("root:x:0:\nnogroup:x:65534:\nDebian-exim:x:65533:\n")
        config = self.path / "exim.conf"
        config.write_text(self._config(tree, pair))
        config.chmod(0o644)
        environment = dict(os.environ, LD_PRELOAD="libnss_wrapper.so", NSS_WRAPPER_PASSWD=str(self.path / "passwd"),
                           NSS_WRAPPER_GROUP=str(self.path / "group"), LD_LIBRARY_PATH=parts.libraries(tree))
        binary = tree / "usr/sbin/exim4"
        binary.chmod(0o755)
        self.process = subprocess.Popen(peer.argv(binary, "-C", config, "-bdf", "-q5s", "-oX",
                                                  f"<; [{frame.EXIM_IP}]:25"), env=environment)
        wait_until("Exim", lambda: peer_greets(peer, frame.EXIM_IP))

    def _config(self, tree, pair):
        path = self.path
        return f"""exim_path = {tree}/usr/sbin/exim4
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP : LD_LIBRARY_PATH
exim_user = 65533
exim_group = 65533
never_users =
deliver_drop_privilege = true
primary_hostname = mx.exim.example
spool_directory = {path}/spool
log_file_path = {path}/log/%slog
log_selector = +tls_cipher
pid_file_path = {path}/spool/pid
local_interfaces = <; [{frame.EXIM_IP}]:25
tls_advertise_hosts = *
tls_certificate = {pair}
smtp_accept_max_per_host = 100
acl_smtp_rcpt = rcpt
dkim_verify_signers =
begin acl
rcpt:
  defer message = 4.2.1 later
    local_parts = defer
  deny message = 5.1.1 no user
    local_parts = bad
  accept domains = exim.example
begin routers
all:
  driver = accept
  transport = keep
begin transports
keep:
  driver = appendfile
  maildir_format
  directory = {path}/mail
  user = 65533
  group = 65533
"""

    def messages(self):
        return maildir(self.path / "mail")

    def log(self):
        return (self.path / "log/mainlog").read_text(errors="replace")

    def close(self):
        self.process.terminate()
        self.process.wait()


def peer_greets(peer, address):
    done = subprocess.run(peer.argv("/usr/bin/python3", "-c", f"""
import socket
link = socket.create_connection(("{address}", 25), 2)
print(link.recv(100).decode())"""), check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.startswith(b"220")
