# SPDX-License-Identifier: Apache-2.0
"""Real parts that cannot be installed side by side (Postfix and Exim exclude each other), unpacked
into a cache in the build folder before the frame closes the network; and nodemailer."""
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("OUTPOST_PARTS", ROOT / "build-test" / "parts"))
PACKAGES = {"postfix": ["postfix"], "exim": ["exim4-daemon-light"]}


def _quiet(argv, **options):
    return subprocess.run([str(word) for word in argv], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300, **options)


def _fetch_package(name):
    """The package, and what it depends on and is not installed, into CACHE/name."""
    target, archives = CACHE / name, CACHE / (name + "-archives")
    if (target / "whole").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=300"]
    _quiet(apt + ["download"] + PACKAGES[name], cwd=archives)
    _quiet(apt + ["install", "--download-only", "--yes", "--no-install-recommends", "-o", "Debug::NoLocking=1",
                  "-o", f"Dir::Cache::archives={archives}/"] + PACKAGES[name])
    packages = sorted(archives.glob("*.deb"))
    target.mkdir()
    if any(path.name.startswith(PACKAGES[name][0]) for path in packages) and all(
            _quiet(["dpkg", "-x", path, target]).returncode == 0 for path in packages):
        (target / "whole").touch()


def _fetch_nodemailer():
    target = CACHE / "node"
    if (target / "node_modules" / "nodemailer").exists() or not shutil.which("npm"):
        return
    target.mkdir(parents=True, exist_ok=True)
    (target / "package.json").write_text('{"private": true}\n')
    _quiet(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "nodemailer@6"], cwd=target)


def fetch_all():
    """What is missing is fetched; what cannot be had makes its tests skip."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        try:
            _fetch_package(name)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"note: {name} could not be fetched: {error}")
    try:
        _fetch_nodemailer()
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"note: nodemailer could not be fetched: {error}")


def tree(name):
    """The unpacked package, or None."""
    path = CACHE / name
    return path if (path / "whole").exists() else None


def libraries(path):
    """LD_LIBRARY_PATH for what is inside an unpacked tree."""
    machine = subprocess.run(["gcc", "-dumpmachine"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    found = [path / "usr/lib/postfix", path / "usr/lib" / machine, path / "lib" / machine]
    return ":".join(str(folder) for folder in found if folder.exists())


def nodemailer():
    path = CACHE / "node"
    return path if (path / "node_modules" / "nodemailer").exists() else None
