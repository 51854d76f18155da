"""The CA's certificate in the forms that devices install: PEM, DER and Apple's configuration profile. Pure; the key is in none of them."""

from __future__ import annotations

import plistlib
import uuid
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.proxy.authority import Authority

_SPACE = uuid.UUID("6f1d1c0e-5a0b-4e0f-9b57-0c1d6a1e7b21")


class CertificateForm(StrEnum):
    """`PEM` for Linux, Firefox and Chromium; `DER` for Android and Windows; `MOBILECONFIG` for iOS, iPadOS and macOS."""

    PEM = "pem"
    DER = "der"
    MOBILECONFIG = "mobileconfig"


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file to hand to a device. Systems choose by `content_type` what they do with it."""

    name: str
    content_type: str
    data: bytes


def certificate_file(authority: Authority, form: CertificateForm) -> CertificateFile:
    """The certificate of `authority` in a form."""
    match form:
        case CertificateForm.PEM:
            return CertificateFile("hedgerow-ca.pem", "application/x-pem-file", authority.pem)
        case CertificateForm.DER:
            return CertificateFile("hedgerow-ca.crt", "application/x-x509-ca-cert", authority.der)
        case CertificateForm.MOBILECONFIG:
            return CertificateFile("hedgerow-ca.mobileconfig", "application/x-apple-aspen-config", _profile(authority))


def form_for(name: str) -> CertificateForm:
    """The form that a file of this name should have.

    >>> form_for("a.mobileconfig").value, form_for("a.cer").value, form_for("a.pem").value
    ('mobileconfig', 'der', 'pem')
    """
    match name.rpartition(".")[2].lower():
        case "mobileconfig":
            return CertificateForm.MOBILECONFIG
        case "der" | "cer":
            return CertificateForm.DER
        case _:
            return CertificateForm.PEM


def _profile(authority: Authority) -> bytes:
    """Apple's "Configuration Profile Reference": a profile with one payload, a root certificate.

    The identifiers follow from the certificate, so that a second installation replaces the first, and a rotated CA stands beside the old.
    """
    identity = uuid.uuid5(_SPACE, authority.fingerprint)
    payload = {
        "PayloadType": "com.apple.security.root",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"hedgerow.ca.{identity}.root",
        "PayloadUUID": str(uuid.uuid5(identity, "root")).upper(),
        "PayloadDisplayName": authority.name,
        "PayloadCertificateFileName": "hedgerow-ca.crt",
        "PayloadContent": authority.der,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"hedgerow.ca.{identity}",
        "PayloadUUID": str(identity).upper(),
        "PayloadDisplayName": authority.name,
        "PayloadDescription": "Lets this network’s filter look into web pages on this device. Remove it when the device leaves for good.",
        "PayloadOrganization": "Hedgerow",
        "PayloadScope": "System",
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [payload],
    }
    return plistlib.dumps(profile)
