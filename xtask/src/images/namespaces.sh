#!/bin/sh
# Starts the agent as PID 1 of many PID namespaces, each with a root, an image.json and a kernel line of its own.
# The section of a case begins with the line "case NAME". Runs as root in a Debian guest.
set -u
echo "cases: begin"

# begin NAME: makes a root in memory, and sets the defaults of a case.
begin() {
    echo "case $1"
    root=/tmp/root
    line='hpcc.root=ro hpcc.disk=none'
    user=0
    streams=
    mkdir -p "$root/.hpcc"
    cd "$root" || exit 99
    mkdir proc sys dev tmp run etc
    cp /.hpcc/agent /.hpcc/witness .hpcc/
    # The same modes as in an artifact, whatever the umask.
    chmod 755 .hpcc .hpcc/*
}

# run WORDS: starts the agent. WORDS are the entrypoint, as the elements of a JSON array.
run() {
    printf '{"version":1,"config":{"env":[],"entrypoint":[%s],"cmd":[],"working_dir":"","user":"%s"}}' \
        "$1" "$user" > .hpcc/image.json
    echo "$line" > /tmp/line
    unshare --mount --uts --pid --fork sh -c '
        mount --bind "$0" "$0" && mount -t proc proc "$0/proc" &&
        mount --bind /tmp/line "$0/proc/cmdline" && if [ "$1" ]; then exec > "$1" 2>&1; fi &&
        exec chroot "$0" /.hpcc/agent' "$root" "$streams"
    cd /
    rm -rf "$root"
}

witness() {
    words='"/.hpcc/witness"'
    for word; do words="$words,\"$word\""; done
    run "$words"
}

# /etc of the image leads elsewhere.
for target in .hpcc /.hpcc ../../.hpcc /proc/sys/kernel /proc/self/root/.hpcc /run /dev; do
    begin "etc -> $target"
    rmdir etc
    ln -s "$target" etc
    echo injected > .hpcc/hosts
    echo injected > .hpcc/hostname
    witness show /.hpcc/hosts /.hpcc/hostname
done
begin 'etc is a file'
rmdir etc
echo file > etc
witness show /etc
begin 'etc has no regular files'
ln -s ../.hpcc/resolv.conf etc/resolv.conf
mkfifo etc/hostname
mkdir etc/hosts
echo injected > .hpcc/resolv.conf
witness show /.hpcc/resolv.conf
begin 'etc has regular files'
touch etc/hosts etc/hostname etc/resolv.conf
line="$line hpcc.hostname=vm-9 hpcc.nameserver=10.0.0.9"
witness show /etc/hosts /etc/hostname /etc/resolv.conf
begin 'etc -> .hpcc below an overlay'
line=hpcc.disk=none
rmdir etc
ln -s .hpcc etc
echo injected > .hpcc/hosts
witness show /.hpcc/hosts

# Users.
begin 'twenty thousand groups'
echo 'app:x:7:8::/:' > etc/passwd
seq 2000000001 2000020000 | sed 's/.*/g:x:&:app/' > etc/group
user=app
witness groups
begin 'more groups than Linux has'
echo 'app:x:7:8::/:' > etc/passwd
seq 1 65537 | sed 's/.*/g:x:&:app/' > etc/group
user=app
witness groups
begin 'no such user'
user=app
witness groups
begin 'passwd is a device'
mknod etc/passwd c 4 64
witness groups
begin 'passwd -> /proc/kmsg'
ln -s /proc/kmsg etc/passwd
witness groups

# Commands.
begin 'command does not exist'
run '"nothing"'
begin 'command is not executable'
touch etc/file
run '"/etc/file"'
begin 'command is for another machine'
printf '\177ELF\nexit 0\n' > etc/file
chmod 755 etc/file
run '"/etc/file"'
begin 'command is relative to the working directory'
line="$line hpcc.directory=/.hpcc"
run '"./witness","exit","3"'
begin 'command is process 1 of its own namespace'
line="$line hpcc.pids=own"
user=7
run '"/.hpcc/witness","numbers"'
begin 'command dies of a signal'
witness die
begin 'command is traced when it ends'
witness traced
begin 'command of forty words'
line="$line $(seq -f 'hpcc.cmd=%%3%.0f' 1 9 | tr '\n' ' ')$(seq -f 'hpcc.cmd=w%.0f' 10 40 | tr '\n' ' ')"
witness words

# The exit code by vsock. The loopback transport stands for the host.
listen() {
    : > /tmp/heard
    timeout 60 /.hpcc/witness listen "$1" > /tmp/heard &
    for _ in $(seq 100); do
        grep -q listens /tmp/heard && break
        sleep 0.1
    done
    line="$line hpcc.status=vsock:$1"
}
heard() {
    wait
    echo 'case heard'
    cat /tmp/heard
}
begin 'status by vsock'
listen 1234
witness exit 5
heard
begin 'wrong word, and standard streams that lead nowhere'
listen 1234
line="$line hpcc.rooot=ro"
streams=/dev/null
witness exit 6
heard
begin 'wrong word, /dev is a symlink, and the image names another console'
rmdir dev
mkdir -p lib/dev sys/class/tty/console
ln -s lib/dev dev
echo null > sys/class/tty/console/active
line="$line hpcc.rooot=ro"
streams=/dev/null
witness exit 6
begin 'status by vsock without a listener'
line="$line hpcc.status=vsock:1235"
witness exit 6

# What a command does to the console before it exits.
for attack in nonblocking stopped slow raw flood; do
    begin "console $attack"
    witness console "$attack"
done
begin 'console replaced'
witness console replaced
rm -f /dev/console
mknod -m 600 /dev/console c 5 1

echo "cases: end"
