{{/*
`wal stream` of one cluster: a StatefulSet, and never more than one. pg_receivewal confirms to its slot what only its own
disk holds, so the disk outlives the pod, and two receivers never share a slot: the old pod is gone before the new one starts.
*/}}
{{- define "pgvault.stream" }}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $name := include "pgvault.name" (list $root .name "stream") }}
{{- $own := deepCopy $values.stream }}
{{- include "pgvault.overlay" (list $own (.entry.stream | default dict)) }}
{{- /* What it reads at its start, and nothing else: a new check, or another alert, starts no stream anew. */}}
{{- $read := list (omit .shared "alerts" "audit_keep") (omit .config "anomaly" "checks" "checks_dsn" "checks_password" "classes" "drill" "logical" "objectives" "retention" "schedule") }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  labels: {{- include "pgvault.labels" (list $root "stream" .name) | nindent 4 }}
spec:
  replicas: 1
  serviceName: {{ $name }}
  podManagementPolicy: OrderedReady
  updateStrategy: {type: RollingUpdate}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  selector:
    matchLabels: {{- include "pgvault.selector" (list $root "stream" .name) | nindent 6 }}
  template:
    metadata:
      labels: {{- include "pgvault.podlabels" (list $root "stream" .name) | nindent 8 }}
      annotations:
        pgvault/config: {{ $read | toJson | sha256sum | trunc 16 | quote }}
        {{- with $values.pod.annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      terminationGracePeriodSeconds: 120
      {{- include "pgvault.pod" (list $root $values.pod.runAsUser $values.pod.runAsUser) | nindent 6 }}
      containers:
        - {{- include "pgvault.container" (dict "root" $root "name" "stream" "args" (list "wal" "stream" "--cluster" .name) "resources" $own.resources "secrets" .secrets "mounts" (list (list "tmp" "/scratch") (list "spool" "/spool"))) | nindent 10 | trimPrefix "\n" | trimPrefix "         " }}
      volumes:
        {{- include "pgvault.volumes" (dict "root" $root "map" (include "pgvault.name" (list $root .name "config")) "secrets" .secrets) | nindent 8 }}
  volumeClaimTemplates:
    - metadata:
        name: spool
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $own.storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources: {requests: {storage: {{ $own.size | quote }}}}
{{- end }}
