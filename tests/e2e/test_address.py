# SPDX-License-Identifier: Apache-2.0
"""`outpost address check` as it is called: lists of any size and content, exit codes, a name server."""
import json
import pathlib
import resource
import socketserver
import subprocess
import threading

import pytest

from node import OUTPOST

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
ZONE = str(DATA / "identity/addresses.zone")


def check(*args, text=b"", code=None):
    run = subprocess.run([OUTPOST, "address", "check", *map(str, args)], input=text, capture_output=True, timeout=60)
    assert code is None or run.returncode == code, run.stderr
    return run


def rows(run):
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_every_line_gets_an_answer_in_order_whatever_is_in_it():
    lines = [b"a@gmal.com", b"nul\0@b.example", b"\xff\xfe@b.example", b"", b"b@c.example\r", b"x" * 100000,
             b"esc\x1b[31m@b.example", "jos\u00e9@b.example".encode(), b"last@d.example"]
    answers = rows(check("--offline", "--json", "--file", "-", text=b"\n".join(lines), code=1))
    assert len(answers) == len(lines)
    assert answers[0]["suggestion"] == "a@gmail.com" and answers[0]["suggested_domain"] == "gmail.com"
    assert answers[1]["address"] == "nul\0@b.example" and answers[1]["smtp"] is False
    assert answers[2]["smtp"] is False and "UTF-8" in answers[2]["detail"]
    assert answers[4]["address"] == "b@c.example" and answers[4]["verdict"] == "good"  # CRLF
    assert answers[5]["reasons"] == ["too_long"] and len(answers[5]["address"]) == 4096
    assert answers[7]["needs_smtputf8"] is True and answers[7]["smtp"] is True
    assert answers[8]["address"] == "last@d.example"  # no newline at the end


def test_a_window_full_of_long_lines_of_controls_is_answered_whole():
    text = (b"\x01" * 5000 + b"\n") * 1100
    for form in "--json", "--csv", "--offline":
        run = check("--offline", form, "--file", "-", text=text, code=1)
        assert run.stdout.count(b"too_long") == 1100
    text = (b"\x01" * 4096 + b"\n") * 1100
    assert len(rows(check("--offline", "--json", "--file", "-", text=text, code=1))) == 1100


def test_nothing_of_a_list_reaches_the_terminal_as_a_control_character():
    run = check("--offline", "--file", "-", text=b"esc\x1b[31m\xc2\x9b@b.example\n\x07@c.example\n", code=1)
    assert b"\x1b" not in run.stdout and b"\x07" not in run.stdout and b"\xc2\x9b" not in run.stdout


@pytest.mark.parametrize("name", ["isemail.jsonl"])
def test_a_json_list_may_hold_addresses_with_line_ends(name):
    path = DATA / "addresses" / name
    wanted = [json.loads(line) for line in path.read_text().splitlines()]
    answers = rows(check("--offline", "--json", "--file", path, code=1))
    assert [answer["address"] for answer in answers] == [row["address"] for row in wanted]
    for answer, row in zip(answers, wanted):
        kind = row["category"].removeprefix("ISEMAIL_").removesuffix("_CATEGORY")
        assert answer["smtp"] == (kind in ("VALID", "DNSWARN", "RFC5321")), row
        assert answer["header"] == (kind != "ERR"), row
        assert answer["signup"] == (kind in ("VALID", "DNSWARN")), row


def test_lines_that_are_no_json_are_told_apart():
    answers = rows(check("--offline", "--json", "--input", "json", "--file", "-",
                         text=b'"a@b.example"\n{"address":"c@d.example"}\n{"x":1}\nplain@e.example\n', code=1))
    assert [answer["verdict"] for answer in answers] == ["good", "good", "bad", "bad"]
    assert "no JSON" in answers[2]["detail"]


def test_csv_has_a_heading_and_quotes():
    run = check("--offline", "--csv", "--file", "-", text=b'"q,\\"x"@b.example\n=1+1@b.example\n', code=0)
    lines = run.stdout.decode().split("\r\n")
    assert lines[0] == "address,verdict,smtp,header,signup,suggestion,reasons,detail"
    assert lines[1].startswith('"""q,\\""x""@b.example",warn,true,true,false,"",quoted,')
    assert lines[2].startswith('"\'=1+1@b.example",')  # no formula for a spreadsheet


def test_a_million_lines_take_little_memory(tmp_path):
    path = tmp_path / "list"
    with open(path, "w", encoding="ascii") as out:
        out.writelines(f"user{i}@{'gmial.com' if i % 8 == 0 else 'gmail.com'}\n" for i in range(1000000))
    run = check("--offline", "--csv", "--file", path, code=0)
    assert run.stdout.count(b"\r\n") == 1000001
    assert b"1000000 checked: 875000 good, 125000 with a warning" in run.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 200 * 1024


def test_exit_codes():
    assert check("--zone", ZONE, "a@good.example", code=0)
    assert check("--zone", ZONE, "info@good.example", code=0)  # a warning only
    assert check("--zone", ZONE, "a@null.example", code=1)
    assert check("--zone", ZONE, "a@slow.example", code=75)
    assert check("--zone", ZONE, "a@slow.example", "a@null.example", code=1)
    assert b"No such file" in check("--offline", "--history", "/nowhere/at/all", "a@b.example", code=75).stderr
    for args in [], ["--file", "/nowhere/at/all"], ["--json", "--csv", "a@b.example"], ["--input", "xml", "a@b.c"], \
            ["--offline", "--zone", ZONE, "a@b.example"], ["--bogus", "a@b.example"]:
        assert check(*args, code=2).stderr
    for args in ["-"], []:  # one address a line from standard input, said or only piped
        assert b"a@gmail.com" in check("--offline", *args, text=b"a@gmial.com\r\nb@x.example", code=0).stdout
    assert subprocess.run([OUTPOST, "address"], capture_output=True).returncode == 2


