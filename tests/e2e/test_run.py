# SPDX-License-Identifier: Apache-2.0
"""The first command of the README, and the first messages that it shows."""
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

import parts
from node import ROOT, greets, wait_until


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A checkout of its own, so that ./var of this one stays as it is; the build is shared."""
    path = tmp_path_factory.mktemp("checkout") / "outpost"
    shutil.copytree(ROOT, path, ignore=shutil.ignore_patterns("build*", "var", ".git", "__pycache__", "node_modules"))
    if os.access(ROOT / "build", os.W_OK):
        os.symlink(ROOT / "build", path / "build")
    return path


def run(path, *argv):
    done = subprocess.run([str(path / "run"), *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=280,
                          check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def test_run_once_proves_and_stops(copy):
    code, text = run(copy, "--once")
    assert code == 0, text
    assert "queued as" in text and "pass" in text and "delivered" in text, text
    code, again = run(copy, "--once")
    assert code == 0, again


def shell_examples(readme):
    """What stands in the README under "A first message", made ready for a shell."""
    part = readme.partition("## A first message")[2].partition("\n## ")[0]
    python = re.search(r"```python\n(.*?)```", part, re.S).group(1)
    node = re.search(r"```js\n(.*?)```", part, re.S).group(1)
    php = re.search(r"```sh\n(.*?)```", part, re.S).group(1)
    indented = [block for block in re.findall(r"(?:^    .*\n)+", part.partition("Then ask")[0], re.M)]
    shells = [line for line in indented if "swaks" in line or "curl" in line]
    return shells, python, node, php


def test_the_first_messages_of_the_readme_arrive(copy):
    process = subprocess.Popen([str(copy / "run")], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                               start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        wait_until("the sandbox", lambda: greets(2525) or process.poll() is not None, 250)
        assert process.poll() is None, "./run ended"
        shells, python, node, php = shell_examples((copy / "README.md").read_text())
        assert len(shells) == 2
        for script in shells + [php]:
            subprocess.run(["sh", "-ec", script], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["/usr/bin/python3", "-c", python], check=True)
        subprocess.run(["node", "-e", node], check=True, env=parts.node_environment())
        outpost = str(copy / "build/src/cli/outpost")
        sandbox = [outpost, "sandbox", "list", "--json", "--config", str(copy / "var/outpost.conf")]

        def count():
            done = subprocess.run(sandbox, stdout=subprocess.PIPE, check=True)
            return len(json.loads(done.stdout)["messages"])
        wait_until("all of them in the catcher", lambda: count() >= len(shells) + 4)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
