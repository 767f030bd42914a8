# What it sees of processes. Prints the names of the variables of opencode's environment, and how many processes there are.
for process in /proc/[0-9]*; do
  read -r name <"$process/comm" && echo "process: ${process#/proc/} $name"
done
tr '\0' '\n' <"$(dirname "$(grep -l opencode /proc/[0-9]*/comm | tail -1)")/environ" | cut -d= -f1 | sort -u | sed 's/^/variable: /'
