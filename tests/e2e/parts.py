# SPDX-License-Identifier: Apache-2.0
"""Real parts that cannot be installed side by side (Postfix and Exim exclude each other), unpacked
into a cache in the build folder before the frame closes the network."""
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


APT = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=300"]


def _download(name, archives):
    """The package, and what it depends on and is not installed: the files, none where the package is lacking."""
    _quiet(APT + ["download"] + PACKAGES[name], cwd=archives)
    _quiet(APT + ["install", "--download-only", "--yes", "--no-install-recommends", "-o", "Debug::NoLocking=1",
                  "-o", f"Dir::Cache::archives={archives}/"] + PACKAGES[name])
    files = sorted(archives.glob("*.deb"))
    return files if any(path.name.startswith(PACKAGES[name][0]) for path in files) else []


def _fetch_package(name):
    """Into CACHE/name, once. Lists that are old, or lacking as in small images, are brought up to date."""
    target, archives = CACHE / name, CACHE / (name + "-archives")
    if (target / "whole").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    files = _download(name, archives)
    if not files:
        _quiet(APT + ["update"])
        files = _download(name, archives)
    target.mkdir()
    if files and all(_quiet(["dpkg", "-x", path, target]).returncode == 0 for path in files):
        (target / "whole").touch()


def fetch_all():
    """What is missing is fetched; what cannot be had makes its tests skip."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        try:
            _fetch_package(name)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"note: {name} could not be fetched: {error}")


def tree(name):
    """The unpacked package, or None."""
    path = CACHE / name
    return path if (path / "whole").exists() else None


def libraries(path):
    """LD_LIBRARY_PATH for what is inside an unpacked tree."""
    machine = subprocess.run(["gcc", "-dumpmachine"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    found = [path / "usr/lib/postfix", path / "usr/lib" / machine, path / "lib" / machine]
    return ":".join(str(folder) for folder in found if folder.exists())


def node_environment():
    """For node: a nodejs that is not the distribution's does not know where that keeps nodemailer."""
    return dict(os.environ, NODE_PATH="/usr/share/nodejs")
