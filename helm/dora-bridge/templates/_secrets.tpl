{{/* Which secrets there are, where they lie, and who gets them. */}}

{{/* The variable of an endpoint's secrets, as `bridge/settings.py` names it. */}}
{{- define "dora-bridge.secretVariable" -}}
{{- printf "DORA_BRIDGE_SECRETS__%s" (. | upper | replace "-" "_") -}}
{{- end -}}

{{- define "dora-bridge.ownSecret" -}}
{{- /* Not the bare name: that may be the name of the Secret that exists. */ -}}
{{- printf "%s-inline" (include "dora-bridge.fullname" .) -}}
{{- end -}}

{{/* Key -> value of the Secret that the chart makes, as YAML: for trials only. */}}
{{- define "dora-bridge.ownSecretData" -}}
{{- $data := empty .Values.secrets.existingSecret | ternary (deepCopy .Values.secrets.inline) dict -}}
{{- if and .Values.redis.url (not .Values.redis.existingSecret) -}}
{{- $_ := set $data "DORA_BRIDGE_REDIS_URL" .Values.redis.url -}}
{{- end -}}
{{- toYaml $data -}}
{{- end -}}

{{/* Variable -> list of {name, key}, as YAML, for a component.
     The bridge is what the internet reaches, so it gets what it verifies webhooks with, the admin's token, and the
     application key, whose presence decides what is made of a webhook; not the API key, and no tokens of senders. */}}
{{- define "dora-bridge.secretFiles" -}}
{{- $root := .root -}}
{{- $secret := default (include "dora-bridge.ownSecret" $root) $root.Values.secrets.existingSecret -}}
{{- $wanted := dict -}}
{{- range $variable, $key := $root.Values.secrets.keys -}}
{{- if and $key (or (ne $.component "bridge") (has $variable (list "DD_APP_KEY" "DORA_BRIDGE_ADMIN_TOKEN"))) -}}
{{- $_ := set $wanted $variable (list $key) -}}
{{- end -}}
{{- end -}}
{{- range $endpoint, $keys := $root.Values.secrets.endpoints -}}
{{- if $keys -}}
{{- $_ := set $wanted (include "dora-bridge.secretVariable" $endpoint) $keys -}}
{{- end -}}
{{- end -}}
{{- $files := dict -}}
{{- range $variable, $keys := $wanted -}}
{{- $places := list -}}
{{- range $key := $keys -}}
{{- $parts := splitList "/" (contains "/" $key | ternary $key (print $secret "/" $key)) -}}
{{- $places = append $places (dict "name" (first $parts) "key" (last $parts)) -}}
{{- end -}}
{{- $_ := set $files $variable $places -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* Where the files are. Not in a subPath: those are never renewed. */}}
{{- define "dora-bridge.secretsPath" -}}
/run/secrets/dora-bridge
{{- end -}}

{{/* The volume with the files: one key is the file VARIABLE, several are VARIABLE/1, VARIABLE/2, … */}}
{{- define "dora-bridge.secretsVolume" -}}
- name: secrets
  projected:
    # readable for the one user of the container, whatever its id
    defaultMode: 292 # 0444
    sources:
      {{- range $variable, $places := include "dora-bridge.secretFiles" . | fromYaml }}
      {{- range $index, $place := $places }}
      - secret:
          name: {{ $place.name }}
          items:
            - key: {{ $place.key | quote }}
              path: {{ gt (len $places) 1 | ternary (printf "%s/%d" $variable (add1 $index)) $variable }}
      {{- end }}
      {{- end }}
{{- end -}}
