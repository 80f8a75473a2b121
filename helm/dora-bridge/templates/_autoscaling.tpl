{{/* HorizontalPodAutoscaler and PodDisruptionBudget of a component: (dict "root" $ "component" …). */}}

{{- define "dora-bridge.hpa" -}}
{{- $own := index .root.Values .component -}}
{{- $name := include "dora-bridge.componentName" . -}}
{{- with $own.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "dora-bridge.metadata" (dict "root" $.root "component" $.component "name" $name) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $name }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    {{- if .metrics }}
    {{- toYaml .metrics | nindent 4 }}
    {{- else }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .targetCPUUtilizationPercentage }}
    {{- end }}
  {{- with .behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "dora-bridge.pdb" -}}
{{- $own := index .root.Values .component -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "dora-bridge.metadata" (dict "root" .root "component" .component "name" (include "dora-bridge.componentName" .)) | nindent 2 }}
spec:
  maxUnavailable: {{ $own.pdb.maxUnavailable }}
  # a pod that does not work keeps no node from being drained
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "dora-bridge.selectorLabels" . | nindent 6 }}
{{- end -}}
