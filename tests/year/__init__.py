"""A fictitious company's year, played against the bridge: what reached Datadog must come to the company's own truth."""
