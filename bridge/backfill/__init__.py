"""Catching up: what senders posted while nobody listened is read from their APIs, and goes the way of a webhook.

Each vendor's file makes *units* of what its API tells: deliveries with headers and body as the vendor's webhook would
have had them. `fill.py` hands them to `intake.receive` and the ledger; ids are made from the vendor's ids, so what is
known already is recognised, and nothing is counted twice.
"""
