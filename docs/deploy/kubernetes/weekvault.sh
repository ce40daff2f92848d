#!/bin/sh
# Runs a command of weekvault in a pod, with the store at /backup, and ends with its exit code:
#
#   weekvault.sh list
#   NAMESPACE=mailserver APP=mailserver weekvault.sh verify --quick
#   weekvault.sh ls --week latest --pvc html --identity mine.key
#
# It has no source: restores are jobs. The image is that of the verify CronJob. The pod goes when the command has ended.
#
# --identity takes a file of this machine, or - for standard input, as from `age -d`. What is in it goes into the command's
# standard input and nowhere else, so that no object of the cluster ever has it.
set -eu
namespace=${NAMESPACE:-roundcubemail} app=${APP:-roundcube}
pod=weekvault-$(date +%s)-$$
kube() { kubectl -n "$namespace" "$@"; }
wrong() { echo "weekvault.sh: $1" >&2; exit 2; }

stdin=false
take_identity() {
  if $stdin; then wrong "--identity is given twice: there is one standard input"; fi
  stdin=true
  # Of what else is run here, nothing shall read it.
  if [ "$1" = - ]; then exec 3<&0 </dev/null; return; fi
  [ -r "$1" ] || wrong "there is no identity file $1 that you may read"
  exec 3<"$1"
}
before=
for word; do
  shift
  case $before,$word in
    --identity,*) take_identity "$word"; word=- ;;
    *,--identity=*) take_identity "${word#*=}"; word=--identity=- ;;
    *,--writer-key* | *,--recipients-file*)
      wrong "${word%%=*} is of files that stay here: use weekvault itself, where the share is mounted" ;;
  esac
  before=$word
  set -- "$@" "$word"
done

image=$(kube get cronjob "$app-verify" -o jsonpath='{.spec.jobTemplate.spec.template.spec.containers[0].image}')
handing=
trap 'if [ -n "$handing" ]; then kill "$handing" 2>/dev/null || true; fi
  kube delete pod "$pod" --ignore-not-found --wait=false >&2' EXIT
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
      "stdin": '$stdin',
      "stdinOnce": '$stdin',
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
# Where nobody may attach, it must not leave a command behind that waits for ever.
hand_over() {
  if kube wait --for=condition=Ready --timeout=1h "pod/$pod" 2>/dev/null && kube attach --quiet -i "$pod"; then return; fi
  case $(state) in
    Running*)
      echo "weekvault.sh: the identity did not get to the command: may you attach to pods in $namespace?" >&2
      kube delete pod "$pod" --wait=false ;;
  esac
}
if $stdin; then
  hand_over <&3 >/dev/null &
  handing=$!
  exec 3<&-
fi
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
