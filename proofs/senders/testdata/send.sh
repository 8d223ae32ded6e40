#!/usr/bin/env bash
# Posts two events to one account by curl or wget, and prints the status of the second:
# send.sh PROGRAM [FLAG...] URL. curl sends both on one connection.
program=$1
url=${*: -1}
flags=("${@:2:$(($# - 2))}")
event() { printf '{"client_id":"a","message_id":"%s","type":"work","payload":{}}' "$1"; }
case $program in
curl)
  # Without -o /dev/null: curl can't truncate that, and then doesn't send again.
  status=$(curl -s "${flags[@]}" -H 'Content-Type: application/json' -d "$(event 1)" "$url" \
    --next -s "${flags[@]}" -w '\n%{http_code}' -H 'Content-Type: application/json' -d "$(event 2)" "$url" | tail -n 1)
  ;;
wget)
  wget -q -O /dev/null --header='Content-Type: application/json' --post-data="$(event 1)" "$url"
  status=$(wget -nv -S --waitretry=1 --tries=3 -O /dev/null --header='Content-Type: application/json' --post-data="$(event 2)" "$url" 2>&1 | awk '$1 ~ /^HTTP\// { s = $2 } END { print s }')
  ;;
esac
[[ $status == [1-9]* ]] || status=error
echo "$status"
