"""The token issuer: signing keys, client secrets, access tokens, and the certificates TLS needs.

Pure functions over values: nothing here knows the store or HTTP; `indicia.web` and `indicia.cli` join them.
Private signing keys live in the store, not in the home: hosts that share a store later sign and verify
with the same keys, and what protects the store (mode 0600) protects them.
"""
