{{/* What objects of this release begin with. */}}
{{- define "pgvault.release" -}}
{{- .Values.nameOverride | default .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/*
The name of an object of a cluster: release-cluster-kind, at most 52 characters, since Kubernetes appends up to eleven
to a CronJob's. Where that had to be changed, a hash of what it was stands before the kind, so that no two of them meet.
(list $ cluster kind)
*/}}
{{- define "pgvault.name" -}}
{{- $plain := printf "%s-%s" (include "pgvault.release" (index . 0)) (index . 1) -}}
{{- $kind := index . 2 -}}
{{- $name := replace "_" "-" $plain -}}
{{- $room := sub 51 (len $kind) | int -}}
{{- if or (ne $plain $name) (gt (len $name) $room) -}}
{{- $name = printf "%s-%s" (trunc (sub $room 9 | int) $name | trimSuffix "-") (sha256sum $plain | trunc 8) -}}
{{- end -}}
{{- $name }}-{{ $kind }}
{{- end }}

{{- define "pgvault.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "pgvault.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "pgvault.release" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* The name of a cluster as a label: one that does not end like a label gets a hash as its end. */}}
{{- define "pgvault.clusterlabel" -}}
{{- if regexMatch "[a-z0-9]$" . }}{{ . }}{{ else }}{{ trunc 54 . }}-{{ sha256sum . | trunc 8 }}{{ end -}}
{{- end }}

{{/* What selects an object's pods: (list $ kind cluster-or-empty) */}}
{{- define "pgvault.selector" -}}
app.kubernetes.io/name: pgvault
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
pgvault/cluster: {{ include "pgvault.clusterlabel" . | quote }}
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