def test_each_domain_is_judged_by_its_zone():
    wanted = {"good": [], "half": [], "rescued": [], "null": ["null_mx"], "nomail": ["no_mail_host"],
              "nowhere": ["mx_no_address"], "loop": ["mx_loopback"], "private": ["mx_loopback"],
              "literal": ["mx_literal"], "absent": ["domain_not_found"], "slow": ["temporary_dns_failure"],
              "broken": ["temporary_dns_failure"], "shaky": ["temporary_dns_failure"]}
    answers = rows(check("--zone", ZONE, "--json", *[f"a@{name}.example" for name in wanted]))
    assert {answer["domain"].split(".")[0]: answer["reasons"] for answer in answers} == wanted


def test_a_thousand_domains_are_asked_about_in_windows():
    text = b"".join(b"a@d%d.example\n" % i for i in range(9000))  # more than are remembered
    answers = rows(check("--zone", ZONE, "--json", "--file", "-", text=text, code=1))
    assert len(answers) == 9000 and all(answer["reasons"] == ["domain_not_found"] for answer in answers)
    assert answers[8999]["address"] == "a@d8999.example"


# ---- the mail host is asked


class Host(socketserver.ThreadingTCPServer):
    """A mail host that answers RCPT by what the local part begins with, and keeps what it was told."""
    allow_reuse_address = daemon_threads = True

    def __init__(self):
        self.said, self.takes_any = [], False
        super().__init__(("127.0.0.1", 0), Talk)


class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 mx.good.example ESMTP")
        for line in self.rfile:
            line = line.decode().rstrip("\r\n")
            self.server.said.append(line)
            if line.startswith("EHLO"):
                self.say("250-mx.good.example\r\n250 PIPELINING")
            elif line.startswith("RCPT TO:<known@") or (line.startswith("RCPT") and self.server.takes_any):
                self.say("250 2.1.5 Ok")
            elif line.startswith("RCPT TO:<blocked@"):
                self.say("550 5.7.1 your network is on our list")
            elif line.startswith("RCPT TO:<later@"):
                self.say("451 4.7.1 greylisted")
            elif line.startswith("RCPT TO:<mute@"):
                return
            elif line.startswith("RCPT"):
                self.say("550 5.1.1 no such user \x1b[31m")
            elif line == "QUIT":
                return self.say("221 bye")
            else:
                self.say("250 Ok")

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")


@pytest.fixture
def host():
    with Host() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def probe(host, *addresses):
    return rows(check("--zone", ZONE, "--json", "--probe", "--probe-ehlo", "us.example", "--probe-source", "127.0.0.1",
                      "--probe-via", f"127.0.0.1:{host.server_address[1]}", *addresses))


def test_the_mail_host_is_asked_without_data(host):
    wanted = {"known": "mailbox_accepted", "nobody": "mailbox_refused", "blocked": "probe_undecided",
              "later": "probe_undecided", "mute": "probe_undecided"}
    answers = probe(host, *[f"{name}@good.example" for name in wanted])
    assert [answer["reasons"] for answer in answers] == [[reason] for reason in wanted.values()]
    assert "550 5.1.1 no such user" in answers[1]["detail"] and "\x1b" not in answers[1]["detail"]
    assert host.said.count("MAIL FROM:<>") == 5 and "DATA" not in host.said
    assert {line for line in host.said if line.startswith("EHLO")} == {"EHLO us.example"}


def test_a_host_that_takes_any_name_is_found_out_and_answers_are_remembered(host):
    host.takes_any = True
    answers = probe(host, "a@good.example", "a@good.example", "a@six.example")
    assert [answer["reasons"] for answer in answers] == [["catch_all"]] * 3
    assert host.said.count("RCPT TO:<a@good.example>") == 1


def test_a_domain_is_probed_twenty_times_a_minute_and_no_more(host):
    host.takes_any = True
    answers = probe(host, *[f"u{i}@good.example" for i in range(45)])
    kinds = [answer["reasons"][0] for answer in answers]
    assert 20 <= kinds.count("catch_all") <= 40 and kinds.count("probe_left_out") >= 5  # a minute may turn meanwhile


def test_what_dns_found_wanting_and_who_punishes_it_is_not_probed(host, tmp_path):
    zone = tmp_path / "zone"
    zone.write_text("gmail.com. 60 MX 5 gmail-smtp-in.l.google.com.\ngmail-smtp-in.l.google.com. 60 A 192.0.2.5\n"
                    "null.example. 60 MX 0 .\n")
    answers = rows(check("--zone", zone, "--json", "--probe", "--probe-ehlo", "us.example", "--probe-via",
                         f"127.0.0.1:{host.server_address[1]}", "a@gmail.com", "a@null.example"))
    assert answers[0]["reasons"] == ["probe_left_out"] and "null_mx" in answers[1]["reasons"]
    assert host.said == []
