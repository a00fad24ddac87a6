#!/bin/sh
# sh matte.sh http://127.0.0.1:7000 me.jpg me.png
# A photo to its cut-out with curl. LATEFUSION_API_KEY, if the server wants one, comes from the
# environment. A server that is full is asked again when it says (curl heeds Retry-After).
set -eu
curl --silent --show-error --fail-with-body --retry 5 \
  ${LATEFUSION_API_KEY:+--header "X-Api-Key: $LATEFUSION_API_KEY"} \
  --form "image=@$2" --form crop=true \
  --output "$3" "$1/api/matte"
