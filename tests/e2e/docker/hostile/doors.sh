# Requests to a door's host. $1: host, $2: port; a line of stdin each: method, target, and a header or "-".
# Prints "<method> <target> [<header's name>]: <status>".
while read -r method target header; do
  exec 3<>"/dev/tcp/$1/$2" || { echo "$method $target: no connection"; continue; }
  [ "$header" = - ] && header='X-Nothing: 1'
  printf '%s %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\nContent-Length: 0\r\n%s\r\n\r\n' \
    "$method" "$target" "$1" "$2" "$header" >&3
  read -r -t 10 _ status _ <&3
  echo "$method $target [${header%%:*}]: $status"
  exec 3<&- 3>&-
done
