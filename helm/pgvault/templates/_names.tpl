{{/* What objects of this release begin with. */}}
{{- define "pgvault.release" -}}
{{- .Values.nameOverride | default .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/*
The name of an object of a cluster: release-cluster-kind, at most 52 characters, since Kubernetes appends up to eleven
to a CronJob's. What had to be changed ends with a hash of what it was, so that no two of them meet.
(list $ cluster kind)
*/}}
{{- define "pgvault.name" -}}
{{- $plain := printf "%s-%s-%s" (include "pgvault.release" (index . 0)) (index . 1) (index . 2) -}}
{{- $name := replace "_" "-" $plain -}}
{{- if or (ne $plain $name) (gt (len $name) 52) -}}
{{- $name = printf "%s-%s" (trunc 43 $name | trimSuffix "-") (sha256sum $plain | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "pgvault.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "pgvault.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "pgvault.release" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* What selects an object's pods: (list $ kind cluster-or-empty) */}}
{{- define "pgvault.selector" -}}
app.kubernetes.io/name: pgvault
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
pgvault/cluster: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Labels of an object: (list $ kind cluster-or-empty) */}}
{{- define "pgvault.labels" -}}
{{ include "pgvault.selector" . }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{/* A number below a limit that a text always gets: (list text limit) */}}
{{- define "pgvault.hash" -}}
{{- mod (printf "0x%s" (sha256sum (index . 0) | trunc 8) | int64) (index . 1) -}}
{{- end }}
