"""The route kinds of the Gateway API as custom resource definitions: of the real ones, what a switch meets.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ — HTTPRoute is served as v1 and v1beta1, TCPRoute as v1alpha2.
The real definitions default a weight to 1; TCPRoute here does not, so that a route without weights is met too.
"""

from __future__ import annotations

from typing import Any, Final

GROUP: Final = "gateway.networking.k8s.io"

_ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definitions() -> list[dict[str, Any]]:
    """What the cluster must be given to have HTTPRoutes and TCPRoutes."""
    return [
        _definition("HTTPRoute", ["v1", "v1beta1"], {"default": 1}),
        _definition("TCPRoute", ["v1alpha2"], {}),
    ]


def _definition(kind: str, versions: list[str], weight: dict[str, Any]) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": _schema(weight)},
                }
                for version in versions
            ],
        },
    }


def _schema(weight: dict[str, Any]) -> dict[str, Any]:
    backend = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "group": {"type": "string"},
            "kind": {"type": "string"},
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {"type": "string"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "weight": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 1_000_000, **weight},
            "filters": {"type": "array", "items": _ANYTHING},
        },
    }
    rule = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "matches": {"type": "array", "items": _ANYTHING},
            "filters": {"type": "array", "items": _ANYTHING},
            "backendRefs": {"type": "array", "maxItems": 16, "items": backend, "x-kubernetes-list-type": "atomic"},
        },
    }
    return {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "parentRefs": {"type": "array", "items": _ANYTHING},
                    "hostnames": {"type": "array", "items": {"type": "string"}},
                    "rules": {"type": "array", "minItems": 1, "maxItems": 16, "items": rule},
                },
            },
            "status": {"type": "object", "properties": {"parents": {"type": "array", "items": _ANYTHING}}},
        },
    }
