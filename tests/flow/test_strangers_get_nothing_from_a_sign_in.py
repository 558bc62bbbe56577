# SPDX-License-Identifier: Apache-2.0
"""Anybody may begin to sign in by an OpenID provider: what that costs, and what somebody gets out of it who is not let
in, or has read what sluices share."""

from harness import Authority, Sluice, temporary_folder
from test_openid_providers_are_not_believed_blindly import Provider, configure, pytestmark, sign_in, signer  # noqa: F401


def test_authorities_are_not_read_for_each_sign_in(upstream, signer):  # noqa: F811
    """With those of a system that takes longer than the whole rest of it."""
    authority = Authority(temporary_folder("sluice-oidc-") + "/ours")
    provider = Provider(signer, authority.issue("issuer"))
    try:
        with Sluice(configure(upstream, provider, ca_file=str(authority.file))) as gate:
            provider.claims = {"sluice_role": None}  # UserInfo is asked, too
            assert sign_in(gate, provider).status == 303
            authority.file.unlink()
            assert sign_in(gate, provider).status == 303, "its authorities were known already"
    finally:
        provider.close()
