{{/*
`pgvault init`, once, after the release was installed: a repository that is there stays as it is. Never after an upgrade:
a url that was mistyped then would get a repository that is empty, where every job ought to fail. Argo CD calls each sync
an installation, and so it leaves this out.
*/}}
{{- define "pgvault.init" }}
{{- $root := .root }}
{{- $values := $root.Values }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "pgvault.release" $root }}-init
  labels: {{- include "pgvault.labels" (list $root "init" "") | nindent 4 }}
  annotations:
    helm.sh/hook: post-install
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    argocd.argoproj.io/hook: Skip
spec:
  activeDeadlineSeconds: 240 # below the five minutes for which Helm waits
  backoffLimit: 2
  ttlSecondsAfterFinished: {{ $values.jobsKeptSeconds | int64 }}
  template:
    metadata:
      labels: {{- include "pgvault.podlabels" (list $root "init" "") | nindent 8 }}
      {{- with $values.pod.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      restartPolicy: Never
      {{- include "pgvault.pod" (list $root $values.pod.runAsUser $values.pod.runAsUser) | nindent 6 }}
      containers:
        - {{- include "pgvault.container" (dict "root" $root "name" "init" "args" (list "init") "resources" $values.resources "secrets" .secrets "mounts" list) | nindent 10 | trimPrefix "\n" | trimPrefix "         " }}
      volumes:
        {{- include "pgvault.volumes" (dict "root" $root "map" (include "pgvault.name" (list $root .name "config")) "secrets" .secrets) | nindent 8 }}
{{- end }}
