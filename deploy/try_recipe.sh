#!/usr/bin/env bash
# Runs an image as it is meant to be run, and looks: unprivileged, read-only root, no capability.
#
#   deploy/try_recipe.sh IMAGE BUNDLE_FOLDER
#
# ENGINE (docker) and RUN_FLAGS (none) suit it to the machine: ENGINE=podman RUN_FLAGS="--gpus all"
set -euo pipefail

if [[ $# -ne 2 || ! -f "$2/manifest.json" ]]; then
  sed -n '2,6p' "$0" >&2
  exit 2
fi
image=$1 bundle=$(realpath "$2") engine=${ENGINE:-docker}
id=$(basename "$bundle") name=livewarden-try-$$
read -r -a flags <<< "${RUN_FLAGS:-}"
flags+=(--read-only --cap-drop ALL --security-opt no-new-privileges --network none --shm-size 1g)
flags+=(--tmpfs /tmp:exec,size=256m --volume "$name:/srv/livewarden" --volume "$bundle:/delivery/$id:ro")

# Name what is done, and say what came of it; the end where it failed.
say() {
  local what=$1 said
  shift
  said=$("$@")
  printf '%-16s %s\n' "$what" "$said"
}
once() { "$engine" run --rm "${flags[@]}" "$image" "$@" 2> /dev/null; }
inside() { "$engine" exec "$name" "$@"; }
finish() {
  "$engine" rm --force --volumes "$name" > /dev/null 2>&1 || true
  "$engine" volume rm "$name" > /dev/null 2>&1 || true
}
trap finish EXIT

say "bundle verify" once bundle verify "/delivery/$id"
say "bundle publish" once bundle publish "/delivery/$id"

begin=$SECONDS
"$engine" run --detach --name "$name" "${flags[@]}" "$image" > /dev/null
# The image's own HEALTHCHECK, asked by hand: not every engine runs it.
ask=(python -c "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8003/ready').status)")
until status=$(inside "${ask[@]}" 2> /dev/null); do
  if ((SECONDS - begin > 180)); then
    "$engine" logs "$name" >&2
    exit 1
  fi
  sleep 0.5
done
say "GET /ready" echo "$status after $((SECONDS - begin)) s"
say "user" inside id
say "capabilities" inside sh -c 'grep CapEff /proc/1/status'
say "touch /usr/x" inside sh -c 'touch /usr/x 2>&1 || true'
say "/dev/shm" inside sh -c 'df -h /dev/shm | tail -1'
judge() {
  inside livewarden moderate --url 127.0.0.1:8001 --json \
    --text 'chat:free crypto giveaway, send 1 eth and get 2 back' \
    | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v["action"], v["label"])'
}
say "moderate" judge
begin=$SECONDS
"$engine" stop --time 20 "$name" > /dev/null
code=$("$engine" inspect --format '{{.State.ExitCode}}' "$name")
say "stop" echo "status $code after $((SECONDS - begin)) s"
[[ $code == 0 ]]
