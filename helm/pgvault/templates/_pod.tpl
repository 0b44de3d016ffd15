{{/* The pod spec that all have, and may not be weaker: (list $ user group) */}}
{{- define "pgvault.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "pgvault.account" $root | quote }}
automountServiceAccountToken: {{ $root.Values.serviceAccount.automountToken }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 | int64 }}
  runAsGroup: {{ index . 2 | int64 }}
  fsGroup: {{ index . 2 | int64 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $root.Values.pod }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pgvault.podlabels" -}}
{{ include "pgvault.selector" . }}
{{- with (index . 0).Values.pod.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One pgvault command: (dict root name args resources secrets mounts). A mount is (list volume path). */}}
{{- define "pgvault.container" -}}
name: {{ .name }}
image: {{ include "pgvault.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ toJson .args }}
env:
  - {name: PGVAULT_CONFIG, value: /etc/pgvault/config/pgvault.yaml}
  - {name: PGVAULT_LOG_FORMAT, value: {{ .root.Values.logFormat }}}
  - {name: HOME, value: /tmp}
  - {name: XDG_STATE_HOME, value: /tmp}
  - {name: POD_NAMESPACE, value: {{ .root.Release.Namespace | quote }}}
{{- range $secret := .secrets }}
{{- range $variable, $key := $secret.env }}
  - {name: {{ $variable | quote }}, valueFrom: {secretKeyRef: {name: {{ $secret.name | quote }}, key: {{ $key | quote }}{{ if $.optional }}, optional: true{{ end }}}}}
{{- end }}
{{- end }}
{{- range .root.Values.extraEnv }}
  - {{ toJson . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- with .resources }}
resources: {{ toJson . }}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/pgvault/config, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- range .mounts }}
  - {name: {{ first . }}, mountPath: {{ last . | quote }}}
{{- end }}
{{- range $number, $secret := .secrets }}
{{- if not $secret.env }}
  - {name: secret-{{ $number }}, mountPath: {{ printf "/etc/pgvault/secrets/%s" $secret.mount | quote }}, readOnly: true}
{{- end }}
{{- end }}
{{- range .root.Values.extraVolumeMounts }}
  - {{ toJson . }}
{{- end }}
{{- end }}

{{/* The volumes behind that: (dict root map secrets) */}}
{{- define "pgvault.volumes" -}}
- {name: config, configMap: {name: {{ .map }}}}
- {name: tmp, emptyDir: {}}
{{- range $number, $secret := .secrets }}
{{- if not $secret.env }}
- {name: secret-{{ $number }}, secret: {secretName: {{ $secret.name | quote }}, defaultMode: 0440{{ if $.optional }}, optional: true{{ end }}
{{- with $secret.keys }}, items: [{{ range $index, $key := . }}{{ if $index }}, {{ end }}{key: {{ $key | quote }}, path: {{ $key | quote }}}{{ end }}]{{ end }}}}
{{- end }}
{{- end }}
{{- range .root.Values.extraVolumes }}
- {{ toJson . }}
{{- end }}
{{- end }}
