#!/bin/bash
# What the chart's log groomers run: old logs on a pod's disk go; in the bucket they stay.
set -euo pipefail
while true; do
  find "${AIRFLOW_HOME:?}/logs" -type f -mtime "+${AIRFLOW__LOG_RETENTION_DAYS:-15}" -delete
  sleep 900
done
