"""What is promised of runners in containers, and of the stack made of them."""

from __future__ import annotations

from typing import Final

DOCKER: Final[dict[str, str]] = {
    # What keeps runners off the host
    "doctor:docker": "the doctor tells whether Docker answers and the runner's image is there, and what to do",
    "doctor:firewall": "the doctor tries with a container whether a runner reaches the host, and leaves nothing behind",
    "doctor:keys-of-compose": "the doctor shows by name which secrets of compose are set, and no value",
    "firewall:rules": "the firewall step sets the same rules however often it runs, first of all, and undoes them",
    "firewall:says-why": "the firewall step changes nothing that it was not asked for, and says what it lacks",
    # The doors, by network
    "doors:by-network": "who calls from a runner's network finds the two doors and nothing else, whatever it sends",
    "doors:peer-not-header": "who calls is told by the connection, and no header changes that",
    "doors:token-at-home": "during a turn the token of a runner in a container works from that container alone",
    "hub:keyless-beyond-loopback": "beyond loopback only health and the catalog can be read without the key",
    # An agent gone bad
    "hostile:bombs": "a fork bomb and a memory bomb end in their own container, and the others answer meanwhile",
    "hostile:bombs-in-a-turn": "a bomb that a turn sets off ends, the user is told, and others are answered meanwhile",
    "hostile:disk-filler": "a turn that fills the disk ends within seconds of its quota, and its files stay readable",
    "hostile:doors": "from a runner every route of sidecar and hub but the doors is a 404, whatever key was stolen",
    "hostile:files": "a runner reads no other user's file and no file of the host, and writes to its own folders alone",
    "hostile:network": "a runner reaches no other runner, no port of the host, no metadata, no internet, no name",
    "hostile:privileges": "a program in a runner becomes nobody else and changes nothing of the kernel",
    "hostile:secrets": "what a program in a runner reads of opencode is its own token and password, and no key",
    # The container of a runner
    "container:body": "the container is hardened, writes to its own folders alone, and has no field beyond the agreed",
    "container:hash": "the spec hash changes with everything that a container is made from, and with no secret",
    "container:secrets": "token and password are in the environment alone, and no other secret is in a container",
    # What goes wrong while people use it, in the stack of compose
    "mishap:config-in-turn": "a toggle, a new persona, a new integration: the running turn goes on, the next has them",
    "mishap:idle-in-turn": "no timer pauses or stops a runner in a turn, however long it is silent; afterwards they do",
    "mishap:image-missing": "a missing image refuses new runners, says what to do, leaves the others, is found later",
    "mishap:out-of-memory": "the user is told within 5 s of Docker's event, whoever dies of it; others notice nothing",
    "mishap:removed": "a runner that was removed is told within 5 s in a turn, and the next has files and memory",
    "mishap:two-tabs": "of two tabs in one chat the second waits and is told, and each goes on with its own history",
    "mishap:wedged": "a runner that hears nothing is made again by the next turn, and what hangs in it is told",
    # Users and their keys, in the stack of compose
    "keys:four-names": "two users with two key sets: four names and folders apart, each user's files and memory go on",
    "keys:old-key-nowhere": "of a key changed five times: one container, no key in a file, log, process or inspection",
    # Runners on real Docker
    "runner:adopt": "a new sidecar adopts the same container, paused or not, and none made from another spec",
    "runner:claims": "a container of ours that has ended, or is made from another spec, gives way",
    "runner:deadlines": "a runner that never answers ends at a deadline of its own, with its last words",
    "runner:dies": "a runner that dies at its start is told at once, with its last words and no secret",
    "runner:engine-down": "a daemon that can't be reached is told, and used again once it is back",
    "runner:engine-fails": "a daemon that fails during a start is told, and nothing is left",
    "runner:engine-slow": "a daemon that is slow is told within a deadline, and what comes late is found",
    "runner:events-lost": "what happens while Docker's events are lost is found once they are back",
    "runner:folders": "folders that can't be made are told, and belong to the runner's user however links are planted",
    "runner:image-missing": "a missing image is named, with what to run",
    "runner:life": "a runner starts, is polled, and leaves no container and no network when it is stopped",
    "runner:name-taken": "a stranger's container under the name is told and left alone",
    "runner:one-at-a-time": "no runner of a user is started before the one before is gone, however its end went",
    "runner:one-of-many": "of many starts at once of one runner, one container comes",
    "runner:oom-told": "memory that runs out is told within seconds, whether the runner dies of it or not",
    "runner:pause": "a paused runner is found as paused and answers again at once",
    # Many at once
    "runner:crowd": "of many at once each is answered or told when to come again, and who leaves leaves nothing behind",
    "runner:nothing-grows": "turns leave no file open and no thread in the sidecar",
    "runner:start-fails": "a start that fails is told to all who wait for it, and hinders nobody else",
    # Restarts of what runners depend on
    "restart:daemon": "a restarted Docker daemon costs the running turn, and no memory, file or later turn",
    "restart:daemon-live-restore": "with live-restore a restarted Docker daemon costs neither a runner nor a turn",
    "restart:down-up": "after compose down and up, memory, files and secrets are there",
    "restart:engine-away": "while nothing can be asked of Docker, live runners go on and a new one is told why not",
    "restart:engine-fails": "while Docker answers every call with 500, live runners go on and a new one is told so",
    "restart:engine-slow": "while Docker hangs for 30 s, live runners go on, and nothing is lost afterwards",
    "restart:reboot": "after a power cut, memory, files and secrets are there, and nothing that nobody owns",
    "restart:recreated": "after sidecar or hub was made anew, the next turn of a living runner reaches both doors",
    "restart:sidecar-killed": "a killed sidecar's runners are taken over, none is made, and their chats go on",
    "restart:sidecar-told": "a sidecar told to stop ends its answers well, and its runners are taken over",
    # Users' networks
    "network:apart": "each user has an internal network with a subnet of its own, however many start at once",
    "network:full": "no free subnet and a taken name are told with what to do",
    "network:members": "sidecar and hub are members under their names, and are put back when they are taken out",
    "network:moves": "a network outside of the present subnets is made again",
    "network:subnets": "the next free subnet overlaps nothing that is there, and none is missed",
}
