{{/* What a schema can not see: one sentence, and what to do. */}}
{{- define "pgvault.refuse" -}}
{{- if not (dig "audit" "key" "" .Values.config) -}}
{{- fail "config.audit.key is missing: a pod has no disk to keep a signing key on; make one with `openssl genpkey -algorithm ed25519`, put it into a Secret, and name it as file:/etc/pgvault/secrets/…" -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" (include "pgvault.release" .)) -}}
{{- fail (printf "the release is called %q, and a Service's name begins with a letter: set nameOverride" .Release.Name) -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.clusters -}}
{{- if has .name $names }}{{ fail (printf "two clusters are called %q: give each a name of its own" .name) }}{{ end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with .Values.restore -}}
{{- range list "cluster" "to" "claim" "runAsUser" -}}
{{- if not (get $.Values.restore .) }}{{ fail (printf "restore.%s is missing: a restore is of a cluster, to a moment, onto a claim, as the user who will own the files: restore: {cluster, to, claim, runAsUser}" .) }}{{ end -}}
{{- end -}}
{{- if not (has .cluster $names) }}{{ fail (printf "restore.cluster is %q, and clusters: has none of that name; it has %s" .cluster (join ", " $names | trunc 200)) }}{{ end -}}
{{- range $.Values.clusters -}}
{{- if and (eq .name $.Values.restore.cluster) (eq (dig "source" (dig "config" "source" "stream" $.Values.defaults) .config) "logical") }}{{ fail (printf "restore.cluster is %q, and a cluster with source: logical has no moments to restore to: use pgvault restore --logical" .name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
