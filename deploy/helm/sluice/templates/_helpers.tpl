{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 57 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for -pods and what the StatefulSet adds. */}}
{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else if contains (include "sluice.name" .) .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sluice.name" .) | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* On every object; the pods have them without the chart's version, so that a new chart alone rolls nothing. */}}
{{- define "sluice.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "sluice.ownLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sluice.ownLabels" -}}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The secret with keys of applications and providers; empty when there is none. */}}
{{- define "sluice.secretName" -}}
{{- if .Values.secrets.existingSecret }}
{{- .Values.secrets.existingSecret }}
{{- else if .Values.secrets.values }}
{{- include "sluice.fullname" . }}
{{- else if .Values.secrets.env }}
{{- fail "the pods want a secret: set secrets.existingSecret, or secrets.values (key-hash is what `sluice hash-key --new` prints), or secrets.env: null" }}
{{- end }}
{{- end }}

{{- define "sluice.redis" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret }}true{{ end }}
{{- end }}

{{- define "sluice.replicasMax" -}}
{{- if .Values.redis.replicasMax }}
{{- .Values.redis.replicasMax }}
{{- else if .Values.autoscaling.enabled }}
{{- add1 .Values.autoscaling.maxReplicas }}
{{- else }}
{{- add1 .Values.replicas }}
{{- end }}
{{- end }}

{{- define "sluice.launcherNamespace" -}}
{{- default .Release.Namespace .Values.launcher.namespace }}
{{- end }}

{{- define "sluice.kind" -}}
{{- if eq .Values.workload "statefulset" }}StatefulSet{{ else }}Deployment{{ end }}
{{- end }}
