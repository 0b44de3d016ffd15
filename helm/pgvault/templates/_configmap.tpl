{{/* pgvault.yaml of one cluster alone, so that a change of one leaves the other pods as they are. */}}
{{- define "pgvault.configmap" }}
{{- $document := merge (dict "clusters" (dict .name .config)) .shared }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "pgvault.name" (list .root .name "config") }}
  labels: {{- include "pgvault.labels" (list .root "config" .name) | nindent 4 }}
data:
  pgvault.yaml: |
    {{- toYaml $document | nindent 4 }}
{{- end }}
