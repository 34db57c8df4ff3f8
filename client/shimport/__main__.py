# SPDX-License-Identifier: MIT
"""`python3 -m shimport [status | explain MODULE...]`: what shimport does in this interpreter."""

import argparse
import json

import shimport


def print_status(as_json):
    status = shimport.status()
    if as_json:
        print(json.dumps(status, indent=2))
        return
    print("active" if status["active"] else f"not active: {status['reason']}")
    if status["socket"]:
        print(f"daemon at {status['socket']}")
    for root in status["roots"]:
        detail = f"{root['modules']} modules, {root['served']} served" if root["modules"] else root["reason"]
        print(f"  {root['path']}: {root['state']}" + (f", {detail}" if detail else ""))
    print(f"served {status['served']}, fallback {status['fallback']}, stale {status['stale']}")


def print_explanation(name, as_json):
    steps = shimport.explain(name)
    if as_json:
        print(json.dumps(steps, indent=2))
        return
    print(f"{name}:")
    for step in steps:
        print(f"  {step['entry'] or repr('')}: {step['verdict']}")


def main():
    parser = argparse.ArgumentParser(prog="python3 -m shimport", description="what shimport does in this interpreter")
    commands = parser.add_subparsers(dest="command")
    status = commands.add_parser("status", help="what is served, and why not (the default)")
    status.add_argument("--json", action="store_true", help="as JSON")
    explain = commands.add_parser("explain", help="how modules are found, path entry by path entry")
    explain.add_argument("--json", action="store_true", help="as JSON")
    explain.add_argument("module", nargs="+")
    arguments = parser.parse_args()
    if arguments.command == "explain":
        for name in arguments.module:
            print_explanation(name, arguments.json)
    else:
        print_status(getattr(arguments, "json", False))


if __name__ == "__main__":
    main()
