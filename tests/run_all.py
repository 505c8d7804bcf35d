#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds and runs every suite and adds up their counts (called by ./test).

Each suite tells its own count; a suite that cannot be built or crashes counts as one failure.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUITES = ["unit", "scenario", "sim", "fuzz", "e2e"]
CORES = os.cpu_count() or 2
SIM_SHARE_MIN = 100  # seeds: of so many the simulation demands that they meet every group of faults


class Total:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, name, passed, failed, skipped, seconds):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        if failed:
            self.failures.append(name)
        print(f"{name:<34} {passed:>6} passed {failed:>4} failed {skipped:>4} skipped {seconds:>7.1f} s",
              flush=True)


def side_by_side(jobs):
    """What the jobs (calls without arguments) return, as they end; as many at once as there are cores."""
    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        for done in concurrent.futures.as_completed([pool.submit(job) for job in jobs]):
            yield done.result()


def run(argv, timeout, **options):
    """Output and exit code of a command; 124 where it took too long."""
    try:
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout, check=False, **options)
        return done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode("utf-8", "replace") + f"\ntimed out after {timeout} s\n", 124


def build(directory, options, environment, targets=()):
    path = ROOT / directory
    if not (path / "build.ninja").exists():
        print(f"building in {directory} (a minute or two, the first time)", flush=True)
        output, code = run(["meson", "setup", directory, "-Dtests=true"] + options, 300, env=environment)
        if code:
            print(output)
            return False
    output, code = run(["ninja", "-C", directory, "-j", str(CORES), *targets], 1800, env=environment)
    if code:
        print(output[-8000:])
    return code == 0


def run_cmocka(total, directory, names, environment, pattern="*_test"):
    """One binary a room, side by side; the one that takes longest begins."""
    binaries = [path for path in sorted((ROOT / directory / "tests").rglob(pattern))
                if path.is_file() and os.access(path, os.X_OK)]
    if "ASAN_OPTIONS" in environment:  # it proves the enumerator, which runs sanitized itself; ten times as slow
        binaries = [path for path in binaries if path.name != "mutant_test"]
    binaries.sort(key=lambda path: path.name != "mutant_test")

    def job(binary):
        start = time.monotonic()
        output, code = run([str(binary)] + names, 900, env=environment)
        return binary.name.removesuffix("_test"), output, code, time.monotonic() - start

    for name, output, code, seconds in side_by_side([lambda path=path: job(path) for path in binaries]):
        count_cmocka(total, name, output, code, seconds)


def count_cmocka(total, name, output, code, seconds):
    """cmocka's closing lines are counted."""
    if code == 2 and "no test matches" in output:
        return
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M))
    failures = re.search(r"^\[  FAILED  \](?: \S+:)? (\d+) test", output, re.M)
    failed = int(failures.group(1)) if failures else 0
    if code and not failed:
        failed = 1
    if failed:
        print(only_failures(output)[-6000:])
    total.add("unit " + name, passed, failed, 0, seconds)


def only_failures(output):
    """Without the lines of the tests that passed."""
    return "\n".join(line for line in output.splitlines() if not re.match(r"\[( RUN      |       OK )\]", line))


