"""Policy bundles: built from sources, signed, verified, published by channel."""

from dataspine.bundles.content import Content, Inputs, Product, build, packaged
from dataspine.bundles.signing import (
    Bundle,
    SigningKey,
    Trust,
    TrustedKey,
    generate_key,
    sign,
    verify,
)
from dataspine.bundles.store import Active, BundleStore, ChannelSource

__all__ = [
    "Active",
    "Bundle",
    "BundleStore",
    "ChannelSource",
    "Content",
    "Inputs",
    "Product",
    "SigningKey",
    "Trust",
    "TrustedKey",
    "build",
    "generate_key",
    "packaged",
    "sign",
    "verify",
]
