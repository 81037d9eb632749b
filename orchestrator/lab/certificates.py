"""The lab's own certificate authority, and the certificate that its hosts show after STARTTLS."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.lab.layout import SERVER_NAME

_DAYS = "30"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files."""

    ca: Path
    chain: Path
    """Key and certificate of the servers in one file, as Postfix's smtpd_tls_chain_files takes it."""


def make_certificates(folder: Path) -> Certificates:
    """A new authority and a server certificate for ``mx.lab`` in ``folder``; the authority's key is thrown away."""
    folder.mkdir()
    ca, ca_key, key, request, signed = (folder / name for name in ("ca.pem", "ca.key", "mx.key", "mx.csr", "mx.pem"))
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-subj", "/CN=failover lab authority", "-days", _DAYS, "-keyout", str(ca_key), "-out", str(ca))
    _openssl("req", "-x509", *new_key, *authority)
    _openssl("req", *new_key, "-subj", f"/CN={SERVER_NAME}", "-keyout", str(key), "-out", str(request))
    extensions = folder / "mx.ext"
    extensions.write_text(f"subjectAltName=DNS:{SERVER_NAME}\nbasicConstraints=CA:FALSE\n")
    issuer = ("-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial", "-extfile", str(extensions))
    _openssl("x509", "-req", "-in", str(request), *issuer, "-days", _DAYS, "-out", str(signed))
    chain = folder / "chain.pem"
    chain.touch(mode=0o600)
    chain.write_text(key.read_text() + signed.read_text())
    ca_key.unlink()
    return Certificates(ca=ca, chain=chain)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
