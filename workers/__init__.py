"""The worker process: drains the ledger's lanes into Datadog."""
