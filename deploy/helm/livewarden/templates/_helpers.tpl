{{- define "livewarden.name" -}}
{{- if contains "livewarden" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-livewarden" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "livewarden.selector" -}}
app.kubernetes.io/name: livewarden
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "livewarden.labels" -}}
{{ include "livewarden.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "livewarden.servers" -}}
{{ include "livewarden.name" . }}-servers
{{- end -}}

{{- define "livewarden.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "livewarden.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "livewarden.spread" -}}
{{- range $i, $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" -}}
{{- if $i }}{{ "\n" }}{{ end -}}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "livewarden.selector" $.root | nindent 6 }}
      {{- toYaml $.own | nindent 6 }}
{{- end }}
{{- end -}}

{{- /* The mean time of a clip in the queue, in milliseconds, over the servers of one pool.
A pod is called <Deployment>-<hash>-<five signs>, so pool l4 does not count those of l4-spot. */ -}}
{{- define "livewarden.queueQuery" -}}
{{- $pods := printf `model="moderation",namespace="%s",pod=~"%s-%s-[a-z0-9]+-[a-z0-9]{5}"` .root.Release.Namespace (include "livewarden.name" .root) .pool -}}
sum(rate(nv_inference_queue_duration_us{ {{- $pods -}} }[1m])) / 1000 / clamp_min(sum(rate(nv_inference_request_success{ {{- $pods -}} }[1m])), 0.1)
{{- end -}}

{{- /* What the schema cannot say: values that need each other. */ -}}
{{- define "livewarden.check" -}}
{{- $bundle := .Values.bundle -}}
{{- if and (eq $bundle.source "claim") (not $bundle.claim) -}}
{{- fail "bundle.source is claim: name the PersistentVolumeClaim in bundle.claim" -}}
{{- end -}}
{{- if and (ne $bundle.source "claim") (not $bundle.image) -}}
{{- fail (printf "bundle.source is %s: name the image of bundles in bundle.image" $bundle.source) -}}
{{- end -}}
{{- if not (or $bundle.publicKeySecret $bundle.allowUnsigned) -}}
{{- fail "name the Secret with release.pub in bundle.publicKeySecret, or set bundle.allowUnsigned" -}}
{{- end -}}
{{- $servers := 0 -}}
{{- range $name, $pool := .Values.pools -}}
{{- $servers = add $servers (ternary 1 2 (eq $.Values.autoscaling.kind "none") | mul ($pool.replicas | default 1)) -}}
{{- if not (or $pool.bundle $bundle.id) -}}
{{- fail (printf "pool %s has no bundle: set bundle.id, or pools.%s.bundle" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (gt $servers 1) (not .Values.stateKeysSecret) -}}
{{- fail "several servers must share the keys of the streams' memory: name their Secret in stateKeysSecret" -}}
{{- end -}}
{{- if and (eq .Values.front.kind "gateway") (not .Values.front.gateway.name) -}}
{{- fail "front.kind is gateway: name the Gateway in front.gateway.name" -}}
{{- end -}}
{{- if and (ne .Values.front.kind "envoy") .Values.networkPolicy.enabled (not .Values.networkPolicy.callers) -}}
{{- fail (printf "front.kind is %s: say in networkPolicy.callers who may reach the servers, or disable networkPolicy" .Values.front.kind) -}}
{{- end -}}
{{- if and .Values.front.clientCa (not .Values.front.tlsSecret) -}}
{{- fail "front.clientCa needs front.tlsSecret" -}}
{{- end -}}
{{- if and (eq .Values.autoscaling.kind "keda") (not .Values.autoscaling.prometheus) -}}
{{- fail "autoscaling.kind is keda: name the URL of Prometheus in autoscaling.prometheus" -}}
{{- end -}}
{{- end -}}
