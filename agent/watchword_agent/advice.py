"""What to do about each reason that a check does not pass, in a sentence for the person at the device (docs/reasons.md)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

UNKNOWN_REASON: Final = "this agent is too old to know this reason: see the server's docs/reasons.md, and update the agent"


def advice_for(reason: str) -> str:
    """What to do about a check that fails for this reason; empty for `passed`."""
    return "" if reason == "passed" else CHECKS.get(reason, UNKNOWN_REASON)


def advice_for_problem(code: str) -> str:
    """What to do about a connection that fails, or evidence that is rejected, with this code; empty if nothing is known."""
    return PROBLEMS.get(code, "")


_ISSUE_ANEW = "have a certificate issued anew, by the CA and with the names that the check wants"
_TELL_OPERATOR = "nothing on this device mends it: tell the server's operator"

CHECKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # What kept the agent from looking.
        "path_missing": "put the certificate where the check looks for it, or have the operator correct the check's path",
        "path_unreadable": "let the agent's user read the file and enter every directory above it, or run the agent as root",
        "path_invalid": "have the operator correct the check: a path is absolute, without `..`, and not below /proc or /sys",
        "not_a_file": "put a regular file at the path: it is a directory, a FIFO, a socket or a device",
        "file_too_large": "put only the certificate, its chain and its key into the file: it may have 256 KiB",
        "no_certificate": "put the certificate in PEM into the file: `openssl x509 -in FILE` has to print it; DER and PKCS #12 "
        "are to be converted first",
        "certificate_unreadable": "write the certificate anew: what lies at the path begins like one and cannot be read",
        "file_incomplete": "write the file anew, under another name, and rename it into place: it ends in the middle",
        "password_file_unreadable": "let the agent's user, and nobody else, read the file that `password_files` names",
        "store_missing": "make the store and import the certificate, or have the operator name the store that is used",
        "store_unreadable": "let the agent's user read the store's files and enter its directory, or run the agent as root",
        "store_incomplete": "restore the missing file of the store (an NSS database has cert9.db and key4.db), or make it anew",
        "store_corrupt": "restore the store from a backup, or make it anew and import the certificate again",
        "store_locked": "close the program that holds the store; the agent looks again by itself",
        "store_legacy": "convert the database with `certutil -K -X -d sql:DIR`, and its password if it has one",
        "store_denied": "let the agent use the store: run it as the system's service, or grant it access in the settings",
        "store_empty": "import the certificate and its key into the store: it holds none",
        "user_not_signed_in": "sign in: the check looks into the signed-in user's own store",
        "uri_invalid": "have the operator correct the check's `pkcs11:` path (RFC 7512)",
        "library_missing": "install the library that reads the store (for NSS databases: libnss3), then restart the agent",
        "module_missing": "install the token's PKCS #11 library, or correct its path in the setting `pkcs11_modules`",
        "module_not_allowed": "if you trust the library, add its path to the setting `pkcs11_modules` (`nss_modules` for a "
        "database's own) and restart the agent",
        "module_failed": "see whether `pkcs11-tool --module LIBRARY -L` works; reinstall the library or restart its service",
        "token_missing": "plug the token in, or have the operator correct the token's name in the check's path",
        "token_not_initialized": "set the token up: `pkcs11-tool --module LIBRARY --init-token --label NAME`, then its PIN",
        "helper_unavailable": "reinstall the agent: the process that reads the store cannot be started",
        "helper_timeout": "see what the store or its library waits for; the agent asks again with the next look",
        "helper_crashed": "update or reinstall the library that reads the store: it ended the process that uses it",
        "variable_unavailable": "set `hostname` or `serial_number` in the agent's settings, or run it as root: the path needs it",
        "variable_unsafe": "rename the host, or set `hostname` or `serial_number`: its value holds what a path cannot",
        "store_unsupported": "have the operator name a store that this agent can look into on this system",
        "kind_unsupported": "update the agent: it does not know this kind of check",
        "collection_timeout": "see whether the file system or token answers, or raise `collection_timeout_seconds`",
        "evidence_too_large": "remove what is not needed from the check's places: too much was found to send",
        "internal_error": "update the agent, and report what its log says: this is a fault of its own",
        "collection_failed": "update the agent, or the server: they do not agree on why it could not look",
        "device_said_goodbye": "run the agent again: the device told the server that it leaves",
        # What was found, and is not enough.
        "certificate_not_found": "import the certificate into the store that the check looks into: `watchword-agent stores` "
        "tells what there is",
        "certificate_malformed": "have the certificate issued anew: it is damaged, too large, or no X.509 v3 certificate",
        "certificate_is_the_issuer": "put the client certificate there: this is the CA's own, which proves nothing",
        "certificate_algorithm_refused": "have the certificate issued anew with a signature over SHA-256 or better",
        "certificate_wrong_issuer": "put the certificate there that the CA named as expected has issued",
        "chain_incomplete": "put the intermediate certificates beside the client certificate, or have the operator upload them",
        "chain_too_long": "have the operator upload a CA that is nearer to the client certificate",
        "chain_too_complex": "leave only the certificates of the one path beside the client certificate",
        "certificate_signature_invalid": "have the certificate issued anew: it bears the CA's name and not its signature, as "
        "after the CA's key was replaced",
        "certificate_is_a_ca": _ISSUE_ANEW + ": this one may sign certificates itself",
        "certificate_extension_not_understood": _ISSUE_ANEW + ": this one has a critical extension that nobody here understands",
        "certificate_key_weak": "make a new key (P-256, or RSA of 2048 to 8192 bits) and have a certificate issued for it",
        "issuer_not_a_ca": "tell the server's operator: the uploaded certificate, or one between, may not sign certificates",
        "path_length_exceeded": "tell the server's operator: a CA has more CAs below it than it may have",
        "name_constraints_violated": _ISSUE_ANEW + ": a name in this one is not the CA's to give",
        "policy_required": _ISSUE_ANEW + ": this one lacks a certificate policy that its CAs demand",
        "issuer_not_valid_now": "tell the server's operator: a CA's certificate has expired or is not valid yet",
        "certificate_not_yet_valid": "wait until it is valid, and see that the device's clock is right",
        "certificate_expired": "renew the certificate; if it should be valid, see that the device's clock is right",
        "extended_key_usage_missing": "have the certificate issued anew with the extended key usage that the check wants",
        "serial_number_unknown": "run the agent as root, which alone reads the serial number, or set `serial_number`, and enroll "
        "anew if the server does not know it",
        "serial_number_mismatch": "enroll the device anew: it now has another serial number than when it enrolled",
        "hostname_unknown": "set the machine's host name, or the agent's setting `hostname`",
        "common_name_mismatch": "have a certificate issued with the common name that is expected, or correct the host name or "
        "serial number it is made of",
        "subject_alternative_name_mismatch": "have a certificate issued with an alternative name that is expected, of its type",
        "issuer_revoked": "have a certificate issued by a CA that is not revoked",
        "certificate_revoked": "have a certificate with a new key issued: this one was revoked",
        "revocation_unknown": "tell the server's operator: no current revocation list or OCSP response covers the certificate",
        # Its private key.
        "private_key_absent": "import the private key together with its certificate (from PKCS #12, say)",
        "private_key_unreadable": "let the agent's user read the key's file, or run the agent as root",
        "private_key_locked": "tell the agent the password or PIN: a file with it, named in the setting `password_files`",
        "private_key_mismatch": "put the certificate and its own key there: this key belongs to another certificate",
        "private_key_password_wrong": "correct the password or PIN in the file that `password_files` names; wrong PINs lock a "
        "token for good",
        "private_key_denied": "let the agent use the key: grant it access in the store, or run it as the system's own service",
        "private_key_needs_ui": "import the key without the demand to confirm its use: the agent asks nobody",
        "private_key_failed": "see whether the key signs with its own tools; if not, import it again or have a certificate "
        "issued for a new one",
        "possession_missing": "update the agent: it sent no proof that the key is here",
        "possession_key_unsupported": "use a key that proofs are made with: RSA of at least 2048 bits, P-256, P-384 or Ed25519",
        "possession_scheme_refused": "use a store that signs RSA-PSS, or have the operator set the check's `allow_pkcs1`",
        "possession_invalid": "import the key again: its signatures are not those of the certificate's key",
        # What the server knows besides.
        "claim_too_old": "see whether the machine or the store is slow: looking took longer than the check's schedule",
        "certificate_cloned": "tell the server's operator: another device proves the same key; have a certificate issued for a "
        "key that is made here",
        "device_key_cloned": "tell the server's operator: two machines have this device's key; unenroll and enroll the copy anew",
        # What the device knows of the result.
        "result_expired": "run the agent, and see that it is connected: the last result has expired",
        "no_result": "run the agent, and see that it is connected: the server has said nothing of this check yet",
    }
)

PROBLEMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "device_not_active": "have the operator approve the device, or, if it was revoked, unenroll and enroll it anew",
        "envelope_invalid": "unenroll and enroll anew: the server knows another key for this device",
        "evidence_malformed": "update the agent or the server: they do not understand each other",
        "evidence_foreign": "see that only one agent runs with this state directory, and that it is no copy",
        "challenge_stale": "the machine was asleep or very busy; the agent tries again by itself",
        "out_of_sequence": "see that only one agent runs with this state directory, and that it is no copy",
        "session_superseded": "another agent attests as this device: find the copy of its state directory",
        "protocol_violation": "see that the address is the server's own, and that agent and server are of versions that fit",
        "unavailable": "see that the server runs and can be reached: `watchword-agent doctor` tries",
        "deadline_exceeded": "see that the server runs and can be reached: `watchword-agent doctor` tries",
        "rate_limited": "see that only one agent runs with this state directory; it tries again by itself",
        "store_unavailable": _TELL_OPERATOR,
        "overloaded": _TELL_OPERATOR,
        "new_key_refused": "the present key stays; `watchword-agent rotate-key` makes another one",
    }
)
