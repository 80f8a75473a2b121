{{/* Values that cannot work fail here, with one sentence that names the value to mend. */}}

{{- define "dora-bridge.refuse" -}}
{{- fail (printf "dora-bridge: %s" .) -}}
{{- end -}}

{{- define "dora-bridge.refusals" -}}
{{- $secrets := .Values.secrets -}}
{{- $redis := .Values.redis -}}
{{- if not (or $redis.existingSecret $redis.url) -}}
{{- include "dora-bridge.refuse" "set redis.existingSecret to a Secret with the URL of Redis (redis.key names the key), or redis.url for a trial" -}}
{{- end -}}
{{- if not $secrets.keys.DD_API_KEY -}}
{{- include "dora-bridge.refuse" "set secrets.keys.DD_API_KEY to the key with the Datadog API key: nothing can be delivered without" -}}
{{- end -}}
{{- if not (or $secrets.existingSecret $secrets.inline (contains "/" $secrets.keys.DD_API_KEY)) -}}
{{- include "dora-bridge.refuse" "set secrets.existingSecret to a Secret with the Datadog API key and the secrets of the endpoints, or secrets.inline for a trial" -}}
{{- end -}}
{{- $accepted := list -}}
{{- range $endpoint, $keys := $secrets.endpoints }}{{ if $keys }}{{ $accepted = append $accepted $endpoint }}{{ end }}{{ end -}}
{{- if not $accepted -}}
{{- include "dora-bridge.refuse" "set secrets.endpoints, e.g. {github: [github]}: an endpoint without a secret has no route, and none has one" -}}
{{- end -}}
{{- $known := concat (list "github" "argocd" "pagerduty" "opsgenie" "jsm") (keys (default dict .Values.bridgeYaml.endpoints)) -}}
{{- range $accepted -}}
{{- if not (has . $known) -}}
{{- include "dora-bridge.refuse" (printf "secrets.endpoints.%s: there is no such endpoint; bridgeYaml.endpoints would define it" .) -}}
{{- end -}}
{{- end -}}
{{- if not $secrets.existingSecret -}}
{{- range $variable, $places := include "dora-bridge.secretFiles" (dict "root" . "component" "worker") | fromYaml -}}
{{- range $places -}}
{{- if and (eq .name (include "dora-bridge.ownSecret" $)) (not (hasKey $secrets.inline .key)) -}}
{{- include "dora-bridge.refuse" (printf "secrets.inline has no key %s, which secrets.keys or secrets.endpoints name for %s; or set secrets.existingSecret" .key $variable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $endpoint := default dict .Values.bridgeYaml.endpoints -}}
{{- if and (eq (toString (dig "send_as" "" $endpoint)) "incident") (not $secrets.keys.DD_APP_KEY) -}}
{{- include "dora-bridge.refuse" (printf "set secrets.keys.DD_APP_KEY: bridgeYaml.endpoints.%s.send_as is incident, and Incident Management takes no call without an application key" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.worker.autoscaling.enabled .Values.worker.keda.enabled -}}
{{- include "dora-bridge.refuse" "set worker.autoscaling.enabled or worker.keda.enabled, not both: two autoscalers of one Deployment fight" -}}
{{- end -}}
{{- range $component := list "bridge" "worker" -}}
{{- with (index $.Values $component).autoscaling -}}
{{- if and .enabled (gt (.minReplicas | int) (.maxReplicas | int)) -}}
{{- include "dora-bridge.refuse" (printf "set %s.autoscaling.maxReplicas to no less than minReplicas, which is %d" $component (.minReplicas | int)) -}}
{{- end -}}
{{- if and .enabled (not .metrics) -}}
{{- if not .targetCPUUtilizationPercentage -}}
{{- include "dora-bridge.refuse" (printf "set %s.autoscaling.targetCPUUtilizationPercentage, or metrics instead of the CPU" $component) -}}
{{- end -}}
{{- /* a limit alone is taken for the request */ -}}
{{- $resources := (index $.Values $component).resources | default dict -}}
{{- if not (or (dig "requests" "cpu" "" $resources) (dig "limits" "cpu" "" $resources)) -}}
{{- include "dora-bridge.refuse" (printf "set %s.resources.requests.cpu: %s.autoscaling is by percent of it, and never scales without" $component $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.bridge -}}
{{- $ownPreStop := get (.lifecycle | default dict) "preStop" -}}
{{- if and (not $ownPreStop) (gt (.preStopSleepSeconds | int) 0) (ge (.preStopSleepSeconds | int) (.terminationGracePeriodSeconds | int)) -}}
{{- include "dora-bridge.refuse" (printf "set bridge.terminationGracePeriodSeconds to 25 s more than bridge.preStopSleepSeconds, which is %d: a pod would be killed while it sleeps" (.preStopSleepSeconds | int)) -}}
{{- end -}}
{{- end -}}
{{- with $redis.tls -}}
{{- if and .certKey (not .keyKey) -}}
{{- include "dora-bridge.refuse" "set redis.tls.keyKey too: a certificate of the client is nothing without its key" -}}
{{- end -}}
{{- if and .keyKey (not .certKey) -}}
{{- include "dora-bridge.refuse" "set redis.tls.certKey too: a key of the client is nothing without its certificate" -}}
{{- end -}}
{{- if and .certKey (not .existingSecret) -}}
{{- include "dora-bridge.refuse" "set redis.tls.existingSecret to the Secret with the keys redis.tls.caKey, certKey and keyKey" -}}
{{- end -}}
{{- end -}}
{{- with .Values.worker.keda -}}
{{- if and .enabled (gt (.minReplicaCount | int) (.maxReplicaCount | int)) -}}
{{- include "dora-bridge.refuse" (printf "set worker.keda.maxReplicaCount to no less than minReplicaCount, which is %d" (.minReplicaCount | int)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.worker.keda.enabled (not .Values.worker.keda.triggers) -}}
{{- if and $redis.sentinel.master (not $redis.sentinel.addresses) -}}
{{- include "dora-bridge.refuse" "set redis.sentinel.addresses: KEDA asks the sentinels where Redis is" -}}
{{- end -}}
{{- if not (or $redis.host $redis.sentinel.master) -}}
{{- include "dora-bridge.refuse" "set redis.host (and port, username, database, passwordSecret), which KEDA counts the waiting events in; it cannot read redis.url" -}}
{{- end -}}
{{- /* What a URL in the values says and the parts do not; one in a Secret nobody sees here. */ -}}
{{- if not $redis.existingSecret -}}
{{- if and (contains "sentinel_password=" $redis.url) (not $redis.sentinel.passwordSecret.name) -}}
{{- include "dora-bridge.refuse" "set redis.sentinel.passwordSecret: redis.url has a login of the sentinels, which KEDA cannot read there" -}}
{{- end -}}
{{- if and (contains "ssl_certfile=" $redis.url) (not $redis.tls.certKey) -}}
{{- include "dora-bridge.refuse" "set redis.tls.certKey and keyKey: redis.url has a certificate of the client, which KEDA cannot read there" -}}
{{- end -}}
{{- if and (hasPrefix "rediss" $redis.url) (not $redis.tls.enabled) -}}
{{- include "dora-bridge.refuse" "set redis.tls.enabled: redis.url is by TLS, and KEDA would ask without" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- include "dora-bridge.refuse" "set metrics.serviceMonitor.enabled or metrics.podMonitor.enabled, not both: each sample would come twice" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- include "dora-bridge.refuse" "set ingress.hosts to the names that senders post to" -}}
{{- end -}}
{{- range $name, $route := .Values.route -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- include "dora-bridge.refuse" (printf "set route.%s.parentRefs to the Gateway that the route belongs to" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
