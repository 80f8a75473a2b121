# GitHub's webhooks for dora-bridge. Keep what you need; README.md beside this file tells which events.

terraform {
  required_providers {
    github = {
      source  = "integrations/github"
      version = ">= 6.0"
    }
  }
}

variable "dora_bridge_secret" {
  description = "DORA_BRIDGE_SECRETS__GITHUB of the bridge; it ends up in the state"
  type        = string
  sensitive   = true
}

# All repositories of the organization that the provider is set up for
resource "github_organization_webhook" "dora_bridge" {
  active = true
  events = ["deployment_status"]

  configuration {
    url          = "https://dora-bridge.example.com/webhooks/github"
    content_type = "json"
    secret       = var.dora_bridge_secret
    insecure_ssl = false
  }
}

# Or one repository
resource "github_repository_webhook" "dora_bridge" {
  repository = "shop"
  active     = true
  events     = ["deployment_status"]

  configuration {
    url          = "https://dora-bridge.example.com/webhooks/github"
    content_type = "json"
    secret       = var.dora_bridge_secret
    insecure_ssl = false
  }
}
