"""dora-bridge: signed webhooks in, DORA events out."""

__version__ = "0.1.0"
