"""One replica: python replica_process.py REPOSITORY POLICY HOST KEYS, until its stdin ends."""

from __future__ import annotations

import sys

from livewarden_ensemble.server import Server

GRPC, HTTP, METRICS, HEALTH = 8001, 8000, 8002, 8003

if __name__ == "__main__":
    repository, policy, host, keys = sys.argv[1:]
    with Server(
        repository,
        host=host,
        grpc_port=GRPC,
        http_port=HTTP,
        metrics_port=METRICS,
        health_port=HEALTH,
        policy=policy,
        state_keys=keys,
        replica=host,
    ) as server:
        server.wait_ready(180)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
