{{- define "insula.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name alone where it already says insula. Cut at 55: "-migrate", "-health" and "-worker" are appended. */}}
{{- define "insula.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 55 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 55 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What never changes about the serving pods: a Deployment's selector can't be edited. */}}
{{- define "insula.selector" -}}
app.kubernetes.io/name: {{ include "insula.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: api
{{- end }}

{{- define "insula.workerSelector" -}}
app.kubernetes.io/name: {{ include "insula.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end }}

{{/* Labels of an object; the component is "api" unless (dict "root" . "component" ..) says another. */}}
{{- define "insula.labels" -}}
{{- $root := default . .root -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "insula.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ default "api" .component }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end }}

{{- define "insula.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "insula.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "insula.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* "true" where the chart itself makes the Secret: values were given and no existing one wins. */}}
{{- define "insula.ownsSecret" -}}
{{- $s := .Values.secret -}}
{{- if and (not $s.existingSecret) (or $s.databaseAppUrl $s.databasePlatformUrl $s.authMasterKey $s.redisUrl $s.mailSmtpUrl $s.storageAccessKeyId $s.storageSecretAccessKey) -}}
true
{{- end }}
{{- end }}

{{- define "insula.secretName" -}}
{{ .Values.secret.existingSecret | default (include "insula.fullname" .) }}
{{- end }}

{{- define "insula.ownsMigrateSecret" -}}
{{- if and .Values.migrate.enabled .Values.migrate.databaseOwnerUrl (not .Values.migrate.existingSecret) -}}
true
{{- end }}
{{- end }}

{{/* migrate.existingSecret, else the one made for the migration, else the Secret of all. */}}
{{- define "insula.migrateSecretName" -}}
{{- if .Values.migrate.existingSecret -}}
{{ .Values.migrate.existingSecret }}
{{- else if include "insula.ownsMigrateSecret" . -}}
{{ include "insula.fullname" . }}-migrate
{{- else if include "insula.ownsSecret" . -}}
{{ fail "migrate.databaseOwnerUrl or migrate.existingSecret is missing: the chart's own Secret does not hold the owner's address" }}
{{- else -}}
{{ include "insula.secretName" . }}
{{- end }}
{{- end }}

{{- define "insula.publicUrl" -}}
{{- if .Values.http.publicUrl -}}
{{ .Values.http.publicUrl }}
{{- else if .Values.ingress.enabled -}}
https://{{ first .Values.ingress.hosts }}
{{- else -}}
http://{{ include "insula.fullname" . }}.{{ .Release.Namespace }}.svc{{ if ne (int .Values.service.port) 80 }}:{{ .Values.service.port }}{{ end }}
{{- end }}
{{- end }}

{{- define "insula.requireHttps" -}}
{{- if kindIs "bool" .Values.http.requireHttps -}}
{{ .Values.http.requireHttps }}
{{- else -}}
{{ and (hasPrefix "https://" (include "insula.publicUrl" .)) (not (empty .Values.http.trustedProxies)) }}
{{- end }}
{{- end }}

{{- define "insula.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "insula.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* One secret of the environment: (list secret-name key optional) */}}
{{- define "insula.secretEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 0 }}
      key: {{ index . 1 }}
      {{- if index . 2 }}
      optional: true
      {{- end }}
{{- end }}
