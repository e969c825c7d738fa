#!/bin/bash
# The handler that small teams write for `consul watch -type=event`: the key
# of the last event becomes the ticket key, and after a random delay nginx is
# reloaded. Standard input is the JSON list of events, `[]` at the start.
set -euo pipefail
payload=$(sed -n 's/.*"Payload":"\([^"]*\)".*/\1/p')
[ -n "$payload" ] || exit 0

printf %s "$payload" | base64 -d | base64 -d >"$KEYS/new"
mv "$KEYS/new" "$KEYS/current.key"

delay=$((RANDOM * SPLAY_MS / 32768))
sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
"$NGINX" -p "$PREFIX" -e "$ERROR_LOG" -c "$CONFIG" -s reload
