#!/bin/sh
# Prints what the shipper did as metrics, for node_exporter's textfile collector: metrics.sh [OPTION of syslog-ng-ctl...]
# Fails, and prints nothing, where syslog-ng does not answer.
set -eu

counters=$(syslog-ng-ctl stats "$@")
# SourceName;SourceId;SourceInstance;State;Type;Number
printf '%s\n' "$counters" | awk -F ';' '
    { destination = $2; sub(/#.*/, "", destination) }
    # What came to each destination, from the start; what became of it, as soon as there is something.
    $1 == "destination" && $5 == "processed" || $1 ~ /^dst\./ && $5 ~ /^(written|dropped)$/ {
        total = total sprintf("mtls_audit_records_total{destination=\"%s\",state=\"%s\"} %s\n", destination, $5, $6)
    }
    $1 ~ /^dst\./ && $5 == "queued" {
        queued = queued sprintf("mtls_audit_records_queued{destination=\"%s\"} %s\n", destination, $6)
    }
    END {
        print "# HELP mtls_audit_records_queued Records on disk, but for those that are just being sent."
        print "# TYPE mtls_audit_records_queued gauge"
        printf "%s", queued
        print "# HELP mtls_audit_records_total Records since the start, by what became of them."
        print "# TYPE mtls_audit_records_total counter"
        printf "%s", total
    }'
