"""Where client certificates lie on a device, one kind of store a file; which store a check means."""

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import CertificateStore
from watchword_agent.stores.pem import PemStore

_PEM = PemStore()


def store_for(check: pb.ClientCertificateCheck, *, platform: str) -> CertificateStore:
    """The store a check means on this platform. Raises `CollectionFailedError` (`store_unsupported`)."""
    if platform == "windows":
        raise CollectionFailedError("store_unsupported", "the Windows certificate stores are not supported yet")
    if check.paths:
        return _PEM
    if platform == "mac":
        raise CollectionFailedError("store_unsupported", "the macOS keychains are not supported yet; give the check paths")
    raise CollectionFailedError("store_unsupported", "NSS databases are not supported yet; give the check paths of PEM files")
