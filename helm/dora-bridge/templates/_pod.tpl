{{/* The pods of both components, and of the test. */}}

{{/* Name -> value of the environment, as YAML: the chart's, then the global one, then the component's own. As a map,
     since a name that comes twice makes server-side apply fail. */}}
{{- define "dora-bridge.env" -}}
{{- $root := .root -}}
{{- $env := dict -}}
{{- $url := dict "name" (include "dora-bridge.ownSecret" $root) "key" "DORA_BRIDGE_REDIS_URL" -}}
{{- with $root.Values.redis.existingSecret }}{{ $url = dict "name" . "key" $root.Values.redis.key }}{{ end -}}
{{- $_ := set $env "DORA_BRIDGE_REDIS_URL" (dict "valueFrom" (dict "secretKeyRef" $url)) -}}
{{- if $root.Values.redis.tls.existingSecret }}{{ $_ := set $env "DORA_BRIDGE_REDIS_CA" "/etc/dora-bridge/redis/ca.crt" }}{{ end -}}
{{- range $variable, $places := include "dora-bridge.secretFiles" . | fromYaml -}}
{{- $_ := set $env (printf "%s_FILE" $variable) (printf "%s/%s" (include "dora-bridge.secretsPath" $root) $variable) -}}
{{- end -}}
{{- /* Each entry as a whole, an empty text too: merged, a text of one place would be mixed with a valueFrom of another. */ -}}
{{- range $variables := list $root.Values.global.env (.own.env | default dict) -}}
{{- range $variable, $value := $variables }}{{ $_ := set $env $variable $value }}{{ end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{- define "dora-bridge.container" -}}
{{- $root := .root -}}
image: {{ include "dora-bridge.image" (dict "root" $root "image" .image) | quote }}
imagePullPolicy: {{ (default dict .image).pullPolicy | default $root.Values.image.pullPolicy }}
{{- with .own.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- range $name, $value := include "dora-bridge.env" . | fromYaml }}
  - name: {{ $name }}
    {{- if kindIs "map" $value }}
    {{- toYaml $value | nindent 4 }}
    {{- else }}
    value: {{ include "dora-bridge.text" $value | quote }}
    {{- end }}
  {{- end }}
envFrom:
  - configMapRef:
      name: {{ include "dora-bridge.fullname" $root }}
  {{- with .own.envFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .own.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: secrets
    mountPath: {{ include "dora-bridge.secretsPath" $root }}
    readOnly: true
  {{- if $root.Values.bridgeYaml }}
  - name: bridge-yaml
    mountPath: /etc/dora-bridge/config
    readOnly: true
  {{- end }}
  {{- if $root.Values.redis.tls.existingSecret }}
  - name: redis-tls
    mountPath: /etc/dora-bridge/redis
    readOnly: true
  {{- end }}
  {{- with .own.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "dora-bridge.volumes" -}}
{{- $root := .root -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ $root.Values.tmp.sizeLimit }}
{{ include "dora-bridge.secretsVolume" . }}
{{- if $root.Values.bridgeYaml }}
- name: bridge-yaml
  configMap:
    name: {{ include "dora-bridge.fullname" $root }}-file
{{- end }}
{{- with $root.Values.redis.tls.existingSecret }}
- name: redis-tls
  secret:
    secretName: {{ . }}
    items:
      - key: {{ $root.Values.redis.tls.caKey | quote }}
        path: ca.crt
      {{- if $root.Values.redis.tls.certKey }}
      - key: {{ $root.Values.redis.tls.certKey | quote }}
        path: tls.crt
      - key: {{ $root.Values.redis.tls.keyKey | quote }}
        path: tls.key
      {{- end }}
{{- end }}
{{- with .own.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What pods of the components and of the test have in common. */}}
{{- define "dora-bridge.podBasics" -}}
{{- $root := .root -}}
{{- $global := $root.Values.global -}}
serviceAccountName: {{ include "dora-bridge.serviceAccountName" $root }}
automountServiceAccountToken: {{ $root.Values.serviceAccount.automount }}
# A Service called dora-bridge would otherwise bring variables like DORA_BRIDGE_PORT
enableServiceLinks: false
{{- with $global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  {{- /* a bare name is how charts of Bitnami have it, whose parents hand it on */}}
  - name: {{ kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name") | quote }}
  {{- end }}
{{- end }}
{{- with .own.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.nodeSelector | default $global.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations | default $global.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.affinity | default $global.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.priorityClassName | default $global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .own.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "component" … "args" … "ports" … "lifecycle" …): the template of a Deployment. */}}
{{- define "dora-bridge.podTemplate" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .component -}}
{{- $global := $root.Values.global -}}
{{- $scope := merge (dict "own" $own) . -}}
{{- $selector := include "dora-bridge.selectorLabels" . | fromYaml -}}
{{- $annotations := mergeOverwrite (deepCopy $root.Values.commonAnnotations) $global.podAnnotations $own.podAnnotations -}}
{{- /* Of the contents: a new chart that changes nothing in them restarts nothing. */ -}}
{{- $_ := set $annotations "checksum/config" (list $root.Values.config $root.Values.bridgeYaml | toJson | sha256sum) -}}
{{- with include "dora-bridge.ownSecretData" $root | fromYaml -}}
{{- $_ := set $annotations "checksum/secret" (toJson . | sha256sum) -}}
{{- end -}}
metadata:
  labels:
    {{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) $global.podLabels $own.podLabels $selector) | nindent 4 }}
  annotations:
    {{- toYaml $annotations | nindent 4 }}
spec:
  {{- include "dora-bridge.podBasics" $scope | nindent 2 }}
  {{- with $own.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $constraint := deepCopy . }}
    {{- if kindIs "invalid" .labelSelector }}{{ $_ := set $constraint "labelSelector" (dict "matchLabels" $selector) }}{{ end }}
    {{- toYaml (list $constraint) | nindent 4 }}
    {{- end }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $own.terminationGracePeriodSeconds }}
  {{- with $own.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      args:
        {{- toYaml (concat .args $own.extraArgs) | nindent 8 }}
      {{- include "dora-bridge.container" $scope | nindent 6 }}
      ports:
        {{- range $name, $port := .ports }}
        - name: {{ $name }}
          containerPort: {{ $port }}
          protocol: TCP
        {{- end }}
      {{- with $own.startupProbe }}
      startupProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.livenessProbe }}
      livenessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.readinessProbe }}
      readinessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .lifecycle }}
      lifecycle:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with $own.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "dora-bridge.volumes" $scope | nindent 4 }}
{{- end -}}

{{/* (dict "root" $ "component" … "template" …): a Deployment of a component. */}}
{{- define "dora-bridge.deployment" -}}
{{- $own := index .root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "dora-bridge.metadata" (dict "root" .root "component" .component "name" (include "dora-bridge.componentName" .) "annotations" $own.annotations) | nindent 2 }}
spec:
  {{- /* A count beside an autoscaler makes upgrades fail under server-side apply. */}}
  {{- if not (or $own.autoscaling.enabled (dig "keda" "enabled" false $own)) }}
  replicas: {{ $own.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ $own.revisionHistoryLimit }}
  {{- with $own.strategy }}
  strategy:
    {{- /* Kubernetes refuses the parameters of the default beside Recreate. */}}
    {{- toYaml (eq .type "Recreate" | ternary (pick . "type") .) | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "dora-bridge.selectorLabels" . | nindent 6 }}
  template:
    {{- include "dora-bridge.podTemplate" . | nindent 4 }}
{{- end -}}
