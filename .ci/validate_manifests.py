"""Validates rendered manifests (JSON lists of objects) strictly against Kubernetes' schemas.

With --same YAML JSON it compares two renderings of one folder instead, whatever their order.
"""

import json
import sys

import kubernetes_validate
import yaml

# The first version with surging DaemonSets for everyone, and the newest one known here.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]
# Not Kubernetes' own: the schema comes with Cilium.
FOREIGN = {("cilium.io/v2", "CiliumLocalRedirectPolicy")}


def validate(path):
    """The number of faults; prints each, and what was skipped."""
    faults = 0
    for manifest in load(path):
        name = f"{path}: {manifest['kind']} {manifest['metadata']['name']}"
        if (manifest["apiVersion"], manifest["kind"]) in FOREIGN:
            print(f"{name}: skipped, no part of Kubernetes")
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except Exception as error:  # of every kind; all of them are to be shown
                print(f"{name}: not valid in {version}: {str(error).splitlines()[0]}")
                faults += 1
    print(f"{path}: {faults} faults in Kubernetes {' and '.join(VERSIONS)}")
    return faults


def load(path):
    with open(path, encoding="utf-8") as file:
        manifests = json.load(file)
    if not manifests:
        sys.exit(f"{path}: no objects")
    return manifests


def same(rendered, expected):
    with open(rendered, encoding="utf-8") as file:
        found = [document for document in yaml.safe_load_all(file) if document]
    in_order = lambda objects: sorted(json.dumps(o, sort_keys=True) for o in objects)
    if in_order(found) != in_order(load(expected)):
        sys.exit(f"{rendered} (kubectl) and {expected} (tests) differ")
    print(f"{expected}: as kubectl renders it")


if sys.argv[1] == "--same":
    same(*sys.argv[2:])
elif sum([validate(path) for path in sys.argv[1:]]):
    sys.exit(1)
