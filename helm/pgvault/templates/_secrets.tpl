{{/*
Secrets from several lists, each place once: put into the dict that is given, as `secrets`. It has `given`, one list of
all. What is mounted at one place from one Secret becomes one volume with the keys of both.
*/}}
{{- define "pgvault.secrets" -}}
{{- $places := dict -}}
{{- $found := list -}}
{{- range $secret := .given -}}
{{- if $secret.env -}}
{{- $new := dict -}}
{{- range $variable, $key := $secret.env -}}
{{- $said := printf "%s/%s" $secret.name $key -}}
{{- $known := get $places $variable -}}
{{- if not $known -}}
{{- $_ := set $places $variable $said -}}
{{- $_ := set $new $variable $key -}}
{{- else if ne $known $said -}}
{{- fail (printf "variable %s is taken from two Secrets, %s and %s: give each a name of its own" $variable $known $said) -}}
{{- end -}}
{{- end -}}
{{- if $new }}{{ $found = append $found (dict "name" $secret.name "env" $new) }}{{ end -}}
{{- else -}}
{{- $place := $secret.mount | default $secret.name -}}
{{- $known := get $places (print "/" $place) -}}
{{- if not $known -}}
{{- $known = dict "name" $secret.name "mount" $place "keys" ($secret.keys | default list) -}}
{{- $_ := set $places (print "/" $place) $known -}}
{{- $found = append $found $known -}}
{{- else if ne $known.name $secret.name -}}
{{- fail (printf "Secrets %q and %q are both mounted at %q: give each a mount of its own" $known.name $secret.name $place) -}}
{{- else if and $known.keys $secret.keys -}}
{{- $_ := set $known "keys" (concat $known.keys $secret.keys | uniq) -}}
{{- else -}}
{{- $_ := set $known "keys" list -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set . "secrets" $found -}}
{{- end }}
