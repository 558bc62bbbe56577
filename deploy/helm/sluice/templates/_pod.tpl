{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* The pod, which is the same in both kinds of workload but for the volume "state". */}}
{{- define "sluice.pod" -}}
{{- $secret := include "sluice.secretName" . -}}
{{- if ge (mul (default 10 .Values.readinessProbe.periodSeconds) (default 3 .Values.readinessProbe.failureThreshold)) (int64 .Values.server.shutdown.drainDelaySeconds) }}
{{- fail "readinessProbe: periodSeconds times failureThreshold must be less than server.shutdown.drainDelaySeconds, or calls are lost at every rollout" }}
{{- end -}}
metadata:
  {{- if or .Values.rollOnConfigChange .Values.podAnnotations }}
  annotations:
    {{- if .Values.rollOnConfigChange }}
    checksum/config: {{ include "sluice.configData" . | sha256sum }}
    checksum/secret: {{ printf "%s%s" (toYaml .Values.secrets.values) .Values.redis.url | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  labels:
    {{- include "sluice.ownLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "sluice.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.launcher.enabled }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.server.shutdown.drainDelaySeconds .Values.server.shutdown.graceSeconds 55 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "sluice.selectorLabels" . | nindent 10 }}
    {{- end }}
  containers:
    - name: sluice
      image: {{ include "sluice.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: api, containerPort: 8080}
        - {name: operators, containerPort: 9180}
      {{- if or .Values.secrets.env (include "sluice.redis" .) .Values.extraEnv }}
      env:
        {{- range $name, $key := .Values.secrets.env }}
        - name: {{ $name }}
          valueFrom:
            secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}
        {{- end }}
        {{- if .Values.redis.existingSecret }}
        - name: SLUICE_REDIS_URL
          valueFrom:
            secretKeyRef: {name: {{ .Values.redis.existingSecret }}, key: {{ .Values.redis.existingSecretKey }}}
        {{- else if .Values.redis.url }}
        - name: SLUICE_REDIS_URL
          valueFrom:
            secretKeyRef: {name: {{ include "sluice.fullname" . }}-redis, key: redis-url}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.containerSecurityContext | nindent 8 }}
      startupProbe:
        httpGet: {path: /livez, port: operators}
        {{- toYaml .Values.startupProbe | nindent 8 }}
      livenessProbe:
        httpGet: {path: /livez, port: operators}
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: operators}
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/sluice, readOnly: true}
        {{- if $secret }}
        - {name: secrets, mountPath: /run/secrets/sluice, readOnly: true}
        {{- end }}
        {{- if .Values.server.tlsSecretName }}
        - {name: tls, mountPath: /run/secrets/sluice-tls, readOnly: true}
        {{- end }}
        - {name: state, mountPath: /var/lib/sluice}
        - {name: tmp, mountPath: /tmp}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    # Whole folders, not subPath: so that a change arrives without a new pod.
    - name: config
      configMap: {name: {{ include "sluice.fullname" . }}}
    {{- if $secret }}
    - name: secrets
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.server.tlsSecretName }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: {{ .Values.emptyDir.tmpSizeLimit }}}
    {{- if eq .Values.workload "deployment" }}
    - name: state
      emptyDir: {sizeLimit: {{ .Values.emptyDir.stateSizeLimit }}}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
