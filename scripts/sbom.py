#!/usr/bin/env python3
"""What serin is made of, as a CycloneDX document: every crate that is linked or builds it, by cargo's own account.

    scripts/sbom.py [--target x86_64-unknown-linux-gnu] > serin.cdx.json

Crates of tests are left out. The same commit gives the same bytes.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    args = parser.parse_args()
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", args.target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "serin")

    def needs(node):
        kinds = ((dep["pkg"], {kind["kind"] for kind in dep["dep_kinds"]}) for dep in nodes[node]["deps"])
        return sorted(package for package, kind in kinds if kind & {None, "build"})

    reached, ahead = set(), [root]
    while ahead:
        node = ahead.pop()
        if node not in reached:
            reached.add(node)
            ahead += needs(node)

    def purl(node):
        return f"pkg:cargo/{packages[node]['name']}@{packages[node]['version']}"

    def component(node):
        package = packages[node]
        found = {"type": "library", "bom-ref": purl(node), "name": package["name"], "version": package["version"]}
        found["purl"] = purl(node)
        if package.get("license"):
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package.get("repository"):
            found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        return found

    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    made = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = component(root) | {"type": "application"}
    seed = json.dumps([args.target, epoch, sorted(map(purl, reached))])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {"timestamp": made, "component": own},
        "components": [component(node) for node in sorted(reached - {root}, key=purl)],
        "dependencies": [
            {"ref": purl(node), "dependsOn": sorted(map(purl, needs(node)))} for node in sorted(reached, key=purl)
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
