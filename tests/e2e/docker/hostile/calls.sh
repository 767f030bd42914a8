# Which of host:port can be connected to; a line of stdin each. Prints "<host:port>: reached", "refused" or "silent".
while IFS=: read -r host port; do
  (
    timeout 6 bash -c ": <>/dev/tcp/$host/$port" 2>/dev/null
    case $? in 0) told=reached ;; 124) told=silent ;; *) told=refused ;; esac
    echo "$host:$port: $told"
  ) &
done
wait
