"""As whom and where something is called: what is said of it, and what is said of its site."""

from __future__ import annotations

import pytest

from orchestrator.model.access import AwsAccess, KubernetesAccess
from orchestrator.model.inventory import Inventory

from ..planning.world import inventory_of

ROLE = "arn:aws:iam::111111111111:role/mail"


def inventory_with(aws: AwsAccess | None = None, kubernetes: KubernetesAccess | None = None) -> Inventory:
    """An inventory whose site ``ord`` says this."""
    plain = inventory_of({"ord": 1, "iad": 1}, pools=["smtp"])
    site = plain.sites["ord"].model_copy(update={"aws": aws, "kubernetes": kubernetes})
    return plain.model_copy(update={"sites": {**plain.sites, "ord": site}})


@pytest.mark.parametrize("saved", [False, True])
def test_what_names_a_region_keeps_the_role_of_its_site(saved: bool) -> None:
    """Each field is its own: what something leaves out its site says, also in a plan that was saved."""
    site = AwsAccess(
        region="us-east-1", assume_role=ROLE, external_id="x", profile="ops", endpoints={"sts": "https://s"}
    )
    own = AwsAccess(region="us-west-2", endpoints={"elbv2": "https://e"})
    if saved:
        own = AwsAccess.model_validate_json(own.model_dump_json())
    merged = inventory_with(site).aws_of(own, "ord")
    assert merged == site.model_copy(update={"region": "us-west-2", "endpoints": {"elbv2": "https://e"}})


def test_what_only_one_of_them_says() -> None:
    """Without a site, or without a word of its own, there is nothing to put together."""
    site, own = AwsAccess(assume_role=ROLE), AwsAccess(region="us-west-2")
    assert inventory_with(site).aws_of(None, "ord") == site
    assert inventory_with(site).aws_of(own, None) == inventory_with(site).aws_of(own, "iad") == own
    assert inventory_with().aws_of(None, "ord") == AwsAccess()


def test_a_context_goes_with_its_kubeconfig() -> None:
    """A context of one's own is one of the site's file; the site's context is none of a file of one's own."""
    site = KubernetesAccess(kubeconfig="/etc/ord.yaml", context="mail")
    known = inventory_with(kubernetes=site)
    assert known.cluster_of(KubernetesAccess(context="edge"), "ord") == KubernetesAccess(
        kubeconfig="/etc/ord.yaml", context="edge"
    )
    assert known.cluster_of(KubernetesAccess(kubeconfig="/etc/x.yaml"), "ord") == KubernetesAccess(
        kubeconfig="/etc/x.yaml"
    )
    assert known.cluster_of(None, "ord") == site
