{{/* What the schema of the values cannot say. */}}
{{- define "daybook.validate" -}}
{{- $projectors := .Values.projector.replicas | int }}
{{- if .Values.projector.autoscaling.enabled }}
{{- $projectors = .Values.projector.autoscaling.maxReplicas | int }}
{{- end }}
{{- if gt $projectors (.Values.config.partitions | int) }}
{{- fail (printf "projector: at most %d (config.partitions) can work, %d are asked for" (.Values.config.partitions | int) $projectors) }}
{{- end }}
{{- if and .Values.auth.jwks .Values.auth.jwksConfigMap }}
{{- fail "auth.jwks and auth.jwksConfigMap exclude each other" }}
{{- end }}
{{- range $key, $value := .Values.config.extra }}
{{- if regexMatch "(_URL|_KEY|_SECRETS?|_SEED)$" $key }}
{{- if not (has $key (list "DAYBOOK_BANK_URL")) }}
{{- fail (printf "config.extra.%s would hold a secret: put it into a Secret (secrets.existingSecret)" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs is needed: the Gateway that the route belongs to" }}
{{- end }}
{{- if and .Values.ingress.enabled (or (not .Values.ingress.commandHost) (not .Values.ingress.queryHost) (eq .Values.ingress.commandHost .Values.ingress.queryHost)) }}
{{- fail "ingress.commandHost and ingress.queryHost are needed, and differ: an Ingress cannot tell POST from GET. For one address take httpRoute" }}
{{- end }}
{{- $incoming := .Values.payments.incoming }}
{{- if ne (empty $incoming.bankAccount) (empty $incoming.suspenseAccount) }}
{{- fail "payments.incoming: bankAccount and suspenseAccount belong together" }}
{{- end }}
{{- if lt (.Values.terminationGracePeriodSeconds | int) (add 20 (.Values.preStopSeconds | int)) }}
{{- fail "terminationGracePeriodSeconds must be at least preStopSeconds + 20: requests at work get 15 s to finish" }}
{{- end }}
{{- end }}
