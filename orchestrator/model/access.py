"""How a system's API is reached, and as whom. Credentials stand nowhere here: the SDKs find them as they always do."""

from __future__ import annotations

from pydantic import Field

from orchestrator.model.value import Value


class AwsAccess(Value):
    """As whom, and where, AWS is called.

    Credentials come from boto3's own chain (environment, shared files, container and instance roles); with
    ``assume_role`` they are exchanged for those of that role, and again before they expire.
    Source: Boto3 guide, "Credentials".
    """

    region: str | None = Field(default=None, description="As us-east-1; what boto3 finds by itself when left out.")
    profile: str | None = Field(default=None, description="A profile of the shared AWS configuration files.")
    assume_role: str | None = Field(
        default=None, description="The ARN of the role to work as; each site can have its own."
    )
    external_id: str | None = Field(default=None, description="What the role's trust policy may ask for.")
    endpoint: str | None = Field(
        default=None, description="One URL for all services: a test server, or a private endpoint."
    )
    endpoints: dict[str, str] = Field(
        default_factory=dict,
        description="URLs by service, as boto3 calls it (elbv2, route53); they come before 'endpoint'.",
    )


class KubernetesAccess(Value):
    """Which Kubernetes cluster, and as whom.

    Source: Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files".
    """

    kubeconfig: str | None = Field(
        default=None,
        description="A kubeconfig file; what KUBECONFIG names, ~/.kube/config or the pod's own account when left out.",
    )
    context: str | None = Field(default=None, description="The context in it; its current one when left out.")

    @property
    def known_as(self) -> str:
        """Which cluster it is, as far as that can be told without asking it."""
        return f"{self.kubeconfig or ''}:{self.context or ''}"
