{{/* Values that are null, which Helm takes away together with their default. `podAnnotations:` with every line below it
     commented out is one. */}}

{{/* What is empty or off by default becomes that again; what cannot be left out is refused. Every template that makes
     an object includes this first, since nobody knows which of them is rendered first. */}}
{{- define "dora-bridge.withoutNulls" -}}
{{- $needed := list "image" "config" "config.DORA_BRIDGE_LISTEN" "config.DORA_BRIDGE_INTERNAL_LISTEN"
  "config.DORA_BRIDGE_WORKER_LISTEN" "secrets" "secrets.keys" "redis" "redis.port" "tmp" "bridge" "bridge.service"
  "bridge.pdb" "worker" "worker.pdb" "metrics" "metrics.service" "serviceAccount" "tests" -}}
{{- include "dora-bridge.need" (dict "root" $ "paths" $needed) -}}
{{- $maps := list "global" "global.env" "global.podAnnotations" "global.podLabels" "commonLabels" "commonAnnotations"
  "bridgeYaml" "secrets.endpoints" "secrets.inline" "redis.tls" "redis.passwordSecret" "redis.sentinel" "redis.sentinel.passwordSecret"
  "bridge.autoscaling" "bridge.env" "bridge.podAnnotations" "bridge.podLabels"
  "worker.autoscaling" "worker.keda" "worker.env" "worker.podAnnotations" "worker.podLabels"
  "ingress" "route" "metrics.serviceMonitor" "metrics.podMonitor" "metrics.prometheusRule" "metrics.grafanaDashboard"
  "metrics.grafanaDashboard.labels" "metrics.grafanaDashboard.annotations" "networkPolicy" -}}
{{- range $maps -}}
{{- include "dora-bridge.fill" (dict "root" $ "path" . "with" dict) -}}
{{- end -}}
{{- range list "bridge.extraArgs" "worker.extraArgs" "metrics.prometheusRule.additionalGroups" -}}
{{- include "dora-bridge.fill" (dict "root" $ "path" . "with" list) -}}
{{- end -}}
{{- range list "redis.url" "redis.host" "redis.tls.certKey" "redis.tls.keyKey" -}}
{{- include "dora-bridge.fill" (dict "root" $ "path" . "with" "") -}}
{{- end -}}
{{- /* Of what is off by default, once it is on. */ -}}
{{- $parts := dict
  "bridge.autoscaling" (list "minReplicas" "maxReplicas")
  "worker.autoscaling" (list "minReplicas" "maxReplicas")
  "worker.keda" (list "minReplicaCount" "maxReplicaCount" "listLength" "pollingInterval")
  "metrics.prometheusRule" (list "thresholds")
  "metrics.grafanaDashboard" (list "labelKey" "labelValue" "folderAnnotation") -}}
{{- range $path, $names := $parts -}}
{{- $own := $.Values -}}
{{- range splitList "." $path }}{{ $own = index $own . }}{{ end -}}
{{- if $own.enabled -}}
{{- range $names }}{{ include "dora-bridge.need" (dict "root" $ "paths" (list (printf "%s.%s" $path .))) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "paths" (list "a.b" …)): refuses the first of them that is null. */}}
{{- define "dora-bridge.need" -}}
{{- $root := .root -}}
{{- range .paths -}}
{{- if include "dora-bridge.isNull" (dict "root" $root "path" .) -}}
{{- include "dora-bridge.refuse" (printf "%s is null: leave it out to have its default" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "path" "a.b"): "true" if there is no such value; what it lies in is there. */}}
{{- define "dora-bridge.isNull" -}}
{{- $at := .root.Values -}}
{{- range splitList "." .path }}{{ $at = index $at . }}{{ end -}}
{{- if kindIs "invalid" $at }}true{{ end -}}
{{- end -}}

{{/* (dict "root" $ "path" "a.b" "with" …): sets the value if it is null. */}}
{{- define "dora-bridge.fill" -}}
{{- if include "dora-bridge.isNull" . -}}
{{- $at := .root.Values -}}
{{- $names := splitList "." .path -}}
{{- range initial $names }}{{ $at = index $at . }}{{ end -}}
{{- $_ := set $at (last $names) .with -}}
{{- end -}}
{{- end -}}