def run_seeds(total, sim, count, environment):
    """Shares of the seeds side by side, counted as one suite."""
    shares = max(1, min(CORES, count // SIM_SHARE_MIN if count >= SIM_SHARE_MIN else count))
    bounds = [1 + count * i // shares for i in range(shares + 1)]
    jobs = [lambda first=first, end=end: run([str(sim), "seeds", str(end - first), str(first)], 600 + count * 4,
                                               env=environment) for first, end in zip(bounds, bounds[1:])]
    start, passed, failed, met = time.monotonic(), 0, 0, {}
    for output, code in side_by_side(jobs):
        found = re.search(r"^(\d+) passed, (\d+) failed$", output, re.M)
        passed += int(found.group(1)) if found else 0
        failed += int(found.group(2)) if found else 0
        if code:
            failed += 0 if found and int(found.group(2)) else 1
            print(output[-8000:])
        for name, times in re.findall(r"^  met (.+?) +(\d+)$", output, re.M):
            met[name] = met.get(name, 0) + int(times)
    print("  note: faults met: " + ", ".join(f"{name} {times}" for name, times in met.items()))
    total.add("simulation", passed, failed, 0, time.monotonic() - start)


PYTEST_NONE = 5  # its exit code where no test has the name asked for


def run_counted(total, name, argv, environment, is_all, timeout=1500):
    """A program whose output closes with "N passed, N failed[, N skipped]" (also pytest's form)."""
    start = time.monotonic()
    output, code = run(argv, timeout, env=environment)
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|skipped|error)", line)]
    count = {word: sum(int(n) for n in re.findall(rf"(\d+) {word}", lines[-1])) if lines else 0
             for word in ("passed", "failed", "skipped", "error")}
    if not is_all and not any(count.values()) and code in (0, PYTEST_NONE):
        return
    failed = count["failed"] + count["error"]
    if code and not failed:
        failed = 1
    if failed:
        print(output[-8000:])
    for line in output.splitlines():
        if line.startswith(("SKIPPED", "note:")):
            print("  " + line)
    total.add(name, count["passed"], failed, count["skipped"], time.monotonic() - start)


def run_fuzz_seeds(total, directory, environment):
    """Each target once over its seeds, which include every input that ever broke it."""
    for binary in sorted((ROOT / directory / "tests" / "fuzz").glob("fuzz_*")):
        if not binary.is_file() or not os.access(binary, os.X_OK):
            continue
        seeds = ROOT / "tests" / "fuzz" / "seeds" / binary.name.removeprefix("fuzz_")
        start = time.monotonic()
        output, code = run([str(binary), str(seeds)], 300, env=environment)
        if code:
            print(output[-4000:])
        total.add("fuzz seeds " + binary.name.removeprefix("fuzz_"), 0 if code else 1, 1 if code else 0, 0,
                  time.monotonic() - start)


def suites(text):
    chosen = set(text.split(","))
    if not chosen <= set(SUITES):
        raise argparse.ArgumentTypeError(f"the suites are {', '.join(SUITES)}")
    return chosen


def parse():
    parser = argparse.ArgumentParser(prog="./test", description="all tests")
    parser.add_argument("names", nargs="*", help="only tests whose name contains one of these")
    parser.add_argument("--only", type=suites, default=set(SUITES), help="suites, by comma")
    parser.add_argument("--sanitize", action="store_true", help="under ASan and UBSan")
    parser.add_argument("--threads", action="store_true", help="threaded tests under TSan")
    parser.add_argument("--seeds", type=int, default=300, help="simulation seeds")
    return parser.parse_args()


def main():
    arguments = parse()
    only = arguments.only
    environment = dict(os.environ, LANG="C.UTF-8")
    directory, options = "build-test", ["--buildtype=debugoptimized"]
    if arguments.sanitize:
        directory, options = "build-asan", ["--buildtype=debugoptimized", "-Db_sanitize=address,undefined",
                                            "-Db_lundef=false"]
        environment.update(ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", OUTPOST_TEST_SLOW="4",
                           UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
        only = only & {"unit", "scenario", "sim", "fuzz"}
    if arguments.threads:
        directory, options = "build-tsan", ["--buildtype=debugoptimized", "-Db_sanitize=thread",
                                            "-Db_lundef=false"]
        environment.update(TSAN_OPTIONS="halt_on_error=1", OUTPOST_TEST_SLOW="8")
        only = only & {"unit"}
    total = Total()
    targets = ["tests/unit/node/threads_test"] if arguments.threads else []
    if not build(directory, options, environment, targets):
        total.add("build", 0, 1, 0, 0)
    else:
        if "unit" in only:
            run_cmocka(total, directory, arguments.names, environment,
                       "threads_test" if arguments.threads else "*_test")
        sim = ROOT / directory / "tests" / "sim" / "outpost-sim"
        if "scenario" in only and sim.exists():
            run_counted(total, "scenario", [str(sim), "scenario", "tests/scenario"] + arguments.names, environment,
                        not arguments.names)
        if "sim" in only and sim.exists() and not arguments.names:
            run_seeds(total, sim, arguments.seeds, environment)
        if "fuzz" in only and not arguments.names:
            run_fuzz_seeds(total, directory, environment)
        if "e2e" in only:
            environment["TMPDIR"] = "/var/tmp"  # a disk: /tmp is memory on Debian 13, and a spool refuses that
            environment["OUTPOST"] = str(ROOT / directory / "src" / "cli" / "outpost")
            argv = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/e2e"]
            if arguments.names:
                argv += ["-k", " or ".join(arguments.names)]
            run_counted(total, "end to end", argv, environment, not arguments.names)
    if not total.passed + total.failed + total.skipped:
        print("no test has such a name; unit tests are listed by build-test/tests/unit/ROOM/ROOM_test --list")
    if total.failures:
        print("failed: " + ", ".join(total.failures))
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
