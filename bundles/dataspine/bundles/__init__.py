"""Policy bundles: built from sources, signed, verified, published by channel."""

from dataspine.bundles.approvals import Approval, Approvals, Step
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
from dataspine.bundles.keys import (
    CommandKey,
    Signer,
    SigningKey,
    Trust,
    TrustedKey,
    generate_key,
)
from dataspine.bundles.origin import Origin, Results
from dataspine.bundles.signing import Bundle, pack, sign, signed_by, unpack, verify
from dataspine.bundles.store import (
    Active,
    BundleStore,
    ChannelSource,
    Publication,
    Publisher,
    Recorded,
)

__all__ = [
    "Active",
    "Approval",
    "Approvals",
    "Bundle",
    "BundleStore",
    "ChannelSource",
    "CommandKey",
    "Content",
    "Inputs",
    "Origin",
    "Product",
    "Publication",
    "Publisher",
    "Recorded",
    "Results",
    "Signer",
    "SigningKey",
    "Step",
    "Trust",
    "TrustedKey",
    "build",
    "check",
    "content_digest",
    "generate_key",
    "open_archive",
    "pack",
    "packaged",
    "sign",
    "signed_by",
    "unpack",
    "verify",
]
