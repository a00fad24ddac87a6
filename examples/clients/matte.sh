#!/bin/sh
# sh matte.sh http://127.0.0.1:7000 me.jpg me.png
# Cut out a photo with curl. If the server needs an API key, set LATEFUSION_API_KEY in the
# environment. A full server is asked again after its Retry-After, which curl observes.
set -eu
part="$3.part" # the answer, which is an error's text if the request fails
trap 'rm -f "$part"' EXIT
curl --silent --show-error --fail-with-body --retry 5 \
  ${LATEFUSION_API_KEY:+--header "X-Api-Key: $LATEFUSION_API_KEY"} \
  --form "image=@$2" --form crop=true \
  --output "$part" "$1/api/matte" || {
  code=$?
  [ ! -s "$part" ] || { cat "$part" && echo; } >&2
  exit "$code"
}
mv "$part" "$3"
