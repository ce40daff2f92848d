#!/bin/sh
# Runs a command of weekvault in a pod, with the store at /backup, and ends with its exit code:
#
#   weekvault.sh list
#   NAMESPACE=mailserver APP=mailserver weekvault.sh verify --quick
#
# It has no source: restores are jobs. The image is that of the verify CronJob. The pod goes when the command has ended.
set -eu
namespace=${NAMESPACE:-roundcubemail} app=${APP:-roundcube}
pod=weekvault-$(date +%s)-$$
kube() { kubectl -n "$namespace" "$@"; }

image=$(kube get cronjob "$app-verify" -o jsonpath='{.spec.jobTemplate.spec.template.spec.containers[0].image}')
trap 'kube delete pod "$pod" --ignore-not-found --wait=false >&2' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Its store can be written to: for gc, retain, undelete and verify --repair.
kube run "$pod" --image="$image" --restart=Never --override-type=strategic --overrides='{
  "spec": {
    "automountServiceAccountToken": false,
    "enableServiceLinks": false,
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{
      "name": "'"$pod"'",
      "env": [{"name": "WEEKVAULT_STORE", "value": "/backup"}, {"name": "WEEKVAULT_NO_CACHE", "value": "1"}],
      "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
      "securityContext": {
        "runAsUser": 0,
        "runAsGroup": 0,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}
      },
      "volumeMounts": [{"name": "backup", "mountPath": "/backup"}]
    }],
    "volumes": [
      {"name": "backup", "persistentVolumeClaim": {"claimName": "'"$app"'-backup"}}
    ]
  }
}' -- "$@" >&2
# While its image is pulled and its volumes are mounted, there is no log; what it waits for is said here.
path='{.status.containerStatuses[0].state.terminated.exitCode}'
ended() { kube get pod "$pod" -o jsonpath="$path"; }
until kube logs -f "pod/$pod"; do
  # A pod that was deleted or evicted has no end to wait for.
  ended >/dev/null
  sleep 2
done
# The cluster may hear of the end later than the log does.
code=$(ended)
while [ -z "$code" ]; do
  sleep 1
  code=$(ended)
done
exit "$code"
