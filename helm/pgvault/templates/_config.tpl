{{/* Lay one mapping over another, in place; what is null there is taken away. (list into from) */}}
{{- define "pgvault.overlay" -}}
{{- $into := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $into $key -}}
{{- else if kindIs "map" $value -}}
{{- if not (kindIs "map" (get $into $key)) }}{{ $_ := set $into $key dict }}{{ end -}}
{{- include "pgvault.overlay" (list (get $into $key) $value) -}}
{{- else -}}
{{- $_ := set $into $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Find out what holds for one cluster, and put it into the dict that is given, which has `root`, `entry` (of clusters:),
`shared` (pgvault.yaml but for its clusters) and `jobs` (the table):

    name     of the cluster
    entry    the entry over the defaults
    config   its part of pgvault.yaml
    runs     its jobs, with the schedule of each
    streams  whether it has a stream
    secrets  what its pods get
*/}}
{{- define "pgvault.resolve" -}}
{{- $root := .root -}}
{{- $entry := dict -}}
{{- include "pgvault.overlay" (list $entry $root.Values.defaults) -}}
{{- include "pgvault.overlay" (list $entry .entry) -}}
{{- $name := $entry.name -}}
{{- $config := dict "source" "stream" "drill" (dict "isolation" "process" "scratch" "/scratch") "logical" (dict "spool" "/scratch") -}}
{{- include "pgvault.overlay" (list $config ($entry.config | default dict)) -}}
{{- $isLogical := eq $config.source "logical" -}}
{{- if and $isLogical (not (dig "config" "stream" "" .entry)) -}}
{{- $_ := unset $config "stream" -}}
{{- end -}}
{{- $streams := and (not $isLogical) (dig "stream" "enabled" true $entry) -}}
{{- if $streams -}}
{{- include "pgvault.overlay" (list $config (dict "stream" (dict "spool" "/spool/stream"))) -}}
{{- end -}}
{{- $said := $config.schedule | default dict -}}
{{- include "pgvault.overlay" (list $said ($entry.schedule | default dict)) -}}
{{- $runs := dict -}}
{{- $schedule := dict -}}
{{- range $job, $row := .jobs -}}
{{- $nothing := or (and $row.files $isLogical) (and (eq $job "copy") (lt (len $.shared.repository.copies) 2)) (and (eq $job "checks") (not $config.checks)) -}}
{{- if not $nothing -}}
{{- $cron := include "pgvault.cron" (list $root $name $job $row $said) -}}
{{- $_ := set $schedule $job (ternary $cron "off" (ne $cron "")) -}}
{{- if $cron -}}{{- $_ := set $runs $job $cron -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "schedule" $schedule -}}
{{- $_ := set . "name" $name -}}
{{- $_ := set . "entry" $entry -}}
{{- $_ := set . "config" $config -}}
{{- $_ := set . "runs" $runs -}}
{{- $_ := set . "streams" $streams -}}
{{- $_ := set . "given" (concat $root.Values.secrets ($entry.secrets | default list)) -}}
{{- include "pgvault.secrets" . -}}
{{- end }}

{{/* When a job runs: five fields, or nothing for `off`. (list $ cluster job row said) */}}
{{- define "pgvault.cron" -}}
{{- $root := index . 0 -}}
{{- $job := index . 2 -}}
{{- $row := index . 3 -}}
{{- $said := index . 4 -}}
{{- if hasKey $said $job -}}
{{- $word := get $said $job | toString | trim | lower -}}
{{- $words := dict "off" "" "false" "" "hourly" "0 * * * *" "daily" "0 1 * * *" "weekly" "0 2 * * 0" "monthly" "0 3 1 * *" "@hourly" "0 * * * *" "@daily" "0 0 * * *" "@midnight" "0 0 * * *" "@weekly" "0 0 * * 0" "@monthly" "0 0 1 * *" "@yearly" "0 0 1 1 *" "@annually" "0 0 1 1 *" -}}
{{- if hasKey $words $word }}{{ get $words $word }}{{ else }}{{ include "pgvault.saidcron" (list (index . 1) $job (get $said $job | toString | trim)) }}{{ end -}}
{{- else -}}
{{- $fields := splitList " " $row.cron -}}
{{- $seed := printf "%s/%s/%s" $root.Release.Name (index . 1) $job -}}
{{- $minute := first $fields -}}
{{- $hour := index $fields 1 -}}
{{- if hasPrefix "*/" $minute -}}
{{- $every := trimPrefix "*/" $minute | int64 -}}
{{- $minute = printf "%s-59/%d" (include "pgvault.hash" (list $seed $every)) $every -}}
{{- else -}}
{{- $minute = include "pgvault.hash" (list $seed 60) -}}
{{- end -}}
{{- if and (gt (int $root.Values.spreadHours) 1) (ne $hour "*") -}}
{{- $hour = include "pgvault.hash" (list (printf "%s/hour" $seed) $root.Values.spreadHours) | int | add (int $hour) -}}
{{- $hour = mod $hour 24 | toString -}}
{{- end -}}
{{- concat (list $minute $hour) (slice $fields 2) | join " " -}}
{{- end -}}
{{- end }}

{{/*
What was said, where Kubernetes reads it as everybody else does: it knows no weekday 7, no L and no #, and takes a day
with a star and a step beside a weekday for either of them, where cron, and so `status`, means both. (list cluster job said)
*/}}
{{- define "pgvault.saidcron" -}}
{{- $said := index . 2 -}}
{{- $fields := regexSplit " +" $said -1 -}}
{{- $weekday := last $fields -}}
{{- $why := "" -}}
{{- if not (regexMatch "^([0-9A-Za-z,*/-]+ +){4}[0-9A-Za-z,*/-]+$" $said) -}}
{{- $why = "write numbers, names, and * , - / alone" -}}
{{- else if regexMatch "(?i)(^|[ ,])([0-9]*l|lw)([ ,]|$)" $said -}}
{{- $why = "there is no L" -}}
{{- else if regexMatch "(^|[,-])7" $weekday -}}
{{- $why = "Sunday is 0, not 7" -}}
{{- else if and (ne $weekday "*") (ne (index $fields 2) "*") (or (hasPrefix "*" $weekday) (hasPrefix "*" (index $fields 2))) -}}
{{- $why = "a day */n and a weekday are one thing to cron and another to Kubernetes" -}}
{{- end -}}
{{- if $why }}{{ fail (printf "schedule of cluster %q, %s: %q is not read by Kubernetes as it is meant: %s" (index . 0) (index . 1) $said $why) }}{{ end -}}
{{- $said -}}
{{- end }}

{{/* pgvault.yaml but for its clusters, laid over the dict that is given: (list $ into) */}}
{{- define "pgvault.shared" -}}
{{- $root := index . 0 -}}
{{- $into := index . 1 -}}
{{- include "pgvault.overlay" (list $into $root.Values.config) -}}
{{- if and $into.alerts (not (get ($into.alerts) "state")) -}}
{{- $_ := set $into.alerts "state" "/tmp/alerts.json" -}}
{{- end -}}
{{- end }}
