#!/bin/sh
# The chart's probes call /entrypoint before a command, as Airflow's own image has it; children are reaped.
exec /usr/bin/dumb-init -- "$@"
