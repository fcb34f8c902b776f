{{- define "assay.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "assay.fullname" -}}
{{- $name := include "assay.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "assay.selector" -}}
app.kubernetes.io/name: {{ include "assay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "assay.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "assay.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "assay.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The configuration file: what this chart needs, and the user's own laid over it. */}}
{{- define "assay.config" -}}
{{- $auth := .Values.auth -}}
{{- $keys := ternary (printf "/etc/assay/keys/%s" $auth.keysFile) nil (ne $auth.keysSecret "") -}}
{{- $tokens := ternary (printf "/etc/assay/tokens/%s" $auth.tokensFile) nil (ne $auth.tokensSecret "") -}}
{{- $store := ternary "/governance" nil .Values.persistence.governance.enabled -}}
{{- $process := dict
  "data_dir" "/data"
  "http" (dict "host" "0.0.0.0" "port" 8080 "keys_file" $keys "insecure" $auth.insecure)
  "operations" (dict "host" "0.0.0.0" "port" 8081 "tokens_file" $tokens "insecure" $auth.insecure)
  "governance" (dict "host" "0.0.0.0" "port" 8090 "tokens_file" $tokens "insecure" $auth.insecure "data_dir" $store)
-}}
{{- $state := .Values.state -}}
{{- if eq $state.kind "redis" -}}
{{- $redis := dict "password_file" (ternary (printf "/etc/assay/redis/%s" $state.passwordFile) nil (ne $state.passwordSecret "")) -}}
{{- if $state.caSecret -}}
{{- $_ := set $redis "tls" (dict "ca_file" (printf "/etc/assay/redis-tls/%s" $state.caFile) "cert_file" nil "key_file" nil) -}}
{{- end -}}
{{- $_ := set $process "state" (dict "kind" "redis" "redis" $redis) -}}
{{- end -}}
{{- mustMergeOverwrite (dict "process" $process) (deepCopy .Values.config) | toYaml -}}
{{- end }}

{{/* How many servers there may be at once. */}}
{{- define "assay.replicasMax" -}}
{{ ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled }}
{{- end }}

{{- define "assay.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What both containers have: the same configuration, secrets and volumes. It ends with the mounts: more may follow. */}}
{{- define "assay.container" -}}
image: {{ include "assay.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "assay.containerSecurity" . | nindent 2 }}
env:
  - name: ASSAY_CONFIG
    value: /etc/assay/config/assay.yaml
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/assay/config
    readOnly: true
  {{- if .Values.auth.keysSecret }}
  - name: keys
    mountPath: /etc/assay/keys
    readOnly: true
  {{- end }}
  {{- if .Values.auth.tokensSecret }}
  - name: tokens
    mountPath: /etc/assay/tokens
    readOnly: true
  {{- end }}
  - name: data
    mountPath: /data
  {{- if .Values.persistence.governance.enabled }}
  - name: governance
    mountPath: /governance
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "assay.claim" -}}
{{- $claim := .claim -}}
metadata:
  name: {{ .name }}
spec:
  accessModes: {{ toJson .accessModes }}
  {{- if $claim.storageClassName }}
  storageClassName: {{ $claim.storageClassName }}
  {{- end }}
  resources:
    requests:
      storage: {{ $claim.size }}
{{- end }}
