"""Which cluster a kubeconfig means: the address of its API server, read without the client and without any credential.

Source: Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files": of several files in ``KUBECONFIG``
the first one that sets a value or a name wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.model.access import KubernetesAccess
from orchestrator.model.place import plain_url


def cluster_name(access: KubernetesAccess, environment: Mapping[str, str] = os.environ) -> str:
    """The one name of a cluster, by whichever file and context it is reached: its API server's URL.

    Where no file tells that, as in a pod, it is what the inventory says.
    """
    files = [read for path in _paths(access, environment) if (read := _read(path))]
    context = access.context or next(
        (str(read["current-context"]) for read in files if read.get("current-context")), ""
    )
    cluster = _named(files, "contexts", context).get("cluster")
    server = _named(files, "clusters", str(cluster)).get("server")
    return plain_url(str(server)) if server else access.known_as


def _paths(access: KubernetesAccess, environment: Mapping[str, str]) -> list[Path]:
    """As the driver looks for them."""
    found = access.kubeconfig or environment.get("KUBECONFIG") or "~/.kube/config"
    return [Path(path).expanduser() for path in found.split(os.pathsep) if path]


def _read(path: Path) -> Mapping[str, Any]:
    """What is in a file; nothing where it cannot be read, which is for the driver to say."""
    import yaml

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _named(files: list[Mapping[str, Any]], section: str, name: str) -> Mapping[str, Any]:
    """What the first file that has it says under a name of a section: a list of ``{name: …, cluster: {…}}``."""
    for read in files:
        entries = read.get(section)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                inner = entry.get(section.removesuffix("s"))
                return inner if isinstance(inner, dict) else {}
    return {}
