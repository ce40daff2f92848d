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
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# Its store can be written to: for gc, retain, undelete and verify --repair.
kube run "$pod" --image="$image" --labels="app=$app-command" --restart=Never --override-type=strategic --overrides='{
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
# A pod that is gone ends this, since its state cannot be asked for; so does one that failed before the command began.
state() {
  kube get pod "$pod" -o jsonpath='{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}'
}
end_if_over() {
  case $1 in
    *' '[0-9]*) exit "${1##* }" ;;
    Failed*) echo "weekvault.sh: the command did not run: kubectl -n $namespace describe pod $pod" >&2; trap - EXIT; exit 1 ;;
  esac
}
# While its image is pulled and its volumes are mounted, there is no log; what it waits for is said here.
until kube logs -f "pod/$pod"; do
  now=$(state)
  # One that began and ended just now has a log after all.
  case $now in *' '[0-9]*) kube logs "pod/$pod" || true ;; esac
  end_if_over "$now"
  sleep 2
done
# The cluster may hear of the end later than the log does.
while now=$(state); do
  end_if_over "$now"
  sleep 1
done
exit 1
