# Another user's files and the host's. $1: the data root on the host, $2: the other user's workspace hash, $3: own hash.
# Prints "<what>: none" for whatever could not be read or written, else "<what>: GOT IT".
say() { echo "$1: $2"; }
readable() { if [ -n "$(head -c 1 "$2" 2>/dev/null)" ]; then say "$1" 'GOT IT'; else say "$1" none; fi; }
writable() { if (: >"$2") 2>/dev/null; then say "$1" 'GOT IT'; else say "$1" none; fi; }

other=$1/workspaces/$2/secret.txt
readable 'by its path on the host' "$other"
readable 'beside the own one' "/workspace/../$2/secret.txt"
readable 'up and down again' "/workspace/../../../../../../..$other"
readable 'through init' "/proc/1/root$other"
readable 'through the folder of a process' "/proc/self/cwd/../$2/secret.txt"
ln -sfn "$other" /workspace/link && readable 'through a link' /workspace/link
ln -sfn "$1/workspaces/$2" /workspace/folder && readable 'through a linked folder' /workspace/folder/secret.txt
(ln "$other" /workspace/hard) 2>/dev/null; readable 'through a hard link' /workspace/hard
for process in /proc/[0-9]*; do
  if ls "$process"/root/"$1" >/dev/null 2>&1; then say "through $process" 'GOT IT'; fi
  for file in "$process"/fd/*; do case $(readlink "$file") in *"$2"*) say "an open file of $process" 'GOT IT' ;; esac; done
done
readable 'the list of users' "$1/workspaces"
readable "the deployment's secrets" "$1/secrets.json"
readable "the sidecar's database" "$1/sidecar.db"
if ls "$1" >/dev/null 2>&1; then say 'the data root' 'GOT IT'; else say 'the data root' none; fi

for folder in / /etc /usr/bin /usr/local/bin /var /opt /root /opencode /opencode/config /sys /proc/sys/kernel /dev/mapper; do
  writable "a file in $folder" "$folder/planted"
done
writable 'its own config' /opencode/config/open-persona.json
writable "opencode's config" /opencode/config/opencode/opencode.jsonc
writable 'opencode itself' "$(command -v opencode)"
(rm -rf /opencode/config/opencode /usr/bin/env) 2>/dev/null
[ -e /opencode/config/opencode ] && say 'removing its config' none || say 'removing its config' 'GOT IT'
(printf '#!/bin/sh\n' >/tmp/program && chmod 755 /tmp/program && /tmp/program) 2>/dev/null &&
  say 'running a program in /tmp' 'GOT IT' || say 'running a program in /tmp' none
for socket in /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock /run/open-persona/docker.sock; do
  [ -e "$socket" ] && say "$socket" 'GOT IT' || say "$socket" none
done
[ -z "$(find / -xdev -type s -not -path '/proc/*' 2>/dev/null)" ] && say 'any socket' none || say 'any socket' 'GOT IT'
[ -z "$(find /dev -type b 2>/dev/null)" ] && say 'a disk' none || say 'a disk' 'GOT IT'
echo 'own file' >/workspace/own.txt && [ "$(cat /workspace/own.txt)" = 'own file' ] && echo 'own workspace: works'
