# One call of a model at the sidecar's door. $1: host, $2: port, $3: token, $4: model. Prints "call: <status>".
body="{\"model\":\"$4\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":[{\"role\":\"user\",\"content\":\"planted\"}]}"
exec 3<>"/dev/tcp/$1/$2" || exit 1
printf 'POST /llm/compatible/v1/chat/completions HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n' "$1" "$2" >&3
printf 'Content-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %s\r\n\r\n%s' "$3" "${#body}" "$body" >&3
read -r -t 20 _ status _ <&3
echo "call: $status"
