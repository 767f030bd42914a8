# As many processes as there is room for, for $1 seconds. They are killed with the container.
bomb() { bomb | bomb & }
bomb 2>/dev/null &
exec sleep "$1"
