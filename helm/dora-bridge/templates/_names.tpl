{{/* Names and labels. Whoever includes these passes the root context, or (dict "root" $ "component" "bridge"). */}}

{{- define "dora-bridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 45 characters, so that the longest suffix, "-worker-internal", still makes a name of a Service. */}}
{{- define "dora-bridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "dora-bridge.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dora-bridge.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The bridge has the bare name, which is the one that people type. */}}
{{- define "dora-bridge.componentName" -}}
{{- $name := include "dora-bridge.fullname" .root -}}
{{- if eq .component "bridge" -}}{{ $name }}{{- else -}}{{ printf "%s-%s" $name .component }}{{- end -}}
{{- end -}}

{{- define "dora-bridge.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Selectors can never be changed, so they hold this and nothing else. */}}
{{- define "dora-bridge.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dora-bridge.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object; `component` and `labels` are optional. */}}
{{- define "dora-bridge.labels" -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "dora-bridge.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "dora-bridge" -}}
{{- with .component }}{{ $_ := set $labels "app.kubernetes.io/component" . }}{{ end -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.commonLabels) (default dict .labels) $labels) -}}
{{- end -}}

{{/* Metadata of an object: `name`, and optionally `namespace`, `component`, `labels`, `annotations`. */}}
{{- define "dora-bridge.metadata" -}}
name: {{ .name }}
namespace: {{ default (include "dora-bridge.namespace" .root) .namespace }}
labels:
  {{- include "dora-bridge.labels" . | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "dora-bridge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dora-bridge.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "image" …): what the image does not say is as in `image`. */}}
{{- define "dora-bridge.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) (default dict .image) -}}
{{- $registry := default $image.registry .root.Values.global.imageRegistry -}}
{{- $name := empty $registry | ternary $image.repository (printf "%s/%s" $registry $image.repository) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A value as the text of a variable: large numbers without an exponent. */}}
{{- define "dora-bridge.text" -}}
{{- kindIs "float64" . | ternary (toJson .) (toString .) -}}
{{- end -}}

{{/* The port of a HOST:PORT. */}}
{{- define "dora-bridge.port" -}}
{{- splitList ":" . | last -}}
{{- end -}}

{{- define "dora-bridge.kubeVersion" -}}
{{- default .Capabilities.KubeVersion.Version .Values.kubeVersionOverride -}}
{{- end -}}

{{/* "true" if the component can have more than one pod. */}}
{{- define "dora-bridge.several" -}}
{{- $own := index .root.Values .component -}}
{{- $least := $own.replicas | int -}}
{{- if $own.autoscaling.enabled }}{{ $least = $own.autoscaling.minReplicas | int }}{{ end -}}
{{- if dig "keda" "enabled" false $own }}{{ $least = $own.keda.minReplicaCount | int }}{{ end -}}
{{- if gt $least 1 }}true{{ end -}}
{{- end -}}
