{{/*
A Deployment of one pod that looks at every cluster: (dict root kind args resources port). A Secret that is not there is
told of its cluster, and must not keep the pod from telling of all others: to it, each is optional.
*/}}
{{- define "pgvault.deployment" }}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $given := $values.secrets }}
{{- range $values.clusters }}
{{- $given = concat $given (.secrets | default ($values.defaults.secrets | default list)) }}
{{- end }}
{{- $all := dict "given" $given }}
{{- include "pgvault.secrets" $all }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pgvault.release" $root }}-{{ .kind }}
  labels: {{- include "pgvault.labels" (list $root .kind "") | nindent 4 }}
spec:
  replicas: 1
  revisionHistoryLimit: 3
  strategy: {type: Recreate}
  selector:
    matchLabels: {{- include "pgvault.selector" (list $root .kind "") | nindent 6 }}
  template:
    metadata:
      # No checksum of the configuration: it is read anew at every look.
      labels: {{- include "pgvault.podlabels" (list $root .kind "") | nindent 8 }}
      {{- with $values.pod.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "pgvault.pod" (list $root $values.pod.runAsUser $values.pod.runAsUser) | nindent 6 }}
      containers:
        - {{- include "pgvault.container" (dict "root" $root "name" .kind "args" .args "resources" .resources "secrets" $all.secrets "optional" true "mounts" (list (list "tmp" "/scratch"))) | nindent 10 | trimPrefix "\n" | trimPrefix "         " }}
          {{- with .port }}
          ports:
            - {name: metrics, containerPort: {{ . | int64 }}}
          readinessProbe:
            tcpSocket: {port: metrics}
          {{- end }}
      volumes:
        {{- include "pgvault.volumes" (dict "root" $root "map" (printf "%s-fleet" (include "pgvault.release" $root)) "secrets" $all.secrets "optional" true) | nindent 8 }}
{{- end }}
