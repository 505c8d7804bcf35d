#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The YAML suite as JSON lines (SOURCES.md). Run by hand, needs PyYAML."""
import json
import sys

import yaml


def strings_of(value):
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def records_of(name, entries):
    """SPF entries are served as TXT too, where no TXT is given; a name times out where it has
    nothing that could be answered instead."""
    has_txt = any("TXT" in entry for entry in entries if isinstance(entry, dict))
    is_answered = any("TXT" in entry and entry["TXT"] != "NONE"
                      for entry in entries if isinstance(entry, dict))
    for entry in entries:
        if entry == "TIMEOUT":
            if not is_answered:
                yield {"name": name, "type": "TIMEOUT"}
            continue
        (kind, value), = entry.items()
        if kind == "TXT" and value == "NONE":
            continue
        if kind in ("TXT", "SPF"):
            yield {"name": name, "type": kind, "strings": strings_of(value)}
            if kind == "SPF" and not has_txt:
                yield {"name": name, "type": "TXT", "strings": strings_of(value)}
        elif kind == "MX":
            yield {"name": name, "type": kind, "preference": int(value[0]), "data": value[1]}
        else:
            yield {"name": name, "type": kind, "data": str(value)}


def case_of(name, test):
    result = test["result"]
    return {"id": name, "host": str(test["host"]), "helo": str(test["helo"]),
            "mailfrom": test["mailfrom"] or "",
            "results": result if isinstance(result, list) else [result],
            "explanation": test.get("explanation")}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        for section in yaml.load_all(file, yaml.BaseLoader):
            zone = [record for name, entries in section["zonedata"].items()
                    for record in records_of(name, entries)]
            cases = [case_of(name, test) for name, test in section["tests"].items()]
            print(json.dumps({"section": section["description"], "zone": zone, "cases": cases}))


main()
