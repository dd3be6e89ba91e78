#!/usr/bin/env bash
# How many there are, and all rows page by page, with curl. Needs: GATEWAY (e.g. http://127.0.0.1:8480), TOKEN, and
# contracts for counts and batches of RECORD.
set -euo pipefail
RECORD=${RECORD:-Dwelling} PURPOSE=${PURPOSE:-social-assistance.eligibility} MATTER=${MATTER:-social-assistance}

ask() { # path; the body comes from stdin
  curl --silent --show-error --fail-with-body "$GATEWAY$1" --header 'content-type: application/json' \
    --header @<(printf 'authorization: Bearer %s' "$TOKEN") --data @-
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

CASE=$(printf '{"matter":"%s"}' "$MATTER" | ask /v1/cases | field case)
WHY="\"purpose\":\"$PURPOSE\",\"case\":\"$CASE\""

# A cell that is not there is not zero: it was small, or would have given a small one away.
printf '{%s}' "$WHY" | ask "/v1/counts/$RECORD"
printf '\n'

# The same body with the `resume` of the page before, until there is none. Keep it beside your rows, and a run that
# ended anywhere goes on where it was.
RESUME=
while
  PAGE=$(printf '{%s%s}' "$WHY" "${RESUME:+,\"resume\":\"$RESUME\"}" | ask "/v1/batches/$RECORD")
  printf '%s\n' "$PAGE"
  RESUME=$(printf '%s' "$PAGE" | field resume)
  [ -n "$RESUME" ]
do :; done
printf '{"reason":"decided"}' | ask "/v1/cases/$CASE/close"
printf '\n'
