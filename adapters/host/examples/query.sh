#!/usr/bin/env bash
# One household's question with curl. Needs: GATEWAY (e.g. http://127.0.0.1:8480), TOKEN, SUBJECT.
set -euo pipefail

# Identifiers travel in bodies; the body comes from stdin, so that they do not show in the list of processes.
ask() { # method, path, further curl arguments
  local method=$1 path=$2
  shift 2
  curl --silent --show-error --fail-with-body --request "$method" "$GATEWAY$path" \
    --header @<(printf 'authorization: Bearer %s' "$TOKEN") "$@"
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# What may this app ask?
ask GET /v1/permissions

# The key makes it safe to send this again after a lost answer: it opens one case. Keep it with your own record.
KEY=${KEY:-household-$(date +%s)-$RANDOM}
OPENED=$(printf '{"matter":"social-assistance","subjects":["%s"]}' "$SUBJECT" |
  ask POST /v1/cases --header 'content-type: application/json' --header "idempotency-key: $KEY" --data @-)
CASE=$(printf '%s' "$OPENED" | field case)

printf '\n'
printf '{"subject":"%s","purpose":"social-assistance.eligibility","case":"%s"}' "$SUBJECT" "$CASE" |
  ask POST /v1/records/query --header 'content-type: application/json' --data @-
printf '\n'
printf '{"reason":"decided"}' | ask POST "/v1/cases/$CASE/close" --header 'content-type: application/json' --data @-
printf '\n'
