{{- define "daybook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that every name made from it fits into a label. */}}
{{- define "daybook.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "daybook.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "daybook.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "daybook.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{/* What a role is, apart from how somebody wants to run it: the key in the values, the subcommand, its ports, the
settings that hold its secrets, and whom it talks to. Least privilege is kept here. */}}
{{- define "daybook.roles" -}}
commandApi:
  component: command-api
  opsPort: 7411
  httpPort: 7401
  listen: DAYBOOK_COMMAND_API_LISTEN
  kafka: false
  secrets: [DAYBOOK_LOG_WRITER_URL, DAYBOOK_KEYS_URL, DAYBOOK_MASTER_KEY]
queryApi:
  component: query-api
  opsPort: 7412
  httpPort: 7402
  listen: DAYBOOK_QUERY_API_LISTEN
  kafka: false
  secrets: [DAYBOOK_VIEWS_READER_URL, DAYBOOK_LOG_READER_URL]
relay:
  component: relay
  opsPort: 7413
  kafka: true
  secrets: [DAYBOOK_LOG_READER_URL, DAYBOOK_LOG_WRITER_URL]
projector:
  component: projector
  opsPort: 7414
  kafka: true
  secrets: [DAYBOOK_VIEWS_OWNER_URL]
sagas:
  component: sagas
  opsPort: 7415
  kafka: false
  secrets: [DAYBOOK_LOG_WRITER_URL, DAYBOOK_KEYS_URL, DAYBOOK_MASTER_KEY]
{{- end }}

{{/* Labels that stay the same for the life of a release; with a component where one is given. */}}
{{- define "daybook.selector" -}}
app.kubernetes.io/name: {{ include "daybook.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "daybook.labels" -}}
{{ include "daybook.selector" . }}
app.kubernetes.io/part-of: daybook
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Of pods: only what does not change with the chart, or each new chart would start every pod anew. */}}
{{- define "daybook.podLabels" -}}
{{ include "daybook.selector" . }}
app.kubernetes.io/part-of: daybook
{{- end }}

{{- define "daybook.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "daybook.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The settings that all roles share, as a map. The entries of config.extra win. */}}
{{- define "daybook.settings" -}}
KAFKA_BROKERS: {{ required "config.brokers is needed: the brokers as host:port,host:port" .Values.config.brokers | quote }}
DAYBOOK_TOPIC: {{ .Values.config.topic | quote }}
DAYBOOK_PARTITIONS: {{ .Values.config.partitions | int | quote }}
DAYBOOK_TENANT: {{ .Values.config.tenant | quote }}
DAYBOOK_TIME_ZONE: {{ .Values.config.timeZone | quote }}
DAYBOOK_LOG_FORMAT: {{ .Values.config.logFormat | quote }}
{{- with .Values.config.logFilter }}
RUST_LOG: {{ . | quote }}
{{- end }}
{{- with .Values.tracing.endpoint }}
DAYBOOK_OTLP_ENDPOINT: {{ . | quote }}
DAYBOOK_OTLP_PROTOCOL: {{ $.Values.tracing.protocol | quote }}
DAYBOOK_OTLP_SAMPLE: {{ $.Values.tracing.sample | quote }}
{{- end }}
{{- range $key, $value := .Values.config.extra }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* One environment variable from a Secret: call with (dict "root" $ "key" "DAYBOOK_…"). */}}
{{- define "daybook.secret" -}}
{{- $from := get .root.Values.secrets.from .key | default dict -}}
- name: {{ .key }}
  valueFrom:
    secretKeyRef:
      name: {{ default (required (printf "secrets.existingSecret is needed: no Secret is named for %s" .key) (default .root.Values.secrets.existingSecret $from.secret)) $from.secret }}
      key: {{ default .key $from.key }}
{{- end }}

{{/* Entry control and limits of a role that serves HTTP. */}}
{{- define "daybook.http" -}}
- name: DAYBOOK_AUTH_ISSUER
  value: {{ required "auth.issuer is needed: who signs the tokens" .Values.auth.issuer | quote }}
- name: DAYBOOK_AUTH_AUDIENCE
  value: {{ .Values.auth.audience | quote }}
- name: DAYBOOK_AUTH_JWKS
  {{- if .Values.auth.jwksConfigMap }}
  value: /etc/daybook/jwks/jwks.json
  {{- else }}
  value: {{ required "auth.jwks or auth.jwksConfigMap is needed: the keys that tokens are verified with" .Values.auth.jwks | quote }}
  {{- end }}
{{- with .Values.http.trustedProxies }}
- name: DAYBOOK_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.http.corsOrigins }}
- name: DAYBOOK_CORS_ORIGINS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.http.rateLimitSubject }}
- name: DAYBOOK_RATE_LIMIT_SUBJECT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.http.rateLimitAddress }}
- name: DAYBOOK_RATE_LIMIT_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.http.concurrencyLimitSubject }}
- name: DAYBOOK_CONCURRENCY_LIMIT_SUBJECT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.http.concurrencyLimitAddress }}
- name: DAYBOOK_CONCURRENCY_LIMIT_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "daybook.podSecurity" -}}
automountServiceAccountToken: false
# Kubernetes would describe each Service in variables DAYBOOK_…, which the binary refuses as unknown settings.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}
