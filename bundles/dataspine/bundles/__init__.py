"""Policy bundles: built from sources, signed, verified, published by channel."""

from dataspine.bundles.archive import read as open_archive
from dataspine.bundles.content import (
    Content,
    Inputs,
    Product,
    build,
    check,
    content_digest,
    packaged,
)
from dataspine.bundles.signing import (
    Bundle,
    SigningKey,
    Trust,
    TrustedKey,
    generate_key,
    sign,
    verify,
)
from dataspine.bundles.store import Active, BundleStore, ChannelSource, Publication

__all__ = [
    "Active",
    "Bundle",
    "BundleStore",
    "ChannelSource",
    "Content",
    "Inputs",
    "Product",
    "Publication",
    "SigningKey",
    "Trust",
    "TrustedKey",
    "build",
    "check",
    "content_digest",
    "generate_key",
    "open_archive",
    "packaged",
    "sign",
    "verify",
]
