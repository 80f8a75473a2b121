# PagerDuty's webhook for dora-bridge. The provider does not tell the secret of what it makes: README.md beside this file.

terraform {
  required_providers {
    pagerduty = {
      source  = "PagerDuty/pagerduty"
      version = ">= 3.0"
    }
  }
}

resource "pagerduty_webhook_subscription" "dora_bridge" {
  type        = "webhook_subscription"
  active      = true
  description = "DORA metrics"
  events = [
    "incident.triggered",
    "incident.resolved",
    "incident.reopened",
    "incident.priority_updated",
  ]

  delivery_method {
    type = "http_delivery_method"
    url  = "https://dora-bridge.example.com/webhooks/pagerduty?env=production"
  }

  # The whole account; or type "service_reference" or "team_reference" with an id
  filter {
    type = "account_reference"
  }
}
