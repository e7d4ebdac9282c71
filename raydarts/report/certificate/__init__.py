"""`raydarts report RUN --certificate`: what a run has shown, made from its files, and whether that still holds."""

from raydarts.report.certificate.body import certificate, read_certificate, write_certificate
from raydarts.report.certificate.checking import check_certificate

__all__ = ["certificate", "check_certificate", "read_certificate", "write_certificate"]
