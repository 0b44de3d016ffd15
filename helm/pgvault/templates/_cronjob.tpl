{{/* One job of one cluster: (list cluster job cron) */}}
{{- define "pgvault.cronjob" }}
{{- $cluster := index . 0 }}
{{- $job := index . 1 }}
{{- $root := $cluster.root }}
{{- $values := $root.Values }}
{{- $row := get $cluster.jobs $job }}
{{- $own := get $cluster.entry $job | default dict }}
{{- $scratch := dict }}
{{- include "pgvault.overlay" (list $scratch $values.scratch) }}
{{- include "pgvault.overlay" (list $scratch ($own.scratch | default dict)) }}
{{- $isEphemeral := and (or $row.scratch $own.scratch) $scratch.size }}
{{- $resources := dict }}
{{- include "pgvault.overlay" (list $resources $values.resources) }}
{{- include "pgvault.overlay" (list $resources ($own.resources | default dict)) }}
{{- $mounts := list (list (ternary "scratch" "tmp" (not (not $isEphemeral))) "/scratch") }}
{{- if $row.server }}{{ $mounts = append $mounts (list "shm" "/dev/shm") }}{{ end }}
{{- $containers := list }}
{{- range $number, $command := $row.commands }}
{{- $containers = append $containers (include "pgvault.container" (dict "root" $root "name" (first $command) "args" (concat $command (list "--cluster" $cluster.name)) "resources" $resources "secrets" $cluster.secrets "mounts" $mounts)) }}
{{- end }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "pgvault.name" (list $root $cluster.name $job) }}
  labels: {{- include "pgvault.labels" (list $root $job $cluster.name) | nindent 4 }}
spec:
  schedule: {{ index . 2 | quote }}
  timeZone: {{ $values.config.timezone | default "UTC" | quote }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {{ $row.late | int64 }}
  successfulJobsHistoryLimit: {{ $values.successfulJobs | int64 }}
  failedJobsHistoryLimit: {{ $values.failedJobs | int64 }}
  jobTemplate:
    spec:
      activeDeadlineSeconds: {{ $own.deadline | default $row.deadline | int64 }}
      ttlSecondsAfterFinished: {{ $values.jobsKeptSeconds | int64 }}
      backoffLimit: {{ $row.retries | int64 }}
      podFailurePolicy:
        rules:
          # What trying again does not change, and what must not be tried until it passes: a drill that failed is a result.
          - action: FailJob
            onExitCodes: {operator: In, values: [2, 10, 11, 12, 13, 14, 15, 16, 17, 22, 23, 37, 40, 43, 50, 51, 53]}
          - action: Ignore
            onPodConditions: [{type: DisruptionTarget, status: "True"}]
      template:
        metadata:
          labels: {{- include "pgvault.podlabels" (list $root $job $cluster.name) | nindent 12 }}
          {{- with $values.pod.annotations }}
          annotations: {{ toJson . }}
          {{- end }}
        spec:
          restartPolicy: Never
          {{- include "pgvault.pod" (list $root $values.pod.runAsUser $values.pod.runAsUser) | nindent 10 }}
          {{- with initial $containers }}
          initContainers:
            {{- range . }}
            - {{- . | nindent 14 | trimPrefix "\n" | trimPrefix "             " }}
            {{- end }}
          {{- end }}
          containers:
            - {{- last $containers | nindent 14 | trimPrefix "\n" | trimPrefix "             " }}
          volumes:
            {{- include "pgvault.volumes" (dict "root" $root "map" (include "pgvault.name" (list $root $cluster.name "config")) "secrets" $cluster.secrets) | nindent 12 }}
            {{- if $isEphemeral }}
            - name: scratch
              ephemeral:
                volumeClaimTemplate:
                  spec:
                    accessModes: [ReadWriteOnce]
                    {{- with $scratch.storageClass }}
                    storageClassName: {{ . | quote }}
                    {{- end }}
                    resources: {requests: {storage: {{ $scratch.size | quote }}}}
            {{- end }}
            {{- if $row.server }}
            - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemory | quote }}}}
            {{- end }}
{{- end }}
