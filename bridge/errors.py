"""Every exception of the project.

    BridgeError
      IntakeError             something is wrong with a request; `app.py` turns it into a status
        UnknownEndpoint         404
        SignatureMissing        401  absent, malformed, or of a kind we do not accept
        SignatureMismatch       401  well-formed, but no secret of ours made it (503 for PagerDuty)
        PayloadInvalid          202  authentic, but no truthful fact can be made of it: a dead letter
      LedgerUnavailable         503  Redis did not take it in time
      AdminError              a person asked for something that cannot be done; `admin.py` turns it into a status
        Unknown                 404  no such event
        NotNow                  409  not in the state it is in
        Invalid                 422  what was asked for makes no sense, or would not be true
      DatadogUnreadable         Datadog does not give the records that a command needs
      SenderUnreadable          a sender's API does not give what a backfill needs
      ConfigurationError        at start, never later

Messages name fields, settings and rules. They never contain secrets, signature headers or values of a payload,
since they end in logs, answers and the ledger.
"""

from __future__ import annotations


class BridgeError(Exception):
    """The root; `reason` is one of a closed set and may become a log field or a metric label."""

    reason = "error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class IntakeError(BridgeError):
    reason = "refused"


class UnknownEndpoint(IntakeError):
    reason = "unknown_endpoint"


class SignatureMissing(IntakeError):
    reason = "signature_missing"


class SignatureMismatch(IntakeError):
    reason = "signature_mismatch"


class PayloadInvalid(IntakeError):
    reason = "payload_invalid"


class LedgerUnavailable(BridgeError):
    reason = "ledger_unavailable"


class AdminError(BridgeError):
    reason = "refused"


class Unknown(AdminError):
    reason = "unknown"


class NotNow(AdminError):
    reason = "not_now"


class Invalid(AdminError):
    """`field` names what is wrong, where it is one value."""

    reason = "invalid"

    def __init__(self, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.field = field


class DatadogUnreadable(BridgeError):
    reason = "datadog_unreadable"


class SenderUnreadable(BridgeError):
    """`status` is that of the answer, where one answer is to blame."""

    reason = "sender_unreadable"

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


class ConfigurationError(BridgeError):
    reason = "configuration"
