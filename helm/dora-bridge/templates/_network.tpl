{{/* Where senders reach the bridge, and what NetworkPolicies of both components share. */}}

{{/* Base addresses of the public listener outside, as a YAML list; empty if the chart exposes none by name. */}}
{{- define "dora-bridge.publicUrls" -}}
{{- $urls := list -}}
{{- with .Values.ingress -}}
{{- if .enabled -}}
{{- $scheme := empty .tls | ternary "http" "https" -}}
{{- range .hosts }}{{ $urls = append $urls (printf "%s://%s" $scheme (tpl . $)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range .Values.route -}}
{{- if .enabled }}{{ range .hostnames }}{{ $urls = append $urls (printf "https://%s" (tpl . $)) }}{{ end }}{{ end -}}
{{- end -}}
{{- toYaml (uniq $urls) -}}
{{- end -}}

{{/* The rule for the internal port, or nothing if nobody may reach it. */}}
{{- define "dora-bridge.monitoringIngress" -}}
{{- $peers := .Values.networkPolicy.monitoringPeers -}}
{{- if or $peers .Values.metrics.enabled -}}
- ports:
    - port: internal
      protocol: TCP
  {{- with $peers }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "dora-bridge.commonEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
- ports:
    {{- $ports := list (.Values.redis.port | int | toString) }}
    {{- range .Values.redis.sentinel.addresses }}{{ $ports = append $ports (include "dora-bridge.port" .) }}{{ end }}
    {{- if not .Values.redis.existingSecret }}
    {{- $host := regexReplaceAll "^[^:]*://([^/]*@)?([^/?#]*).*$" .Values.redis.url "${2}" }}
    {{- with regexFind ":[0-9]+$" $host }}{{ $ports = append $ports (trimPrefix ":" .) }}{{ end }}
    {{- end }}
    {{- range uniq $ports }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with .Values.networkPolicy.redisPeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
